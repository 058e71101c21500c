"""FunctaEncoder with lapped fields: a latent for each cell, and windows that overlap."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.decomposition import PCA

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.fields import Lapped, LappedField
from neurfield.learning import LappedVarPro
from neurfield.learning.lapped.gaps import Seen
from neurfield.memory import AT_ONCE
from neurfield.spec import plain

SMALL = {
    "hidden_dim": 8,
    "max_iter": 4,
    "batch_size": 16,
    "transform_steps": 2,
    "device": "cpu",
    "random_state": 0,
}
KINDS = {
    "1d": {"shape": (24,), "cell": 8, "latent_dim": 3 * 4},
    "2d": {"shape": (12, 12), "cell": 4, "latent_dim": 9 * 4},
    "2d-uneven": {"shape": (11, 13), "cell": (4, 5), "latent_dim": 9 * 4},
    "3d": {"shape": (6, 4, 8), "cell": (3, 4, 4), "latent_dim": 4 * 5},
}
# What is drawn at random in these fits makes no difference: whole signals, all in each batch.
SETTLED = {"batch_size": 64, "weight_decay": 0.0, "precision": "float64"}


def smooth(n, shape, seed=0, waves=4):
    """Draw sums of plane waves of up to two and a half periods, of shape (n, *shape)."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    signals = np.zeros((n, *shape))
    for signal in signals:
        for _ in range(waves):
            phase = sum(rng.uniform(-2.5, 2.5) * axis for axis in axes)
            signal += rng.normal() * np.sin(2 * np.pi * (phase + rng.random()))
    return signals


def lapped(cell=4, latent_dim=36, **more):
    return FunctaEncoder(latent_dim, field=Lapped(cell=cell, features=8), **(SMALL | more))


@pytest.fixture(params=KINDS)
def kind(request):
    """Signals of a number of axes, and an encoder for them that is not fitted."""
    options = dict(KINDS[request.param])
    return smooth(10, options.pop("shape")), lapped(**options)


@pytest.fixture(scope="module")
def images():
    return smooth(24, (12, 12))


@pytest.fixture(scope="module")
def fitted(images):
    """An encoder whose nonlinear part has learnt something too; not to be changed."""
    return lapped(max_iter=30, meta_lr=3e-3).fit(images)


# --- what comes out -------------------------------------------------------------------------------


def test_signals_of_one_two_and_three_axes(kind):
    X, encoder = kind
    Z = encoder.fit_transform(X)
    assert isinstance(encoder.field_, LappedField)
    assert isinstance(encoder.learner_, LappedVarPro)
    assert Z.shape == (len(X), encoder.latent_dim)
    assert Z.dtype == np.float32
    R = encoder.inverse_transform(Z)
    assert R.shape == X.shape
    assert np.square(R - X).mean() < 0.6 * X.var()


def test_channels(images):
    X = np.stack([images, images[::-1], images**2], axis=-1)
    encoder = lapped(channel_axis=-1, latent_dim=9 * 12).fit(X)
    R = encoder.inverse_transform(encoder.transform(X))
    assert R.shape == X.shape
    assert np.square(R - X).mean() < 0.2 * X.var()


@pytest.mark.parametrize(
    ("shape", "side", "k"), [((24,), 8, 3), ((16, 16), 4, 4), ((12, 12, 12), 4, 8)]
)
def test_the_closed_form_beats_pca_of_blocks_of_equal_latents(shape, side, k):
    train, held_out = smooth(60, shape), smooth(10, shape, seed=1)
    counts = [size // side for size in shape]

    def blocks(X):
        d = len(shape)
        cut = X.reshape(len(X), *(n for count in counts for n in (count, side)))
        order = [0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2)]
        return cut.transpose(order).reshape(-1, side**d)

    pca = PCA(k).fit(blocks(train))
    there = blocks(held_out)
    of_blocks = np.square(pca.inverse_transform(pca.transform(there)) - there).mean()
    encoder = lapped(side, k * int(np.prod(counts)), max_iter=1, transform_steps=1).fit(train)
    decoded = encoder.inverse_transform(encoder.transform(held_out))
    assert np.square(decoded - held_out).mean() < 0.7 * of_blocks


