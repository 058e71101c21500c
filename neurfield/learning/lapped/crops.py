"""Pieces of signals on their grid, cut at random places, so that a step costs the same anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurfield.fields.lapped import Cells
from neurfield.learning.store import ContextStore
from neurfield.signals.lazy import LazyValues
from neurfield.signals.mapped import let_go

# Most samples of a crop along an axis, for signals of one, two and three axes.
_MOST_SAMPLES = (1024, 64, 32)


@dataclass(frozen=True)
class Crops:
    """A batch of pieces of signals.

    Parameters
    ----------
    values : Tensor of shape (B, c, *shape)
        Scaled values; zero where nothing was observed.
    weights : Tensor of shape (B, c, *shape), optional
        One where a value was observed, zero elsewhere; None when everything was.
    sample_weight : Tensor of shape (B,), optional
        As how many signals each counts; None = all once.
    """

    values: Tensor
    weights: Tensor | None = None
    sample_weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def of_signals(self, index: slice | Tensor) -> Crops:
        """Return some of them.

        Parameters
        ----------
        index : slice or int Tensor
            Which ones.
        """
        weights = None if self.weights is None else self.weights[index]
        counts = None if self.sample_weight is None else self.sample_weight[index]
        return Crops(self.values[index], weights, counts)

    def residual(self, prediction: Tensor) -> Tensor:
        """Return values - prediction, zero where nothing was observed.

        Parameters
        ----------
        prediction : Tensor of shape (B, c, *shape)
            Scaled values.
        """
        residual = self.values - prediction
        return residual if self.weights is None else residual * self.weights

    def mse(self, prediction: Tensor) -> Tensor:
        """Return each piece's mean squared error over its observed values, of shape (B,).

        Parameters
        ----------
        prediction : Tensor of shape (B, c, *shape)
            Scaled values.
        """
        squared = self.residual(prediction).square().flatten(1)
        if self.weights is None:
            return squared.mean(dim=1)
        return squared.sum(dim=1) / self.weights.flatten(1).sum(dim=1).clamp_min(1.0)


def most_samples(n_axes: int) -> int:
    """Return the most samples of a crop along an axis.

    Parameters
    ----------
    n_axes : int
        Number of axes; lapped fields have at most three.
    """
    return _MOST_SAMPLES[min(n_axes, len(_MOST_SAMPLES)) - 1]


def crop_shape(cells: Cells) -> tuple[int, ...]:
    """Return the samples of a crop along each axis.

    Parameters
    ----------
    cells : Cells
        Of the largest signal. One that is a little longer than a crop, or has one cell, is taken
        whole.
    """
    most = most_samples(len(cells.shape))
    return tuple(
        size if whole or 2 * size <= 3 * most else max(most, side)
        for size, side, whole in zip(cells.shape, cells.side, cells.whole, strict=True)
    )


def draw_crops(
    store: ContextStore,
    n_signals: int,
    shape: tuple[int, ...],
    generator: torch.Generator,
    positions: np.ndarray | None = None,
) -> Crops:
    """Draw pieces of random signals, at a random place in each.

    A signal that is smaller than a piece is taken whole, and the rest of the piece is a gap.

    Parameters
    ----------
    store : ContextStore
        Training signals on grids.
    n_signals : int
        Pieces to draw, at least one from each of as many signals as there are, up to so many.
    shape : tuple of d int
        Samples of a piece along each axis.
    generator : torch.Generator
        CPU generator.
    positions : int array, optional
        Of these signals, the first of them; by default random ones.
    """
    drawn = store.drawn(n_signals, generator) if positions is None else positions[:n_signals]
    sizes = np.array([store.grids[g].group.values.shape[1:-1] for g in store.group_of[drawn]])
    if (sizes > np.array(shape)).any() and len(drawn) < n_signals:
        # Few signals that are larger than a piece have many of them.
        drawn = np.resize(drawn, n_signals)
        sizes = np.resize(sizes, (n_signals, sizes.shape[1]))
    room = np.maximum(sizes - np.array(shape) + 1, 1)
    places = torch.rand(room.shape, generator=generator, dtype=torch.float64).numpy()
    starts = np.minimum((places * room).astype(np.int64), room - 1)
    values = _cut(store, drawn, starts, shape)
    scaled = torch.as_tensor(store.units.values(values)).to(store.device, store.dtype)
    scaled = scaled.movedim(-1, 1)
    weights = None
    if bool(torch.isnan(scaled).any()):
        weights = (~torch.isnan(scaled)).to(store.dtype)
        scaled = torch.nan_to_num(scaled)
    sample_weight = None
    if store.sample_weight is not None:
        sample_weight = torch.as_tensor(store.sample_weight[drawn]).to(store.device, store.dtype)
    return Crops(scaled.contiguous(), weights, sample_weight)


def _cut(
    store: ContextStore, drawn: np.ndarray, starts: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Read the pieces, of shape (B, *shape, c)."""
    groups = store.group_of[drawn]
    pieces = [np.empty(0)] * len(drawn)
    for g in np.unique(groups):
        members = np.flatnonzero(groups == g)
        rows, values = store.row_of[drawn[members]], store.grids[g].group.values
        if isinstance(values, LazyValues):  # whose signals are read whole, and each of them once
            unique, rows = np.unique(rows, return_inverse=True)
            values = values[unique]
        for i, row in zip(members, rows, strict=True):
            pieces[i] = _padded(values[(row, *_slices(starts[i], shape))], shape)
    found = np.stack(pieces)
    for g in np.unique(groups):
        let_go(store.grids[g].group.values)
    return found


def _padded(piece: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a piece of the whole shape, NaN beyond the end of its signal."""
    if piece.shape[:-1] == shape:
        return piece
    whole = np.full((*shape, piece.shape[-1]), np.nan, np.result_type(piece.dtype, np.float32))
    whole[tuple(slice(0, n) for n in piece.shape[:-1])] = piece
    return whole


def _slices(start: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start.tolist(), shape, strict=True))
