"""Inner solvers against closed forms computed with numpy."""

import numpy as np
import pytest
import torch

from neurfield import memory
from neurfield.fields import ModulatedSiren
from neurfield.learning import Context
from neurfield.learning.solvers import (
    GradientDescent,
    InnerSolver,
    LevenbergMarquardt,
    Tangent,
    gradient_step,
    normal_equations,
)

P, N = 4, 30


@pytest.fixture
def field():
    generator = torch.Generator().manual_seed(0)
    return ModulatedSiren(2, 2, P, 6, 4, (3.0, 6.0), generator=generator).double()


@pytest.fixture
def context():
    rng = np.random.default_rng(0)
    coords = torch.tensor(rng.uniform(-1, 1, (N, 2)))
    return Context(coords, torch.tensor(rng.normal(0.5, 0.5, (3, N, 2))))


@pytest.fixture
def gappy(context):
    observed = torch.tensor((np.random.default_rng(1).random((3, N, 2)) < 0.6).astype(float))
    return Context(context.coords, context.values * observed, observed)


def prior(strength=0.05):
    root = np.random.default_rng(2).normal(size=(P, P))
    return torch.tensor(strength * (root @ root.T / P + np.eye(P)))


def arrays(tangent):
    """Return f₀ as (N c,) and J₀ as (N c, P)."""
    values = tangent.values.detach().numpy().reshape(-1)
    return values, tangent.jacobian.detach().numpy().reshape(-1, P)


def objective(field, context, latents, precision, strength):
    with torch.no_grad():
        mse = context.mse(field(context.coords, latents))
        return mse + strength * ((latents @ precision) * latents).sum(dim=1)


def test_closed_form_without_a_prior_is_least_squares(field, context):
    tangent = Tangent.at_origin(field, context.coords)
    values, jacobian = arrays(tangent)
    found = tangent.solve(context, torch.zeros(P, P, dtype=torch.float64)).detach().numpy()
    for i in range(3):
        residual = context.values[i].numpy().reshape(-1) - values
        expected = np.linalg.lstsq(jacobian, residual, rcond=None)[0]
        np.testing.assert_allclose(found[i], expected, rtol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 2.5])
def test_closed_form_with_a_prior_is_ridge_regression(field, context, strength):
    tangent = Tangent.at_origin(field, context.coords)
    values, jacobian = arrays(tangent)
    precision = prior()
    found = tangent.solve(context, precision, strength).detach().numpy()
    # Ridge by augmentation: rows √(n κ Λ) with targets zero.
    root = np.linalg.cholesky(len(jacobian) * strength * precision.numpy()).T
    for i in range(3):
        residual = context.values[i].numpy().reshape(-1) - values
        stacked = np.vstack([jacobian, root])
        expected = np.linalg.lstsq(stacked, np.append(residual, np.zeros(P)), rcond=None)[0]
        np.testing.assert_allclose(found[i], expected, rtol=1e-6)


def test_strength_of_each_signal_is_its_own(field, context):
    tangent = Tangent.at_origin(field, context.coords)
    strengths = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    together = tangent.solve(context, prior(), strengths)
    for i, strength in enumerate(strengths.tolist()):
        torch.testing.assert_close(tangent.solve(context, prior(), strength)[i], together[i])


def test_unobserved_values_take_no_part_in_the_closed_form(field, gappy):
    tangent = Tangent.at_origin(field, gappy.coords)
    values, jacobian = arrays(tangent)
    found = tangent.solve(gappy, prior()).detach().numpy()
    for i in range(3):
        keep = gappy.weights[i].numpy().reshape(-1) > 0
        J, r = jacobian[keep], gappy.values[i].numpy().reshape(-1)[keep] - values[keep]
        gram = J.T @ J / keep.sum() + prior().numpy()
        np.testing.assert_allclose(found[i], np.linalg.solve(gram, J.T @ r / keep.sum()))


