"""Values on a grid as sums of cosines, and variances that depend on their frequency alone."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy import fft
from torch import Tensor

# Frequencies share a variance whose distance from zero, in half waves along the longest axis, is
# the same up to the lower number, and about this many to a doubling beyond.
_APART, _TO_DOUBLING = 5, 4


class Cosines:
    """The orthonormal discrete cosine transform on a grid, over each channel.

    Parameters
    ----------
    shape : tuple of d int
        Points along each axis.
    n_channels : int
        c.
    """

    def __init__(self, shape: tuple[int, ...], n_channels: int) -> None:
        self.shape, self.n_channels = shape, n_channels
        self._over = tuple(range(1, 1 + len(shape)))

    @property
    def size(self) -> int:
        """M · c, the number of coefficients."""
        return int(np.prod(self.shape)) * self.n_channels

    def coefficients(self, values: np.ndarray) -> np.ndarray:
        """Return the coefficients of values, both of shape (n, M · c)."""
        return self._transform(fft.dctn, values)

    def values(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the values that have these coefficients, both of shape (n, M · c)."""
        return self._transform(fft.idctn, coefficients)

    def _transform(
        self, transform: type[fft.dctn] | type[fft.idctn], rows: np.ndarray
    ) -> np.ndarray:
        signals = rows.reshape(len(rows), *self.shape, self.n_channels)
        found = transform(signals, axes=self._over, norm="ortho")
        return np.asarray(found).reshape(len(rows), -1)

    @cached_property
    def frequency(self) -> Tensor:
        """Of each coefficient, in half waves along the longest axis; of shape (M · c,)."""
        along = [np.arange(n) / n for n in self.shape]
        squares = sum(np.square(k) for k in np.meshgrid(*along, indexing="ij"))
        distance = max(self.shape) * np.sqrt(squares)
        return torch.as_tensor(np.repeat(np.ravel(distance), self.n_channels))

    @cached_property
    def _band(self) -> Tensor:
        distance = self.frequency
        octaves = (distance / _APART).clamp_min(1.0).log2()
        band = torch.where(
            distance < _APART, distance.floor(), _APART + (_TO_DOUBLING * octaves).floor()
        ).long()
        return band * self.n_channels + torch.arange(len(band)) % self.n_channels

    def smoothed(self, power: Tensor) -> Tensor:
        """Return the means of numbers over frequencies alike, for each channel.

        Parameters
        ----------
        power : Tensor of shape (M · c,)
            One for each coefficient.
        """
        sums = torch.bincount(self._band, power)
        return (sums / torch.bincount(self._band).clamp_min(1))[self._band]
