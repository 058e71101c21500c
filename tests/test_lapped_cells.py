"""The parts of lapped fields: windows of cells, splines, and the normal equations."""

from itertools import product

import numpy as np
import pytest
import torch

from neurfield.fields.lapped import Cells, LappedField, spline
from neurfield.fields.lapped.cells import partition_of_unity
from neurfield.learning import LappedVarPro, Problem
from neurfield.learning.lapped.crops import Crops
from neurfield.learning.lapped.normal import (
    NormalBlocks,
    NormalMatrix,
    block_preconditioner,
)
from neurfield.learning.lapped.start import damping, linear_latents
from neurfield.learning.lapped.step import LappedStep
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients

GRIDS = {
    "1d": ((12,), (4,)),
    "1d-uneven": ((11,), (4,)),
    "1d-one-cell": ((7,), (7,)),
    "1d-cells-of-one-sample": ((5,), (1,)),
    "2d": ((8, 12), (4, 3)),
    "2d-uneven": ((9, 7), (4, 3)),
    "2d-one-cell": ((5, 6), (5, 6)),
    "2d-one-axis-whole": ((5, 9), (5, 2)),
    "3d": ((4, 6, 4), (2, 3, 2)),
    "3d-uneven": ((5, 4, 7), (2, 3, 4)),
    "3d-one-cell": ((3, 2, 4), (3, 2, 4)),
}


@pytest.fixture(params=GRIDS)
def cells(request):
    return Cells(*GRIDS[request.param])


def test_a_cell_that_is_all_of_the_signal_has_it_as_its_window(normal):
    cells = Cells.covering((5, 6), (5, 2))
    assert cells.whole == (True, False)
    assert cells.spans == (5, 4)
    signals = normal(2, 1, 5, 6)
    windows = normal(2, cells.n_cells, cells.window_size)
    there = (cells.windows(signals) * windows).sum()
    torch.testing.assert_close(there, (signals * cells.overlap(windows)).sum())
    alone = Cells.covering((5, 6), (5, 6))
    torch.testing.assert_close(alone.windows(signals)[:, 0], signals.flatten(1))
    with pytest.raises(ValueError, match="signals must have its 5 samples, got 7"):
        cells.resized((7, 6))


