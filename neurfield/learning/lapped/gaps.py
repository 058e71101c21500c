"""Signals that were observed in part: what that is worth, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurfield.fields.lapped import LappedField, spline
from neurfield.fields.lapped.cells import Cells, partition_of_unity

# By how much the noise of values counts as greater where a cell was seen in part, at the most: what
# a field leaves of a signal is not independent noise, and no neighbouring errors cancel there.
_MORE_NOISE = 3.0
_CHUNK = 2**22  # numbers of a product


@dataclass(frozen=True)
class Seen:
    """What was observed of signals, on the grid of the tables.

    Parameters
    ----------
    density : Tensor of shape (B, c, *shape)
        How many values were observed around each sample of the grid.
    coverage : Tensor of shape (B, n_cells)
        Which part of each cell's window was observed.
    trust : Tensor of shape (B, 1, *shape)
        Inverse of the factor by which noise counts as greater.
    """

    density: Tensor
    coverage: Tensor
    trust: Tensor

    @classmethod
    def of(cls, cells: Cells, density: Tensor) -> Seen:
        """Find out what was observed of each cell.

        Parameters
        ----------
        cells : Cells
            Of the signals.
        density : Tensor of shape (B, c, *shape)
            As :func:`density_at` returns it.
        """
        coverage = cells.windows(density.clamp_max(1.0)).mean(dim=2)
        more = 1.0 + _MORE_NOISE * (1.0 - coverage)
        window = partition_of_unity(cells).to(density)
        return cls(density, coverage, 1.0 / cells.overlap(more[..., None] * window))

    def block_inverses(self, field: LappedField, precision: Tensor) -> Tensor:
        """Return the inverse of each cell's own block of JᵀWJ + Λ, of shape (B, n_cells, k, k).

        Parameters
        ----------
        field : LappedField
            Whose B it is of.
        precision : Tensor of shape (B or 1, n_cells, k, k)
            Blocks of Λ.
        """
        windows = field.cells.windows(self.density * self.trust)
        rows, basis = windows.flatten(0, 1), field.basis.detach()
        size = max(1, _CHUNK // basis.numel())
        blocks = torch.cat([(part[:, None] * basis) @ basis.T for part in rows.split(size)])
        return torch.linalg.inv(blocks.unflatten(0, windows.shape[:2]) + precision)


def density_at(field: LappedField, places: Tensor | None, weights: Tensor) -> Tensor:
    """Return how many values were observed around each sample of the grid of the tables.

    Parameters
    ----------
    field : LappedField
        Whose grid it is.
    places : Tensor of shape (N, d), or None
        Points in samples of that grid; None = the grid itself.
    weights : Tensor of shape (B, c, N)
        One where a value was observed, zero elsewhere.

    Returns
    -------
    Tensor of shape (B, c, *shape)
        Each value counts once, near its point.
    """
    if places is None:
        return weights.unflatten(2, field.shape)
    return spline.spread(weights, places, field.shape)
