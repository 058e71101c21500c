"""Arrays, labelled arrays and lists, in and out."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neurfield.signals import CoordinateFrame, ValueScaler, read_signals


def waves(*shape, n=12, seed=0, offset=0.0):
    """Make smooth random signals of any number of axes."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    coefficients = rng.normal(size=(n, len(shape)))
    phases = rng.uniform(0, 6, size=n)
    return offset + np.stack(
        [
            np.sin(sum(a * g for a, g in zip(row, grids, strict=True)) + phase)
            for row, phase in zip(coefficients, phases, strict=True)
        ]
    )


def images_in_mm(channels=0, names=("row", "col"), order=None):
    """Make labelled images with coordinates, attributes and a name."""
    values = waves(6, 8)
    dims = ["sample", *names]
    coords = {
        names[0]: (names[0], 10.0 + 0.5 * np.arange(6), {"units": "mm", "long_name": "down"}),
        names[1]: (names[1], -2.0 + 0.5 * np.arange(8), {"units": "mm"}),
    }
    if channels:
        values = np.stack([values + c for c in range(channels)], axis=-1)
        dims.append("channel")
        coords["channel"] = ["red", "green", "blue"][:channels]
    array = xr.DataArray(values, coords, dims, name="intensity", attrs={"scanner": "A", "te": 3.5})
    return array.transpose(*order) if order else array


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10,), (6, 8), (4, 5, 6), (3, 3, 3, 3)])
def test_arrays_of_any_number_of_axes_come_back_as_they_went_in(small_encoder, shape):
    X = waves(*shape)
    enc = small_encoder(batch_size=4).fit(X)
    Z = enc.transform(X)
    assert Z.shape == (12, 4)
    assert Z.dtype == np.float32
    R = enc.inverse_transform(Z)
    assert isinstance(R, np.ndarray)
    assert R.shape == X.shape
    assert R.dtype == np.float32
    assert enc.n_features_in_ == np.prod(shape)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_channels_may_stand_on_any_axis_but_the_first(small_encoder, axis):
    last = np.stack([waves(6, 8), waves(6, 8, seed=1), waves(6, 8, seed=2)], axis=-1)
    X = np.moveaxis(last, -1, axis)
    enc = small_encoder(channel_axis=axis).fit(X)
    reference = small_encoder(channel_axis=-1).fit(last)
    np.testing.assert_array_equal(enc.transform(X), reference.transform(last))
    R = enc.inverse_transform(enc.transform(X))
    assert R.shape == X.shape
    np.testing.assert_array_equal(
        np.moveaxis(R, axis, -1), reference.inverse_transform(reference.transform(last))
    )
    assert enc.n_features_in_ == 6 * 8 * 3


def test_one_channel_with_an_axis_keeps_the_axis(small_encoder):
    X = waves(6, 8)[..., None]
    enc = small_encoder(channel_axis=-1).fit(X)
    assert enc.inverse_transform(enc.transform(X)).shape == X.shape
    assert enc.inverse_transform(enc.transform(X), points=[[0.0, 0.0]]).shape == (12, 1, 1)


def test_a_nested_list_of_numbers_is_an_array(small_encoder):
    X = waves(10)
    np.testing.assert_array_equal(
        small_encoder().fit_transform(X.tolist()), small_encoder().fit_transform(X)
    )


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, bool, ">f4", object]
)
def test_values_of_any_real_type(small_encoder, dtype):
    X = np.rint(100 + 50 * waves(6, 8)).astype(dtype)
    enc = small_encoder(precision="float64").fit(X)
    expected = small_encoder(precision="float64").fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(enc.transform(X), expected, rtol=1e-6, atol=1e-6)
    assert enc.inverse_transform(enc.transform(X)).dtype == np.float64


