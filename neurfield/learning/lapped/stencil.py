"""Matrices over cells that are the same wherever no border is near, kept as one of each kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.lapped import Cells

_NUMBERS = 2**19  # of neighbours' vectors that are side by side at once


@dataclass(frozen=True)
class Stencil:
    """A matrix of which each row of blocks reaches so many cells, the same but near the borders.

    Parameters
    ----------
    counts : tuple of d int
        Cells along each axis.
    reach : tuple of d int
        Cells that a row reaches to either side, along each axis.
    kinds : tuple of d int
        Kinds of cells along each axis: each cell where they are as many as there are cells, else
        an odd number, of which the middle one is that of all cells that are not near a border.
    matrices : Tensor of shape (n_kinds, n_reached · k, k)
        For each kind of cell, in C order, what multiplies the vectors of the cells that it reaches,
        in C order; zero where one lies beyond the border.
    """

    counts: tuple[int, ...]
    reach: tuple[int, ...]
    kinds: tuple[int, ...]
    matrices: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply rows of shape (B, P) with the matrix.

        Parameters
        ----------
        rows : Tensor of shape (B, P)
            The vectors of all cells, one signal a row.
        """
        d, k = len(self.counts), self.matrices.shape[2]
        beside = [n for reach in reversed(self.reach) for n in (reach, reach)]
        around = functional.pad(rows.unflatten(1, (*self.counts, k)), (0, 0, *beside))
        for axis, reach in enumerate(self.reach, start=1):
            around = around.unfold(axis, 2 * reach + 1, 1)
        around = around.movedim(1 + d, -1)
        found = rows.new_empty(len(rows), *self.counts, k)
        along = [_stretches(n, m) for n, m in zip(self.counts, self.kinds, strict=True)]
        for matrix, stretches in zip(self.matrices, product(*along), strict=True):
            numbers = len(rows) * len(matrix)
            numbers *= math.prod(part.stop - part.start for part in stretches[1:])
            for first in _pieces(stretches[0], max(1, _NUMBERS // numbers)):
                part = (slice(None), first, *stretches[1:])
                found[part] = around[part].flatten(1 + d) @ matrix
        return found.flatten(1)


def one_of_each_kind(cells: Cells, most: int) -> Cells:
    """Return cells on a small grid with the same borders, of which each stands for its kind.

    Parameters
    ----------
    cells : Cells
        Of the signals.
    most : int
        Cells along an axis, where there are more; odd.
    """
    sizes = zip(cells.shape, cells.counts, cells.side, strict=True)
    return cells.resized([size - max(0, n - most) * side for size, n, side in sizes])


def _stretches(count: int, kinds: int) -> list[slice]:
    """Return which cells along an axis are of each kind."""
    if count == kinds:
        return [slice(i, i + 1) for i in range(count)]
    middle = kinds // 2
    before = [slice(i, i + 1) for i in range(middle)]
    after = [slice(i, i + 1) for i in range(count - middle, count)]
    return [*before, slice(middle, count - middle), *after]


def _pieces(stretch: slice, most: int) -> Iterator[slice]:
    for start in range(stretch.start, stretch.stop, most):
        yield slice(start, min(start + most, stretch.stop))


def stencil_of(
    matrix: Tensor, kinds: Sequence[int], counts: Sequence[int], reach: Sequence[int]
) -> Stencil:
    """Return a stencil from the matrix of a small grid, of which the cells are one of each kind.

    What a row holds of cells further than it reaches is left out.

    Parameters
    ----------
    matrix : Tensor of shape (n_kinds · k, n_kinds · k)
        Symmetric; as :func:`one_of_each_kind` has the cells.
    kinds, counts, reach : sequence of d int
        As in :class:`Stencil`.
    """
    d, n_kinds = len(kinds), math.prod(kinds)
    k = len(matrix) // n_kinds
    # By cell and latent of a row, then by cell along each axis, and latent, of what it reaches.
    rows = matrix.reshape(n_kinds, k, *kinds, k).movedim(1, -1)
    beside = [n for r in reversed(reach) for n in (r, r)]
    rows = functional.pad(rows, (0, 0, 0, 0, *beside))
    places = torch.cartesian_prod(*map(torch.arange, kinds)).reshape(-1, d)
    taken = []
    for row, place in zip(rows, places.tolist(), strict=True):
        window = tuple(slice(i, i + 2 * r + 1) for i, r in zip(place, reach, strict=True))
        taken.append(row[window].reshape(-1, k))
    return Stencil(tuple(counts), tuple(reach), tuple(kinds), torch.stack(taken).contiguous())
