"""The start from the data: the linear part of a lapped field is fitted in alternating steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.canonical import signed
from neurfield.learning.lanes import chunks, in_lanes, lane_count, lane_parts
from neurfield.learning.lapped.crops import Crops, draw_crops
from neurfield.learning.lapped.deform import deformed, strength
from neurfield.learning.lapped.normal import NormalMatrix
from neurfield.learning.lapped.tables import joined, meeting, n_meeting, quarters
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import second_moment, sum_over_signals

_VALUES = 2**23  # values of all crops of one sweep together
_MOST_CROPS, _LEAST_CROPS = 2048, 8
_SWEEPS, _WHOLE_SWEEPS = 14, 6  # the latter where a principal axis is as long as a signal
_CHUNK = 2**18  # values whose windows are in memory at once
_WHOLE_CHUNK = (
    2**22
)  # the same where tables are as large as signals, and reading them takes longest
_DAMPING = 1e-4  # of latents, relative to the mean squared length of functions
_RIDGE = 1e-4  # of functions, relative to the mean square of latents
_MOMENTUM = 0.5
_SMOOTHING = 0.2  # of the second moments of latents, over sweeps
_STEPS_WITH_GAPS = 10
_LEAST_VARIANCE = 1e-8  # along an axis, relative to the mean of all, as the network sees it
_READ = 2**20  # values of the crops that show what windows of the linear part are like
_EXACT = 1024  # size of the largest windows whose covariance is decomposed as a whole
_FEW = 2048  # windows, up to which their products with each other are decomposed instead
_POWER_STEPS = 6  # towards the principal axes of larger ones


# Latents, residual and weights of some crops.
Piece = tuple[Tensor, Tensor, Tensor | None]


@torch.no_grad()
def start_from_crops(
    field: LappedField,
    store: ContextStore,
    shape: tuple[int, ...],
    generator: torch.Generator,
    sweeps: int | None = None,
    n_values: int = _VALUES,
) -> None:
    """Set m and B so that latents found in closed form describe the signals best.

    B begins with the principal axes of the signals' windows, faded out towards their borders. Then
    the latents of a sample of crops are found, and B follows the gradient of their error,
    preconditioned with the second moments of the latents of cells that meet: it is the least
    squares fit of B wherever all those cells are inside. At the end, what adds detail to the linear
    part is set to read the principal axes of its windows.

    Parameters
    ----------
    field : LappedField
        Changed in place.
    store : ContextStore
        Training signals on grids.
    shape : tuple of d int
        Samples of a crop along each axis.
    generator : torch.Generator
        On the CPU, so that every device starts alike.
    sweeps : int, optional
        Alternating steps; by default 14, or 6 with one cell that is all of a signal. Few are enough
        to compare sizes of cells.
    n_values : int, default=2**23
        Values of all crops of one sweep together, over points and channels.
    """
    cells = field.cells.resized(shape)
    if sweeps is None:
        sweeps = _WHOLE_SWEEPS if all(cells.whole) else _SWEEPS
    n_crops = crops_of_start(field, cells, n_values)
    amount = strength(cells, field.cell_latents, len(store))
    sample = draw_crops(store, n_crops, shape, generator)
    field.mean.copy_(_mean(sample))
    field.basis.copy_(_principal_windows(field, cells, sample, generator))
    moments, velocity = None, torch.zeros_like(field.basis)
    for sweep in range(sweeps):
        if sweep:
            sample = deformed(draw_crops(store, n_crops, shape, generator), amount, generator)
        inverse = NormalMatrix(field, damping(field)).inverse(cells)
        gradient, now, pieces = _sweep(field, cells, sample, inverse)
        moments = now if moments is None else torch.lerp(moments, now, _SMOOTHING)
        step = _preconditioned(field, cells, gradient, moments) + _MOMENTUM * velocity
        towards = curvature = 0.0
        for toward, curve in _along(cells, pieces, step):
            towards, curvature = towards + toward, curvature + curve
        late = max(0.0, (sweep + 1) / sweeps - 0.7) / 0.3  # towards the end, samples average out
        velocity = step * (towards / max(curvature, 1e-30)) * (1.0 - 0.8 * late)
        field.basis.add_(velocity)
    some = sample.of_signals(slice(0, max(1, _READ // sample.values[0].numel())))
    _set_reader(field, some, field.linear_part(linear_latents(field, cells, some, inverse), cells))


def crops_of_start(field: LappedField, cells: Cells, n_values: int = _VALUES) -> int:
    """Return how many crops each sweep of the start takes.

    Parameters
    ----------
    field : LappedField
        Of so many latents.
    cells : Cells
        Of the crops.
    n_values : int, default=2**23
        Values of all crops of one sweep together.
    """
    of_crop = field.out_dim * math.prod(cells.shape)
    # As many vectors as make their second moments regular, at the least.
    least = max(_LEAST_CROPS, math.ceil(2 * field.cell_latents / cells.n_cells))
    return max(least, min(_MOST_CROPS, n_values // of_crop))


def footprint_of_start(field: LappedField, cells: Cells, n_signals: int) -> float:
    """Return about how many bytes :func:`start_from_crops` has in use at its peak.

    Parameters
    ----------
    field : LappedField
        Of so many latents.
    cells : Cells
        Of the crops.
    n_signals : int
        Size of the training set.
    """
    n_values = field.out_dim * math.prod(cells.shape)
    n_crops = crops_of_start(field, cells)
    if cells.shape == field.cells.shape:
        n_crops = min(n_crops, n_signals)
    # As they come, in double precision, scaled and cut; then the residuals and two deformations.
    numbers = n_crops * n_values * 8
    of_lane = 4 * max(_values_of_chunk(cells), n_values) * cells.window_size / math.prod(cells.side)
    moments = 4.0 * (field.cell_latents * n_meeting(cells)) ** 2
    tables = 8.0 * field.basis.numel()
    lanes = lane_count(field.basis.device)
    return field.basis.itemsize * (numbers + lanes * of_lane + 2 * moments + tables)


def damping(field: LappedField) -> Tensor:
    """Return the diagonal of the prior that keeps the closed form stable, of shape (k,).

    Parameters
    ----------
    field : LappedField
        To whose functions it is relative.
    """
    mean_square = field.basis.detach().square().sum(dim=1).mean()
    return (_DAMPING * mean_square).expand(field.cell_latents)


def linear_latents(field: LappedField, cells: Cells, crops: Crops, inverse: Tensor) -> Tensor:
    """Return the closed form of crops, of shape (B, P).

    Parameters
    ----------
    field : LappedField
        Whose linear part is fitted.
    cells : Cells
        Of the crops.
    crops : Crops
        Signals; those with gaps are fitted where they were observed.
    inverse : Tensor of shape (P, P)
        As :meth:`~neurfield.learning.lapped.normal.NormalMatrix.inverse` returns it; also what
        preconditions the systems of signals with gaps.
    """
    rhs = field.adjoint(crops.residual(field.level), cells)
    if crops.weights is None:
        return rhs @ inverse
    weights, diagonal = crops.weights, damping(field).repeat(cells.n_cells)

    def normal(latents: Tensor) -> Tensor:
        seen = weights * field.linear_part(latents, cells)
        return field.adjoint(seen, cells) + diagonal * latents

    return conjugate_gradients(normal, lambda rows: rows @ inverse, rhs, _STEPS_WITH_GAPS)


def _mean(sample: Crops) -> Tensor:
    """Return the mean of each channel."""
    values, weights = sample.values, sample.weights
    weights = torch.ones_like(values) if weights is None else weights
    if sample.sample_weight is not None:
        weights = weights * sample.sample_weight.reshape(-1, *[1] * (values.ndim - 1))
    axes = [0, *range(2, values.ndim)]
    return (values * weights).sum(dim=axes) / weights.sum(dim=axes).clamp_min(1e-30)


def _principal_windows(
    field: LappedField, cells: Cells, sample: Crops, generator: torch.Generator
) -> Tensor:
    """Return the principal axes of windows that fade out, of shape (k, c · window_size)."""
    k, fade = field.cell_latents, field.window.sqrt()
    size = len(fade)

    def weighed_windows() -> Iterator[tuple[Tensor, Tensor]]:
        for part in _chunks(sample, cells):
            windows = cells.windows(part.residual(field.level)) * fade
            yield _weighed(windows, part.sample_weight).flatten(0, 1), windows.flatten(0, 1)

    def multiplied(columns: Tensor) -> Tensor:
        """Multiply the windows' second moments with columns."""
        product = torch.zeros_like(columns)
        for weighed, windows in weighed_windows():
            product += weighed.T @ (windows @ columns)
        return product

    n_windows = len(sample) * cells.n_cells
    if size > _EXACT and n_windows <= _FEW:
        windows = torch.cat([windows for _, windows in weighed_windows()])
        if sample.sample_weight is not None:
            windows *= sample.sample_weight.sqrt().repeat_interleave(cells.n_cells)[:, None]
        by_windows = torch.linalg.eigh((windows @ windows.T).double())[1].flip(1)[:, :k]
        axes = torch.linalg.qr(windows.T @ by_windows.to(windows))[0]
    elif size <= _EXACT:
        moments = torch.zeros(size, size, dtype=fade.dtype, device=fade.device)
        for weighed, windows in weighed_windows():
            moments += weighed.T @ windows
        axes = torch.linalg.eigh(moments.double())[1].flip(1)[:, :k].to(fade)
    else:  # of which a matrix would take too much memory
        n_tried = min(size, k + 16)
        axes = torch.randn(size, n_tried, generator=generator, dtype=torch.float64).to(fade)
        for _ in range(_POWER_STEPS):
            axes = torch.linalg.qr(multiplied(axes))[0]
        turned = torch.linalg.eigh((axes.T @ multiplied(axes)).double())[1].flip(1)
        axes = (axes @ turned.to(axes))[:, :k]
    found = torch.zeros_like(field.basis)
    found[: axes.shape[1]] = axes.T * fade
    if axes.shape[1] < k:  # more latents than values of a window
        found[axes.shape[1] :] = field.basis[axes.shape[1] :]
    return found


