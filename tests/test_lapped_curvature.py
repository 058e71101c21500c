"""Steps along B of lapped fields: the curvature of the loss, and what follows from it."""

from __future__ import annotations

import pytest
import torch

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.distributed import World
from neurfield.learning.lapped.curvature import BasisCurvature, BasisDescent
from neurfield.learning.lapped.step import LappedStep
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
    latents, values = normal(3, 2 * cells.n_cells), normal(3, 1, *shape)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def loss(basis):
        """Return the weighed errors of the linear part, in which B is all that varies."""
        rest = cells.overlap(latents.unflatten(1, (-1, 2)) @ basis) - values
        return (weights * rest.square().flatten(1).mean(dim=1)).sum()

    curvature = BasisCurvature(field, cells)
    return field, cells, curvature, loss, curvature.of_signals(latents, weights, values[0].numel())


@pytest.mark.parametrize(("shape", "cell"), SHAPES)
def test_the_curvature_bounds_the_second_derivatives(shape, cell, normal):
    field, cells, _, loss, moments = problem(shape, cell, normal)
    n_tables, size = field.basis.shape
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
    optimiser = BasisDescent(field, curvature, lr=1.0, momentum=0.0)
    (field.basis.grad,) = torch.autograd.grad(loss(field.basis), field.basis)
    optimiser.step()
    (slope,) = torch.autograd.grad(loss(field.basis), field.basis)
    assert slope.abs().max() < 1e-9


@pytest.mark.parametrize(("cell", "part"), [((6,), 0.25), ((3,), 1.0)])
def test_b_goes_less_far_in_one_cell_that_describes_many_signals(cell, part, normal):
    field, _, curvature, loss, moments = problem((6,), cell, normal)
    curvature.inverse.copy_(torch.linalg.inv(moments))
    begun, ends = field.basis.detach().clone(), []
    (field.basis.grad,) = torch.autograd.grad(loss(field.basis), field.basis)
    for n_signals in (2, 24):  # of two latents
        field.basis.data.copy_(begun)
        curvature.heed(n_signals)
        BasisDescent(field, curvature, lr=1.0, momentum=0.0).step()
        ends.append(field.basis.detach() - begun)
    torch.testing.assert_close(ends[1], part * ends[0])


def test_b_waits_until_latents_can_be_told_apart(normal):
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


def test_b_stays_as_it_begins_where_latents_are_long():
    cells = Cells.covering((1100,), (1100,))
    long = LappedStep(LappedField(1, 1, 800, (1100,), 1100, 4, 8), (1100,))
    assert BasisCurvature.of(long.field, cells) is long.curvature is None
    assert not long.field.basis.requires_grad
    short = LappedStep(LappedField(1, 1, 16, (1100,), 1100, 4, 8), (1100,))
    assert len(short.curvature.moments) == 16
    assert short.field.basis.requires_grad


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
    optimisers = Optimizers([BasisDescent(field, curvature, lr=0.1)])
    field.basis.grad = normal(2, 6)
    optimisers.step()
    (state,) = optimisers.state_dict()
    optimisers.load_state_dict([state])
    state["state"][0]["velocity"] = state["state"][0].pop("momentum_buffer")
    with pytest.raises(ValueError, match=r"the state of BasisDescent must hold \['momentum"):
        optimisers.load_state_dict([state])
