"""Steps along the tables of lapped fields: the curvature of the loss, and what follows from it."""

from __future__ import annotations

import pytest
import torch

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.distributed import World
from neurfield.learning.lapped.curvature import MOST_FACTORS, TableCurvature, TableDescent
from neurfield.learning.lapped.tables import joined, quarters
from neurfield.learning.optimizers import Muon, Optimizers

SHAPES = [((6,), (6,)), ((11,), (4,)), ((7, 8), (3, 8)), ((6, 6), (3, 3)), ((5, 4, 4), (3, 2, 4))]


@pytest.fixture
def normal():
    """Draw standard normal numbers in double precision."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def problem(shape, cell, normal):
    cells = Cells.covering(shape, cell)
    generator = torch.Generator().manual_seed(0)
    size = len(shape), 1, 2 * cells.n_cells
    field = LappedField(*size, shape, cell, 4, 1, generator=generator).double()
    factors, values = normal(3, cells.n_cells, 3), normal(3, 1, *shape)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def loss(tables):
        """Return the weighed errors, in which tables are all that varies."""
        rest = cells.overlap(factors @ tables) - values
        return (weights * rest.square().flatten(1).mean(dim=1)).sum()

    curvature = TableCurvature(field, cells)
    return field, cells, curvature, loss, curvature.of_signals(factors, weights, values[0].numel())


@pytest.mark.parametrize(("shape", "cell"), SHAPES)
def test_the_curvature_bounds_the_second_derivatives(shape, cell, normal):
    field, cells, _, loss, moments = problem(shape, cell, normal)
    n_tables, size = 3, field.basis.shape[1]
    exact = torch.autograd.functional.hessian(loss, normal(n_tables, size))
    exact = exact.reshape(n_tables * size, n_tables * size)
    bound = torch.stack(
        [
            joined(moments @ quarters(unit, cells, 1), cells, 1, n_tables).flatten()
            for unit in torch.eye(n_tables * size, dtype=torch.float64).unflatten(1, (-1, size))
        ]
    )
    assert torch.linalg.eigvalsh(bound - exact).min() > -1e-9
    if all(cells.whole):  # nothing overlaps, and nothing is folded
        torch.testing.assert_close(bound, exact)


def test_a_whole_step_ends_at_the_minimum(normal):
    field, _, curvature, loss, moments = problem((6,), (6,), normal)
    curvature.inverse.copy_(torch.linalg.inv(moments))
    optimiser = TableDescent(curvature, 1, lr=1.0, momentum=0.0)
    for parameter, gradient in zip(
        curvature.tables,
        torch.autograd.grad(loss(torch.cat([field.basis, field.detail])), curvature.tables),
        strict=True,
    ):
        parameter.grad = gradient
    optimiser.step()
    tables = torch.cat([field.basis, field.detail])
    (slope,) = torch.autograd.grad(loss(tables), tables)
    assert slope.abs().max() < 1e-9


def test_tables_wait_until_factors_can_be_told_apart(normal):
    _, _, curvature, _, moments = problem((6, 6), (3, 3), normal)
    needed = 2 * len(moments)  # of which one signal has nine
    for taken in range(1 + needed // 9):
        curvature.prepare(taken, 1, World())
        assert curvature.wants_more
        assert not curvature.inverse.any()
        assert int(curvature.rows) == 9 * taken < needed
        curvature.gather(moments)
    curvature.prepare(5, 1, World())
    assert curvature.inverse.any()
    # Moments that are no numbers, of a step that training takes back, leave no trace.
    before = curvature.moments.clone()
    curvature.gather(moments * torch.nan)
    torch.testing.assert_close(curvature.moments, before, rtol=0, atol=0)


def test_long_latents_of_whole_signals_leave_b_to_adam():
    long = LappedField(1, 1, MOST_FACTORS, (1100,), 1100, 4, 8)
    assert TableCurvature(long, long.cells).tables == [long.detail]
    short = LappedField(1, 1, 16, (1100,), 1100, 4, 8)
    assert TableCurvature(short, short.cells).tables == [short.basis, short.detail]


def test_kernels_are_matrices_to_muon(normal):
    kernel, gradient = normal(4, 3, 3, 3), normal(4, 3, 3, 3)
    one, other = (torch.nn.Parameter(w.clone()) for w in (kernel, kernel.flatten(1)))
    one.grad, other.grad = gradient, gradient.flatten(1)
    for weights in (one, other):
        Muon([weights], lr=0.1, weight_decay=0.01).step()
    assert not torch.equal(one, kernel)
    torch.testing.assert_close(one.flatten(1), other)


def test_a_state_of_something_else_is_refused(normal):
    field, _, curvature, _, _ = problem((6,), (6,), normal)
    optimisers = Optimizers([TableDescent(curvature, 1, lr=0.1)])
    field.basis.grad, field.detail.grad = normal(2, 6), normal(1, 6)
    optimisers.step()
    (state,) = optimisers.state_dict()
    optimisers.load_state_dict([state])
    state["state"][0]["velocity"] = state["state"][0].pop("momentum_buffer")
    with pytest.raises(ValueError, match=r"the state of TableDescent must hold \['momentum"):
        optimisers.load_state_dict([state])