def test_integer_results_on_request_are_rounded_and_clipped(small_encoder):
    X = np.rint(127.5 + 127.5 * waves(6, 8)).astype(np.uint8)
    enc = small_encoder().fit(X)
    Z = 20 * enc.transform(X)  # far latents, so that decoded values leave the range of uint8
    R = enc.inverse_transform(Z)
    assert R.min() < -1
    assert R.max() > 256
    as_bytes = enc.inverse_transform(Z, dtype=np.uint8)
    assert as_bytes.dtype == np.uint8
    np.testing.assert_array_equal(as_bytes, np.clip(np.rint(R), 0, 255))
    assert enc.inverse_transform(Z, dtype="float64").dtype == np.float64
    points = [[0.0, 0.0], [1.0, 2.0]]
    assert enc.inverse_transform(Z, points=points, dtype=np.uint8).dtype == np.uint8
    coords = {"y": [0.0], "x": [1.0]}
    assert enc.inverse_transform(Z, coords=coords, dtype=np.uint8).dtype == np.uint8


# --- where to decode ------------------------------------------------------------------------------


def test_grid_covers_the_same_extent(small_encoder):
    X = waves(5, 7)
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    fine = enc.inverse_transform(Z, grid=(9, 13))
    assert fine.shape == (12, 9, 13)
    np.testing.assert_allclose(fine[:, ::2, ::2], enc.inverse_transform(Z), atol=1e-5)


def test_grid_of_a_one_dimensional_signal_may_be_one_number(small_encoder):
    X = waves(10)
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    np.testing.assert_array_equal(
        enc.inverse_transform(Z, grid=19), enc.inverse_transform(Z, grid=(19,))
    )


def test_coords_of_an_array_are_indices_and_come_back_labelled(small_encoder):
    X = waves(5, 7)
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    R = enc.inverse_transform(Z, coords={"x": [6.0, 0.5], "y": [1.0, 2.0, 3.0]})
    assert isinstance(R, xr.DataArray)
    assert R.dims == ("sample", "y", "x")
    np.testing.assert_array_equal(R.y, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(R.x, [6.0, 0.5])
    grid = enc.inverse_transform(Z)
    np.testing.assert_allclose(R.sel(x=6.0), grid[:, 1:4, 6], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "names"),
    [((8,), ("x",)), ((5, 7), ("y", "x")), ((3, 4, 5), ("z", "y", "x"))],
)
def test_axes_of_arrays_have_names(small_encoder, shape, names):
    enc = small_encoder().fit(waves(*shape))
    coords = {name: [0.0, 1.0] for name in names}
    assert enc.inverse_transform(np.zeros((1, 4)), coords=coords).dims == ("sample", *names)


def test_points_agree_with_the_grid(small_encoder):
    X = np.stack([waves(5, 7), waves(5, 7, seed=1)], axis=-1)
    enc = small_encoder(channel_axis=-1).fit(X)
    Z = enc.transform(X)
    R = enc.inverse_transform(Z, points=np.array([[0, 0], [4, 6], [2, 3]]))
    assert isinstance(R, np.ndarray)
    assert R.shape == (12, 3, 2)
    grid = enc.inverse_transform(Z)
    expected = np.stack([grid[:, 0, 0], grid[:, 4, 6], grid[:, 2, 3]], axis=1)
    np.testing.assert_allclose(R, expected, atol=1e-6)


def test_points_of_one_channel_have_no_channel_axis(small_encoder):
    enc = small_encoder().fit(waves(5, 7))
    assert enc.inverse_transform(np.zeros((2, 4)), points=[[0.5, 1.5]]).shape == (2, 1)


