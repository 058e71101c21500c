"""Steps at test time that are as long as the gradient on a random part of the signal."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from inner_loops import VARIANTS, problem

from neurfield import FunctaEncoder
from neurfield.fields import Field, ModulatedSiren
from neurfield.learning import Cavia, Context, ContextStore
from neurfield.learning.solvers import GradientDescent, InnerSolver, gradient_descent
from neurfield.learning.solvers.subsets import RandomSubsets
from neurfield.medfuncta import write_medfuncta
from neurfield.signals import CoordinateFrame, Units, ValueScaler, read_signals

RATES = torch.tensor([0.02, 0.3, 0.05, 0.1], dtype=torch.float64)
SCALING = {"learner": "cavia", "learner__gradient_scaling": True, "learner__context_ratio": 0.3}


def gradients_of(field, context, latents):
    """Return each signal's gradient of its mean squared error over what was observed of it."""
    found = []
    for i, latent in enumerate(latents):
        coords = context.coords if context.is_shared else context.coords[i]
        observed = torch.ones_like(context.values[i])
        if context.weights is not None:
            observed = context.weights[i]
        phi = latent[None].clone().requires_grad_()
        squares = (field(coords, phi)[0] - context.values[i]).square() * observed
        (gradient,) = torch.autograd.grad(squares.sum() / observed.sum(), phi)
        found.append(gradient[0])
    return torch.stack(found)


def by_the_formula(field, context, steps, inner_lr, ratio):
    latents, parts = (
        torch.zeros(len(context), 4, dtype=torch.float64),
        RandomSubsets(context, ratio),
    )
    for _ in range(steps):
        part = parts.draw()
        g, g_s = (gradients_of(field, seen, latents) for seen in (context, part))
        factor = g_s.norm(dim=1) / (g.norm(dim=1) + 1e-16)
        latents = latents - inner_lr * factor[:, None] * g
    return latents


@pytest.mark.parametrize("inner_lr", [0.1, RATES], ids=["one size", "learnt sizes"])
@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize(
    "variant", [{}, {"gaps": True}, *VARIANTS.values()], ids=["plain", "gaps", *VARIANTS]
)
def test_steps_follow_the_formula(variant, by_hand, inner_lr, monkeypatch):
    if not by_hand:
        monkeypatch.setattr(ModulatedSiren, "has_sweeps", Field.has_sweeps)
    field, batch = problem(2, 1.0, **variant)
    for steps in (1, 2, 5):
        expected = by_the_formula(field, batch.context, steps, inner_lr, 0.3)
        found = GradientDescent(steps, inner_lr, 0.3).solve(field, batch.context)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    plain = GradientDescent(5, inner_lr).solve(field, batch.context)
    assert float((found - plain).norm()) > 1e-3 * float(plain.norm())


def test_a_part_of_everything_is_the_plain_rule_without_a_second_gradient(monkeypatch):
    field, batch = problem(2, 1.0)
    plain = GradientDescent(4, 0.1).solve(field, batch.context)
    torch.testing.assert_close(by_the_formula(field, batch.context, 4, 0.1, 1.0), plain)

    def refuse(*args):
        raise AssertionError("a part was drawn")

    monkeypatch.setattr(gradient_descent, "RandomSubsets", refuse)
    same = GradientDescent(4, 0.1, 1.0).solve(field, batch.context)
    torch.testing.assert_close(same, plain, rtol=0, atol=0)


# --- Which points --------------------------------------------------------------------------------


def drawn(context, ratio=0.3, steps=4):
    """Return which points, by their numbers, each signal keeps at each step."""
    parts, found = RandomSubsets(context, ratio), []
    for _ in range(steps):
        part = parts.draw()
        coords = part.coords.expand(len(context), -1, -1)
        there = torch.ones(coords.shape[:2], dtype=torch.bool)
        if part.weights is not None:
            there = (part.weights > 0).any(dim=2)
        found.append([sorted(coords[i, there[i], 0].int().tolist()) for i in range(len(context))])
    return found


def numbered(weights=None, n_points=20, n_signals=3):
    """Return signals that are zero, on coordinates that are the numbers of the points."""
    coords = torch.arange(float(n_points))[:, None]
    return Context(coords, torch.zeros(n_signals, n_points, 2), weights)


