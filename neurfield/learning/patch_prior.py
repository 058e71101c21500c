"""What small patches of signals are like, wherever they lie: a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

_STATE = "patches_"
_AT_ONCE = 2**20  # numbers of patches along the axes of all kinds
_LEAST, _LEAST_NOISE = 1e-3, 1e-2  # of the mean square of patches


@dataclass(frozen=True)
class PatchPrior:
    """Kinds of patches, beside their own mean of each channel.

    Parameters
    ----------
    weights : float32 array of shape (K,)
        How many patches are of each kind; their sum is one.
    means : float32 array of shape (K, *sides, c)
        Of a kind, in scaled units.
    covariances : float32 array of shape (K, D, D)
        Of a kind, of the D numbers of a patch.

    References
    ----------
    Zoran and Weiss, "From Learning Models of Natural Image Patches to Whole Image Restoration",
    ICCV 2011.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def sides(self) -> tuple[int, ...]:
        """How many nodes a patch has along each axis."""
        return self.means.shape[1:-1]

    @cached_property
    def rms(self) -> float:
        """Root mean square of patches, beside their means."""
        squares = np.square(self.means).reshape(len(self.means), -1).mean(axis=1)
        squares = squares + np.einsum("kii->k", self.covariances) / self.covariances.shape[1]
        return float(np.sqrt(self.weights @ squares))

    def smoothed(self, values: Tensor, places: Tensor, variance: float) -> Tensor:
        """Return means over patches, each as its kind has it most probably.

        Parameters
        ----------
        values : Tensor of shape (N, c)
            Of a signal with noise, at the nodes of a grid.
        places : int Tensor of shape (n, S)
            Nodes of each patch, as :func:`places_of` returns them; all nodes are among them.
        variance : float
            Of the noise of a value.
        """
        rows, mean = self._rows(values, places)
        found = torch.empty_like(rows)
        kinds = self._kinds(rows, variance)
        for own, (which, wide, axes) in zip(self._flat_means, self._of_each(kinds), strict=True):
            shrunk = axes * (wide / (wide + variance))
            found[which] = (rows[which] - own) @ (axes @ shrunk.T) + own
        return _averaged(found.unflatten(1, (-1, values.shape[1])) + mean, places)

    def left(self, values: Tensor, places: Tensor, variance: Tensor, counted: float) -> Tensor:
        """Return which variance is left of one that values have, by the kinds of their patches.

        Parameters
        ----------
        values : Tensor of shape (N, c)
            Of a signal.
        places : int Tensor of shape (n, S)
            Nodes of each patch.
        variance : Tensor of shape (N, c)
            Of each value, if nothing was known of patches.
        counted : float
            How much patches count, at most 1.
        """
        rows = self._rows(values, places)[0]
        before = variance[places].mean(dim=(1, 2))
        found = torch.empty_like(rows)
        kinds = self._kinds(rows, _LEAST_NOISE * self.rms**2)
        for which, variances, axes in self._of_each(kinds):
            wide, noise = variances / counted, before[which, None]
            found[which] = (noise * wide / (noise + wide)) @ axes.square().T
        of_means = before / places.shape[1]
        left = found.unflatten(1, (-1, values.shape[1])) + of_means[:, None, None]
        return torch.minimum(_averaged(left, places), variance)

    def state(self) -> dict[str, np.ndarray]:
        """Return arrays from which :meth:`from_state` rebuilds it."""
        return {_STATE + one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self | None:
        """Rebuild what :meth:`state` described, and take it out of the state of what holds it.

        Parameters
        ----------
        state : dict
            Which may have none; its arrays that are of patches are removed.
        """
        found = {
            key.removeprefix(_STATE): state.pop(key)
            for key in list(state)
            if key.startswith(_STATE)
        }
        return cls(**found) if found else None

    def check(self, shape: Sequence[int], n_channels: int) -> None:
        """Refuse what no fit leaves, such as what a damaged file holds.

        Parameters
        ----------
        shape : sequence of d int
            Of the grid of signals.
        n_channels : int
            c.

        Raises
        ------
        ValueError
            If shapes do not agree, or numbers are not those of a mixture.
        """
        size, n_kinds = math.prod(self.means.shape[1:]), len(self.weights)
        if (
            self.means.shape[-1] != n_channels
            or len(self.sides) != len(shape)
            or any(side > n for side, n in zip(self.sides, shape, strict=True))
            or len(self.means) != n_kinds
            or self.covariances.shape != (n_kinds, size, size)
        ):
            raise ValueError(
                f"patches must have weights, means and covariances of one size on a grid of shape "
                f"{tuple(shape)} with {n_channels} channels, got shapes {self.weights.shape}, "
                f"{self.means.shape} and {self.covariances.shape}"
            )
        arrays = (self.weights, self.means, self.covariances)
        if not all(np.isfinite(array).all() for array in arrays) or not (self.weights > 0).all():
            raise ValueError("numbers of patches must be finite, and weights positive")

    def _rows(self, values: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches less their means, of shape (n, D), and these, of shape (n, 1, c)."""
        patches = values[places]
        mean = patches.mean(dim=1, keepdim=True)
        return (patches - mean).flatten(1), mean

    def _kinds(self, rows: Tensor, variance: float) -> Tensor:
        """Return the most probable kind of each patch with noise."""
        variances, axes = self._principal
        wide = variances + variance
        constant = torch.as_tensor(self.weights).log() - 0.5 * wide.log().sum(dim=1)
        along = axes.movedim(1, 0).flatten(1)
        middle = (self._flat_means[:, None] @ axes).flatten()
        kinds = []
        for some in rows.split(max(1, _AT_ONCE // len(middle))):
            squares = (some @ along - middle).square_().unflatten(1, wide.shape)
            kinds.append((constant - 0.5 * (squares / wide).sum(dim=2)).argmax(dim=1))
        return torch.cat(kinds)

    def _of_each(self, kinds: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield for each kind which patches are of it, its variances and its axes."""
        variances, axes = self._principal
        order = kinds.argsort()
        counts = torch.bincount(kinds, minlength=len(self.weights)).tolist()
        return zip(order.split(counts), variances, axes, strict=True)

    @cached_property
    def _flat_means(self) -> Tensor:
        return torch.as_tensor(self.means).flatten(1)

    @cached_property
    def _principal(self) -> tuple[Tensor, Tensor]:
        """Variances along the axes of each kind, of shape (K, D), and these, as columns."""
        variances, axes = torch.linalg.eigh(torch.as_tensor(self.covariances))
        return variances.clamp_min(_LEAST * self.rms**2), axes


def places_of(
    shape: Sequence[int], sides: Sequence[int], stride: int, first: Sequence[int]
) -> Tensor:
    """Return the nodes of patches that cover a grid, of shape (n, S), as flat numbers.

    Parameters
    ----------
    shape : sequence of d int
        Of the grid.
    sides : sequence of d int
        Of a patch, no longer than the grid.
    stride : int
        Nodes between patches.
    first : sequence of d int
        Where the first one after those at the edge stands along each axis.
    """
    starts = []
    for n, side, start in zip(shape, sides, first, strict=True):
        last = n - side
        starts.append(np.unique(np.concatenate([[0], np.arange(start, last, stride), [last]])))
    return torch.as_tensor(nodes_from(np.meshgrid(*starts, indexing="ij"), shape, sides))


def nodes_from(
    starts: Sequence[np.ndarray], shape: Sequence[int], sides: Sequence[int]
) -> np.ndarray:
    """Return the nodes of patches, of shape (n, S), as flat numbers.

    Parameters
    ----------
    starts : sequence of d int arrays
        Where each begins along each axis.
    shape, sides
        As :func:`places_of` takes them.
    """
    within = np.meshgrid(*(np.arange(side) for side in sides), indexing="ij")
    first, others = (np.ravel_multi_index(one, tuple(shape)).ravel() for one in (starts, within))
    return first[:, None] + others


def _averaged(patches: Tensor, places: Tensor) -> Tensor:
    """Return values of shape (N, c) of patches of shape (n, S, c) that cover all nodes."""
    n_nodes, n_channels = int(places.max()) + 1, patches.shape[2]
    where = places.flatten()
    total = patches.new_zeros(n_nodes, n_channels).index_add_(0, where, patches.flatten(0, 1))
    return total / torch.bincount(where, minlength=n_nodes)[:, None]
