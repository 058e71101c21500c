"""Values beside a field and its directions, as a linear map of independent numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from neurfield.learning.nodes import read, reader
from neurfield.learning.noise import CorrelatedNoise


class Grain(ABC):
    """Values ε = K z at some points, with independent z of variance one.

    Parameters
    ----------
    coords : array of shape (M, d)
        Normalised points.
    variance : array of shape (M, c)
        Of each value.
    """

    def __init__(self, coords: np.ndarray, variance: np.ndarray) -> None:
        self.coords, self.variance = coords, np.asarray(variance, dtype=np.float64)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Of z: nodes, and channels."""

    @abstractmethod
    def values(self, numbers: Tensor) -> Tensor:
        """Return K z, of shape (n, M, c)."""

    @abstractmethod
    def back(self, values: Tensor) -> Tensor:
        """Return Kᵀ of values, of the shape of n z."""

    @abstractmethod
    def relative(self, numbers: Tensor) -> Tensor:
        """Return values at the nodes of z, in their standard deviations."""

    @abstractmethod
    def relative_back(self, values: Tensor) -> Tensor:
        """Return the transpose of :meth:`relative`."""

    @abstractmethod
    def told(self, there: Grain, numbers: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Return what numbers that were found at other points say here.

        Parameters
        ----------
        there : Grain
            At these other points.
        numbers : Tensor of shape (n, N, c)
            Several z.
        left : Tensor of shape (N, c)
            Which part of the variance is left at the nodes.

        Returns
        -------
        values : Tensor of shape (n, M, c)
            K z.
        left : Tensor of shape (M, c)
            Which part of their variance is left.
        """


class Independent(Grain):
    """Values of which each is independent, so that they say nothing of other points."""

    def __init__(self, coords: np.ndarray, variance: np.ndarray) -> None:
        super().__init__(coords, variance)
        self._std = torch.as_tensor(np.sqrt(self.variance))

    @property
    def shape(self) -> tuple[int, int]:
        return self._std.shape[0], self._std.shape[1]

    def values(self, numbers: Tensor) -> Tensor:
        return self._std * numbers

    def back(self, values: Tensor) -> Tensor:
        return self._std * values

    def relative(self, numbers: Tensor) -> Tensor:
        return numbers

    def relative_back(self, values: Tensor) -> Tensor:
        return values

    def told(self, there: Grain, numbers: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        if np.array_equal(self.coords, there.coords):
            return self._std * numbers, left
        nothing = torch.zeros_like(self._std)
        return nothing.expand(len(numbers), -1, -1), nothing + 1.0


class Correlated(Grain):
    """Values that are read between the nodes of a grid.

    Parameters
    ----------
    coords, variance
        Of any grain.
    noise : CorrelatedNoise
        At the nodes.
    """

    def __init__(self, coords: np.ndarray, variance: np.ndarray, noise: CorrelatedNoise) -> None:
        super().__init__(coords, variance)
        self._noise = noise

    @property
    def shape(self) -> tuple[int, int]:
        return self._noise.shape

    def values(self, numbers: Tensor) -> Tensor:
        return self.read(self.at_nodes(numbers))

    def back(self, values: Tensor) -> Tensor:
        return torch.as_tensor(self._noise.back(self.read_back(values).numpy()))

    def relative(self, numbers: Tensor) -> Tensor:
        return torch.as_tensor(self._noise.values(numbers.numpy()) / self._noise.std)

    def relative_back(self, values: Tensor) -> Tensor:
        return torch.as_tensor(self._noise.back(values.numpy() / self._noise.std))

    def told(self, there: Grain, numbers: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.values(numbers), self.read(left[None])[0]

    def at_nodes(self, numbers: Tensor) -> Tensor:
        """Return values at the nodes, of shape (n, N, c), of numbers z."""
        return torch.as_tensor(self._noise.values(numbers.numpy()))

    def precise(self, values: Tensor) -> Tensor:
        """Return the inverse covariance times values at the nodes, of shape (n, N, c)."""
        return torch.as_tensor(self._noise.precise(values.numpy()))

    def read(self, values: Tensor) -> Tensor:
        """Return what values at the nodes, of shape (n, N, c), are at the points: (n, M, c)."""
        return torch.as_tensor(read(self._reader, values.numpy()))

    def read_back(self, values: Tensor) -> Tensor:
        """Return the transpose of :meth:`read`."""
        transpose = None if self._reader is None else self._reader.T
        return torch.as_tensor(read(transpose, values.numpy()))

    def gathered(self, values: Tensor) -> Tensor:
        """Return means of values of shape (M, c) around each node; of all where none is around."""
        total = self.read_back(values[None])[0]
        weight = self.read_back(torch.ones_like(values)[None])[0]
        return torch.where(weight > 0, total / weight.clamp_min(1e-300), values.mean(dim=0))

    @cached_property
    def _reader(self) -> csr_array | None:
        return reader(self._noise.axes, self.coords)