def test_decoding_outside_the_extent_warns_and_inside_does_not(small_encoder):
    enc = small_encoder().fit(waves(5, 7))
    Z = np.zeros((1, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enc.inverse_transform(Z)
        enc.inverse_transform(Z, grid=(50, 50))
        enc.inverse_transform(Z, points=[[0.0, 6.0], [4.0, 0.0]])
        enc.inverse_transform(Z, coords={"y": [0, 4], "x": [0, 6]})
    with pytest.warns(UserWarning, match=r"\[4\.5, 1\.0\].*outside the extent.*\[4\.0, 6\.0\]"):
        enc.inverse_transform(Z, points=[[4.5, 1.0]])
    with pytest.warns(UserWarning, match="outside the extent seen in fit"):
        enc.inverse_transform(Z, coords={"y": [-1.0], "x": [1.0]})


def test_one_set_of_coords_for_each_latent(small_encoder):
    enc = small_encoder().fit(waves(5, 7))
    Z = enc.transform(waves(5, 7))[:2]
    coords = [{"y": [0, 1], "x": [2]}, {"y": [4], "x": [0, 3, 6]}]
    R = enc.inverse_transform(Z, coords=coords)
    assert [r.shape for r in R] == [(2, 1), (1, 3)]
    for r, z, one in zip(R, Z, coords, strict=True):
        alone = enc.inverse_transform(z[None], coords=one)
        np.testing.assert_allclose(r, alone.isel(sample=0), atol=1e-6)


def test_latents_may_be_a_plain_list_or_a_frame(small_encoder):
    pd = pytest.importorskip("pandas")
    X = images_in_mm()
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    R = enc.inverse_transform(Z)
    xr.testing.assert_equal(enc.inverse_transform(Z.tolist()), R)
    frame = pd.DataFrame(Z, index=[f"patient {i}" for i in range(len(Z))])
    labelled = enc.inverse_transform(frame)
    assert list(labelled.sample.values) == list(frame.index)
    np.testing.assert_array_equal(labelled.values, R.values)


# --- xarray ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", [("sample", "row", "col"), ("row", "sample", "col"), ("col", "row", "sample")]
)
def test_dataarray_comes_back_with_its_dims_coords_attributes_and_name(small_encoder, order):
    X = images_in_mm(order=order)
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert isinstance(R, xr.DataArray)
    assert R.dims == order
    assert R.shape == X.shape
    assert R.name == "intensity"
    assert R.attrs == X.attrs
    for name in ("row", "col"):
        xr.testing.assert_identical(R[name], X[name])


def test_channel_dimension_comes_back_in_place_with_its_labels(small_encoder):
    order = ("channel", "sample", "row", "col")
    X = images_in_mm(channels=3, order=order)
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert R.dims == order
    assert list(R.channel.values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(
        enc.transform(X), small_encoder().fit(X).transform(X.transpose("sample", ...))
    )


def test_channels_are_matched_by_label(small_encoder):
    X = images_in_mm(channels=3)
    enc = small_encoder().fit(X)
    shuffled = X.sel(channel=["blue", "red", "green"])
    np.testing.assert_array_equal(enc.transform(shuffled), enc.transform(X))
    with pytest.raises(ValueError, match=r"channel.*red.*green.*blue.*violet"):
        enc.transform(X.assign_coords(channel=["red", "green", "violet"]))


def test_dims_and_labels_stay_on_other_grids(small_encoder):
    X = images_in_mm(channels=2, order=("channel", "col", "sample", "row"))
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    by_grid = enc.inverse_transform(Z, grid=(11, 15))
    assert by_grid.dims == X.dims
    sizes = dict(zip(("col", "row"), (11, 15), strict=True))
    assert {name: by_grid.sizes[name] for name in sizes} == sizes
    for name in ("row", "col"):
        assert float(by_grid[name].min()) == float(X[name].min())
        assert float(by_grid[name].max()) == float(X[name].max())
        assert by_grid[name].attrs == X[name].attrs
    by_coords = enc.inverse_transform(Z, coords={"row": [10.0, 11.25], "col": [0.0]})
    assert by_coords.dims == X.dims
    assert by_coords.sizes == {"channel": 2, "col": 1, "sample": 12, "row": 2}
    assert by_coords.row.attrs == X.row.attrs


def test_coords_may_be_those_of_another_dataarray(small_encoder):
    X = images_in_mm()
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    finer = X.isel(sample=0).interp(row=np.linspace(10, 12.5, 11))
    for coords in (finer, finer.coords):
        R = enc.inverse_transform(Z, coords=coords)
        assert R.sizes == {"sample": 12, "row": 11, "col": 8}
        np.testing.assert_array_equal(R.row, finer.row)


def test_descending_coordinates_are_kept(small_encoder):
    X = images_in_mm().isel(row=slice(None, None, -1))
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    np.testing.assert_array_equal(R.row, X.row)
    fine = enc.inverse_transform(enc.transform(X), grid=(11, 8))
    np.testing.assert_allclose(fine.row, np.linspace(12.5, 10.0, 11))
    ascending = X.isel(row=slice(None, None, -1))
    np.testing.assert_allclose(enc.transform(ascending), enc.transform(X), atol=1e-4)


def test_dataset_of_one_variable_comes_back_as_one(small_encoder):
    array = images_in_mm()
    X = array.to_dataset().assign_attrs(study="chest")
    X["label"] = ("sample", np.arange(12))
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X))
    assert isinstance(R, xr.Dataset)
    assert list(R.data_vars) == ["intensity"]
    assert R.intensity.dims == X.intensity.dims
    assert R.intensity.attrs == array.attrs
    assert R.attrs == X.attrs
    xr.testing.assert_identical(R.row, X.row)
    np.testing.assert_array_equal(enc.transform(X), enc.transform(array))


