"""Values of signals that neither a field nor its directions describe: noise with a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from scipy import fft

from neurfield.learning.cosines import Cosines

_LEAST = 1e-3  # of the mean of a spectrum


class CorrelatedNoise:
    """Normal numbers on a grid, of a variance at each node and a spectrum that all have.

    They are D C z, with z independent of variance one: C gives them the spectrum, D the variances.

    Parameters
    ----------
    axes : sequence of d arrays
        Of the grid, in normalised coordinates.
    variance : array of shape (*shape, c)
        At each node, positive.
    spectrum : array of shape (*shape, c)
        Mean squares of the coefficients of cosines where variances are one, positive.

    Attributes
    ----------
    std : float64 array of shape (N, c)
        At each of the N nodes.
    """

    def __init__(self, axes: Sequence[np.ndarray], variance: np.ndarray, spectrum: np.ndarray):
        self.axes, self._shape = axes, variance.shape[:-1]
        self._cosines = Cosines(self._shape, variance.shape[-1])
        self._root = np.sqrt(spectrum.astype(np.float64)).ravel()
        self.std = np.sqrt(variance.astype(np.float64)).reshape(-1, variance.shape[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes, and channels."""
        return self.std.shape[0], self.std.shape[1]

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Return D C z, of shape (n, N, c), of numbers z of that shape."""
        return self._scale * self._coloured(numbers)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Return C D of values of shape (n, N, c), the transpose of :meth:`values`."""
        return self._coloured(self._scale * values)

    def precise(self, values: np.ndarray) -> np.ndarray:
        """Return the inverse covariance times values of shape (n, N, c)."""
        return self._coloured(values / self._scale, -2) / self._scale

    def _coloured(self, numbers: np.ndarray, power: int = 1) -> np.ndarray:
        coefficients = self._cosines.coefficients(numbers.reshape(len(numbers), -1))
        return self._cosines.values(self._root**power * coefficients).reshape(numbers.shape)

    @cached_property
    def _scale(self) -> np.ndarray:
        """D, beside the variances that the spectrum alone gives each node."""
        variance = np.square(self._root).reshape(*self._shape, -1)
        for axis in range(len(self._shape)):
            variance = np.moveaxis(_at_nodes(np.moveaxis(variance, axis, -1)), -1, axis)
        return self.std / np.sqrt(variance).reshape(self.std.shape)


def spectrum_of(values: np.ndarray, variance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the spectrum that signals have once their variances are one.

    Parameters
    ----------
    values : array of shape (n, N c)
        Of signals on a grid, around zero.
    variance : array of shape (*shape, c)
        Of them at each node of the grid.
    weights : array of shape (n,)
        As how many signals each counts.

    Returns
    -------
    array of shape (*shape, c)
        Positive, with a mean of one for each channel; frequencies alike share a number.
    """
    cosines = Cosines(variance.shape[:-1], variance.shape[-1])
    rows = values / np.sqrt(variance.astype(np.float64)).ravel()
    power = np.average(np.square(cosines.coefficients(rows)), axis=0, weights=weights)
    spectrum = cosines.smoothed(torch.as_tensor(power)).numpy().reshape(variance.shape)
    mean = spectrum.mean(axis=tuple(range(variance.ndim - 1)))
    return np.maximum(spectrum / mean, _LEAST)


def _at_nodes(spectrum: np.ndarray) -> np.ndarray:
    """Return Σₖ sₖ cₖ² at each node, with orthonormal waves of cosines cₖ along the last axis.

    But for the first one, cₖ² = (1 + cos(2π k (x + ½) / n)) / n.
    """
    n = spectrum.shape[-1]
    turned = spectrum * np.exp(1j * np.pi * np.arange(n) / n)
    turned[..., 0] = 0.0
    return np.asarray(spectrum.mean(axis=-1, keepdims=True) + fft.ifft(turned).real)
