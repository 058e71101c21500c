"""Labels, masks, attributes and encodings: what signals came with comes back."""

import datetime
import warnings

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.model_selection import KFold, cross_val_score

from neurfield import FunctaEncoder
from neurfield.datasets import (
    load_netcdf,
    load_npz,
    load_zarr,
    save_latents,
    save_netcdf,
    save_npz,
    save_zarr,
)
from neurfield.signals.attributes import from_json, to_json
from neurfield.signals.encodings import holds

VISITS = pd.MultiIndex.from_product([["ann", "bob", "eve"], [1, 2, 3]], names=["subject", "visit"])


def series():
    return np.random.default_rng(0).normal(size=(9, 4)).repeat(3, axis=1)


def labelled(values=None, **coords):
    values = series() if values is None else values
    own = {"t": np.arange(12.0), "age": ("sample", np.arange(9) + 30.0), "site": "Basel"}
    return xr.DataArray(values, own | coords, ("sample", "t"), name="pressure")


def by_visit():
    return labelled().assign_coords(xr.Coordinates.from_pandas_multiindex(VISITS, "sample"))


@pytest.fixture(scope="module")
def fitted(small_encoder):
    return small_encoder().fit(labelled())


# --- labels of samples ----------------------------------------------------------------------------

NAMES = [f"scan {i}" for i in range(9)]
INDEXES = {
    "names": pd.Index(NAMES, name="sample"),
    "dates": pd.date_range("2024-01-01", periods=9, name="sample"),
    "multi": VISITS,
}


def with_index(index):
    if isinstance(index, pd.MultiIndex):
        return by_visit()
    return labelled(sample=("sample", index))


@pytest.mark.parametrize("kind", INDEXES)
def test_pandas_output_has_the_labels_of_samples(kind, fitted, small_encoder):
    X = with_index(INDEXES[kind])
    enc = small_encoder().set_output(transform="pandas")
    Z = enc.fit_transform(X)
    assert Z.index.equals(INDEXES[kind])
    assert enc.transform(X.to_dataset()).index.equals(INDEXES[kind])
    R = enc.inverse_transform(Z)
    assert R.indexes["sample"].equals(INDEXES[kind])
    some = enc.inverse_transform(Z.iloc[[4, 2]], grid=(5,))
    assert some.indexes["sample"].equals(INDEXES[kind][[4, 2]])


def test_a_table_keeps_its_index_and_arrays_have_none(small_encoder):
    X = pd.DataFrame(series(), index=NAMES)
    enc = small_encoder().set_output(transform="pandas").fit(X)
    assert enc.transform(X).index.tolist() == NAMES
    assert enc.transform(series()).index.tolist() == list(range(9))


@pytest.mark.parametrize("kind", INDEXES)
def test_latents_of_dask_blocks_carry_all_labels_there_and_back(kind, fitted):
    X = with_index(INDEXES[kind])
    R = fitted.inverse_transform(fitted.transform(X.chunk(sample=4)).compute())
    assert R.indexes["sample"].equals(INDEXES[kind])
    np.testing.assert_array_equal(R["age"], X["age"])
    assert R["site"] == "Basel"


def test_observed_gives_all_labels_of_samples(fitted):
    X = by_visit()
    Z = fitted.transform(X)
    R = fitted.inverse_transform(Z, observed=X)
    assert R.indexes["sample"].equals(VISITS)
    np.testing.assert_array_equal(R["age"], X["age"])
    np.testing.assert_array_equal(R, fitted.inverse_transform(Z))
    _, std = fitted.inverse_transform(Z, observed=X, return_std=True)
    assert std.indexes["sample"].equals(VISITS)


def test_observed_of_other_samples_than_the_latents_is_refused(fitted):
    X = labelled(sample=("sample", NAMES))
    Z = pd.DataFrame(fitted.transform(X), index=NAMES)
    with pytest.raises(ValueError, match=r"observed must hold .* in their order, got the labels"):
        fitted.inverse_transform(Z, observed=X[::-1])


