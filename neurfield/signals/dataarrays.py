"""Read DataArrays into groups of signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.labelled import (
    axes_of,
    channels_in_order,
    description_of,
    names_of_axes,
    values_of,
)
from neurfield.signals.layout import SAMPLE, Layout
from neurfield.signals.missing import decoded
from neurfield.signals.scattered import point_coordinates, read_scattered


def read_dataarray(X: xr.DataArray, expected: Layout | None) -> Signals:
    """Read a DataArray with a "sample" dimension, on a grid or at scattered points."""
    if SAMPLE not in X.dims:
        raise ValueError(
            f'X must have a dimension named "{SAMPLE}", got dimensions {tuple(X.dims)}; '
            "pass a list for signals without one"
        )
    X = channels_in_order(decoded(X), expected)
    if names := point_coordinates(X, expected):
        return read_scattered(X, names, expected)
    axis_names = names_of_axes(X.dims, expected)
    axes, times = axes_of(X, axis_names, expected)
    values = values_of(X, axis_names)
    layout = Layout(
        container="dataarray",
        is_list=False,
        axis_names=axis_names,
        axes=axes,
        n_channels=values.shape[-1],
        dims=tuple(str(dim) for dim in X.dims),
        times=times,
        **description_of(X, axis_names),
    )
    return Signals((SignalGroup(axes, values, np.arange(len(values))),), layout)


def one_by_one(signals: xr.DataArray | Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """Return signals as a list of one array each, with their names in ``attrs["filename"]``.

    Parameters
    ----------
    signals : DataArray or sequence of DataArray
        One array, in which coordinates along ``sample`` are names, or one each already.
    """
    if not isinstance(signals, xr.DataArray):
        return list(signals)
    if SAMPLE not in signals.dims:
        return [signals]
    each = [one.assign_attrs(signals.attrs) for one in signals.transpose(SAMPLE, ...)]
    if SAMPLE in signals.coords:
        each = [one.assign_attrs(filename=str(one[SAMPLE].item())) for one in each]
    return each
