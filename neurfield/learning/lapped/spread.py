"""How far observed values leave a lapped field's values open: exact covariances, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.fields.lapped.cells import partition_of_unity
from neurfield.learning.lapped.gaps import Seen
from neurfield.learning.lapped.normal import NormalBlocks, probed, probes_of_colours
from neurfield.learning.lapped.prior import CellPrior

_MOST_LATENTS = 2048  # of a part whose covariance is computed at once
_MOST_OF_MARGIN = 4096  # of a part with a wide margin around one cell
_MARGIN = 2  # cells around a part whose observed values count too
_BARELY = 0.25  # part of a cell's window from which on it counts as seen
_CHUNK = 2**22  # values of signals that are decoded at once


@dataclass(frozen=True)
class Spread:
    """Variance of a signal's values that comes from what its latent is not known by.

    Parameters
    ----------
    variance : float64 Tensor of shape (c, *shape)
        Diagonal of J Σ Jᵀ on the grid of the tables, for noise of variance one.
    unseen : float64 Tensor of shape (c, *shape)
        From 0 where cells were observed in part or more to 1 where they were not at all.
    taken : float
        How many observed values the latent takes up.
    """

    variance: Tensor
    unseen: Tensor
    taken: float


@torch.no_grad()
def spread_of(
    field: LappedField, prior: CellPrior, precision: Tensor, density: Tensor | None
) -> Spread:
    """Return the variance of the linear part of a field, given what was observed.

    Signals of many cells are divided into parts. Each is computed with the cells around it, as if
    nothing further away had been observed. Parts that are alike are computed once.

    Parameters
    ----------
    field : LappedField
        Of signals of any size.
    prior : CellPrior
        Of its latents.
    precision : Tensor of shape (k,)
        What regularises systems besides, as the solver has it.
    density : Tensor of shape (c, *shape), or None
        How many values were observed around each sample; None = one everywhere.
    """
    cells = field.cells
    variance = torch.zeros(field.out_dim, *cells.shape, dtype=torch.float64)
    known: dict[object, tuple[Tensor, Tensor]] = {}
    taken = 0.0
    for part in _parts(cells, field.cell_latents):
        here = None if density is None else density[(slice(None), *(a.samples for a in part))]
        small = cells.resized([a.samples.stop - a.samples.start for a in part])
        key = small.shape, None if here is None else here.contiguous().cpu().numpy().tobytes()
        if key not in known:
            known[key] = _of_part(field, small, prior, precision, here)
        found, of_cells = known[key]
        inner = (slice(None), *(a.inner for a in part))
        variance[(slice(None), *(a.to for a in part))] = found[inner]
        taken += float(of_cells[tuple(a.inner_cells for a in part)].sum())
    unseen = torch.zeros_like(variance)
    if density is not None:
        coverage = Seen.of(cells, density[None]).coverage[0].double().cpu()
        u = (1.0 - coverage / _BARELY).clamp_min(0.0)
        unseen += cells.overlap((u[:, None] * partition_of_unity(cells))[None])[0]
    return Spread(variance, unseen, taken)


def _of_part(
    field: LappedField,
    cells: Cells,
    prior: CellPrior,
    precision: Tensor,
    density: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the variance on a small grid, and how many values the vector of each cell takes up."""
    own = precision.to(field.basis.device).double().expand(cells.n_cells, -1)
    if density is None:
        blocks = NormalBlocks.of(field, cells)
    else:
        seen = Seen.of(cells, density[None])
        own = own * seen.coverage[0, :, None].double()
        blocks = NormalBlocks(cells, probed(field, cells, density * seen.trust[0]))
    observed = blocks.dense()
    matrix = observed + prior.blocks(cells).dense().to(observed)
    matrix.diagonal().add_(own.flatten())
    matrix = 0.5 * (matrix + matrix.T)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    taken = (covariance * observed).sum(dim=1).reshape(*cells.counts, -1).sum(dim=-1)
    near = NormalBlocks.of_matrix(covariance, cells).to(field.basis.dtype).multiplier()
    variance = torch.zeros(field.out_dim, *cells.shape, dtype=torch.float64)
    size = max(1, _CHUNK // variance.numel())
    for _, probes in probes_of_colours(cells, field.cell_latents, field.basis):
        for some in probes.split(size):
            values = field.linear_part(some, cells) * field.linear_part(near(some), cells)
            variance += values.sum(dim=0).double().cpu()
    return variance.clamp_min(0.0), taken.cpu()


@dataclass(frozen=True)
class _Along:
    """A part of a signal along one axis: its samples, and which of them are not of its margin.

    Parameters
    ----------
    samples, inner : slice
        Of the signal; of those.
    to : slice
        Where the inner samples are in the signal.
    inner_cells : slice
        Which of the part's cells are not of its margin.
    """

    samples: slice
    inner: slice
    to: slice
    inner_cells: slice


def _parts(cells: Cells, k: int) -> Iterator[tuple[_Along, ...]]:
    """Divide a signal into parts, of which each has whole cells."""
    d = sum(not whole for whole in cells.whole)
    if cells.n_cells * k <= _MOST_LATENTS or not d:
        yield tuple(
            _Along(slice(0, n), slice(0, n), slice(0, n), slice(0, count))
            for n, count in zip(cells.shape, cells.counts, strict=True)
        )
        return
    margin = _MARGIN if (1 + 2 * _MARGIN) ** d * k <= _MOST_OF_MARGIN else 1
    length = 1
    while (length + 1 + 2 * margin) ** d * k <= _MOST_LATENTS:
        length += 1
    yield from product(
        *(list(_parts_along(cells, j, length, margin)) for j in range(len(cells.shape)))
    )


def _parts_along(cells: Cells, axis: int, length: int, margin: int) -> Iterator[_Along]:
    size, side, count = cells.shape[axis], cells.side[axis], cells.counts[axis]
    before, after = cells.margins[axis]
    if cells.whole[axis] or count <= length + 2 * margin:
        yield _Along(slice(0, size), slice(0, size), slice(0, size), slice(0, count))
        return
    for first in range(0, count, length):
        last = min(first + length, count)
        low, high = max(0, first - margin), min(count, last + margin)
        n = high - low
        # Windows of a part's cells must lie where those of the signal's do.
        if low == 0:
            beyond = max(side, 2 * before)
            start = 0
            stop = (n + 1) * side - beyond
        elif high == count:
            beyond = 2 * after if after < side else 2 * after - 1
            stop = size
            start = size - ((n + 1) * side - beyond)
        else:
            start = low * side - before + side // 2
            stop = start + n * side
        # A cell's own samples are those nearest to its middle.
        ends = [
            0 if first == 0 else first * side - before + (side + 1) // 2,
            size if last == count else last * side - before + (side + 1) // 2,
        ]
        yield _Along(
            slice(start, stop),
            slice(ends[0] - start, ends[1] - start),
            slice(*ends),
            slice(first - low, last - low),
        )
