"""Whole signals for a fit that was given what operators measured of them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from sklearn.utils import check_random_state

from neurfield.given import read_given
from neurfield.learning.cosines import Cosines
from neurfield.learning.measured import Incomplete, Rows, completed
from neurfield.memory import room
from neurfield.operators import check_adjoint
from neurfield.signals import grid_points
from neurfield.signals.arrays import default_axis_names
from neurfield.signals.layout import CHANNEL, SAMPLE
from neurfield.validation import checked_weight

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

_PART_OF_TIME = 1 / 3  # of a fit's, that learning what signals are like may take


def completed_signals(
    encoder: FunctaEncoder, X: Any, operator: Any, likelihood: Any, sample_weight: Any
) -> tuple[np.ndarray | xr.DataArray, np.ndarray | None]:
    """Return signals that are as probable as any, given what was measured of them.

    Parameters
    ----------
    encoder : FunctaEncoder
        That is to be fitted, with parameters that have been checked.
    X, operator, likelihood, sample_weight
        As ``fit`` takes them.

    Returns
    -------
    ndarray of shape (n, ...) or DataArray
        Signals on the operators' grid: an array where its coordinates count from 0, with channels
        where the encoder's ``channel_axis`` says. Those of weight zero are left out.
    array of shape (n,), or None
        Their weights.

    Raises
    ------
    ValueError
        If measurements or operators are not usable; before any work is done.
    """
    started = time.perf_counter()
    if encoder.patch_size is not None:
        raise ValueError(
            "operator= needs a field whose latents are of whole signals or of cells, not of "
            f"patches: fit without patch_size, got patch_size={encoder.patch_size!r}"
        )
    grid = _Grid(X, encoder.channel_axis)
    given = read_given(X, operator, likelihood, grid.checked, lambda: grid.n_channels)
    if len(given.values) < 2:
        raise ValueError(f"fit with operator= needs two signals or more, got {len(given.values)}")
    kept, weight = checked_weight(sample_weight, len(given.values))
    assert grid.axes is not None
    shape = tuple(len(axis) for axis in grid.axes)
    signals = Incomplete(
        given.values[kept],
        Rows([given.operators[i] for i in kept], grid.n_channels, given.shape, given.is_complex),
        Cosines(shape, grid.n_channels),
        given.likelihood.in_fit(),
        None if given.std is None else given.std[kept],
        np.ones(len(kept)) if weight is None else weight,
    )
    seed = int(check_random_state(encoder.random_state).randint(2**31 - 1))
    until = None if encoder.max_time is None else started + _PART_OF_TIME * encoder.max_time
    with room(encoder.memory_budget, signals.bytes, torch.device("cpu"), "fit", encoder.verbose):
        values = completed(signals, seed, until)
    return grid.container(values.reshape(len(kept), *shape, -1)), weight


class _Grid:
    """The grid that all operators share, once one of them has been checked.

    Parameters
    ----------
    X : array of shape (n, ...)
        What they measure.
    channel_axis : int or None
        Which axis of arrays of signals holds channels; None = one channel.
    """

    def __init__(self, X: Any, channel_axis: int | None) -> None:
        self._measured = np.shape(X)[1:]
        self._channel_axis = channel_axis
        self.axes: tuple[np.ndarray, ...] | None = None
        self.n_channels = 1

    def checked(self, operator: Any, name: str) -> tuple[tuple[int, ...], bool]:
        """Refuse an operator that is none, or reads another grid; return what it measures."""
        if self.axes is None:
            self.n_channels = self._channels(operator, name)
        check_adjoint(operator, self.n_channels, name)
        points = np.asarray(operator.points(), dtype=np.float64)
        if self.axes is None:
            self.axes = _axes_of(points, name)
            self._points = points
        elif not np.array_equal(points, self._points):
            raise ValueError(
                "operators must all read the field at the same points for a fit, and "
                f"{name}.points() are others than those of operator[0]"
            )
        measured = np.asarray(operator.apply(np.zeros((1, len(points), self.n_channels))))
        return measured.shape[1:], bool(np.iscomplexobj(measured))

    def _channels(self, operator: Any, name: str) -> int:
        """Return with how many channels an operator measures what there is; 1 where with none."""
        for n_channels in dict.fromkeys((1, 2, *self._measured[-1:])):
            found = None
            # One of somebody's own fails in its own way where it is not made for so many.
            with contextlib.suppress(Exception):
                values = np.zeros((1, len(operator.points()), n_channels))
                found = np.shape(operator.apply(values))[1:]
            if found != self._measured:
                continue
            if n_channels > 1 and self._channel_axis is None:
                raise ValueError(
                    f"X has the shape that {name} measures of signals of {n_channels} channels: "
                    "channel_axis must say which axis of arrays holds them, got None"
                )
            return n_channels
        return 1

    def container(self, values: np.ndarray) -> np.ndarray | xr.DataArray:
        """Return values of shape (n, *shape, c) as signals that ``fit`` takes."""
        assert self.axes is not None
        if all(np.array_equal(axis, np.arange(len(axis))) for axis in self.axes):
            if self._channel_axis is None:
                return values[..., 0]
            return np.moveaxis(values, -1, self._channel_axis)
        names = default_axis_names(len(self.axes))
        coords = dict(zip(names, self.axes, strict=True))
        if self.n_channels == 1:
            return xr.DataArray(values[..., 0], coords, (SAMPLE, *names))
        return xr.DataArray(values, coords, (SAMPLE, *names, CHANNEL))


def _axes_of(points: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
    """Return the coordinates along each axis of a grid in C order.

    Parameters
    ----------
    points : array of shape (M, d)
        Those of the grid.
    name : str
        Of their operator, for the message.
    """
    firsts = [np.sort(np.unique(along, return_index=True)[1]) for along in points.T]
    axes = tuple(along[first] for along, first in zip(points.T, firsts, strict=True))
    size = int(np.prod([len(axis) for axis in axes]))
    if size != len(points) or not np.array_equal(grid_points(axes), points):
        raise ValueError(
            f"{name}.points() must form a grid for a fit, the last axis varying fastest: "
            f"{' × '.join(str(len(axis)) for axis in axes)} coordinates make {size} points, got "
            f"{len(points)}"
        )
    return axes