def test_parts_are_fresh_at_each_step_and_the_same_for_signals_of_one_grid_and_in_each_call():
    steps = drawn(numbered())
    assert all(len(set(signal)) == 6 for step in steps for signal in step)
    assert all(step[0] == step[1] == step[2] for step in steps)
    assert len({tuple(step[0]) for step in steps}) == 4
    torch.rand(3)  # global randomness has no part in it
    assert drawn(numbered(n_signals=1)) == [step[:1] for step in steps]
    # Other points would be other latents of the same encoder.
    generator = torch.Generator().manual_seed(0)
    expected = [torch.randperm(20, generator=generator)[:6].sort().values for _ in steps]
    assert [step[0] for step in steps] == [points.tolist() for points in expected]


def test_parts_consist_of_observed_points():
    weights = torch.ones(4, 20, 2)
    weights[1, 5:] = 0.0  # padding
    weights[2, ::2] = 0.0
    weights[2, 1, 0] = 0.0  # still observed in a channel
    weights[3] = 0.0
    weights[3, 7] = 1.0
    context = numbered(weights, n_signals=4)
    steps = drawn(context, ratio=0.5)
    assert [[len(signal) for signal in step] for step in steps] == [[10, 2, 5, 1]] * 4
    whole, short, odd, single = zip(*steps, strict=True)
    assert list(whole) == [step[0] for step in drawn(numbered(), ratio=0.5)]
    assert list(short) == [step[0] for step in drawn(numbered(n_points=5), ratio=0.5)]
    of_ten = [step[0] for step in drawn(numbered(n_points=10), ratio=0.5)]
    assert list(odd) == [[2 * point + 1 for point in step] for step in of_ten]
    assert list(single) == [[7]] * 4


def test_a_signal_of_which_little_was_observed_does_not_stop():
    field, batch = problem(2, 1.0)
    context = batch.context
    weights = torch.zeros_like(context.values)
    weights[0, 3, 1] = weights[1, 17] = 1.0  # and nothing of the last
    few = Context(context.coords, context.values * weights, weights)
    trace = [GradientDescent(steps, 0.1, 0.1).solve(field, few) for steps in range(1, 6)]
    assert torch.isfinite(torch.stack(trace)).all()
    moves = torch.stack(trace).diff(dim=0).norm(dim=2)
    assert float(moves[:, :2].min()) > 0
    assert float(trace[-1][2].norm()) == 0
    # With all there is in each part, steps are those of the gradient.
    torch.testing.assert_close(trace[-1], GradientDescent(5, 0.1).solve(field, few))


def test_padding_of_a_batch_changes_no_latent():
    rng = np.random.default_rng(0)
    ragged = read_signals([rng.random((n, 5)) for n in (4, 7, 9)])
    frame = CoordinateFrame.from_axes([group.axes for group in ragged.groups])
    store = ContextStore(
        ragged, Units(frame, ValueScaler.identity(1)), torch.float64, torch.device("cpu")
    )
    field = problem(2, 1.0, channels=1)[0]
    solver = GradientDescent(4, 0.1, 0.3)
    together = solver.solve(field, store.batch(np.arange(3)))
    for i in range(3):
        torch.testing.assert_close(solver.solve(field, store.batch(np.array([i])))[0], together[i])


# --- Through the encoder -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((12, 6, 7))


def with_gaps(X):
    X = X.copy()
    X[::3][np.random.default_rng(1).random(X[::3].shape) < 0.4] = np.nan
    return X


def as_they_are(X):
    return X


def ragged(X):
    return [x[: 3 + i % 4] for i, x in enumerate(X)]


def scattered(X):
    rng = np.random.default_rng(2)
    return [
        xr.DataArray(
            x.ravel()[: 20 + i],
            {"y": ("point", rng.random(20 + i)), "x": ("point", rng.random(20 + i))},
            ("point",),
        )
        for i, x in enumerate(X)
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [as_they_are, with_gaps, ragged, scattered])
def test_no_signals_latents_depend_on_the_others(small_encoder, X, make, threads):
    signals = make(X)
    enc = small_encoder(**SCALING, max_iter=2).fit(signals)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        Z = enc.transform(signals)
        again = enc.transform(signals)
        alone = np.concatenate([enc.transform(signals[i : i + 1]) for i in range(len(signals))])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(again, Z)
    np.testing.assert_array_equal(alone, Z)
    np.testing.assert_array_equal(copy.deepcopy(enc).transform(signals[4:9]), Z[4:9])