def test_variables_of_a_dataset_are_channels(small_encoder):
    array = images_in_mm(order=("sample", "col", "row"))
    X = xr.Dataset(
        {"t1": array.assign_attrs(unit="a"), "t2": (2 - array).assign_attrs(unit="b")}
    ).assign_attrs(study="brain")
    enc = small_encoder().fit(X)
    assert enc.field_.out_dim == 2
    R = enc.inverse_transform(enc.transform(X))
    assert isinstance(R, xr.Dataset)
    assert list(R.data_vars) == ["t1", "t2"]
    for name in ("t1", "t2"):
        assert R[name].dims == ("sample", "col", "row")
        assert R[name].attrs == X[name].attrs
    assert R.attrs == X.attrs
    np.testing.assert_array_equal(enc.transform(X[["t2", "t1"]]), enc.transform(X))


def test_arrays_and_labelled_arrays_in_millimetres_give_equal_latents(small_encoder):
    values = waves(6, 8).astype(np.float32)
    millimetres = {"y": 0.7 * np.arange(6) - 3.1, "x": 0.7 * np.arange(8) + 12.3}
    labelled = xr.DataArray(values, millimetres, ("sample", "y", "x"), name="image").to_dataset()
    for learner in ("varpro", "cavia"):
        enc = small_encoder(learner=learner)
        np.testing.assert_array_equal(enc.fit_transform(labelled), enc.fit_transform(values))


def test_an_array_of_the_shape_seen_in_a_labelled_fit_stands_on_that_grid(small_encoder):
    X = images_in_mm(names=("y", "x"))
    enc = small_encoder().fit(X)
    np.testing.assert_array_equal(enc.transform(X.values), enc.transform(X))
    with pytest.raises(ValueError, match=r"\(6, 8\), got .*\(6, 7\)"):
        enc.transform(X.values[:, :, :7])


def test_arrays_without_coordinates_fit_no_labelled_list(small_encoder):
    X = list(images_in_mm(names=("y", "x")))
    enc = small_encoder().fit([X[0], X[1].isel(y=slice(4))])
    with pytest.raises(ValueError, match=r"coordinates \('y', 'x'\).*got arrays of shape \(6, 8\)"):
        enc.transform([x.values for x in X])


def test_a_list_of_arrays_and_labelled_arrays_is_refused(small_encoder):
    X = images_in_mm(names=("y", "x"))
    with pytest.raises(ValueError, match=r"X\[1\].*arrays or DataArrays, not both"):
        small_encoder().fit([X[0], X[1].values])


def test_a_part_of_the_grid_is_encoded_where_it_stands(small_encoder):
    X = images_in_mm()
    enc = small_encoder(max_iter=60, precision="float64").fit(X)
    cut = X.isel(row=slice(0, 5), col=slice(1, None))
    hidden = X.where((X.row < X.row[5]) & (X.col >= X.col[1]))
    np.testing.assert_allclose(enc.transform(cut), enc.transform(hidden), rtol=1e-4, atol=1e-5)