def test_a_cell_as_large_as_the_signal_is_close_to_pca():
    # Its window has more values than are decomposed as a whole.
    X = smooth(40, (24, 24), waves=2)
    pca = PCA(6).fit(X.reshape(40, -1))
    linear = pca.inverse_transform(pca.transform(X.reshape(40, -1))).reshape(X.shape)
    encoder = lapped(24, 6, max_iter=1, transform_steps=1).fit(X)
    decoded = encoder.inverse_transform(encoder.transform(X))
    assert np.square(decoded - X).mean() < 1.1 * np.square(linear - X).mean()


def with_steps(fitted, steps):
    """Return a fitted encoder of the same field that takes other numbers of steps."""
    return copy.copy(fitted).set_params(transform_steps=steps)


def test_more_steps_never_fit_worse(fitted):
    X = smooth(6, (12, 12), seed=3)
    X[3:, 3:7, 2:5] = np.nan
    scale, solver, cells = (
        fitted.codec_.units.value_scale,
        fitted.codec_.solver,
        fitted.field_.cells,
    )
    seen = Seen.of(cells, torch.as_tensor(~np.isnan(X))[:, None].float())
    damped = (seen.coverage[..., None] * solver.precision).flatten(1).numpy()
    precision = solver.prior.blocks(cells).dense().numpy()
    mean = np.tile(solver.prior.mean, cells.n_cells)

    def objective(steps):
        Z = with_steps(fitted, steps).transform(X).astype(float)
        residual = (fitted.inverse_transform(Z) - X) / scale
        squared = np.nansum(seen.trust[:, 0].numpy() * np.square(residual), axis=(1, 2))
        prior = np.einsum("np,pq,nq->n", Z - mean, precision, Z - mean)
        return squared + prior + (damped * np.square(Z)).sum(axis=1)

    found = np.array([objective(steps) for steps in (1, 2, 3, 6)])
    assert (np.diff(found, axis=0) < 1e-5 * found[0]).all()
    assert (found[-1] < found[0]).all()


def test_training_learns_beside_the_linear_start(images):
    start, trained = (lapped(max_iter=n, meta_lr=3e-3).fit(images) for n in (1, 40))
    assert trained.score(images) > start.score(images)
    assert trained.field_.detail.table.abs().max() > 0


def test_exact_fits_are_solved_to_single_precision():
    # Twelve latents for 24 samples of waves: the normal equations are close to singular.
    X, held_out = smooth(60, (48,)), smooth(20, (48,), seed=1)
    encoder = lapped(24, 24, max_iter=1, transform_steps=1).fit(X)
    assert encoder.score(held_out) > 60.0


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precisions_agree(images, precision):
    encoder = lapped(precision=precision).fit(images)
    assert encoder.inverse_transform(encoder.transform(images)).dtype == precision
    assert encoder.score(images) == pytest.approx(lapped().fit(images).score(images), abs=0.05)


def test_signals_without_any_variation():
    X = np.full((5, 8, 8), 3.0)
    encoder = lapped(4, 16).fit(X)
    Z = encoder.transform(X)
    assert np.isfinite(Z).all()
    np.testing.assert_allclose(encoder.inverse_transform(Z), X, rtol=1e-4)


def test_one_signal_alone_can_be_fitted(images):
    encoder = lapped().fit(images[:1])
    assert np.isfinite(encoder.transform(images[:3])).all()


def test_latents_of_a_cell_are_sorted_by_variance(fitted, images):
    variance = fitted.transform(images).reshape(-1, 4).var(axis=0)
    assert (np.diff(variance) < 0.05 * variance[0]).all()


# --- cells ----------------------------------------------------------------------------------------


def test_cells_are_chosen_for_the_length_of_the_latent(images):
    encoder = FunctaEncoder(9 * 16, field="lapped", **SMALL).fit(images)
    assert encoder.field_.cell == (4, 4)
    assert encoder.field_.cell_latents == 16


def test_options_have_nested_names(images):
    encoder = FunctaEncoder(9 * 4, field="lapped", **SMALL)
    encoder.set_params(field__cell=(6, 4), field__features=5, latent_dim=6 * 4).fit(images)
    assert encoder.field_.cell == (6, 4)
    assert encoder.field_.features == 5
    assert encoder.get_params()["field__cell"] == (6, 4)


def test_a_vector_describes_its_window_and_what_is_next_to_it():
    X = smooth(30, (24, 24))
    encoder = lapped(latent_dim=36 * 4, max_iter=5).fit(X)
    Z = encoder.transform(X[:1])
    other = Z.copy().reshape(6, 6, 4)
    other[0, 0] += 1.0
    change = encoder.inverse_transform(other.reshape(1, -1)) - encoder.inverse_transform(Z)
    moved = np.abs(change[0]) > 1e-5
    # Its window ends at 6. Of the small cells that add detail, the first two see it, and those two
    # are seen by the third one, whose window ends at 14.
    assert moved[:6, :6].all()
    assert not moved[:, 14:].any()
    assert not moved[14:].any()


