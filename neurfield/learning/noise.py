"""Values of signals that neither a field nor its directions describe: noise with a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
import torch
from scipy import fft
from scipy.sparse import csr_array

from neurfield.learning.cosines import Cosines

_ON_NODES = 1e-6  # of the extent of an axis
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

    def reader(self, coords: np.ndarray) -> csr_array | None:
        """Return the matrix that reads values between the nodes, linearly; None where on them.

        Parameters
        ----------
        coords : array of shape (M, d)
            Normalised; beyond the grid, as at its edge.

        Returns
        -------
        sparse array of shape (M, N), or None
            Each row has weights of the nodes around a point.
        """
        n_nodes = self.shape[0]
        if len(coords) == n_nodes and self._is_on_nodes(coords):
            return None
        first, part = zip(
            *(_between(axis, along) for axis, along in zip(self.axes, coords.T, strict=True)),
            strict=True,
        )
        rows, columns, weights = [], [], []
        for corner in product((0, 1), repeat=len(self.axes)):
            places = [start + side for start, side in zip(first, corner, strict=True)]
            columns.append(np.ravel_multi_index(places, self._shape))
            sides = [p if side else 1.0 - p for p, side in zip(part, corner, strict=True)]
            weights.append(np.prod(sides, axis=0))
            rows.append(np.arange(len(coords)))
        entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
        return csr_array(entries, shape=(len(coords), n_nodes))

    def _is_on_nodes(self, coords: np.ndarray) -> bool:
        nodes = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(coords.shape)
        extent = max(float(np.ptp(axis)) for axis in self.axes)
        return bool(np.abs(nodes - coords).max() < _ON_NODES * extent)

    def _coloured(self, numbers: np.ndarray) -> np.ndarray:
        coefficients = self._cosines.coefficients(numbers.reshape(len(numbers), -1))
        return self._cosines.values(self._root * coefficients).reshape(numbers.shape)

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


def _between(axis: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the node before each number, and which part of the way to the next one it lies."""
    way = np.arange(len(axis), dtype=np.float64)
    ordered = axis if axis[0] < axis[-1] else axis[::-1]
    place = np.interp(along, ordered, way if axis[0] < axis[-1] else way[::-1])
    first = np.minimum(place.astype(int), len(axis) - 2)
    return first, place - first
