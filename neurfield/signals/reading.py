"""Read any accepted container into one internal form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import xarray as xr

from neurfield.signals.agreement import check_agreement
from neurfield.signals.arrays import read_array
from neurfield.signals.dataarrays import read_dataarray
from neurfield.signals.datasets import read_dataset
from neurfield.signals.groups import Signals
from neurfield.signals.layout import Layout
from neurfield.signals.lists import is_list_of_signals, read_list


def read_signals(
    X: Any,
    channel_axis: int | None = None,
    expected: Layout | None = None,
    columns: pd.Index | None = None,
) -> Signals:
    """Bring any accepted container into groups of (n, *shape, c) arrays.

    Parameters
    ----------
    X : ndarray, DataArray, Dataset, or list of ndarray or DataArray
        An ndarray is taken as validated already (numeric, at least two axes).
    channel_axis : int, optional
        Axis of array input, sample axis included, that holds channels.
    expected : Layout, optional
        Layout seen in fit, which axes and channels must agree with.
    columns : Index, optional
        Positions of the columns of a table that array input comes from.

    Returns
    -------
    Signals
        The same data in the caller's units, of which lazy values are still to be read.

    Raises
    ------
    ValueError
        If dimensions, coordinates or channels do not fit together, or a signal has no value.
    """
    if isinstance(X, xr.Dataset):
        signals = read_dataset(X, expected)
    elif isinstance(X, xr.DataArray):
        signals = read_dataarray(X, expected)
    elif is_list_of_signals(X):
        signals = read_list(X, channel_axis, expected)
    else:
        signals = read_array(X, channel_axis, expected, columns)
    if expected is not None:
        check_agreement(signals.layout, expected)
    if signals.layout.axes is None:
        ends = [
            (min(float(a.min()) for a in parts), max(float(a.max()) for a in parts))
            for parts in zip(*(group.axes for group in signals.groups), strict=True)
        ]
        signals = replace(signals, layout=replace(signals.layout, extent=tuple(ends)))
    for group in signals.groups:
        if group.is_checked:  # values to be read later are checked when they are
            _ = group.observed
    return signals