# --- lists ----------------------------------------------------------------------------------------


def test_list_of_arrays_of_different_shapes(small_encoder):
    X = [waves(*shape, n=1)[0] for shape in [(5, 7), (6, 7), (5, 9), (5, 7), (8, 8)]]
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    assert Z.shape == (5, 4)
    R = enc.inverse_transform(Z)
    assert isinstance(R, list)
    assert len(R) == 5
    assert R[0].shape == (8, 9)  # a grid that covers all


def test_order_of_a_list_is_kept(small_encoder):
    X = [waves(*shape, n=1, seed=i)[0] for i, shape in enumerate([(5, 7), (6, 7), (5, 7), (4, 9)])]
    enc = small_encoder(precision="float64").fit(X)
    Z = enc.transform(X)
    shuffled = enc.transform([X[i] for i in (3, 1, 0, 2)])
    np.testing.assert_allclose(shuffled, Z[[3, 1, 0, 2]], rtol=1e-5, atol=1e-6)
    alone = np.concatenate([enc.transform([x]) for x in X])
    np.testing.assert_allclose(alone, Z, rtol=1e-5, atol=1e-6)


def test_list_of_equal_shapes_gives_what_their_stack_gives(small_encoder):
    X = waves(6, 8)
    np.testing.assert_array_equal(
        small_encoder().fit_transform(list(X)), small_encoder().fit_transform(X)
    )


def test_list_of_arrays_with_channels(small_encoder):
    X = [np.stack(2 * [waves(*shape, n=1)[0]]) for shape in [(5, 7), (6, 8)]]
    enc = small_encoder(channel_axis=1).fit(X)  # counted as if there were a sample axis
    R = enc.inverse_transform(enc.transform(X))
    assert [r.shape for r in R] == [(2, 6, 8), (2, 6, 8)]


def test_list_of_dataarrays_each_on_its_own_grid(small_encoder):
    X = []
    for i, (rows, spacing) in enumerate([(5, 1.0), (9, 0.5), (6, 0.8)]):
        coords = {"row": spacing * np.arange(rows), "col": np.linspace(0, 3, 7)}
        X.append(
            xr.DataArray(waves(rows, 7, n=1, seed=i)[0], coords, ("row", "col"), name="volume")
        )
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    own = enc.inverse_transform(Z, coords=X)
    for r, x in zip(own, X, strict=True):
        assert r.dims == x.dims
        assert r.name == "volume"
        np.testing.assert_array_equal(r.row, x.row)
        np.testing.assert_array_equal(r.col, x.col)
    common = enc.inverse_transform(Z)
    assert all(isinstance(r, xr.DataArray) and r.dims == ("row", "col") for r in common)
    assert float(common[0].row.max()) == 4.0


def test_mixed_resolutions_of_one_signal_give_near_latents(small_encoder):
    x = np.linspace(0, 1, 61)
    rng = np.random.default_rng(0)
    rows = [np.sin(4 * x + rng.uniform(0, 6)) * rng.uniform(0.5, 1) for _ in range(20)]
    fine = [xr.DataArray(row, {"t": x}, ("t",)) for row in rows]
    coarse = [row.isel(t=slice(None, None, 3)) for row in fine]
    mixed = [f if i % 2 else c for i, (f, c) in enumerate(zip(fine, coarse, strict=True))]
    enc = small_encoder(max_iter=150, hidden_dim=16, omega=(5.0, 5.0)).fit(mixed)
    a, b = enc.transform(fine), enc.transform(coarse)
    between = np.linalg.norm(a[:, None] - a[None], axis=-1)[np.triu_indices(20, 1)]
    assert np.linalg.norm(a - b, axis=1).max() < 0.2 * np.median(between)


def test_a_list_may_be_fitted_and_an_array_encoded(small_encoder):
    X = [waves(*shape, n=1)[0] for shape in [(5, 7), (6, 8), (5, 7)]]
    enc = small_encoder(precision="float64").fit(X)
    stacked = np.stack([X[0], X[2]])
    np.testing.assert_allclose(enc.transform(stacked), enc.transform(X)[[0, 2]], atol=1e-5)


