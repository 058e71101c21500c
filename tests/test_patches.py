"""Fields of patches: where patches lie, and the encoder that describes signals by them."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from sklearn.base import clone
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.fields import ModulatedSiren
from neurfield.learning import Cavia, VarPro
from neurfield.learning.patch_store import PatchStore
from neurfield.medfuncta import write_medfuncta
from neurfield.plotting import plot_reconstruction
from neurfield.signals import CoordinateFrame, Units, ValueScaler, grid_points, read_signals
from neurfield.signals.patches import PatchGrid

sizes = st.lists(
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    min_size=1,
    max_size=3,
)


def cut(X, patch_size, channel_axis=None):
    signals = read_signals(X, channel_axis)
    grid = PatchGrid.of_signals(signals, patch_size)
    (group,) = grid.split(signals).groups
    return grid, group.values[np.arange(len(group.values))]


def mean_psnr(found, values):
    mse = np.square(found - values).reshape(len(values), -1).mean(axis=1)
    return float((10 * np.log10(np.ptp(values) ** 2 / mse)).mean())


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:300]


@pytest.fixture(scope="module")
def fitted(digits):
    """An encoder of 3 × 2 patches, of which those along y overlap: 0-2, 2-4 (or 3-5), 5-7."""
    return FunctaEncoder(
        6,
        hidden_dim=32,
        max_iter=60,
        batch_size=96,
        patch_size=(3, 4),
        device="cpu",
        random_state=0,
    ).fit(digits)


# --- Where patches are ---------------------------------------------------------------------------


@given(sizes, st.integers(1, 2))
def test_signals_come_back_from_their_patches(lengths, n_channels):
    shape, size = zip(*lengths, strict=True)
    X = np.random.default_rng(0).normal(size=(3, *shape, n_channels))
    grid, patches = cut(X, size, channel_axis=-1)
    assert patches.shape == (3 * grid.n_patches, *size, n_channels)

    def look_up(rows, points):
        index = np.rint(points / grid.step).astype(int)
        return [patches[rows][(slice(None), *index.T)]]

    (found,) = grid.across(look_up)(np.arange(3), grid_points([np.arange(n) for n in shape]))
    np.testing.assert_array_equal(found.reshape(X.shape), X)


@given(sizes)
def test_patches_cover_the_grid_evenly(lengths):
    for length, n in lengths:
        (starts,) = PatchGrid.from_axes((np.arange(length),), n, ("x",)).starts
        assert len(starts) == -(-length // n)
        assert starts[0] == 0
        assert starts[-1] == length - n
        steps = np.diff(starts)
        assert (steps <= n).all()
        assert len(steps) == 0 or np.ptp(steps) <= 1


def test_patches_are_no_copy():
    X = np.zeros((3, 8))
    (group,) = PatchGrid.from_axes((np.arange(8.0),), 3, ("x",)).split(read_signals(X)).groups
    assert np.shares_memory(group.values.source.block(0), X)


def test_patches_are_in_c_order():
    X = np.arange(24.0).reshape(1, 4, 6)
    grid, patches = cut(X, (2, 3))
    assert grid.labels == ["p0_0", "p0_1", "p1_0", "p1_1"]
    np.testing.assert_array_equal(patches[1, ..., 0], X[0, :2, 3:])
    np.testing.assert_array_equal(patches[2, ..., 0], X[0, 2:, :3])


def test_points_belong_to_the_patch_that_reaches_beyond_them():
    grid = PatchGrid.from_axes((10.0 + 0.5 * np.arange(8),), 4, ("x",))  # 0-3 and 4-7
    index = np.array([-1.0, 0.0, 3.0, 3.49, 3.5, 4.0, 7.0, 9.0])
    patch, local = grid.locate(10.0 + 0.5 * index[:, None])
    assert patch.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(local[:, 0] / 0.5, index - np.array([0, 4])[patch])
    overlapping = PatchGrid.from_axes((np.arange(6.0),), 4, ("x",))  # 0-3 and 2-5
    assert overlapping.locate(np.arange(6.0)[:, None])[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_axes_may_run_backwards():
    axis = np.linspace(5.0, -5.0, 6)
    grid = PatchGrid.from_axes((axis,), 2, ("x",))
    patch, local = grid.locate(axis[:, None])
    assert patch.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(local[:, 0], [0, -2] * 3, atol=1e-12)
    assert (grid.whole_frame.lower, grid.whole_frame.upper) == (-5.0, 5.0)


def test_a_plain_description_rebuilds_the_grid():
    grid = PatchGrid.from_axes((np.linspace(0, 1, 7), np.arange(4.0)), (3, 2), ("y", "x"))
    again = PatchGrid.from_dict(json.loads(json.dumps(grid.to_dict())))
    points = np.random.default_rng(0).uniform([0, 0], [1, 3], (50, 2))
    for one, other in zip(grid.locate(points), again.locate(points), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_draws_patches_from_anywhere(rng):
    X = rng.normal(size=(5, 7, 9))
    grid = PatchGrid.of_signals(read_signals(X), (3, 4))
    pieces = grid.split(read_signals(X))
    frame = CoordinateFrame.from_axes([grid.axes])
    store = PatchStore(
        pieces, Units(frame, ValueScaler.identity(1)), torch.float64, torch.device("cpu")
    )
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 4), axis=(1, 2))
    places, generator = set(), torch.Generator().manual_seed(0)
    for _ in range(60):
        context = store.fresh(store.drawn(6, generator), None, generator)
        assert context.is_shared
        np.testing.assert_array_equal(context.coords[[0, -1]], [[-1, -1], [1, 1]])
        for patch in context.values.numpy().reshape(-1, 3, 4):
            (where,) = np.argwhere((windows == patch).all(axis=(-1, -2)))
            places.add(tuple(where[1:].tolist()))
    assert places == {(y, x) for y in range(5) for x in range(6)}


# --- The encoder ---------------------------------------------------------------------------------


def test_latents_are_those_of_the_patches(fitted, digits):
    Z = fitted.transform(digits[:20])
    assert Z.shape == (20, 3 * 2 * 6)
    assert Z.dtype == np.float32
    names = fitted.get_feature_names_out()
    assert names[[0, 6, 35]].tolist() == [
        "functaencoder_p0_0_l0",
        "functaencoder_p0_1_l0",
        "functaencoder_p2_1_l5",
    ]
    # Only the patches that a value lies in know of it.
    changed = digits[:20].copy()
    changed[:, 7, 0] += 5.0
    differs = (fitted.transform(changed) != Z).any(axis=0).reshape(3, 2, 6).any(axis=-1)
    assert np.argwhere(differs).tolist() == [[2, 0]]
    assert fitted.set_output(transform="pandas").transform(digits[:2]).columns[0] == names[0]
    fitted.set_output(transform="default")


def test_patches_reconstruct_far_better_than_the_mean_image(fitted, digits):
    new = load_digits().images[400:500]
    R = fitted.inverse_transform(fitted.transform(new))
    assert R.shape == new.shape
    baseline = mean_psnr(np.broadcast_to(digits.mean(axis=0), new.shape), new)
    assert mean_psnr(R, new) > baseline + 3.0
    assert fitted.score(new) == pytest.approx(mean_psnr(R, new), abs=1e-4)


def test_all_ways_of_decoding_agree(fitted, digits):
    Z = fitted.transform(digits[:3])
    R = fitted.inverse_transform(Z)
    points = grid_points([np.arange(8.0)] * 2)
    np.testing.assert_allclose(
        fitted.inverse_transform(Z, points=points).reshape(R.shape), R, atol=1e-4
    )
    coords = {"y": np.arange(8.0), "x": np.arange(8.0)}
    np.testing.assert_allclose(fitted.inverse_transform(Z, coords=coords).values, R, atol=1e-4)
    fine = fitted.inverse_transform(Z, grid=(15, 15))
    np.testing.assert_allclose(fine[:, ::2, ::2], R, atol=1e-4)
    rounded = fitted.inverse_transform(Z, dtype=np.uint8)
    np.testing.assert_array_equal(rounded, np.clip(np.rint(R), 0, 255).astype(np.uint8))


def test_derivatives_are_those_of_the_decoded_values(fitted, digits):
    Z = fitted.transform(digits[:4])
    points = np.array([[0.4, 1.2], [3.1, 6.8], [6.6, 2.7]])
    h = 0.02
    for j, name in enumerate(("y", "x")):
        step = h * np.eye(2)[j]
        ahead, behind = (
            fitted.inverse_transform(Z, points=points + sign * step) for sign in (1, -1)
        )
        found = fitted.inverse_transform(Z, points=points, derivative=name)
        np.testing.assert_allclose(found, (ahead - behind) / (2 * h), rtol=0.01, atol=0.02)


def test_values_far_outside_are_warned_of(fitted, digits):
    with pytest.warns(UserWarning, match="outside the extent seen in fit"):
        fitted.inverse_transform(fitted.transform(digits[:1]), points=[[0.0, 12.0]])


@pytest.mark.parametrize("learner", ["varpro", "cavia"])
@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_both_learners_in_every_dimension_and_with_channels(learner, n_axes, rng):
    axes = np.meshgrid(*[np.linspace(0, 1, n) for n in (10, 7, 6)[:n_axes]], indexing="ij")
    phases = rng.uniform(0, 6, (40, n_axes, 2, *[1] * n_axes))
    X = sum(np.sin(5 * x + p) for x, p in zip(axes, phases.swapaxes(0, 1), strict=True))
    own = {"varpro": {}, "cavia": {"omega": 10.0, "meta_lr": 3e-3}}[learner]
    enc = FunctaEncoder(
        6,
        hidden_dim=16,
        n_layers=4,
        learner={"varpro": VarPro(), "cavia": Cavia(inner_lr=0.3)}[learner],
        patch_size=4,
        channel_axis=1,
        max_iter={"varpro": 15, "cavia": 60}[learner],
        device="cpu",
        random_state=0,
        **own,
    ).fit(X)
    Z = enc.transform(X)
    n_patches = np.prod([-(-n // 4) for n in (10, 7, 6)[:n_axes]])
    assert Z.shape == (40, 6 * n_patches)
    R = enc.inverse_transform(Z)
    assert R.shape == X.shape
    baseline = mean_psnr(np.broadcast_to(X.mean(axis=0), X.shape), X)
    assert mean_psnr(R, X) > baseline + 3.0


def test_one_patch_is_the_field_of_whole_signals(digits):
    parameters = {"latent_dim": 4, "hidden_dim": 8, "max_iter": 3, "device": "cpu"}
    whole = FunctaEncoder(**parameters, random_state=0).fit(digits)
    patch = FunctaEncoder(**parameters, random_state=0, patch_size=8).fit(digits)
    # The offsets that are drawn, all zero here, take random numbers from what follows.
    assert patch.loss_curve_[0] == pytest.approx(whole.loss_curve_[0], rel=0.2)
    assert patch.transform(digits[:5]).shape == whole.transform(digits[:5]).shape


def test_units_do_not_matter_to_labelled_images(digits, small_encoder):
    y, x = 20.0 + 0.25 * np.arange(8), 3.0 + 2.0 * np.arange(8)
    images = xr.DataArray(
        digits,
        {"y": ("y", y, {"units": "mm"}), "x": ("x", x, {"units": "mm"})},
        ("sample", "y", "x"),
        attrs={"units": "HU"},
    )
    plain, enc = (small_encoder(patch_size=3).fit(X) for X in (digits, images))
    Z = enc.transform(images[:5])
    np.testing.assert_array_equal(Z, plain.transform(digits[:5]))
    R = enc.inverse_transform(Z)
    np.testing.assert_array_equal(R.y, y)
    np.testing.assert_allclose(R.values, plain.inverse_transform(Z), atol=1e-5)
    between = enc.inverse_transform(Z, coords={"y": y[2:4], "x": [5.5]})
    steps = plain.inverse_transform(Z, points=[[2.0, 1.25], [3.0, 1.25]])
    np.testing.assert_allclose(between.values[..., 0], steps, atol=1e-5)
    slope = enc.inverse_transform(Z, derivative="x")
    assert slope.attrs["units"] == "HU/mm"
    np.testing.assert_allclose(
        slope.values, plain.inverse_transform(Z, derivative="x") / 2, atol=1e-4
    )


def test_an_axis_may_run_backwards(digits, small_encoder):
    axes = {"y": np.arange(8.0)[::-1], "x": np.arange(8.0)}
    enc = small_encoder(patch_size=3).fit(xr.DataArray(digits, axes, ("sample", "y", "x")))
    Z = enc.transform(xr.DataArray(digits[:5], axes, ("sample", "y", "x")))
    points = grid_points(list(axes.values()))
    np.testing.assert_allclose(
        enc.inverse_transform(Z, points=points).reshape(5, 8, 8),
        enc.inverse_transform(Z).values,
        atol=1e-4,
    )


def test_other_grids_of_the_same_extent_are_encoded(rng):
    def sampled(n):
        x = np.linspace(0.0, 3.0, n)
        values = np.sin(2 * x + np.random.default_rng(1).uniform(0, 6, (60, 1)))
        return xr.DataArray(values, {"x": x}, ("sample", "x"))

    enc = FunctaEncoder(
        6, hidden_dim=16, max_iter=20, patch_size=8, device="cpu", random_state=0
    ).fit(sampled(31))
    Z, finer = enc.transform(sampled(31)), enc.transform(sampled(61))
    assert finer.shape == Z.shape
    spread = Z.std(axis=0).max()
    assert np.abs(finer - Z).max() < 0.1 * spread
    assert enc.score(sampled(61)) > 40.0


def test_gaps_are_filled_and_stay_in_their_patch(fitted, digits):
    # In double precision, as other gaps make other batches, and rounding moves flat minima.
    fitted = clone(fitted).set_params(precision="float64").fit(digits)
    X = digits[:10].copy()
    X[:, :2, :4] = np.nan
    X[0, 7, 7] = np.nan
    Z, whole = fitted.transform(X), fitted.transform(digits[:10])
    R = fitted.inverse_transform(Z)
    assert np.isfinite(R).all()
    touched = (whole != Z)[1:].any(axis=0).reshape(3, 2, 6).any(axis=-1)
    np.testing.assert_allclose(
        Z.reshape(10, 6, 6)[1:, 3], whole.reshape(10, 6, 6)[1:, 3], atol=1e-4
    )
    assert touched[0, 0]
    seen = ~np.isnan(X)
    error = np.square(np.where(seen, R - X, 0)).sum(axis=(1, 2)) / seen.sum(axis=(1, 2))
    assert fitted.score(X) == pytest.approx((10 * np.log10(256 / error)).mean(), abs=1e-4)


def test_patches_that_are_empty_everywhere_take_no_part(digits):
    masked = digits.copy()
    masked[:, :4, :4] = np.nan
    enc = FunctaEncoder(
        6, hidden_dim=16, max_iter=40, batch_size=64, patch_size=4, device="cpu", random_state=0
    ).fit(masked)
    Z = enc.transform(masked[:20])
    assert np.isfinite(Z).all()
    assert np.ptp(Z[:, :6], axis=0).max() == 0.0  # nothing is known of these patches
    values, deviation = enc.inverse_transform(Z, return_std=True, observed=masked[:20])
    assert deviation[:, :4, :4].mean() > 1.3 * deviation[:, 4:].mean()
    assert np.isfinite(values).all()


def test_standard_deviations_hold_hidden_values(fitted, digits, rng):
    X = digits[:60].copy()
    hidden = rng.random(X.shape) < 0.3
    X[hidden] = np.nan
    R, deviation = fitted.inverse_transform(fitted.transform(X), return_std=True, observed=X)
    inside = np.abs(R - digits[:60]) <= 1.645 * deviation
    assert 0.8 < inside[hidden].mean() < 0.99


# --- Persistence ---------------------------------------------------------------------------------


def test_saved_and_pickled_encoders_give_the_same(fitted, digits, tmp_path):
    Z = fitted.transform(digits[:5])
    fitted.save(tmp_path / "patches.field")
    for enc in (
        FunctaEncoder.load(tmp_path / "patches.field"),
        pickle.loads(pickle.dumps(fitted)),
    ):
        assert enc.patch_size == (3, 4)
        np.testing.assert_array_equal(enc.transform(digits[:5]), Z)
        np.testing.assert_array_equal(enc.inverse_transform(Z), fitted.inverse_transform(Z))
        assert list(enc.get_feature_names_out()) == list(fitted.get_feature_names_out())
    with safe_open(tmp_path / "patches.field", framework="pt") as file:
        document = json.loads(file.metadata()["document"])
    assert document["patches"]["size"] == [3, 4]


def test_checkpoints_resume_exactly_and_know_the_patch(digits, small_encoder, tmp_path):
    def stop(progress):
        return progress.iteration == 3

    path = tmp_path / "state"
    straight = small_encoder(max_iter=6, patch_size=4).fit(digits)
    cut_short = small_encoder(max_iter=6, patch_size=4, checkpoint=path, callbacks=[stop])
    cut_short.set_params(checkpoint_every=1).fit(digits)
    resumed = small_encoder(max_iter=6, patch_size=4, checkpoint=path).fit(digits)
    assert resumed.loss_curve_ == straight.loss_curve_
    with pytest.raises(ValueError, match="patch_size: 4 there, 3 here"):
        small_encoder(max_iter=6, patch_size=3, checkpoint=path).fit(digits)


def test_fits_are_continued_with_the_same_patches(digits, small_encoder):
    enc = small_encoder(patch_size=3, warm_start=True, early_stopping=True).fit(digits)
    assert enc.fit(digits).transform(digits[:2]).shape == (2, 9 * 4)
    with pytest.raises(ValueError, match=r"patch_size=\(3, 3\), got patch_size=4"):
        enc.set_params(patch_size=4).fit(digits)
    enc = small_encoder(patch_size=(3, 8)).partial_fit(digits[:100]).partial_fit(digits[100:])
    assert enc.transform(digits[:2]).shape == (2, 3 * 4)
    assert enc.inverse_transform(enc.transform(digits[:2])).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"partial_fit continues .*patch_size=\(3, 8\), got.*None"):
        enc.set_params(patch_size=None).partial_fit(digits)


@pytest.mark.parametrize("where", ["dask", "netcdf"])
def test_signals_may_stay_on_disk(digits, small_encoder, tmp_path, where):
    images = xr.DataArray(digits[:40].copy(), dims=("sample", "y", "x"), name="images")
    images[3, :3, :3] = np.nan
    if where == "dask":
        lazily = images.chunk(sample=15)
    else:
        pytest.importorskip("netCDF4")
        images.to_netcdf(tmp_path / "images.nc")
        lazily = xr.open_dataset(tmp_path / "images.nc").images
    reference, enc = (small_encoder(patch_size=3).fit(X) for X in (images, lazily))
    assert enc.loss_curve_ == reference.loss_curve_
    Z = enc.transform(lazily)
    assert Z.shape == (40, 9 * 4)
    np.testing.assert_allclose(np.asarray(Z), reference.transform(images), atol=1e-5)
    assert enc.score(lazily) == pytest.approx(reference.score(images), abs=1e-4)


def test_the_command_line_knows_patches(digits, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", digits[:50])
    field, latents = str(tmp_path / "x.field"), str(tmp_path / "z.npz")
    tiny = ["--latent-dim", "3", "--hidden-dim", "8", "--max-iter", "2", "--device", "cpu"]
    source = str(tmp_path / "x.npz")
    assert main(["fit", source, "-o", field, *tiny, "--patch-size", "4", "3", "-q"]) == 0
    assert main(["info", field]) == 0
    out = capsys.readouterr().out
    assert re.search(r"patches +2 × 3 of 4 × 3 points", out)
    assert re.search(r"axis y +0 to 7, 8 points", out)
    assert main(["transform", field, source, "-o", latents]) == 0
    with np.load(latents) as file:
        assert file["latents"].shape == (50, 18)
        assert file["features"][-1] == "functaencoder_p1_2_l2"
    assert (
        main(["decode", field, latents, "-o", str(tmp_path / "r.npz"), "--grid", "16", "16"]) == 0
    )
    with np.load(tmp_path / "r.npz") as file:
        assert (50, 16, 16) in [file[name].shape for name in file.files]


def test_axes_of_one_unit_may_be_scaled_alike(digits, small_encoder):
    enc = small_encoder(patch_size=(3, 5), isotropic=True).fit(digits)
    np.testing.assert_array_equal(enc.codec_.units.frame.half_width, [2.0, 2.0])
    assert enc.transform(digits[:2]).shape == (2, 3 * 2 * 4)


def test_pictures_show_whole_signals(fitted, digits):
    panels = plot_reconstruction(fitted, digits, index=3)
    assert panels.flat[1].collections[0].get_array().size == 64
    assert f"{fitted.score(digits[3:4]):.1f} dB" in panels.flat[1].get_title()


def test_notebooks_show_patches(fitted):
    assert "36 numbers per signal: 6 patches × 6" in fitted._repr_html_()


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch_size", "message"),
    [
        (9, r"patch_size must not exceed the shape \(8, 8\) of the signals, got 9"),
        ((4, 9), r"must not exceed the shape \(8, 8\)"),
        ((4,), r"positive number of grid points or 2 of them, .*\('y', 'x'\), got \(4,\)"),
        ((4, 2.5), "positive number of grid points"),
        ((4, 0), "positive number of grid points"),
        (0, "'patch_size' parameter"),
    ],
)
def test_patches_that_do_not_fit_are_refused(digits, small_encoder, patch_size, message):
    with pytest.raises(ValueError, match=message):
        small_encoder(patch_size=patch_size).fit(digits)


def test_signals_without_a_common_even_grid_are_refused(small_encoder, rng):
    enc = small_encoder(patch_size=4)
    with pytest.raises(ValueError, match=r"common grid, .* got 2 grids, of the shapes \[\(6, 8\)"):
        enc.fit([rng.random((8, 8)), rng.random((6, 8))])
    points = xr.DataArray(
        rng.random((3, 9)), {"x": ("point", rng.random(9))}, dims=("sample", "point")
    )
    with pytest.raises(ValueError, match="signals on a grid, got scattered points"):
        enc.fit(points)
    uneven = xr.DataArray(rng.random((5, 6)), {"t": np.arange(6) ** 2}, ("sample", "t"))
    with pytest.raises(ValueError, match=r'evenly spaced axes.*axis "t" has steps from 1 to 9'):
        enc.fit(uneven)


def test_signals_elsewhere_are_refused(fitted, rng):
    with pytest.raises(ValueError, match=r"must lie on the extent seen in fit: 0 to 7, got 0 to 9"):
        fitted.transform([rng.random((10, 8))])
    with pytest.raises(
        ValueError, match="each patch of a signal needs points; there are none from"
    ):
        fitted.transform([rng.random((4, 8))])
    with pytest.raises(
        ValueError, match=r"length 36 \(n_patches \* latent_dim\), got shape \(2, 6\)"
    ):
        fitted.inverse_transform(np.zeros((2, 6)))
    X = np.full((2, 8, 8), np.nan)
    X[0] = 1.0
    with pytest.raises(ValueError, match=r"signal\(s\) \[1\] are NaN everywhere"):
        fitted.transform(X)


def test_published_weights_describe_whole_signals(tmp_path):
    write_medfuncta(ModulatedSiren(2, 1, 4, 8, 3, 30.0), tmp_path / "best.model")
    with pytest.raises(ValueError, match=r"published weights describe whole signals.*got 4"):
        FunctaEncoder.from_medfuncta(tmp_path / "best.model", omega=30.0, patch_size=4)


# --- The published configuration -----------------------------------------------------------------


def test_published_patches_and_the_size_of_their_field():
    enc = FunctaEncoder.from_preset("coin++-patched")
    assert enc.patch_size == (32, 32)
    assert (enc.learner.inner_steps, enc.transform_steps, enc.learner.inner_lr) == (3, 10, 1e-2)
    field = ModulatedSiren(
        2, 3, enc.latent_dim, enc.hidden_dim, enc.n_layers, enc.omega, skip_connections=False
    )
    first, hidden, output = (2 + 1) * 512, 8 * (512 + 1) * 512, (512 + 1) * 3
    modulation = (64 + 1) * 9 * 512
    assert field.n_parameters == first + hidden + output + modulation


def test_published_patches_fit_and_encode(rng):
    enc = FunctaEncoder.from_preset(
        "coin++-patched", max_iter=2, batch_size=4, hidden_dim=8, latent_dim=4, device="cpu"
    ).fit(rng.random((3, 40, 33)))
    assert enc.settings_.n_layers == 10
    assert enc.transform(rng.random((2, 40, 33))).shape == (2, 2 * 2 * 4)