@pytest.mark.parametrize("size", [12, 31])
def test_points_are_decoded_alike_however_many_at_a_time(fitted, images, size, monkeypatch):
    Z = fitted.transform(images[:3])
    expected = fitted.inverse_transform(Z, grid=(size, size))
    monkeypatch.setitem(AT_ONCE, "signals", (500, 500))
    np.testing.assert_array_equal(fitted.inverse_transform(Z, grid=(size, size)), expected)


def test_what_signals_share_follows_the_weights(images):
    encoder = lapped().fit(images)
    before = encoder.transform(images)
    with torch.no_grad():
        encoder.field_.basis.mul_(2.0)
    after = encoder.transform(images)
    assert np.abs(after - before).max() > 0.1 * np.abs(before).max()
    np.testing.assert_array_equal(after, copy.deepcopy(encoder).transform(images))


def test_names_of_latents_say_cell_and_number(images):
    encoder = lapped(max_iter=1).fit(images)
    names = encoder.get_feature_names_out()
    assert names[0] == "functaencoder_y0_x0_l0"
    assert names[-1] == "functaencoder_y2_x2_l3"
    table = encoder.set_output(transform="pandas").transform(images[:3])
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(names)


# --- values that were not observed ----------------------------------------------------------------


def test_a_mask_without_gaps_changes_nothing_but_rounding(fitted, images):
    # Another signal's gap has a weight beside every value.
    encoder = with_steps(fitted, 1)
    gaps = images[:5].copy()
    gaps[0, 2, 2] = np.nan
    found, expected = encoder.transform(gaps), encoder.transform(images[:5])
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-4)
    assert np.abs(found[0] - expected[0]).max() < 0.1 * np.abs(expected[0]).max()


def test_gaps_are_filled(fitted):
    whole = smooth(10, (12, 12), seed=2)
    gaps = whole.copy()
    gaps[:, 5:7, 4:7] = np.nan
    gaps[3, :, :7] = np.nan  # whole cells
    gaps[4] = np.nan
    gaps[4, 0, 0] = 0.5
    Z = fitted.transform(gaps)
    assert np.isfinite(Z).all()
    R = fitted.inverse_transform(Z)
    assert np.isfinite(R).all()
    assert np.abs(R).max() < 3 * np.abs(whole).max()
    small = (slice(None, 3), slice(5, 7), slice(4, 7))
    assert np.square((R - whole)[small]).mean() < 0.5 * whole[small].var()


def test_a_field_is_learnt_from_signals_with_gaps(images):
    rng = np.random.default_rng(0)
    gaps = np.where(rng.random(images.shape) < 0.2, np.nan, images)
    encoder = lapped(max_iter=10).fit(gaps)
    filled = encoder.inverse_transform(encoder.transform(gaps))
    hidden = np.isnan(gaps)
    assert np.square((filled - images)[hidden]).mean() < 0.2 * images.var()


