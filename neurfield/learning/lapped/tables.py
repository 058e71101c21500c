"""Tables over windows, cut where the windows of neighbouring cells begin and end."""

from __future__ import annotations

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells


def n_meeting(cells: Cells) -> int:
    """Return how many cells meet at a corner of one.

    Parameters
    ----------
    cells : Cells
        Of signals.
    """
    return 2 ** (len(cells.whole) - sum(cells.whole))


def meeting(vectors: Tensor, cells: Cells) -> Tensor:
    """Return the vectors of cells that meet at a corner side by side, of shape (n, 2^d · k).

    Along axes with one cell that is all of the signal there is none beside it. At the borders a
    cell has nothing beside it either, and what windows have beyond is folded back: several places
    of the tables make up one value. The squares of the vectors there count as often, which is the
    most that these places together can bend a sum of squares.

    Parameters
    ----------
    vectors : Tensor of shape (B, n_cells, k)
        One for each cell.
    cells : Cells
        Of the signals.
    """
    d = len(cells.counts)
    grid = vectors.unflatten(1, cells.counts)
    for axis, whole in enumerate(cells.whole, start=1):
        if whole:
            grid = grid.unfold(axis, 1, 1)
            continue
        beyond = torch.zeros_like(grid.narrow(axis, 0, 1))
        grid = torch.cat([beyond, grid, beyond], dim=axis).unfold(axis, 2, 1)
        places = torch.tensor(_places(cells, axis - 1)).to(grid)
        grid = grid * places.sqrt().reshape(-1, *[1] * (grid.ndim - axis - 1))
    return grid.movedim(d + 1, -1).flatten(d + 1).flatten(0, d)


def _places(cells: Cells, axis: int) -> list[int]:
    """Return how many places of the tables make up a value between two cells, at the most."""
    (before, after), size, side = cells.margins[axis], cells.shape[axis], cells.side[axis]
    starts = range(-before, size + after, side)
    return [1 + (start < before) + (start + side > size - after) for start in starts]


def quarters(tables: Tensor, cells: Cells, n_channels: int) -> Tensor:
    """Return the parts of tables that each of the cells that meet has between them.

    Parameters
    ----------
    tables : Tensor of shape (k, c · window_size)
        One function a row.
    cells : Cells
        Of the signals.
    n_channels : int
        Number of channels c.

    Returns
    -------
    Tensor of shape (2^d · k, c · product of sides)
        In the order of :func:`meeting`.
    """
    windows, every = tables.reshape(len(tables), n_channels, *cells.spans), slice(None)
    return torch.cat([windows[(every, every, *part)].flatten(1) for part in _parts(cells)])


def joined(quarters: Tensor, cells: Cells, n_channels: int, k: int) -> Tensor:
    """Put tables together again: the inverse of :func:`quarters`.

    Parameters
    ----------
    quarters : Tensor of shape (2^d · k, c · product of sides)
        Parts of tables.
    cells : Cells
        Of the signals.
    n_channels : int
        Number of channels c.
    k : int
        Number of functions.
    """
    windows = quarters.new_empty(k, n_channels, *cells.spans)
    for part, quarter in zip(_parts(cells), quarters.split(k), strict=True):
        windows[(slice(None), slice(None), *part)] = quarter.reshape(k, n_channels, *cells.side)
    return windows.flatten(1)


def _parts(cells: Cells) -> list[tuple[slice, ...]]:
    """Return the part of its window in which each of the cells that meet lies; C order."""
    slices: list[tuple[slice, ...]] = [()]
    for side, whole in zip(cells.side, cells.whole, strict=True):
        # Between two cells lies the second half of the first one's window, and conversely.
        halves = [slice(None)] if whole else [slice(side, None), slice(0, side)]
        slices = [(*s, half) for s in slices for half in halves]
    return slices
