"""Scattered points, irregular sampling and mixed resolutions."""

import numpy as np
import pytest
import xarray as xr


def surface(a, b, phase, y, x):
    return np.sin(a * y + b * x + phase)


@pytest.fixture
def shapes():
    """Parameters of 40 smooth images."""
    rng = np.random.default_rng(0)
    return np.column_stack([rng.uniform(-2, 2, (40, 2)), rng.uniform(0, 6, 40)])


def on_grid(shapes, size=12):
    axis = np.linspace(0, 1, size)
    values = [surface(*s, axis[:, None], axis[None]) for s in shapes]
    return xr.DataArray(np.stack(values), {"y": axis, "x": axis}, ("sample", "y", "x"))


def at_points(shapes, n_points=150, seed=1):
    """Return each signal at points of its own."""
    rng = np.random.default_rng(seed)
    signals = []
    for i, s in enumerate(shapes):
        y, x = rng.uniform(0, 1, (2, n_points + i % 3))
        coords = {"y": ("point", y), "x": ("point", x)}
        signals.append(xr.DataArray(surface(*s, y, x), coords, ("point",), name="depth"))
    return signals


def padded(signals):
    """Put signals at points of their own into one array, filled up with NaN."""
    width = max(len(s) for s in signals)
    fill = {name: np.full((len(signals), width), np.nan) for name in ("values", "y", "x")}
    for i, s in enumerate(signals):
        for name, row in zip(("values", "y", "x"), (s, s.y, s.x), strict=True):
            fill[name][i, : len(s)] = row
    coords = {name: (("sample", "point"), fill[name]) for name in ("y", "x")}
    return xr.DataArray(fill["values"], coords, ("sample", "point"))


def test_the_points_of_a_grid_are_encoded_as_the_grid(small_encoder, shapes):
    X = on_grid(shapes)
    enc = small_encoder(precision="float64").fit(X)
    points = X.stack(point=("y", "x")).reset_index("point")
    np.testing.assert_allclose(enc.transform(points), enc.transform(X), rtol=1e-4, atol=1e-6)
    shuffled = points.isel(point=np.random.default_rng(0).permutation(points.sizes["point"]))
    np.testing.assert_allclose(enc.transform(shuffled), enc.transform(X), rtol=1e-4, atol=1e-6)
    assert enc.score(points) == pytest.approx(enc.score(X), abs=1e-3)


def test_scattered_observations_are_encoded_by_an_encoder_of_grids(small_encoder, shapes):
    X = on_grid(shapes)
    enc = small_encoder(max_iter=150, hidden_dim=24, latent_dim=6, omega=(4.0, 4.0)).fit(X)
    few = at_points(shapes, n_points=80)
    R = enc.inverse_transform(enc.transform(few))
    assert float(np.sqrt(((R - X) ** 2).mean())) < 0.3 * float(X.std())


@pytest.mark.parametrize("kind", ["list", "own points", "dask"])
def test_a_fit_on_scattered_points_predicts_between_them(small_encoder, shapes, kind):
    X = at_points(shapes)
    if kind != "list":
        X = padded(X)
    if kind == "dask":
        pytest.importorskip("dask")
        X = X.chunk(sample=10)
    enc = small_encoder(max_iter=150, hidden_dim=24, latent_dim=6, omega=(4.0, 4.0)).fit(X)
    Z = enc.transform(X)
    dense = on_grid(shapes)
    R = enc.inverse_transform(Z, coords=dense)
    inside = {"y": slice(1, -1), "x": slice(1, -1)}  # the extent of the points is a little smaller
    error = np.sqrt(((R - dense).isel(**inside) ** 2).mean())
    assert float(error) < 0.3 * float(dense.std())


def test_a_list_and_an_array_of_the_same_points_give_the_same_latents(small_encoder, shapes):
    X = at_points(shapes)
    enc = small_encoder(precision="float64").fit(X)
    np.testing.assert_allclose(enc.transform(padded(X)), enc.transform(X), rtol=1e-5, atol=1e-6)