def test_products_with_a_stencil_are_those_with_the_matrix(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    latents, precision = normal(4, field.latent_dim), normal(3).exp()
    matrix = NormalMatrix(field, precision).dense(cells)
    found = NormalMatrix(field, precision).stencil(cells)(latents)
    torch.testing.assert_close(found, latents @ matrix)


def test_blocks_far_from_borders_are_alike(normal):
    field = lapped(Cells((14, 24), (2, 3)), normal)
    cells = field.cells
    assert cells.counts == (7, 8)
    latents = normal(2, field.latent_dim)
    expected = field.adjoint(field.linear_part(latents, cells), cells)
    precision = torch.zeros(3, dtype=torch.float64)
    found = NormalMatrix(field, precision).stencil(cells)(latents)
    torch.testing.assert_close(found, expected)


@pytest.fixture
def normal():
    """Draw standard normal numbers in double precision."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def lapped(cells, normal, k=3, c=2):
    """Make a field in double precision whose tables are random, and do not fade out."""
    field = LappedField(len(cells.shape), c, cells.n_cells * k, cells.shape, cells.side, 5, 4)
    field = field.double()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(0.3 * normal(*parameter.shape))
    return field


# --- cells ----------------------------------------------------------------------------------------


def test_overlap_is_the_transpose_of_windows(cells, normal):
    signals = normal(2, 3, *cells.shape)
    windows = normal(2, cells.n_cells, 3 * cells.window_size)
    there = (cells.windows(signals) * windows).sum()
    back = (signals * cells.overlap(windows)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


def test_windows_are_pieces_of_the_signal_and_its_mirror_image(cells, normal):
    signal = normal(1, 2, *cells.shape)
    windows = cells.windows(signal)[0].reshape(*cells.counts, 2, *(2 * side for side in cells.side))
    pad = [(0, 0), *cells.margins]
    mirrored = np.pad(signal[0].numpy(), pad, mode="symmetric")
    for cell in product(*(range(n) for n in cells.counts)):
        place = tuple(
            slice(i * side, (i + 2) * side) for i, side in zip(cell, cells.side, strict=True)
        )
        np.testing.assert_array_equal(windows[cell].numpy(), mirrored[(slice(None), *place)])


def test_a_cell_covers_each_sample(cells):
    for size, side, count, (before, after) in zip(
        cells.shape, cells.side, cells.counts, cells.margins, strict=True
    ):
        assert (count - 1) * side < size <= count * side
        assert before + size + after == (count + 1) * side
        assert 0 <= after - before <= 1  # centred


def test_faded_windows_sum_to_one_wherever_none_is_folded(cells):
    window = partition_of_unity(cells)
    total = cells.overlap(window.expand(1, cells.n_cells, -1))[0, 0]
    inside = tuple(
        slice(max(before, side - before), size - max(after, side - after))
        for size, side, (before, after) in zip(cells.shape, cells.side, cells.margins, strict=True)
    )
    found = total[inside]
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "side"), [((12,), (4,)), ((8, 6), (4, 2)), ((4, 8, 2), (2, 4, 2))]
)
def test_faded_windows_of_even_cells_that_divide_the_signal_sum_to_one_at_borders_too(shape, side):
    cells = Cells(shape, side)
    total = cells.overlap(partition_of_unity(cells).expand(1, cells.n_cells, -1))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=1e-12)


def test_cells_of_the_same_side_on_another_grid():
    cells = Cells((8, 8), (4, 2)).resized([9, 10])
    assert (cells.shape, cells.side, cells.counts) == ((9, 10), (4, 2), (3, 5))


@pytest.mark.parametrize("side", [(5,), (0,)])
def test_cells_that_do_not_fit_are_refused(side):
    with pytest.raises(ValueError, match=r"as many as the signal, \(4,\), got"):
        Cells((4,), side)


# --- splines --------------------------------------------------------------------------------------


def grid(shape):
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))


def read_at(samples, places, d):
    return spline.read(spline.coefficients(samples, d), places, samples.shape[-d:])


@pytest.mark.parametrize("shape", [(1,), (2,), (9,), (5, 7), (3, 4, 5)])
def test_a_spline_goes_through_its_samples(shape, normal):
    samples = normal(2, 3, *shape)
    found = read_at(samples, grid(shape), len(shape))
    torch.testing.assert_close(found, samples.flatten(2), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_splines_of_cubics_are_exact_away_from_borders(d, normal):
    # The borders mirror the cubic, which it is not; what that changes falls by 0.27 a sample.
    size, inside = (64, 28) if d < 3 else (40, 18)
    degrees = list(product(range(4), repeat=d))
    factors = normal(len(degrees))

    def cubic(places):
        at = (places - (size - 1) / 2) / 5
        terms = [
            f * (at ** torch.tensor(n)).prod(-1) for f, n in zip(factors, degrees, strict=True)
        ]
        return sum(terms)

    shape = (size,) * d
    samples = cubic(grid(shape)).reshape(1, 1, *shape)
    places = inside + (size - 1 - 2 * inside) * torch.rand(
        50, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = read_at(samples, places, d)[0, 0]
    torch.testing.assert_close(found, cubic(places), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(1,), (9,), (5, 7), (3, 4, 5)])
def test_spread_is_the_transpose_of_read(shape, normal):
    places = 3 * normal(40, len(shape)) + 2  # some of them outside
    coefs, values = normal(2, 3, *shape), normal(2, 3, 40)
    there = (spline.read(coefs, places, shape) * values).sum()
    back = (coefs * spline.spread(values, places, shape)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(9,), (5, 7), (3, 4, 5)])
def test_coefficients_are_their_own_transpose(shape, normal):
    one, other, d = normal(1, 1, *shape), normal(1, 1, *shape), len(shape)
    there = (spline.coefficients(one, d) * other).sum()
    back = (one * spline.coefficients(other, d)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(9,), (5, 7), (3, 4, 5)])
def test_the_derivative_agrees_with_finite_differences(shape, normal):
    d = len(shape)
    coefs = spline.coefficients(normal(1, 1, *shape), d)
    last = torch.tensor(shape, dtype=torch.float64) - 1
    places = last * torch.rand(
        30, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    for axis in range(d):
        direction = torch.zeros_like(places)
        direction[:, axis] = 1.0
        slope = torch.func.jvp(lambda x: spline.read(coefs, x, shape), (places,), (direction,))[1]
        ends = [spline.read(coefs, places + s * 1e-6 * direction, shape) for s in (1, -1)]
        torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_a_spline_goes_on_as_its_mirror_image(normal):
    samples = normal(1, 1, 6)
    beyond = torch.linspace(0, 8, 17, dtype=torch.float64)[:, None]
    for end, sign in ((-0.5, 1), (5.5, -1)):
        inside, outside = (read_at(samples, end + s * sign * beyond, 1) for s in (1, -1))
        torch.testing.assert_close(outside, inside)


def test_places_beyond_the_ends_are_mirrored():
    index = spline.reflected(torch.arange(-4, 8), 4)
    assert index.tolist() == [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]


# --- the field ------------------------------------------------------------------------------------


def test_the_linear_part_and_its_adjoint_are_transposes(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    latents, residual = normal(2, field.latent_dim), normal(2, 2, *cells.shape)
    there = (field.linear_part(latents, cells) * residual).sum()
    back = (latents * field.adjoint(residual, cells)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


def test_the_field_is_the_sum_of_its_parts(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    latents = normal(2, field.latent_dim)
    mean = field.mean.reshape(-1, *[1] * len(cells.shape))
    whole = field.values_on_grid(latents) - mean - field.linear_part(latents, cells)
    detail, linear_part = field.detail, field.linear_part(latents, cells)
    small = detail.cells(cells.shape)
    read = (small.windows(linear_part) @ detail.reader.T).mT.unflatten(2, small.counts)
    factors = detail.net(read).flatten(2).mT
    torch.testing.assert_close(whole, small.overlap(factors @ (detail.table * detail.window)))
    assert whole.abs().max() > 0.0


def test_points_of_the_grid_have_the_values_on_the_grid(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    latents = normal(2, field.latent_dim)
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in cells.shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))
    expected = field.values_on_grid(latents).flatten(2).mT
    torch.testing.assert_close(field(points, latents), expected)
    turned = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(field(points[turned], latents), expected[:, turned])
    own = torch.stack([points, points.flip(0)])
    there = torch.stack([expected[0], expected[1].flip(0)])
    torch.testing.assert_close(field(own, latents), there)


def test_renamed_vectors_of_cells_leave_the_field_as_it_is(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    latents, block = normal(2, field.latent_dim), normal(3, 3) + 3 * torch.eye(3)
    before = field.values_on_grid(latents)
    matrix = torch.kron(torch.eye(cells.n_cells, dtype=torch.float64), block)
    field.reparametrize(matrix)
    torch.testing.assert_close(field.values_on_grid(latents @ matrix.T), before)


def test_a_matrix_that_treats_cells_unlike_is_refused(normal):
    field = lapped(Cells((8,), (4,)), normal)
    with pytest.raises(ValueError, match="the vector of every cell alike"):
        field.reparametrize(normal(6, 6))


# --- the normal equations -------------------------------------------------------------------------


def jacobian(field, cells):
    """Return J of the linear part, built column by column."""
    columns = [
        field.linear_part(unit[None], cells)[0].flatten()
        for unit in torch.eye(cells.n_cells * field.cell_latents, dtype=torch.float64)
    ]
    return torch.stack(columns, dim=1).detach()


def test_the_normal_matrix_is_that_of_the_jacobian(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    J = jacobian(field, cells)
    torch.testing.assert_close(
        NormalBlocks.of(field, cells).dense(), J.T @ J, rtol=1e-10, atol=1e-10
    )


def test_the_normal_matrix_of_crops(normal):
    field = lapped(Cells((6, 6), (3, 3)), normal)
    for shape in [(3, 3), (9, 4), (14, 13)]:
        cells = field.cells.resized(shape)
        J = jacobian(field, cells)
        torch.testing.assert_close(
            NormalBlocks.of(field, cells).dense(), J.T @ J, rtol=1e-10, atol=1e-10
        )


def test_the_solution_matrix_solves(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    J, precision = jacobian(field, cells), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    matrix = J.T @ J + torch.diag(precision.repeat(cells.n_cells))
    found = NormalMatrix(field, precision).inverse(cells) @ matrix
    torch.testing.assert_close(found, torch.eye(len(matrix), dtype=torch.float64))


def test_conjugate_gradients_solve_what_a_dense_solver_does(cells, normal):
    field = lapped(cells, normal)
    cells = field.cells
    J, precision = jacobian(field, cells), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    matrix, rhs = J.T @ J + torch.diag(precision.repeat(cells.n_cells)), normal(4, J.shape[1])
    rhs[2] = 0.0
    expected = torch.linalg.solve(matrix, rhs.T).T
    precondition = block_preconditioner(field, torch.diag(precision))
    found = conjugate_gradients(
        lambda rows: rows @ matrix, precondition, rhs, 20 * len(matrix), tolerance=1e-11
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_rows_of_conjugate_gradients_do_not_wait_for_each_other(normal):
    root = normal(8, 8)
    matrix, rhs = root @ root.T + torch.eye(8), normal(3, 8) * torch.tensor([[1e-6], [1.0], [1e6]])
    together = conjugate_gradients(lambda rows: rows @ matrix, lambda rows: rows, rhs, 200)
    for i in range(3):
        alone = conjugate_gradients(
            lambda rows: rows @ matrix, lambda rows: rows, rhs[i : i + 1], 200
        )
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=0)


# --- the meta-step --------------------------------------------------------------------------------


@pytest.mark.parametrize("gaps", [False, True])
def test_the_gradient_at_given_latents_agrees_with_finite_differences(cells, normal, gaps):
    field = lapped(cells, normal)
    cells = field.cells
    values = normal(3, 2, *cells.shape)
    weights = (normal(3, 2, *cells.shape) > -1).double() if gaps else None
    crops = Crops(values, weights, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    step = LappedStep(field, cells.shape)
    step(crops).backward()
    # The closed form depends on B and m, and counts as given.
    for name, parameter in field.named_parameters():
        if name in ("basis", "mean"):
            assert parameter.grad.abs().max() > 0
            continue
        direction = normal(*parameter.shape)
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-6 * direction)
                losses.append(step(crops).item())
                parameter.sub_(sign * 1e-6 * direction)
        found = float((parameter.grad * direction).sum())
        assert found == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-8), name


def test_the_meta_step_reports_the_error_of_the_field_and_changes_no_weight(normal):
    cells = Cells((9, 7), (4, 3))
    field = lapped(cells, normal)
    cells = field.cells
    before = {name: weight.clone() for name, weight in field.state_dict().items()}
    step = LappedStep(field, cells.shape)
    crops = Crops(normal(3, 2, *cells.shape))
    loss = step(crops)
    assert loss.shape == ()
    latents = linear_latents(
        field, cells, crops, NormalMatrix(field, damping(field)).inverse(cells)
    )
    error = (field.values_on_grid(latents) - crops.values).square().mean()
    assert float(step.mse) == pytest.approx(float(error.detach()))
    torch.testing.assert_close(dict(field.state_dict()), before, rtol=0, atol=0)


def test_optimisers_update_every_weight_once(normal):
    field = lapped(Cells((9, 7), (4, 3)), normal)
    learner = LappedVarPro().for_problem(Problem(20, 1, 63, 2, 2, field.latent_dim), {})
    updated = [id(p) for p in learner.optimizers(learner.meta_step(field)).parameters]
    assert sorted(updated) == sorted(id(p) for p in field.parameters())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_defaults_are_within_their_ranges(d):
    settings = LappedVarPro().for_problem(Problem(500, 1, 28**d, d, 1, 64), {}).settings
    counts = ("transform_steps", "batch_size", "max_iter")
    assert all(isinstance(getattr(settings, k), int) and getattr(settings, k) > 0 for k in counts)
    assert settings.meta_lr > 0