# --- NaN ------------------------------------------------------------------------------------------


def test_nan_takes_no_part_in_transform(small_encoder):
    X = waves(6, 8)
    enc = small_encoder(max_iter=40, precision="float64").fit(X)
    holes = X.copy()
    holes[:, 2:4, 3:6] = np.nan
    dropped = xr.DataArray(X, dims=("sample", "y", "x"))
    by_points = enc.transform(holes)
    assert np.isfinite(by_points).all()
    assert not np.allclose(by_points, enc.transform(X), atol=1e-6)
    rows = X.copy()
    rows[:, 5] = np.nan
    without_last_row = dropped.assign_coords(y=np.arange(6.0), x=np.arange(8.0)).isel(y=slice(5))
    np.testing.assert_allclose(
        enc.transform(rows), enc.transform(without_last_row), rtol=1e-5, atol=1e-6
    )


def test_values_behind_nan_do_not_matter_in_fit(small_encoder):
    X = waves(6, 8)
    rng = np.random.default_rng(0)
    hidden = rng.random(X.shape) < 0.3
    X[hidden] = np.nan
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(enc.loss_curve_).all()
    assert np.isfinite(enc.inverse_transform(Z)).all()
    assert np.isfinite(enc.score(X))


def test_decoding_fills_in_what_was_not_observed(small_encoder):
    X = waves(8, 8, n=60)
    enc = small_encoder(max_iter=200, latent_dim=6, hidden_dim=24, omega=(4.0, 4.0)).fit(X)
    holes = X.copy()
    holes[:, 3:5, 3:5] = np.nan
    filled = enc.inverse_transform(enc.transform(holes))
    error = np.sqrt(np.mean((filled - X)[:, 3:5, 3:5] ** 2))
    assert error < 0.3 * X.std()


def test_nan_in_lists(small_encoder):
    X = [waves(*shape, n=1, seed=i)[0] for i, shape in enumerate([(5, 7), (6, 8), (5, 7)])]
    X[1][2, 3] = np.nan
    enc = small_encoder().fit(X)
    assert np.isfinite(enc.transform(X)).all()
    assert np.isfinite(enc.score(X))


def test_nan_padding_is_the_same_as_a_smaller_signal_in_a_list(small_encoder):
    small, large = waves(5, 7, n=1)[0], waves(6, 8, n=1, seed=1)[0]
    enc = small_encoder(precision="float64").fit([small, large])
    padded = np.full((6, 8), np.nan)
    padded[:5, :7] = small
    np.testing.assert_allclose(
        enc.transform([padded, large]), enc.transform([small, large]), rtol=1e-5, atol=1e-6
    )


def test_a_value_per_channel_may_be_missing(small_encoder):
    X = np.stack([waves(6, 8), waves(6, 8, seed=1)], axis=-1)
    X[:, :3, :, 0] = np.nan
    X[0, ..., 1] = np.nan
    Z = small_encoder(channel_axis=-1).fit_transform(X)
    assert np.isfinite(Z).all()


# --- units ----------------------------------------------------------------------------------------


def test_values_in_any_unit_give_the_same_latents(small_encoder):
    X = waves(6, 8)
    plain = small_encoder(precision="float64").fit_transform(X)
    scaled = small_encoder(precision="float64").fit(1e4 * X - 3e5)
    np.testing.assert_allclose(scaled.transform(1e4 * X - 3e5), plain, rtol=1e-4, atol=1e-6)
    R = scaled.inverse_transform(plain)
    reference = small_encoder(precision="float64").fit(X).inverse_transform(plain)
    np.testing.assert_allclose((R + 3e5) / 1e4, reference, atol=1e-4)


def test_score_does_not_depend_on_the_unit(small_encoder):
    X = waves(6, 8)
    a = small_encoder(precision="float64").fit(X).score(X)
    b = small_encoder(precision="float64").fit(1e3 * X + 7).score(1e3 * X + 7)
    assert a == pytest.approx(b, abs=1e-3)


