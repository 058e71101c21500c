"""What holds for every learner, the ones of later days included."""

import copy

import numpy as np
import pytest
import torch

from neurfield.fields import ModulatedSiren
from neurfield.learning import ContextStore, Learner, Problem
from neurfield.learning.solvers import InnerSolver
from neurfield.signals import CoordinateFrame, Units, ValueScaler, read_signals

KNOWN = Learner.known()
NAMES = sorted(name for name in KNOWN if KNOWN[name].families is None)  # which train any field
CHOSEN = {"batch_size": 5, "transform_steps": 2}


def waves(n, size, seed=0, gaps=False):
    rng = np.random.default_rng(seed)
    X = 0.5 + 0.4 * np.sin(np.linspace(0, 5, size) + rng.uniform(0, 6, (n, 1)))
    return np.where(rng.random(X.shape) < 0.2, np.nan, X) if gaps else X


CASES = {
    "one grid": lambda: waves(8, 20),
    "one grid with gaps": lambda: waves(8, 20, gaps=True),
    "grids of their own": lambda: [waves(1, 16 + i, seed=i)[0] for i in range(6)],
}


def setting(name, case, inner_steps=2):
    signals = read_signals(CASES[case]())
    frame = CoordinateFrame.from_axes([group.axes for group in signals.groups])
    scaler = ValueScaler.from_values([group.values for group in signals.groups])
    store = ContextStore(signals, Units(frame, scaler), torch.float64, torch.device("cpu"))
    learner = Learner.named(name)(inner_steps=inner_steps, context_ratio=0.6)
    learner = learner.for_problem(Problem(len(signals), 1, 20, 1, 1, 3), CHOSEN)
    generator = torch.Generator().manual_seed(0)
    field = ModulatedSiren(1, 1, 3, 5, 3, (3.0, 6.0), generator=generator).double()
    learner.initialise(learner.meta_step(field), store, generator)
    return learner, field, store, generator


def test_learners_are_found_by_name():
    assert {"cavia", "lapped", "varpro"} <= set(KNOWN)
    for name, learner in KNOWN.items():
        assert Learner.named(name) is learner
        assert learner.name == name
        assert type(Learner.of(name)) is learner


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_defaults_are_within_their_ranges(name, d):
    learner = Learner.of(name).for_problem(Problem(500, 1, 28**d, d, 1, 64), {})
    learner.check()
    settings = learner.settings
    assert settings.n_layers >= 2
    assert 0 < learner.context_ratio <= 1
    assert isinstance(learner.inner_steps, int)
    assert settings.lr_schedule in ("constant", "cosine")
    counts = ("transform_steps", "batch_size", "max_iter")
    assert all(isinstance(getattr(settings, k), int) and getattr(settings, k) > 0 for k in counts)
    assert settings.meta_lr > 0


@pytest.mark.parametrize(
    ("n_signals", "n_points", "n_axes", "expected"),
    [(10**4, 800, 2, 1.0), (10**4, 800, 1, 0.01), (10**4, 799, 2, 0.01), (50, 799, 2, 1.0)],
    ids=["short latents", "one axis", "long latents", "few signals"],
)
def test_weight_decay_of_the_default_learner(n_signals, n_points, n_axes, expected):
    problem = Problem(n_signals, 1, n_points, n_axes, 1, latent_dim=100)
    assert Learner.of("varpro").defaults(problem).weight_decay == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_the_caller_chose_replaces_a_default(name):
    problem, chosen = Problem(500, 1, 28, 1, 1, 8), {"batch_size": 7, "meta_lr": None}
    given = Learner.named(name)(context_ratio=0.7)
    learner, defaults = given.for_problem(problem, chosen), given.for_problem(problem, {})
    assert learner.context_ratio == 0.7
    assert learner.inner_steps == defaults.inner_steps
    assert learner.settings.batch_size == 7
    assert learner.settings.meta_lr == defaults.settings.meta_lr
    assert not hasattr(given, "settings")  # it is as it was given


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_meta_gradient_agrees_with_finite_differences(name, case):
    # After several steps, "varpro" takes its gradient at fixed latents: exact at convergence only,
    # where its own tests look.
    one_step = {"inner_steps": 1} if name == "varpro" else {}
    learner, field, store, generator = setting(name, case, **one_step)
    batch = learner.draw(store, generator)
    step = learner.meta_step(field)
    step(batch).backward()
    rng = np.random.default_rng(1)
    width = 1e-6
    for label, parameter in field.named_parameters():
        gradient, flat = parameter.grad.flatten(), parameter.data.view(-1)
        for entry in rng.choice(len(flat), size=min(5, len(flat)), replace=False):
            kept, losses = flat[entry].item(), []
            for shift in (width, -width):
                flat[entry] = kept + shift
                losses.append(float(step(batch).detach()))
            flat[entry] = kept
            slope = (losses[0] - losses[1]) / (2 * width)
            assert float(gradient[entry]) == pytest.approx(slope, rel=1e-4, abs=1e-7), label


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_draws_and_initial_weights_repeat_with_the_generator(name, case):
    (a, field_a, store_a, random_a), (b, field_b, store_b, random_b) = (
        setting(name, case) for _ in range(2)
    )
    for p, q in zip(field_a.parameters(), field_b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)
    for _ in range(3):
        one, two = a.draw(store_a, random_a), b.draw(store_b, random_b)
        torch.testing.assert_close(one.context.values, two.context.values, rtol=0, atol=0)
        torch.testing.assert_close(one.context.coords, two.context.coords, rtol=0, atol=0)
        if one.subsets is not None:
            assert torch.equal(one.subsets, two.subsets)
    assert one.context.values.shape[0] <= CHOSEN["batch_size"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_batch_says_which_signals_it_holds(name, inner_steps):
    _, _, store, generator = setting(name, "one grid")
    learner = Learner.named(name)(inner_steps=inner_steps).for_problem(
        Problem(8, 1, 20, 1, 1, 3), CHOSEN
    )
    batch = learner.draw(store, generator)
    assert len(set(batch.positions)) == len(batch.context) == 5
    same = store.batch(batch.positions)
    torch.testing.assert_close(batch.context.values, same.values, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_meta_step_reports_the_error_of_the_field_and_changes_no_weight(name):
    learner, field, store, generator = setting(name, "one grid")
    before = copy.deepcopy(field.state_dict())
    step = learner.meta_step(field)
    loss = step(learner.draw(store, generator))
    assert loss.shape == ()
    assert 0 < float(step.mse) < 10 * float(loss.detach())
    assert not step.mse.requires_grad
    torch.testing.assert_close(field.state_dict(), before, rtol=0, atol=0)
    assert {id(p) for p in step.parameters()} == {id(p) for p in field.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_optimisers_update_every_weight_once(name):
    learner, field, _, _ = setting(name, "one grid")
    updated = [id(p) for p in learner.optimizers(learner.meta_step(field)).parameters]
    assert sorted(updated) == sorted(id(p) for p in field.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_the_solver_brings_signals_closer(name, case):
    learner, field, store, generator = setting(name, case)
    solver = learner.finish(learner.meta_step(field), store, generator).solver
    assert isinstance(solver, InnerSolver)
    context = store.batch(np.arange(len(store)))
    with torch.no_grad():
        before = context.mse(field(context.coords, field.zero_latents(len(store))))
        after = context.mse(field(context.coords, solver.solve(field, context)))
    assert (after <= before + 1e-12).all()
    assert float(after.mean()) < float(before.mean())