def test_blocks_of_dask_have_the_latents_of_arrays(small_encoder, X):
    signals = xr.DataArray(with_gaps(X), dims=("sample", "y", "x"))
    enc = small_encoder(**SCALING, max_iter=2).fit(signals)
    lazy = enc.transform(signals.chunk({"sample": 5}))
    np.testing.assert_array_equal(lazy.compute(), enc.transform(signals))


def test_patches_at_the_rim_are_fitted_as_they_are_alone(small_encoder, X):
    enc = small_encoder(**SCALING, patch_size=4, max_iter=2).fit(X)
    Z = enc.transform(X)
    assert np.isfinite(Z).all()
    np.testing.assert_array_equal(enc.transform(X[3:4]), Z[3:4])


def test_scaling_is_of_the_test_time_alone(small_encoder, X):
    scaled = small_encoder(**SCALING).fit(X)
    plain = small_encoder(**(SCALING | {"learner__gradient_scaling": False})).fit(X)
    assert scaled.codec_.solver.scaling_ratio == 0.3
    assert plain.codec_.solver.scaling_ratio == 1.0
    assert scaled.loss_curve_ == plain.loss_curve_
    assert not np.allclose(scaled.transform(X), plain.transform(X))
    # It is the ratio that the learner was filled in with.
    enc = small_encoder(learner=Cavia(gradient_scaling=True)).fit(X)
    assert enc.codec_.solver.scaling_ratio == enc.learner_.context_ratio == 0.25


def test_scaling_is_saved_and_loaded(small_encoder, X, tmp_path):
    enc = small_encoder(**SCALING).fit(X)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    assert loaded.codec_.solver.scaling_ratio == 0.3
    assert loaded.learner.gradient_scaling
    np.testing.assert_array_equal(loaded.transform(X), enc.transform(X))


def test_solvers_of_before_the_option_take_plain_steps():
    old = InnerSolver.from_state("gradient_descent", {"steps": 3, "inner_lr": 0.1})
    assert old.state() == GradientDescent(3, 0.1, 1.0).state()


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.5, float("nan"), True, "half", None])
def test_a_ratio_that_no_fit_leaves_is_refused(ratio):
    with pytest.raises(ValueError, match=r"scaling_ratio must be .* 0 and up to 1, got"):
        GradientDescent(3, 0.1, ratio).check(4)


def test_published_weights_and_presets_scale_unless_told_otherwise(tmp_path):
    field = ModulatedSiren(2, 1, 4, 8, 3, (10.0, 20.0), generator=torch.Generator().manual_seed(0))
    write_medfuncta(field, tmp_path / "best.model")

    def ratio(**parameters):
        enc = FunctaEncoder.from_medfuncta(
            tmp_path / "best.model", omega=(10.0, 20.0), device="cpu", **parameters
        )
        assert np.isfinite(enc.transform(np.full((1, 5, 6), 0.5))).all()
        return enc.codec_.solver.scaling_ratio

    assert ratio() == 0.25
    assert ratio(learner__context_ratio=0.1) == 0.1
    assert ratio(learner__inner_lr=0.1) == 0.25
    assert ratio(learner__gradient_scaling=False) == 1.0
    assert ratio(learner=Cavia(context_ratio=0.5)) == 1.0
    assert FunctaEncoder.from_preset("medfuncta-2d-64").learner.gradient_scaling
    assert not FunctaEncoder.from_preset("functa").learner.gradient_scaling


def test_parts_count_in_the_memory_that_encoding_takes(small_encoder, X):
    enc = small_encoder(**SCALING).fit(X)
    field, store = enc.field_, enc.codec_.store(read_signals(X, None, enc.layout_))
    needs = [GradientDescent(3, 0.1, ratio).footprint(field, store) for ratio in (1.0, 0.2, 0.6)]
    assert needs == sorted(set(needs))