def test_score_is_the_mean_psnr_of_the_decoded_signals(small_encoder):
    X = waves(6, 8)
    X[0, 0, 0] = np.nan
    enc = small_encoder(precision="float64").fit(X)
    R = enc.inverse_transform(enc.transform(X))
    mse = np.nanmean((R - X) ** 2, axis=(1, 2))
    expected = np.mean(10 * np.log10((np.nanmax(X) - np.nanmin(X)) ** 2 / mse))
    assert enc.score(X) == pytest.approx(expected, abs=1e-3)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_scaling_has_its_inverse(offset, spread, seed):
    values = offset + spread * np.random.default_rng(seed).normal(size=(50, 2))
    scaler = ValueScaler.from_values([values[:20], values[20:]])
    np.testing.assert_allclose(
        scaler.invert(scaler.apply(values)), values, atol=1e-9 * (abs(offset) + spread)
    )
    inner = scaler.apply(values)
    assert np.mean((inner > -0.01) & (inner < 1.01)) > 0.9


def test_outliers_do_not_flatten_the_rest():
    values = np.random.default_rng(0).uniform(0, 1, (10_000, 1))
    values[:10] = 100.0
    assert ValueScaler.from_values([values]).scale[0] == pytest.approx(1.0, abs=0.05)


def test_values_that_are_rare_but_all_there_is_are_no_outliers():
    values = np.zeros((10_000, 1))
    values[:10] = 100.0
    assert ValueScaler.from_values([values]).scale[0] == 100.0


def test_constant_signals_survive(small_encoder):
    X = np.full((6, 5, 5), 7.0)
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(enc.inverse_transform(Z)).all()


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 100)), min_size=1, max_size=3),
    st.integers(2, 9),
)
def test_each_axis_goes_to_minus_one_to_one(ends, size):
    axes = tuple(np.linspace(start, start + width, size) for start, width in ends)
    points = CoordinateFrame.from_axes([axes]).grid(axes)
    np.testing.assert_allclose(points.min(axis=0), -1, atol=1e-9)
    np.testing.assert_allclose(points.max(axis=0), 1, atol=1e-9)


@given(st.integers(2, 60), st.floats(0.01, 100.0), st.floats(-1e3, 1e3))
def test_coordinates_in_another_unit_are_the_same_to_the_last_bit(size, spacing, start):
    indices, millimetres = np.arange(float(size)), start + spacing * np.arange(size)
    grids = [
        CoordinateFrame.from_axes([(axis,)]).grid((axis,)).astype(np.float32)
        for axis in (indices, millimetres)
    ]
    np.testing.assert_array_equal(*grids)


def test_isotropic_axes_of_one_unit_share_their_scale(small_encoder):
    X = images_in_mm()
    wide = X.assign_coords(col=("col", 10 * X.col.values, X.col.attrs))
    frame = small_encoder(isotropic=True).fit(wide).codec_.units.frame
    assert frame.half_width[0] == frame.half_width[1] == 17.5
    assert small_encoder().fit(wide).codec_.units.frame.half_width.tolist() == [1.25, 17.5]


def test_isotropic_leaves_axes_of_other_units_alone(small_encoder):
    X = images_in_mm().assign_coords(row=("row", np.arange(6.0), {"units": "s"}))
    frame = small_encoder(isotropic=True).fit(X).codec_.units.frame
    assert frame.half_width.tolist() == [2.5, 1.75]


def test_an_axis_of_one_point_is_allowed(small_encoder):
    X = waves(1, 8)
    enc = small_encoder().fit(X)
    assert enc.inverse_transform(enc.transform(X)).shape == X.shape
    assert enc.inverse_transform(enc.transform(X), grid=(1, 20)).shape == (12, 1, 20)


def test_reading_copies_no_array():
    X = np.zeros((3, 4, 5), dtype=np.uint8)
    assert np.shares_memory(read_signals(X).groups[0].values, X)