def _sweep(
    field: LappedField, cells: Cells, sample: Crops, inverse: Tensor
) -> tuple[Tensor, Tensor, list[Piece]]:
    """Return the gradient with respect to B and the moments of latents, and the pieces."""
    parts = lane_parts(len(sample), field.basis.device)

    def work(lane: int) -> tuple[Tensor, Tensor, list[Piece]]:
        return _part_of_sweep(field, cells, sample.of_signals(parts[lane]), inverse)

    gradients, moments, pieces = zip(*in_lanes(work, len(parts)), strict=True)
    return sum(gradients), sum(moments), [piece for each in pieces for piece in each]


def _part_of_sweep(
    field: LappedField, cells: Cells, sample: Crops, inverse: Tensor
) -> tuple[Tensor, Tensor, list[Piece]]:
    k = field.cell_latents
    gradient = torch.zeros_like(field.basis)
    moments = gradient.new_zeros(k * n_meeting(cells), k * n_meeting(cells))
    pieces = []
    for part in _chunks(sample, cells):
        latents = linear_latents(field, cells, part, inverse)
        residual = part.residual(field.level + field.linear_part(latents, cells))
        vectors = latents.unflatten(1, (cells.n_cells, -1))
        weighed = _weighed(vectors, part.sample_weight)
        gradient += weighed.flatten(0, 1).T @ cells.windows(residual).flatten(0, 1)
        around, counted = meeting(vectors, cells), meeting(weighed, cells)
        moments += counted.T @ around
        pieces.append((vectors, residual, part.sample_weight))
    return gradient, moments, pieces


