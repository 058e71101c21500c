"""Matrices over cells that are the same wherever no border is near, kept as one of each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.lapped import Cells

_NUMBERS = 2**19  # of neighbours' vectors that are side by side at once
_MOST_GATHERED = 2**21  # numbers of the matrices of cells that are multiplied one by one
_CONVOLVED = 16  # cells of one kind, from which on a convolution is quicker on a CPU
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


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
        found = rows.new_empty(len(rows), *self.counts, k)
        on_cpu = rows.device.type == "cpu"
        if on_cpu and self._few is not None:
            middle, cells, neighbours, kinds = self._few
            found[:, *middle[1]] = self._convolved(around, self.matrices[middle[0]], middle[1])
            vectors = around.flatten(1, d)[:, neighbours].flatten(2).transpose(0, 1)
            products = torch.bmm(vectors, self.matrices[kinds]).transpose(0, 1)
            found.view(len(rows), -1, k)[:, cells] = products
            return found.flatten(1)
        windows = around
        for axis, reach in enumerate(self.reach, start=1):
            windows = windows.unfold(axis, 2 * reach + 1, 1)
        windows = windows.movedim(1 + d, -1)
        for kind, stretches in enumerate(self._of_each_kind()):
            matrix, n_cells = self.matrices[kind], math.prod(p.stop - p.start for p in stretches)
            if on_cpu and n_cells >= _CONVOLVED:
                found[:, *stretches] = self._convolved(around, matrix, stretches)
                continue
            numbers = len(rows) * len(matrix) * n_cells // (stretches[0].stop - stretches[0].start)
            for first in _pieces(stretches[0], max(1, _NUMBERS // numbers)):
                part = (slice(None), first, *stretches[1:])
                found[part] = windows[part].flatten(1 + d) @ matrix
        return found.flatten(1)

    def _of_each_kind(self) -> list[tuple[slice, ...]]:
        """Return which cells are of each kind."""
        along = [_stretches(n, m) for n, m in zip(self.counts, self.kinds, strict=True)]
        return list(product(*along))

    @cached_property
    def _few(self) -> tuple[tuple[int, tuple[slice, ...]], Tensor, Tensor, Tensor] | None:
        """The kind of the middle, and all other cells, where these are few; None where they aren't.

        Their places, those of what each reaches among padded cells, and their kinds.
        """
        of_each, device = self._of_each_kind(), self.matrices.device
        sizes = [math.prod(part.stop - part.start for part in one) for one in of_each]
        most = max(range(len(sizes)), key=lambda kind: sizes[kind])
        if sizes[most] < _CONVOLVED:
            return None
        if (sum(sizes) - sizes[most]) * self.matrices[0].numel() > _MOST_GATHERED:
            return None
        kinds = torch.empty(self.counts, dtype=torch.int64)
        for kind, one in enumerate(of_each):
            kinds[one] = kind
        padded = [n + 2 * reach for n, reach in zip(self.counts, self.reach, strict=True)]
        numbers = torch.arange(math.prod(padded)).reshape(padded)
        for axis, reach in enumerate(self.reach):
            numbers = numbers.unfold(axis, 2 * reach + 1, 1)
        cells = torch.nonzero(kinds.flatten() != most)[:, 0]
        neighbours = numbers.reshape(kinds.numel(), -1)[cells]
        own = kinds.flatten()[cells]
        return (most, of_each[most]), cells.to(device), neighbours.to(device), own.to(device)

    def _convolved(self, around: Tensor, matrix: Tensor, stretches: Sequence[slice]) -> Tensor:
        """Multiply many cells of one kind without laying their neighbours side by side."""
        d, k = len(self.counts), matrix.shape[1]
        with_neighbours = [
            slice(part.start, part.stop + 2 * reach)
            for part, reach in zip(stretches, self.reach, strict=True)
        ]
        kernel = matrix.reshape(*(2 * reach + 1 for reach in self.reach), k, k)
        kernel = kernel.movedim((d + 1, d), (0, 1))
        vectors = around[:, *with_neighbours].movedim(-1, 1)
        return _CONVOLUTIONS[d](vectors, kernel).movedim(1, -1)


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