def test_labels_named_as_an_axis_are_refused(fitted):
    Z = pd.DataFrame(np.zeros((2, 4)))
    Z.index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["t", "visit"])
    with pytest.raises(ValueError, match=r"must not be called as axes .*\['t'\]; rename"):
        fitted.inverse_transform(Z)


def test_splitters_divide_samples_where_they_come_first_and_there_is_a_warning_else(small_encoder):
    X = labelled()
    enc = small_encoder()
    assert np.isfinite(cross_val_score(enc, X, cv=KFold(3))).all()
    with pytest.warns(UserWarning, match=r'"sample" is not the first .* would divide "t"'):
        enc.fit(X.transpose("t", "sample"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enc.fit(X)
        enc.fit(list(X))


# --- coordinates beside the axes ------------------------------------------------------------------


def test_coordinates_beside_the_axes_come_back_on_the_grid_they_belong_to(small_encoder):
    X = labelled(phase=("t", list("aabbbbccccdd")), scan=np.datetime64("2024-01-01", "ns"))
    X = X.assign_coords(channel="II", depth=5.0)
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert set(R.coords) == {"t", "site", "phase", "scan", "channel", "depth"}
    xr.testing.assert_identical(
        R.drop_vars(("t",)).coords.to_dataset()["phase"].variable, X["phase"].variable
    )
    assert R["scan"] == X["scan"]
    fine = enc.inverse_transform(enc.transform(X), grid=(30,))
    assert set(fine.coords) == {"t", "site", "scan", "channel", "depth"}


def test_what_all_signals_of_a_list_have_in_common_comes_back(small_encoder):
    X = [signal.assign_coords(run=i) for i, signal in enumerate(labelled())]
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert set(R[0].coords) == {"t", "site"}


@pytest.mark.parametrize(
    "labels",
    [["II", "V1"], [1, 2], [0.5, 1.5], ["II", 2], [("II", "mV"), ("V1", "mV")]],
    ids=["text", "int", "float", "mixed", "tuples"],
)
def test_labels_of_channels_stay_what_they_are(labels, small_encoder, tmp_path):
    held = np.empty(2, dtype=object)
    held[:] = labels
    array = held if len({type(v) for v in labels}) > 1 else np.asarray(labels)
    array = held if isinstance(labels[0], tuple) else array
    X = xr.DataArray(
        np.stack([series(), -series()], -1),
        {"t": np.arange(12.0), "channel": ("channel", array, {"standard": "12 leads"})},
        ("sample", "t", "channel"),
    )
    enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc")
    for each in (enc, FunctaEncoder.load(tmp_path / "enc")):
        np.testing.assert_array_equal(each.transform(X[..., ::-1]), each.transform(X))
        R = each.inverse_transform(each.transform(X))
        assert R["channel"].to_numpy().tolist() == labels
        assert R["channel"].attrs == {"standard": "12 leads"}


def test_dates_as_labels_of_channels_stay_dates(small_encoder, tmp_path):
    days = pd.date_range("2024-01-01", periods=2)
    X = xr.DataArray(
        np.stack([series(), -series()], -1), {"channel": days}, ("sample", "t", "channel")
    )
    enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc")
    for each in (enc, FunctaEncoder.load(tmp_path / "enc")):
        R = each.inverse_transform(each.transform(X[..., ::-1]))
        np.testing.assert_array_equal(R["channel"], days)


def test_two_channels_of_one_name_are_not_matched_by_it(small_encoder):
    X = xr.DataArray(
        np.stack([series(), -series(), series()], -1),
        {"channel": ["I", "I", "II"]},
        ("sample", "t", "channel"),
    )
    enc = small_encoder().fit(X)
    np.testing.assert_array_equal(enc.transform(X), enc.fit(X).transform(X))
    with pytest.raises(ValueError, match="the channels of X must be"):
        enc.transform(X[..., ::-1])


# --- masks ----------------------------------------------------------------------------------------


def masked(values=None):
    values = series() if values is None else values
    hidden = np.zeros(values.shape, bool)
    hidden[:, :2] = True  # outside of the field of view
    hidden[3, 5:7] = True
    return np.ma.masked_array(values, hidden)


@pytest.mark.parametrize("kind", ["array", "list", "channels"])
def test_masks_come_back(kind, small_encoder, tmp_path):
    whole = masked()
    X = {"array": whole, "list": list(whole), "channels": whole[..., None]}[kind]
    enc = small_encoder(channel_axis=-1 if kind == "channels" else None).fit(X)
    Z = enc.transform(X)
    enc.save(tmp_path / "enc")
    for each in (enc, FunctaEncoder.load(tmp_path / "enc")):
        R = each.inverse_transform(Z)
        assert isinstance(R, list) == (kind == "list")
        R = np.ma.stack(R) if kind == "list" else R.reshape(whole.shape)
        np.testing.assert_array_equal(R.mask, np.broadcast_to(np.arange(12) < 2, R.shape))
        assert np.isfinite(R.data).all()
        R = each.inverse_transform(Z, observed=X)
        R = np.ma.stack(R) if kind == "list" else R.reshape(whole.shape)
        np.testing.assert_array_equal(R.mask, whole.mask)


def test_masks_belong_to_the_grid_of_fit(small_encoder):
    enc = small_encoder().fit(masked())
    Z = enc.transform(masked())
    fine = enc.inverse_transform(Z, grid=(30,))
    assert isinstance(fine, np.ma.MaskedArray)
    assert not fine.mask.any()
    assert not isinstance(enc.inverse_transform(Z, points=[[0.0]]), np.ma.MaskedArray)


def test_masks_of_deviations_derivatives_and_integers(small_encoder):
    X = masked()
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    for found in enc.inverse_transform(Z, observed=X, return_std=True):
        np.testing.assert_array_equal(found.mask, X.mask)
    assert enc.inverse_transform(Z, derivative=("x",)).mask[:, :2].all()
    whole = enc.inverse_transform(Z, dtype=np.int16)
    assert whole.dtype == np.int16
    assert whole.mask[:, :2].all()


def test_gaps_that_are_nan_are_filled_in(small_encoder):
    X = masked().filled(np.nan)
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert type(R) is np.ndarray
    assert np.isfinite(R).all()
    R = enc.inverse_transform(enc.transform(X), observed=masked())
    np.testing.assert_array_equal(R.mask, masked().mask)


@pytest.mark.parametrize("X", [series(), list(series())], ids=["array", "list"])
def test_observed_without_mask_or_labels_is_of_use_to_deviations_only(X, small_encoder):
    enc = small_encoder().fit(X)
    with pytest.raises(ValueError, match="changes nothing but standard deviations"):
        enc.inverse_transform(np.zeros((9, 4)), observed=X)


# --- attributes -----------------------------------------------------------------------------------

ATTRIBUTES = {
    "te": 3.5,
    "averages": 2**70,
    "fat_suppressed": True,
    "operator": None,
    "affine": np.diag([2.0, 2.0, 2.5, 1.0]),
    "gain": np.float32(0.1),
    "voxels": (3, 4),
    "nested": {"b0": [1, [2, None]], 7: {"deep": (1.5,)}},
    "acquired": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC),
    "day": np.datetime64("2024-02-29", "ns"),
    "took": np.timedelta64(90, "s"),
    "raw": b"\x00\xff",
    "phase": 1 + 2j,
    "flags": np.array([True, False]),
    "names": np.array(["a", "bc"]),
    "empty": np.zeros((0, 3)),
    "spectrum": np.array([1 + 1j]).tolist(),
    "not_a_number": float("inf"),
}


def agree(one, other):
    if isinstance(one, np.ndarray | np.generic):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_the_same_after_saving(name, fitted, small_encoder, tmp_path):
    assert agree(from_json(to_json(ATTRIBUTES[name])), ATTRIBUTES[name])


def test_attributes_of_all_kinds_are_saved_with_an_encoder(small_encoder, tmp_path):
    X = labelled().assign_attrs(ATTRIBUTES)
    X["t"].attrs = {"units": "s", **ATTRIBUTES}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc")
    R = FunctaEncoder.load(tmp_path / "enc").inverse_transform(enc.transform(X))
    assert all(agree(R.attrs[name], value) for name, value in ATTRIBUTES.items())
    assert all(agree(R["t"].attrs[name], value) for name, value in ATTRIBUTES.items())


class Sequence:
    """Something that no file takes."""

    def __repr__(self):
        return "MPRAGE"


@pytest.mark.parametrize("value", [Sequence(), {"a": [Sequence()]}, np.array([Sequence()])])
def test_attributes_that_become_text_are_warned_of_in_fit(value, small_encoder, tmp_path):
    X = labelled().assign_attrs(te=3.5, sequence=value)
    with pytest.warns(UserWarning, match=r"the attributes \['sequence'\] of X are, or hold, obj"):
        enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc")
    R = FunctaEncoder.load(tmp_path / "enc").inverse_transform(np.zeros((1, 4)))
    assert "MPRAGE" in str(R.attrs["sequence"])


# --- encodings and files --------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path):
    """Write a file of packed integers, compressed in chunks, with dates along time."""
    X = xr.Dataset({"lead": labelled().drop_vars("age").rename(None) / 4})
    X = X.assign_coords(t=pd.date_range("2024-01-01", periods=12, freq="h"))
    X["lead"].attrs["units"] = "mV"
    X.to_netcdf(
        tmp_path / "packed.nc",
        encoding={
            "lead": {
                "dtype": "int16",
                "scale_factor": 0.001,
                "_FillValue": -32768,
                "zlib": True,
                "chunksizes": (3, 12),
            },
            "t": {"units": "hours since 2024-01-01", "dtype": "int32"},
        },
    )
    return tmp_path / "packed.nc"


@pytest.mark.parametrize("kind", ["dataarray", "dataset"])
@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_signals_are_stored_as_they_were(kind, ending, packed, small_encoder, tmp_path):
    with xr.open_dataset(packed) as X:
        X = X.load() if kind == "dataset" else X["lead"].load()
    enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc")
    enc = FunctaEncoder.load(tmp_path / "enc")
    R = enc.inverse_transform(enc.transform(X))
    lead = R["lead"] if kind == "dataset" else R
    kept = ("dtype", "scale_factor", "_FillValue", "zlib", "chunksizes")
    source = X["lead"] if kind == "dataset" else X
    assert {n: lead.encoding[n] for n in kept} == {n: source.encoding[n] for n in kept}
    assert lead.attrs == {"units": "mV"}
    path = tmp_path / f"decoded{ending}"
    (save_netcdf if ending == ".nc" else save_zarr)(R, path)

    back = (load_netcdf if ending == ".nc" else load_zarr)(path)
    np.testing.assert_allclose(back, lead, atol=0.0006)
    np.testing.assert_array_equal(back["t"], X["t"])
    opener = xr.open_dataset if ending == ".nc" else xr.open_zarr
    with opener(path, mask_and_scale=False, decode_times=False) as raw:
        assert raw["lead"].dtype == np.int16
        assert raw["t"].attrs["units"] == "hours since 2024-01-01"


@pytest.mark.parametrize("part", ["std", "derivative", "fine"])
def test_other_numbers_are_not_packed_as_values_are(part, packed, small_encoder):
    with xr.open_dataarray(packed) as X:
        X = X.load()
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    if part == "std":
        assert enc.inverse_transform(Z, observed=X, return_std=True)[1].encoding == {}
    elif part == "derivative":
        assert enc.inverse_transform(Z, derivative="t").encoding == {}
    else:
        fine = enc.inverse_transform(Z, grid=(23,))
        assert "chunksizes" not in fine.encoding or fine.encoding["chunksizes"] == (3, 12)
        assert fine.encoding["dtype"] == "int16"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_values_beyond_packed_integers_do_not_wrap_around(lazy, dtype, ending, tmp_path):
    limits = np.iinfo(dtype)
    values = np.array([[limits.min - 9.4, 7.0], [limits.max + 300.0, np.nan]])
    X = xr.DataArray(values, dims=("sample", "t"), name="v")
    X.encoding = {"dtype": dtype, "_FillValue": 5}
    given = X.copy()
    given.encoding = X.encoding
    path = tmp_path / f"x{ending}"
    save = save_netcdf if ending == ".nc" else save_zarr
    if lazy:
        with pytest.raises(ValueError, match=f'"v" has values that {dtype} cannot hold'):
            save(given.chunk(sample=1), path)
        assert not path.exists()
        save(given.chunk(sample=1).drop_encoding(), path)
    else:
        save(given, path)
    found = (load_netcdf if ending == ".nc" else load_zarr)(path)
    np.testing.assert_array_equal(found, values)
    assert given.encoding == {"dtype": dtype, "_FillValue": 5}


@pytest.mark.parametrize(
    ("values", "encoding", "expected"),
    [
        ([0.0, 255.0], {"dtype": "uint8"}, True),
        ([-0.4, 255.4], {"dtype": "uint8"}, True),
        ([-0.6], {"dtype": "uint8"}, False),
        ([0.3], {"dtype": "uint8", "_FillValue": 0}, False),
        ([np.nan], {"dtype": "int16"}, False),
        ([np.nan], {"dtype": "int16", "_FillValue": -1}, True),
        ([3276.7], {"dtype": "int16", "scale_factor": 0.1}, True),
        ([3276.8], {"dtype": "int16", "scale_factor": 0.1}, False),
        ([1e39], {"dtype": "float32"}, False),
        ([1e38], {"dtype": "float32"}, True),
    ],
)
def test_packed_numbers_hold_values_or_are_not_used(values, encoding, expected):
    assert holds(encoding, np.array(values)) is expected


FORMATS = {
    ".nc": (save_netcdf, load_netcdf),
    ".zarr": (save_zarr, load_zarr),
    ".npz": (save_npz, load_npz),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_labels_and_attributes_survive_files(ending, tmp_path):
    save, load = FORMATS[ending]
    X = by_visit().assign_attrs(te=3.5, units="mmHg", names=["a", "b"])
    X = X.assign_coords(t=pd.date_range("2024-01-01", periods=12))
    X["age"].attrs["units"] = "a"
    before = X.copy(deep=True)
    save(X, tmp_path / f"x{ending}")
    found = load(tmp_path / f"x{ending}")
    xr.testing.assert_identical(X, before)
    assert found.indexes["sample"].equals(VISITS)
    found.attrs.pop("source", None)
    xr.testing.assert_equal(found, X)
    assert found.attrs == X.attrs
    assert found.name == X.name
    assert found["age"].attrs == {"units": "a"}
    assert found["site"] == "Basel"


@pytest.mark.parametrize("ending", FORMATS)
def test_attributes_of_all_kinds_can_be_written(ending, tmp_path):
    save, load = FORMATS[ending]
    loop: list = []
    loop.append(loop)
    X = labelled().assign_attrs(ATTRIBUTES | {"object": Sequence(), "loop": loop})
    X["t"].attrs = {"fat": None, **ATTRIBUTES}
    save(X, tmp_path / f"x{ending}")
    found = load(tmp_path / f"x{ending}")
    np.testing.assert_array_equal(found, X)
    assert found.attrs["te"] == 3.5
    assert found.attrs["object"] == "MPRAGE"
    assert found.attrs["fat_suppressed"] in ("true", True)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("dtype", ["float16", "longdouble", "bool", "uint64", ">i2", "float32"])
def test_values_of_any_type_can_be_written(dtype, ending, tmp_path):
    save, load = FORMATS[ending]
    X = labelled((series() > 0).astype(dtype))
    save(X, tmp_path / f"x{ending}")
    np.testing.assert_array_equal(load(tmp_path / f"x{ending}"), X)


@pytest.mark.parametrize("ending", FORMATS)
def test_labels_of_mixed_types_become_text(ending, tmp_path):
    save, load = FORMATS[ending]
    X = labelled(subject=("sample", np.array(["a", 2, *"cdefghi"], dtype=object)))
    save(X, tmp_path / f"x{ending}")
    assert load(tmp_path / f"x{ending}")["subject"].values.tolist() == list("a2cdefghi")


def test_latents_of_labelled_samples_are_written_and_decoded(fitted, tmp_path):
    X = by_visit()
    save_latents(fitted.transform(X.chunk(sample=4)), tmp_path / "z.zarr")
    save_latents(fitted.transform(X), tmp_path / "z.nc", source=X)
    for found in (load_zarr(tmp_path / "z.zarr"), load_netcdf(tmp_path / "z.nc")):
        R = fitted.inverse_transform(found)
        assert R.indexes["sample"].equals(VISITS)
        np.testing.assert_array_equal(R["age"], X["age"])


def test_a_dataset_is_no_content_of_a_numpy_file(tmp_path):
    with pytest.raises(
        TypeError, match=r"DataArray or a list of them, got Dataset; .*to_dataarray"
    ):
        save_npz(labelled().to_dataset(), tmp_path / "x.npz")


def test_dask_blocks_of_masked_values_are_not_observed(small_encoder):
    lazy = labelled(dask.array.from_array(masked(), chunks=(3, -1), asarray=False))
    enc = small_encoder().fit(lazy)
    np.testing.assert_allclose(
        enc.transform(lazy).compute(), enc.transform(masked()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["names", "dates"])
def test_labels_of_single_signals_come_back(small_encoder, kind):
    whole = labelled(sample=INDEXES[kind])
    signals = [whole.isel(sample=i) for i in range(len(whole))]
    encoder = small_encoder().set_output(transform="pandas").fit(signals)
    latents = encoder.transform(signals)
    assert latents.index.equals(INDEXES[kind])
    decoded = encoder.inverse_transform(latents, observed=signals)
    assert [x["sample"].item() for x in decoded] == [x["sample"].item() for x in signals]
    with pytest.raises(ValueError, match="in their order"):
        encoder.inverse_transform(latents, observed=signals[::-1])


def test_a_label_that_all_single_signals_share_tells_none_apart(small_encoder):
    signals = [x.isel(sample=0) for x in [labelled(sample=INDEXES["names"])] * 6]
    encoder = small_encoder().set_output(transform="pandas").fit(signals)
    assert encoder.transform(signals).index.equals(pd.RangeIndex(6))


@pytest.mark.parametrize("save", [save_netcdf, save_zarr])
def test_names_of_files_that_are_no_text_are_written_as_text(tmp_path, save):
    path = tmp_path / "signals"
    save(labelled().assign_attrs(source=b"caf\xe9.nii".decode(errors="surrogateescape")), path)
    found = (load_netcdf if save is save_netcdf else load_zarr)(path)
    assert found.attrs["source"] == "caf\\udce9.nii"


@pytest.mark.parametrize(("save", "load"), [(save_netcdf, load_netcdf), (save_zarr, load_zarr)])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_dates_between_those_of_the_file_are_not_wrapped_around(tmp_path, save, load, dtype):
    dates = pd.date_range("2020-01-01", periods=12, freq="1317s")
    signals = labelled().assign_coords(t=dates)
    signals["t"].encoding = {"units": "hours since 1999-01-01", "dtype": np.dtype(dtype)}
    save(signals, tmp_path / "signals")
    assert (load(tmp_path / "signals")["t"].values == dates.values).all()