def _along(cells: Cells, pieces: list[Piece], step: Tensor) -> list[tuple[float, float]]:
    """Return the slope and the curvature of the error along a change of B, of each piece."""
    parts = lane_parts(len(pieces), step.device)

    def work(lane: int) -> list[tuple[float, float]]:
        found = []
        for latents, residual, weight in pieces[parts[lane]]:
            change = cells.overlap(latents @ step)
            slope = float(sum_over_signals(residual * change, weight).sum())
            found.append((slope, float(sum_over_signals(change.square(), weight).sum())))
        return found

    return [each for found in in_lanes(work, len(parts)) for each in found]


def _set_reader(field: LappedField, crops: Crops, linear_part: Tensor) -> None:
    """Let the field's detail read the principal axes of the linear part's windows, as scores."""
    windows = field.detail.cells(linear_part.shape[2:]).windows(linear_part).double()
    flat, weight = windows.flatten(0, 1), crops.sample_weight
    weight = None if weight is None else weight.double().repeat_interleave(windows.shape[1])
    variance, axes = torch.linalg.eigh(second_moment(flat, weight))
    variance, axes = variance.flip(0), signed(axes, axes).flip(1)
    seen = variance > _LEAST_VARIANCE * variance.mean()  # along others, windows only have rounding
    scores = torch.where(seen, axes / variance.clamp_min(1e-30).sqrt(), 0.0).T
    field.detail.reader.copy_(scores[: len(field.detail.reader)])


def _weighed(numbers: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Multiply numbers of shape (B, n_cells, ...) with the weights of their signals."""
    return numbers if sample_weight is None else numbers * sample_weight[:, None, None]


def _preconditioned(field: LappedField, cells: Cells, gradient: Tensor, moments: Tensor) -> Tensor:
    """Solve for the change of B with the moments of the cells that meet."""
    matrix = moments.double()
    ridge = _RIDGE * matrix.diagonal().mean() + 1e-30  # signals may not vary at all
    matrix = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    parts = quarters(gradient, cells, field.out_dim)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    solved = inverse.to(gradient) @ parts
    return joined(solved, cells, field.out_dim, field.cell_latents)


def _chunks(sample: Crops, cells: Cells) -> list[Crops]:
    n = max(1, _values_of_chunk(cells) // sample.values[0].numel())
    return [sample.of_signals(part) for part in chunks(len(sample), n, 1)]


def _values_of_chunk(cells: Cells) -> int:
    return _WHOLE_CHUNK if all(cells.whole) else _CHUNK