@pytest.mark.parametrize("steps", [1, 4])
def test_latents_do_not_depend_on_the_other_signals(fitted, images, steps):
    encoder = with_steps(fitted, steps)
    X = images[:8].copy()
    X[2, 1, 3:9] = np.nan
    X[5, 8:, 8:] = np.nan
    together = encoder.transform(X)
    alone = np.concatenate([encoder.transform(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_array_equal(alone, together)
    R = encoder.inverse_transform(together)
    np.testing.assert_array_equal(encoder.inverse_transform(together[3:4])[0], R[3])


# --- any point ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_double(images):
    return lapped(max_iter=30, meta_lr=3e-3, precision="float64").fit(images)


def line(axis, at=5.3):
    """Return points along an axis, close to each other at borders of cells, samples and between."""
    places = np.concatenate([np.arange(0.5, 11, 0.5), np.random.default_rng(0).uniform(0, 11, 40)])
    points = np.full((len(places), 2), at)
    points[:, axis] = places
    return points


@pytest.mark.parametrize("axis", [0, 1])
def test_nothing_jumps_across_cells(in_double, images, axis):
    Z = in_double.transform(images[:4])
    before = line(axis)
    after = before.copy()
    after[:, axis] += 1e-7
    values = [in_double.inverse_transform(Z, points=points) for points in (before, after)]
    assert np.abs(values[1] - values[0]).max() < 1e-5 * np.ptp(images)
    name = "yx"[axis]
    slopes = [
        in_double.inverse_transform(Z, points=points, derivative=name) for points in (before, after)
    ]
    assert np.abs(slopes[1] - slopes[0]).max() < 1e-5 * np.ptp(slopes[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_agree_with_finite_differences(in_double, images, axis):
    Z = in_double.transform(images[:4])
    points, step = line(axis), np.zeros(2)
    step[axis] = 1e-4
    slope = in_double.inverse_transform(Z, points=points, derivative="yx"[axis])
    ends = [in_double.inverse_transform(Z, points=points + s * step) for s in (1, -1)]
    apart = (ends[0] - ends[1]) / 2e-4
    np.testing.assert_allclose(slope, apart, atol=1e-5 * np.ptp(apart))


def test_points_of_the_grid_have_its_values(fitted, images):
    Z = fitted.transform(images[:3])
    on_grid = fitted.inverse_transform(Z)
    rows = np.array([[0, 0], [3, 4], [11, 11], [7, 0]])
    found = fitted.inverse_transform(Z, points=rows.astype(float))
    np.testing.assert_allclose(found, on_grid[:, rows[:, 0], rows[:, 1]], atol=1e-4)


def test_other_grids_hold_the_same_function(fitted, images):
    Z = fitted.transform(images[:3])
    on_grid = fitted.inverse_transform(Z)
    np.testing.assert_allclose(
        fitted.inverse_transform(Z, grid=(23, 45))[:, ::2, ::4], on_grid, atol=1e-4
    )
    assert fitted.inverse_transform(Z, grid=(5, 1)).shape == (3, 5, 1)


def test_signals_on_a_finer_grid_have_the_same_latents():
    fine = smooth(8, (23, 23))
    y = np.arange(23) / 2
    signals = xr.DataArray(fine, {"y": y, "x": y}, ("sample", "y", "x"))
    coarse = signals[:, ::2, ::2]
    encoder = lapped(latent_dim=9 * 12, max_iter=1, transform_steps=1).fit(coarse)
    R, S = (encoder.inverse_transform(encoder.transform(s)) for s in (coarse, signals))
    error = np.square(R - coarse).mean()
    assert np.square(S - coarse).mean() < 4 * error + 1e-3 * fine.var()


def test_labelled_signals_keep_their_units_and_coordinates(images):
    y, x = 0.5 * np.arange(12) + 20, 0.8 * np.arange(12)
    signals = xr.DataArray(
        np.stack([images, -images], axis=-1),
        {
            "y": ("y", y, {"units": "mm"}),
            "x": ("x", x, {"units": "mm"}),
            "channel": ["a", "b"],
        },
        ("sample", "y", "x", "channel"),
    )
    encoder = lapped(latent_dim=9 * 8).fit(signals)
    Z = encoder.transform(signals[:4])
    R = encoder.inverse_transform(Z)
    assert R.dims == signals.dims
    for name in ("y", "x", "channel"):
        xr.testing.assert_equal(R[name].drop_vars(name), signals[name].drop_vars(name))
    assert R["y"].attrs["units"] == "mm"
    assert float(np.square(R - signals[:4]).mean()) < 0.2 * images.var()
    plain_encoder = lapped(latent_dim=9 * 8, channel_axis=-1).fit(signals.values)
    np.testing.assert_allclose(plain_encoder.transform(signals.values[:4]), Z, atol=1e-3)
    slope = encoder.inverse_transform(Z, coords={"y": [21.2, 23.7], "x": x}, derivative="y")
    ends = [
        encoder.inverse_transform(Z, coords={"y": np.array([21.2, 23.7]) + s, "x": x})
        for s in (0.01, -0.01)
    ]
    apart = (ends[0].values - ends[1].values) / 0.02
    np.testing.assert_allclose(slope.values, apart, atol=2e-2 * np.abs(apart).max())


# --- files and the estimator's contract -----------------------------------------------------------


def test_clone_pickle_save_and_load(kind, tmp_path):
    X, encoder = kind
    own, copied = encoder.get_params(), clone(encoder).get_params()
    assert {k: plain(v) for k, v in copied.items()} == {k: plain(v) for k, v in own.items()}
    encoder.fit(X)
    Z, elsewhere = encoder.transform(X[:5]), [2 * size - 1 for size in X.shape[1:]]
    R = encoder.inverse_transform(Z, grid=elsewhere)
    encoder.save(tmp_path / "model.field")
    loaded = FunctaEncoder.load(tmp_path / "model.field")
    for twin in (pickle.loads(pickle.dumps(encoder)), loaded):
        assert twin.codec_.fingerprint == encoder.codec_.fingerprint
        np.testing.assert_array_equal(twin.transform(X[:5]), Z)
        np.testing.assert_array_equal(twin.inverse_transform(Z, grid=elsewhere), R)
    assert loaded.fit(X).codec_.fingerprint == encoder.codec_.fingerprint
    other = clone(encoder).set_params(random_state=1).fit(X)
    assert other.codec_.fingerprint != encoder.codec_.fingerprint


def test_fits_are_repeatable(images):
    one, other = lapped().fit(images), lapped().fit(images)
    np.testing.assert_array_equal(one.transform(images[:3]), other.transform(images[:3]))
    assert one.loss_curve_ == other.loss_curve_


def test_fitting_again_does_not_remember(images):
    again, once = lapped().fit(images[:20]).fit(images), lapped().fit(images)
    assert again.codec_.fingerprint == once.codec_.fingerprint


@pytest.mark.parametrize("stop", [2, 13])
def test_a_resumed_fit_arrives_at_the_same_weights(images, tmp_path, stop):
    options = {"max_iter": 16, "batch_size": 8}
    whole = lapped(**options).fit(images)
    at_disk = {"checkpoint": tmp_path / "fit.ckpt", "checkpoint_every": 2}
    lapped(**options, **at_disk, callbacks=[lambda p: p.iteration == stop]).fit(images)
    resumed = lapped(**options, **at_disk).fit(images)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.codec_.fingerprint == whole.codec_.fingerprint
    np.testing.assert_array_equal(resumed.transform(images[:3]), whole.transform(images[:3]))


def test_a_checkpoint_of_other_cells_is_not_resumed(images, tmp_path):
    lapped(checkpoint=tmp_path / "c").fit(images)
    with pytest.raises(ValueError, match=r"belongs to another fit.*field"):
        lapped(6, 4 * 9, checkpoint=tmp_path / "c").fit(images)


def test_partial_fit_goes_on(images):
    encoder = lapped(batch_size=8)
    first = encoder.partial_fit(images[:16]).score(images)
    for _ in range(3):
        encoder.partial_fit(images[16:]).partial_fit(images[:16])
    assert encoder.n_iter_ == 2 + 3 * (1 + 2)
    assert encoder.score(images) > first


def test_warm_start_goes_on_from_the_fit_before(images):
    encoder = lapped(warm_start=True, max_iter=10).fit(images)
    before = encoder.score(images)
    encoder.fit(images)
    assert encoder.n_iter_ == 10
    assert encoder.score(images) > before - 0.1
    with pytest.raises(ValueError, match=r"continues a field with cell=\(4, 4\), got cell=6"):
        encoder.set_params(field__cell=6, latent_dim=36).fit(images)
    with pytest.raises(ValueError, match=r"continues a field with field=lapped, got field=siren"):
        encoder.set_params(field="siren").fit(images)


def test_early_stopping_holds_signals_out(images):
    encoder = lapped(early_stopping=True, max_iter=16).fit(images)
    assert len(encoder.validation_curve_) > 0
    assert np.isfinite(encoder.validation_curve_).all()


def test_whole_weights_are_repeated_signals(images):
    X = np.stack([np.roll(images[0], 2 * i, axis=i % 2) for i in range(6)])  # of one range
    weights = np.array([1, 3, 0, 2, 1, 2])
    one = lapped(latent_dim=9 * 2, **SETTLED).fit(X, sample_weight=weights)
    other = lapped(latent_dim=9 * 2, **SETTLED).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(one.psnr_curve_, other.psnr_curve_, rtol=1e-6)
    # The prior shrinks what few signals say, and nine are more than six.
    np.testing.assert_allclose(one.transform(X), other.transform(X), atol=0.01)
    plain = lapped(latent_dim=9 * 2, **SETTLED).fit(X)
    assert abs(plain.loss_curve_[0] / one.loss_curve_[0] - 1) > 1e-4


def test_a_signal_of_weight_zero_is_as_if_it_were_not_there(images):
    X = images.copy()
    X[3] *= 1e3  # would change the range
    weights = np.ones(len(X))
    weights[[3, 6]] = 0.0
    one, rest = lapped().fit(X, sample_weight=weights), np.delete(X, [3, 6], axis=0)
    other = lapped().fit(rest)
    np.testing.assert_array_equal(one.transform(rest), other.transform(rest))
    assert one.codec_.fingerprint == other.codec_.fingerprint


def test_equal_weights_change_nothing_but_rounding(images):
    one = lapped(**SETTLED).fit(images, sample_weight=np.full(len(images), 2.0))
    other = lapped(**SETTLED).fit(images)
    np.testing.assert_allclose(one.transform(images), other.transform(images), atol=1e-5)


def test_signals_larger_than_a_crop(tmp_path):
    X = smooth(3, (1600,), waves=40)
    encoder = lapped(40, 40 * 4, batch_size=8, transform_steps=1).fit(X)
    assert encoder.inverse_transform(encoder.transform(X)).shape == X.shape
    assert np.isfinite(encoder.loss_curve_).all()


def test_signals_in_blocks_are_encoded_as_those_in_memory(images):
    signals = xr.DataArray(images, dims=("sample", "y", "x"))
    inside, blocks = lapped().fit(signals), lapped().fit(signals.chunk(sample=24))
    found = blocks.transform(signals.chunk(sample=7))
    np.testing.assert_allclose(found, inside.transform(signals), atol=1e-4)


def test_info_names_the_family(fitted, tmp_path, capsys):
    fitted.save(tmp_path / "model.field")
    assert main(["info", str(tmp_path / "model.field")]) in (0, None)
    assert "family              lapped" in capsys.readouterr().out
    assert ">lapped<" in fitted._repr_mimebundle_()["text/html"]


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"latent_dim": 10},
            r"latent_dim must be divisible by the 9 cells of a signal of .*, got 10",
        ),
        (
            {"field__cell": None, "latent_dim": 1021},
            r"latent_dim=1021 cannot be divided.* at most 256 numbers each",
        ),
        ({"field__cell": 13}, r"as many as the signal, \(12, 12\), got \(13, 13\)"),
        ({"field__cell": (4, 4, 4)}, r"each of the 2 axes .* got \(4, 4, 4\)"),
        ({"field__cell": (4, 2.5)}, r"each of the 2 axes .* got \(4, 2.5\)"),
        ({"field__cell": (4, -2)}, r"each of the 2 axes .* got \(4, -2\)"),
        ({"field__cell": 0}, "'cell' parameter of Lapped"),
        ({"field__features": 0}, "'features' parameter of Lapped"),
        ({"learner": "cavia"}, r"learner='cavia' cannot train field='lapped'"),
        ({"n_layers": 4}, r"n_layers=4 changes nothing with field='lapped'"),
        ({"omega": 20.0}, r"omega=20.0 changes nothing with field='lapped'"),
        ({"hidden_dim": 16, "field__hidden_dim": 8}, "give it in one place"),
        ({"learner": "lapped", "field": "siren"}, r"learner='lapped' cannot train field='siren'"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(parameters, message, images, monkeypatch):
    encoder = lapped().set_params(**parameters)
    monkeypatch.setattr("neurfield.passes.fit_codec", None)
    with pytest.raises(ValueError, match=message):
        encoder.fit(images)


def test_axes_must_be_even(images):
    y = np.arange(12.0)
    y[5] += 0.3
    signals = xr.DataArray(images, {"y": y, "x": np.arange(12.0)}, ("sample", "y", "x"))
    with pytest.raises(ValueError, match=r'evenly spaced axes.*"y" has steps from 0.7 to 1.3'):
        lapped().fit(signals)


def test_scattered_points_are_refused():
    points = np.random.default_rng(0).random((30, 2))
    signals = xr.DataArray(
        np.zeros((4, 30)),
        {"y": ("point", points[:, 0]), "x": ("point", points[:, 1])},
        ("sample", "point"),
    )
    with pytest.raises(ValueError, match=r"needs signals on a grid, got scattered points"):
        lapped().fit(signals)


def test_four_axes_are_too_many():
    with pytest.raises(ValueError, match="one to three axes, got 4"):
        lapped(2, 16).fit(np.zeros((3, 4, 4, 4, 4)))


def test_deviations_are_not_known_from_one_signal(images):
    encoder = lapped().fit(images[:1])
    Z = encoder.transform(images[:2])
    with pytest.raises(ValueError, match="return_std=True needs what fit learns"):
        encoder.inverse_transform(Z, return_std=True, observed=images[:2])
