"""Values that were not observed, however a container says so, and some that only look observed."""

import re
import warnings

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurfield.evaluation import metrics
from neurfield.signals import read_signals
from neurfield.signals.missing import decoded, filled
from neurfield.signals.scaling import ValueScaler


def series(dtype=np.float64, n=9, size=12):
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(n, 4)).repeat(size // 4, axis=1)
    return np.round(100 * smooth).astype(dtype)


def gaps(shape):
    mask = np.zeros(shape, bool)
    mask[::2, 3:6] = True
    return mask


def with_nan(dtype=np.float64):
    values = series(dtype).astype(np.float64)
    values[gaps(values.shape)] = np.nan
    return values


def labelled(values, **attrs):
    return xr.DataArray(values, {"t": np.arange(values.shape[1])}, ("sample", "t"), attrs=attrs)


@pytest.fixture(scope="module")
def encoder(small_encoder):
    return small_encoder().fit(with_nan())


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8", "int64", "bool"])
def test_masked_values_are_nan(dtype):
    values = np.ma.masked_array(series().astype(dtype), gaps(series().shape))
    found = filled(values)
    assert found.dtype.kind == "f"
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(np.isnan(found), values.mask)
    np.testing.assert_array_equal(found[~values.mask], values.compressed())


def test_an_array_without_masked_values_keeps_its_type():
    assert filled(np.ma.masked_array([1, 2], dtype=np.int8)).dtype == np.int8


MASKED = {
    "array": lambda m: m,
    "channels": lambda m: m[..., None],
    "list": lambda m: [m[i] for i in range(len(m))],
    "dataarray": labelled,
    "list of dataarrays": lambda m: [labelled(m).isel(sample=i) for i in range(len(m))],
    "dataset": lambda m: labelled(m).to_dataset(name="value"),
    "dask": lambda m: labelled(dask.array.from_array(m, chunks=(4, -1), asarray=False)),
    "dask dataset": lambda m: labelled(
        dask.array.from_array(m, chunks=(4, -1), asarray=False)
    ).to_dataset(name="value"),
    "dask list": lambda m: [
        labelled(dask.array.from_array(m, chunks=(1, -1), asarray=False)).isel(sample=i)
        for i in range(len(m))
    ],
    "pandas": lambda m: pd.DataFrame(m.filled(0)).where(~m.mask).astype("Int64"),
}


@pytest.mark.parametrize("container", MASKED)
def test_masked_values_count_as_not_observed_in_every_container(container, small_encoder):
    make = MASKED[container]
    masked = np.ma.masked_array(series(np.int32), gaps(series().shape))
    fits = []
    for values in (masked, np.ma.masked_array(series(np.int32) + 7777 * masked.mask, masked.mask)):
        X = make(values)
        axis = -1 if container == "channels" else None
        enc = small_encoder(channel_axis=axis).fit(X)
        fits.append((np.asarray(enc.transform(X)), enc.score(X)))
    np.testing.assert_array_equal(fits[0][0], fits[1][0])
    assert fits[0][1] == fits[1][1]


def test_a_mask_is_as_good_as_nan(encoder):
    masked = np.ma.masked_invalid(with_nan())
    np.testing.assert_array_equal(encoder.transform(masked), encoder.transform(with_nan()))
    latents = encoder.transform(masked)
    for one, other in zip(
        encoder.inverse_transform(latents, return_std=True, observed=masked),
        encoder.inverse_transform(latents, return_std=True, observed=with_nan()),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_measures_leave_out_masked_values():
    masked = np.ma.masked_array([[1.0, 1e6], [2.0, 3.0]], [[False, True], [False, False]])
    np.testing.assert_array_equal(metrics.mse(masked, [[1.0, 0.0], [2.0, 2.0]]), [0.0, 0.5])
    assert metrics.psnr(masked, [[0.9, 0.0], [2.0, 2.0]])[0] == pytest.approx(20.0)


# --- attributes of files --------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_fill_values_are_not_observed(attribute, dtype):
    values = series(dtype)
    values[gaps(values.shape)] = -9999
    (group,) = read_signals(labelled(values, **{attribute: dtype(-9999)})).groups
    np.testing.assert_array_equal(group.values[..., 0], with_nan())


@pytest.fixture
def packed(tmp_path):
    coding = {"dtype": "int16", "scale_factor": 0.25, "add_offset": 5.0, "_FillValue": -32768}
    X = labelled(with_nan(), units="mV").to_dataset(name="lead")
    X.to_netcdf(tmp_path / "packed.nc", encoding={"lead": coding})
    return tmp_path / "packed.nc"


@pytest.mark.parametrize("chunks", [None, {}], ids=["of the file", "dask"])
@pytest.mark.parametrize("kind", ["dataset", "dataarray"])
def test_a_file_opened_without_decoding_is_decoded(packed, kind, chunks):
    def signals(**options):
        X = xr.open_dataset(packed, chunks=chunks, **options)
        X = X["lead"] if kind == "dataarray" else X
        return read_signals(X)

    (raw,), (expected,) = signals(mask_and_scale=False).groups, signals().groups
    rows = np.arange(len(raw.values))
    np.testing.assert_allclose(raw.values[rows], expected.values[rows])
    np.testing.assert_array_equal(raw.values[rows][..., 0], with_nan())
    layout = signals(mask_and_scale=False).layout
    kept = layout.variable_attrs["lead"] if kind == "dataset" else layout.attrs
    assert dict(kept) == {"units": "mV"}


def test_an_array_without_such_attributes_is_not_copied():
    X = labelled(series())
    assert decoded(X) is X


# --- outliers and fills that nothing names --------------------------------------------------------


def range_of(values):
    scaler = ValueScaler.from_values([np.asarray(values, dtype=np.float64).reshape(-1, 1)])
    ends = scaler.offset[0], scaler.offset[0] + scaler.scale[0]
    return ends, (scaler.lower[0], scaler.upper[0])


def tissue(n=20_000):
    return np.random.default_rng(1).gamma(4.0, 100.0, n)


@pytest.mark.parametrize("outlier", [1e5, -1e5, 1e30, 32767.0])
@pytest.mark.parametrize("count", [1, 10])
def test_outliers_move_neither_scaling_nor_range(outlier, count):
    values = tissue()
    (low, high), (least, most) = range_of(values)
    spoilt = values.copy()
    spoilt[:count] = outlier
    with pytest.warns(UserWarning, match=rf"{count} of 20000 values .* far from all others"):
        ends, extremes = range_of(spoilt)
    np.testing.assert_allclose(ends, (low, high), rtol=0.01, atol=1.0)
    np.testing.assert_allclose(extremes, (least, most), rtol=0.05, atol=1.0)


@pytest.mark.parametrize("fill", [-9999.0, 32767.0, 1e20])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_fill_value_that_nothing_names_is_warned_of(fill, share):
    values = tissue()
    expected = range_of(values[int(share * len(values)) :])
    values[: int(share * len(values))] = fill
    with pytest.warns(UserWarning, match=re.escape(f"are {fill:g}, far from")):
        found = range_of(values)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "values",
    [
        tissue(),
        np.round(np.clip(tissue() / 4, 0, 255)),  # saturated at both ends
        np.where(np.arange(20_000) % 3, 0.0, tissue()),  # background
        np.where(np.arange(20_000) % 50, 0.0, 1.0),  # a mask
        np.where(np.arange(20_000) % 50, 0.0, 1 + np.arange(20_000) % 4),  # labels
        np.where(np.arange(20_000) % 300, 0.01 * tissue(), 5e4 + tissue()),  # peaks of a spectrum
        np.full(20_000, 3.0),
    ],
    ids=["tissue", "saturated", "background", "mask", "labels", "peaks", "constant"],
)
def test_values_that_belong_to_the_signals_count(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (low, high), extremes = range_of(values)
    assert extremes == (values.min(), values.max())
    assert low <= np.quantile(values, 0.01)
    assert high >= np.quantile(values, 0.99)


def test_one_saturated_voxel_does_not_raise_the_score_and_is_warned_of(small_encoder):
    images = np.random.default_rng(0).normal(size=(30, 4, 4)).repeat(3, axis=1).repeat(3, axis=2)
    spoilt = images.copy()
    spoilt[0, 0, 0] = 1e5
    clean = small_encoder(max_iter=20).fit(images)
    with pytest.warns(UserWarning, match="1 of 4320 values .* the farthest at 100000 where nine"):
        beside = small_encoder(max_iter=20).fit(spoilt)
    assert beside.score(images[1:]) < clean.score(images[1:]) + 1.0