def test_decoding_after_a_fit_on_points_is_told_where(small_encoder, shapes):
    X = at_points(shapes)
    enc = small_encoder().fit(X)
    Z = enc.transform(X)[:3]
    with pytest.raises(ValueError, match=r"grid=, coords= or points="):
        enc.inverse_transform(Z)
    lowest = min(float(x.y.min()) for x in X)
    R = enc.inverse_transform(Z, grid=(5, 7))
    assert [r.dims for r in R] == 3 * [("y", "x")]
    assert R[0].shape == (5, 7)
    assert float(R[0].y[0]) == lowest
    where = np.column_stack([X[0].y, X[0].x])
    np.testing.assert_allclose(enc.inverse_transform(Z, points=where[:4]).shape, (3, 4))


def test_an_encoder_of_points_is_saved_with_its_extent(small_encoder, shapes, tmp_path):
    X = at_points(shapes)
    enc = small_encoder().fit(X)
    enc.save(tmp_path / "enc.safetensors")
    twin = type(enc).load(tmp_path / "enc.safetensors")
    Z = enc.transform(X)
    for one, other in zip(
        enc.inverse_transform(Z, grid=(5, 5)), twin.inverse_transform(Z, grid=(5, 5)), strict=True
    ):
        xr.testing.assert_identical(one, other)


def test_points_shared_by_all_signals_with_channels_and_gaps(small_encoder, shapes):
    rng = np.random.default_rng(3)
    y, x = rng.uniform(0, 1, (2, 60))
    one = np.stack([surface(*s, y, x) for s in shapes])
    values = np.stack([one, 1 - one], axis=-1)
    values[5, :20] = np.nan
    coords = {"y": ("point", y), "x": ("point", x), "channel": ["a", "b"]}
    X = xr.DataArray(values, coords, ("sample", "point", "channel"))
    enc = small_encoder().fit(X)
    assert np.isfinite(enc.transform(X)).all()
    pytest.importorskip("dask")
    lazily = enc.transform(X.chunk(sample=7))
    np.testing.assert_allclose(lazily, enc.transform(X), atol=1e-4)
    R = enc.inverse_transform(enc.transform(X), grid=(4, 4))
    assert R.dims == ("sample", "y", "x", "channel")


def test_scattered_points_that_do_not_fit_together_are_refused(small_encoder, shapes):
    X = at_points(shapes)
    with pytest.raises(ValueError, match=r'points along "point".*no grid.*time'):
        small_encoder().fit([x.expand_dims(time=3) for x in X])
    broken = padded(X)
    broken.y[3, 2] = np.nan
    with pytest.raises(ValueError, match='coordinate "y" of X must be finite where X has values'):
        small_encoder().fit(broken)
    enc = small_encoder().fit(X)
    with pytest.raises(ValueError, match=r"\('y', 'x'\)"):
        enc.transform([x.drop_vars("y") for x in X])


def test_irregular_times_of_each_signals_own(small_encoder):
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 6, 40)
    X = []
    for phase in phases:
        times = np.sort(rng.uniform(0, 1, rng.integers(20, 30)))
        X.append(xr.DataArray(np.sin(5 * times + phase), {"time": times}, ("time",)))
    enc = small_encoder(max_iter=200, hidden_dim=24, omega=(4.0, 4.0)).fit(X)
    dense = np.linspace(0.05, 0.95, 50)
    R = enc.inverse_transform(enc.transform(X), coords={"time": dense})
    truth = np.sin(5 * dense + phases[:, None])
    assert np.sqrt(np.mean((R.values - truth) ** 2)) < 0.3 * truth.std()


def test_two_resolutions_in_one_training_set_train_as_one_does(small_encoder, shapes):
    fine, coarse = on_grid(shapes, 12), on_grid(shapes, 6)
    mixed = [fine[i] if i % 2 else coarse[i] for i in range(len(shapes))]
    make = {"max_iter": 200, "hidden_dim": 24, "latent_dim": 6, "omega": (4.0, 4.0)}
    enc = small_encoder(batch_size=16, **make).fit(mixed)
    alone = small_encoder(batch_size=16, **make).fit(fine)
    assert enc.score(list(fine)) > alone.score(fine) - 3.0
    assert enc.score(list(coarse)) > alone.score(fine) - 3.0