@pytest.mark.parametrize(
    "solver",
    [
        GradientDescent(4, 0.1),
        LevenbergMarquardt(1, prior(), 40),
        LevenbergMarquardt(4, prior(), 40),
    ],
    ids=["gradient descent", "closed form", "levenberg-marquardt"],
)
def test_points_not_observed_may_as_well_be_left_out(field, context, solver):
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:17]
    observed = torch.zeros_like(context.values)
    observed[:, rows] = 1.0
    masked = Context(context.coords, context.values * observed, observed)
    dropped = context.at_points(rows)
    torch.testing.assert_close(
        solver.solve(field, masked), solver.solve(field, dropped), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("kind", ["full", "with gaps"])
def test_shared_tangent_changes_nothing(field, context, gappy, kind, steps):
    data = context if kind == "full" else gappy
    solver = LevenbergMarquardt(steps, prior(), 60)
    shared = solver.share(field, data)
    assert shared is not None
    torch.testing.assert_close(
        solver.solve(field, data, shared), solver.solve(field, data), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("solver", [GradientDescent(4, 0.1), LevenbergMarquardt(4, prior(), 60)])
def test_common_and_own_coordinates_give_the_same_latents(field, context, solver):
    own = Context(context.coords.expand(3, N, 2).contiguous(), context.values)
    assert solver.share(field, own) is None
    torch.testing.assert_close(
        solver.solve(field, own),
        solver.solve(field, context, solver.share(field, context)),
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.parametrize("kind", ["full", "with gaps"])
def test_no_step_of_levenberg_marquardt_raises_the_objective(field, context, gappy, kind):
    data = context if kind == "full" else gappy
    precision = prior(1e-4)
    strength = 60 / data.counts()
    previous = objective(field, data, field.zero_latents(3), precision, strength)
    drops = torch.zeros(3, dtype=torch.float64)
    for steps in range(2, 9):  # one step is the closed form as it is
        latents = LevenbergMarquardt(steps, precision, 60).solve(field, data)
        current = objective(field, data, latents, precision, strength)
        assert (current <= previous + 1e-12).all()
        drops += previous - current
        previous = current
    assert (drops > 0).all()


def test_where_the_closed_form_is_worse_than_nothing_smaller_steps_are_taken(field, context):
    precision, strength = prior(1e-3), 1.0
    origin = field.zero_latents(3)
    start = objective(field, context, origin, precision, strength)
    closed_form = Tangent.at_origin(field, context.coords).solve(context, precision, strength)
    overshot = objective(field, context, closed_form, precision, strength) > start
    assert overshot.any()  # otherwise this case shows nothing
    latents = LevenbergMarquardt(3, precision, 60).solve(field, context)
    assert (objective(field, context, latents, precision, strength) < start).all()


def test_levenberg_marquardt_ends_in_a_stationary_point(field, context):
    precision = prior(1e-3)
    latents = LevenbergMarquardt(200, precision, 60).solve(field, context).requires_grad_()
    loss = context.mse(field(context.coords, latents))
    total = (loss + ((latents @ precision) * latents).sum(dim=1)).sum()
    (slope,) = torch.autograd.grad(total, latents)
    assert float(slope.abs().max()) < 1e-6


def test_levenberg_marquardt_finds_the_latents_a_signal_was_made_from(field, context):
    latents = 0.2 * torch.tensor(np.random.default_rng(4).normal(size=(3, P)))
    with torch.no_grad():
        values = field(context.coords, latents)
    found = LevenbergMarquardt(30, torch.zeros(P, P, dtype=torch.float64), 60).solve(
        field, Context(context.coords, values)
    )
    torch.testing.assert_close(found, latents, rtol=0, atol=1e-5)


def test_the_prior_weighs_more_where_less_was_observed(field, context):
    solver = LevenbergMarquardt(1, prior(), 60)
    few = context.at_points(torch.arange(5))
    tangent = Tangent.at_origin(field, few.coords)
    torch.testing.assert_close(
        solver.solve(field, few), tangent.solve(few, prior(), 60 / 10).detach()
    )


def test_normal_equations_are_those_of_the_jacobian(field, gappy):
    latents = 0.3 * torch.tensor(np.random.default_rng(5).normal(size=(3, P)))
    gram, descent = normal_equations(field, gappy, latents)
    linearization = field.linearize(gappy.coords, latents)
    for i in range(3):
        w = gappy.weights[i].reshape(-1)
        J = linearization.jacobian()[i].reshape(-1, P)
        r = (gappy.values[i] - linearization.values[i]).reshape(-1)
        torch.testing.assert_close(gram[i], (J.T * w) @ J / w.sum())
        torch.testing.assert_close(descent[i], J.T @ (w * r) / w.sum())


def test_large_grids_are_walked_over_in_pieces(field, context, monkeypatch):
    solver = LevenbergMarquardt(3, prior(), 60)
    whole = solver.solve(field, context)
    monkeypatch.setitem(memory.AT_ONCE, "points", (7, 7))
    shared = solver.share(field, context)
    assert shared is not None
    for found in (solver.solve(field, context), solver.solve(field, context, shared)):
        torch.testing.assert_close(found, whole, rtol=1e-7, atol=1e-9)
    monkeypatch.setitem(memory.AT_ONCE, "shared", (7, 7))
    assert solver.share(field, context) is None
    torch.testing.assert_close(solver.solve(field, context), whole, rtol=1e-7, atol=1e-9)


def test_one_step_is_the_closed_form_as_it_is(field, context):
    expected = Tangent.at_origin(field, context.coords).solve(context, prior(), 1.0)
    solver = LevenbergMarquardt(1, prior(), 60)
    shared = solver.share(field, context)
    torch.testing.assert_close(solver.solve(field, context, shared), expected.detach())
    torch.testing.assert_close(solver.solve(field, context), expected.detach())


# --- fewer values than latents --------------------------------------------------------------------

WIDE = 40


@pytest.fixture
def wide():
    """A field of 40 latents and contexts of 24 values, some of them with gaps."""
    generator = torch.Generator().manual_seed(0)
    field = ModulatedSiren(2, 2, WIDE, 16, 4, (3.0, 6.0), generator=generator).double()
    rng = np.random.default_rng(0)
    coords = torch.tensor(rng.uniform(-1, 1, (12, 2)))
    full = Context(coords, torch.tensor(rng.normal(0.5, 0.5, (5, 12, 2))))
    observed = torch.tensor((rng.random((5, 12, 2)) < 0.6).astype(float))
    root = rng.normal(size=(WIDE, WIDE))
    precision = torch.tensor(1e-3 * (root @ root.T / WIDE + np.eye(WIDE)))
    return field, full, Context(coords, full.values * observed, observed), precision


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("kind", ["full", "with gaps"])
@pytest.mark.parametrize("grid", ["shared", "own"])
def test_dual_systems_have_the_solutions_of_the_primal_ones(wide, monkeypatch, steps, kind, grid):
    field, full, gappy, precision = wide
    context = full if kind == "full" else gappy
    if grid == "own":
        own = context.coords.expand(5, -1, -1).contiguous()
        context = Context(own, context.values, context.weights)
    solver = LevenbergMarquardt(steps, precision, 24)
    dual = solver.solve(field, context, solver.share(field, context))
    import neurfield.learning.solvers.levenberg_marquardt as module

    assert module._has_few_values(field, context)
    monkeypatch.setattr(module, "_has_few_values", lambda field, context: False)
    primal = solver.solve(field, context, solver.share(field, context))
    torch.testing.assert_close(dual, primal, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["full", "with gaps"])
@pytest.mark.parametrize("diagonal", ["scalar", "vector"])
@pytest.mark.parametrize("strength", [2.0, "per signal"])
def test_a_diagonal_prior_is_solved_through_the_values(wide, kind, diagonal, strength):
    field, full, gappy, _ = wide
    context = full if kind == "full" else gappy
    if strength == "per signal":
        strength = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    prior = torch.tensor(1e-3, dtype=torch.float64)
    if diagonal == "vector":
        prior = 1e-3 * torch.linspace(0.1, 3.0, WIDE, dtype=torch.float64)
    matrix = torch.diag(prior.expand(WIDE))
    tangent = Tangent.at_origin(field, context.coords)
    torch.testing.assert_close(
        tangent.solve(context, prior, strength),
        tangent.solve(context, matrix, strength),
        rtol=1e-7,
        atol=1e-9,
    )


def test_a_prior_may_be_diagonal_where_values_are_many(field, context):
    tangent = Tangent.at_origin(field, context.coords)
    diagonal = torch.linspace(0.1, 3.0, P, dtype=torch.float64)
    torch.testing.assert_close(
        tangent.solve(context, diagonal), tangent.solve(context, torch.diag(diagonal))
    )


def test_precision_follows_a_change_of_the_latents_coordinates(field, context):
    matrix = torch.tensor(np.random.default_rng(6).normal(size=(P, P))) + 3 * torch.eye(P)
    solver = LevenbergMarquardt(1, prior(), 60)
    before = solver.solve(field, context)
    field.reparametrize(matrix)
    solver.reparametrize(matrix)
    torch.testing.assert_close(solver.solve(field, context), before @ matrix.T)


def test_gradient_descent_takes_steps_of_the_gradient_of_each_signals_error(field, gappy):
    latents = torch.zeros(3, P, dtype=torch.float64)
    for _ in range(3):
        latents = latents.detach().requires_grad_()
        loss = gappy.mse(field(gappy.coords, latents)).sum()
        (slope,) = torch.autograd.grad(loss, latents)
        latents = latents - 0.1 * slope
    torch.testing.assert_close(GradientDescent(3, 0.1).solve(field, gappy), latents)


def test_a_gradient_step_of_size_zero_stays(field, context):
    latents = torch.tensor(np.random.default_rng(5).normal(size=(3, P)))
    torch.testing.assert_close(gradient_step(field, context, latents, 0.0), latents)


def test_a_signal_with_a_single_observed_value_is_solved(field, context):
    observed = torch.zeros_like(context.values)
    observed[:, 0, 0] = 1.0
    single = Context(context.coords, context.values * observed, observed)
    for solver in (GradientDescent(5, 0.1), LevenbergMarquardt(5, prior(), 60)):
        assert torch.isfinite(solver.solve(field, single)).all()


@pytest.mark.parametrize("solver", [GradientDescent(4, 0.1), LevenbergMarquardt(2, prior(), 60)])
def test_a_solver_is_rebuilt_from_its_state(field, context, solver):
    twin = InnerSolver.from_state(solver.name, solver.state())
    assert type(twin) is type(solver)
    torch.testing.assert_close(
        twin.solve(field, context), solver.solve(field, context), rtol=0, atol=0
    )


def test_a_coarse_signal_is_no_part_of_a_fine_one(context):
    mean = torch.zeros(P, dtype=torch.float64)
    coarse = context.at_points(torch.arange(N // 4))
    # 60 values are a fine signal here, and so is the context: nothing of it is missing.
    mixed = LevenbergMarquardt(1, prior(), 40.0, mean, whole_count=15.0)
    alone = LevenbergMarquardt(1, prior(), 40.0, mean)
    few = float(coarse.counts()[0])
    assert float(mixed.strength(context)[0]) == pytest.approx(0.5 / (60 / 40))
    # From half to twice its weight, which it has where a quarter is missing.
    weight = 0.5 + 1.5 * (1 - few / 15) * 4
    assert float(mixed.strength(coarse)[0]) == pytest.approx(weight * 40 / few)
    assert float(mixed.strength(coarse)[0]) < float(alone.strength(coarse)[0])
