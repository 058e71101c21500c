"""Values of a field at points, as what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from neurfield.learning.measured.grain import Grain


@dataclass(frozen=True)
class AtPoints:
    """The identity between scaled values at normalised points and flat measurements.

    Has the methods of :class:`~neurfield.learning.measured.map.Measured`, without an operator and
    its units.

    Parameters
    ----------
    where : Tensor of shape (N, d)
        Normalised points.
    n_channels : int
        c.
    """

    where: Tensor
    n_channels: int

    def coords(self) -> np.ndarray:
        """Return the points, of shape (N, d)."""
        return self.where.double().cpu().numpy()

    def apply(self, values: Tensor) -> Tensor:
        """Return values of shape (n, N, c) as rows, on the CPU."""
        return values.detach().cpu().flatten(1)

    def adjoint(self, rows: Tensor, shape: tuple[int, ...], is_complex: bool) -> Tensor:
        """Return the transpose of :meth:`apply`, of shape (n, N, c)."""
        return rows.unflatten(1, (-1, self.n_channels))

    def at_zero(self) -> np.ndarray:
        """Return what is measured of one signal whose scaled values are zero: nothing else."""
        return np.zeros((1, len(self.where) * self.n_channels))

    def variance(self, grain: Grain) -> np.ndarray:
        """Return the variance of measurements that comes from values beside all that is known.

        Parameters
        ----------
        grain : Grain
            These values.
        """
        return grain.variance.reshape(-1)
