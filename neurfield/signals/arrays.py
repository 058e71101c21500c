"""Read arrays, which have no labels, into groups of signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neurfield.signals.accepted import as_container, real
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.labelled import axes_of
from neurfield.signals.layout import SAMPLE, Layout
from neurfield.signals.missing import filled


def read_array(
    X: np.ndarray,
    channel_axis: int | None,
    expected: Layout | None,
    columns: pd.Index | None = None,
) -> Signals:
    """Read an array of shape (n, *shape), or with channels where `channel_axis` says."""
    if X.size == 0:
        raise ValueError(f"each signal of X needs at least one value, got X of shape {X.shape}")
    values = _channels_last(X, channel_axis)
    shape = values.shape[1:-1]
    axis_names = default_axis_names(len(shape)) if expected is None else expected.axis_names
    times = {} if expected is None else dict(expected.times)
    if columns is not None and len(shape) == len(axis_names) == 1:
        labelled = xr.DataArray(X, {axis_names[0]: columns}, (SAMPLE, *axis_names))
        axes, times = axes_of(labelled, axis_names, expected)
    elif expected is None or (expected.container == "array" and not expected.has_columns):
        axes = _array_axes(shape, unit_axes=expected is not None and expected.unit_axes)
        axis_names = default_axis_names(len(shape))
    else:
        axes = _grid_of_fit(shape, expected)
    layout = Layout(
        container="array",
        is_list=False,
        axis_names=axis_names,
        axes=axes,
        n_channels=values.shape[-1],
        channel_axis=channel_axis,
        times=times,
        has_columns=columns is not None,
    )
    return Signals((SignalGroup(axes, values, np.arange(len(values))),), layout)


def numbered_columns(X: Any) -> pd.Index | None:
    """Return the labels of a DataFrame's columns where they are positions: numbers or dates.

    Names of columns, and their numbers from 0 on, say no more than the columns of an array.
    """
    if not isinstance(X, pd.DataFrame) or X.columns.nlevels > 1 or X.columns.empty:
        return None
    columns = X.columns
    if columns.equals(pd.RangeIndex(len(columns))):
        return None
    return columns if np.asarray(columns).dtype.kind in "iufMm" else None


def default_axis_names(n_axes: int) -> tuple[str, ...]:
    """Name the axes of an array: x; y, x; z, y, x; and axis_0.. beyond three."""
    if n_axes <= 3:
        return ("z", "y", "x")[3 - n_axes :]
    return tuple(f"axis_{i}" for i in range(n_axes))


def _channels_last(X: np.ndarray, channel_axis: int | None) -> np.ndarray:
    if channel_axis is None:
        return X[..., None]
    if X.ndim < 3:
        raise ValueError(
            "channel_axis needs arrays of at least three axes (sample, axis, channel), "
            f"got X of shape {X.shape}"
        )
    if not -X.ndim < channel_axis < X.ndim or channel_axis % X.ndim == 0:
        raise ValueError(
            f"channel_axis must name an axis after the sample axis of X with {X.ndim} axes, "
            f"got {channel_axis}"
        )
    return np.moveaxis(X, channel_axis, -1)


def one_array(X: Any, channel_axis: int | None) -> tuple[np.ndarray, int | None]:
    """Return one signal as an array, and its channel axis, counted with a sample axis in front."""
    try:
        array = real(np.asarray(filled(as_container(X))), "values of X")
    except ValueError as error:
        raise ValueError(f"X must be one signal, an array of numbers: {error}") from error
    least = 1 if channel_axis is None else 2
    if array.ndim < least:
        raise ValueError(
            f"X must be one signal: real numbers along at least {least} axis/axes, "
            f"got dtype {array.dtype} and shape {array.shape}"
        )
    if channel_axis is None:
        return array, None
    if not -array.ndim <= channel_axis < array.ndim:
        raise ValueError(
            f"channel_axis must name one of the {array.ndim} axes of X, got {channel_axis}"
        )
    return array, channel_axis + (1 if channel_axis >= 0 else 0)


def _array_axes(shape: Iterable[int], unit_axes: bool) -> tuple[np.ndarray, ...]:
    if unit_axes:
        return tuple(np.linspace(-1.0, 1.0, size) for size in shape)
    return tuple(np.arange(size, dtype=np.float64) for size in shape)


def _grid_of_fit(shape: tuple[int, ...], expected: Layout) -> tuple[np.ndarray, ...]:
    """Return the labelled grid of fit for arrays of its shape, which have no labels themselves."""
    if not expected.is_list and expected.axes is not None:
        seen = tuple(len(axis) for axis in expected.axes)
        if shape == seen:
            return expected.axes
        reason = f"that grid has shape {seen}, got signals of shape {shape}"
    else:
        reason = f"its signals stood on grids of their own, got arrays of shape {shape}"
    raise ValueError(
        f"X must be xarray objects with the coordinates {expected.axis_names}, or arrays on the "
        f"grid seen in fit; {reason}"
    )
