"""The closed form of signals with many cells: filters that come close to the inverse."""

import math

import pytest
import torch

from neurfield.fields import LappedField
from neurfield.learning import Context
from neurfield.learning.lapped import LappedSolver, stencil
from neurfield.learning.lapped.filter import inverse_filter
from neurfield.learning.lapped.normal import NormalMatrix

GRIDS = {
    "1d": ((301,), (8,), 6),
    "2d": ((45, 52), (4, 4), 5),
    "2d-one-axis-whole": ((6, 90), (6, 4), 5),
    "3d": ((15, 22, 18), (3, 3, 3), 4),
}


def field_on(shape, side, k):
    n_cells = math.prod(-(-n // b) for n, b in zip(shape, side, strict=True))
    generator = torch.Generator().manual_seed(0)
    options = {"hidden_dim": 4, "features": 2, "generator": generator}
    return LappedField(len(shape), 2, n_cells * k, shape, side, **options)


def precision_of(field):
    mean_square = field.basis.detach().square().sum(dim=1).mean()
    return (1e-3 * mean_square).expand(field.cell_latents)


@pytest.mark.parametrize("way", ["gathered", "kind by kind", "side by side"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_stencil_multiplies_as_its_matrix_does(grid, way, monkeypatch):
    if way != "gathered":
        monkeypatch.setattr(stencil, "_MOST_GATHERED", 0)
    if way == "side by side":
        monkeypatch.setattr(stencil, "_CONVOLVED", 10**9)
    shape, side, k = GRIDS[grid]
    field = field_on(
        tuple(2 * n if n > b else n for n, b in zip(shape, side, strict=True)), side, k
    )
    normal = NormalMatrix(field, precision_of(field))
    rows = torch.randn(2, field.latent_dim, generator=torch.Generator().manual_seed(1))
    expected = rows.double() @ normal.dense(field.cells)
    found = normal.stencil(field.cells)(rows)
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.fixture(params=GRIDS)
def field(request):
    return field_on(*GRIDS[request.param])


def test_a_filter_solves_what_a_dense_solver_does(field):
    precision = precision_of(field)
    found = inverse_filter(NormalMatrix(field, precision), field.cells)
    assert found is not None
    rhs = torch.randn(3, field.latent_dim, generator=torch.Generator().manual_seed(1))
    expected = torch.linalg.solve(
        NormalMatrix(field, precision).dense(field.cells), rhs.double().T
    ).T
    error = (found(rhs) - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-3


def test_a_filter_is_of_one_size_whatever_that_of_the_signals():
    small, large = (field_on((n, n), (4, 4), 5) for n in (60, 240))
    filters = [
        inverse_filter(NormalMatrix(field, precision_of(field)), field.cells)
        for field in (small, large)
    ]
    assert filters[0].local.matrices.shape == filters[1].local.matrices.shape
    assert filters[0].passes == filters[1].passes
    torch.testing.assert_close(filters[0].local.matrices, filters[1].local.matrices)


def test_there_is_no_filter_where_cells_far_away_count():
    field = field_on((400,), (4,), 1)
    with torch.no_grad():
        field.basis.fill_(1.0)  # neighbours that take turns cancel out
    assert inverse_filter(NormalMatrix(field, torch.tensor([1e-4])), field.cells) is None


@pytest.mark.parametrize("flat", [False, True], ids=["filter", "no filter"])
def test_large_signals_have_the_latents_of_least_squares(flat):
    field = field_on((1200,), (4,), 4)
    assert field.latent_dim > 1024
    if flat:
        with torch.no_grad():
            field.basis[0] = 1.0
    precision = precision_of(field)
    has_filter = inverse_filter(NormalMatrix(field, precision), field.cells) is not None
    assert has_filter is not flat
    generator = torch.Generator().manual_seed(2)
    coords = torch.linspace(-1, 1, 1200)[:, None]
    context = Context(coords, torch.randn(19, 1200, 2, generator=generator))
    solver = LappedSolver(1, precision)
    found = solver.solve(field, context, solver.share(field, context))
    rhs = field.adjoint((context.values - field.mean).mT, field.cells)
    matrix = NormalMatrix(field, precision).dense(field.cells)
    expected = torch.linalg.solve(matrix, rhs.double().T).T
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-3
    alone = solver.solve(field, context.of_signals(slice(7, 8)), solver.share(field, context))
    assert torch.equal(alone[0], found[7])
