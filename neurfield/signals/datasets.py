"""Read Datasets, whose variables are channels, into groups of signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals.dataarrays import read_dataarray
from neurfield.signals.encodings import VALUES, encoding_of
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.labelled import is_lazy, lazy_values, stored_chunks, without_values
from neurfield.signals.layout import CHANNEL, SAMPLE, Layout
from neurfield.signals.missing import decoded


def read_dataset(X: xr.Dataset, expected: Layout | None) -> Signals:
    """Read a Dataset of one or more variables over a "sample" dimension."""
    if expected is not None and expected.container == "dataset":
        names = list(expected.variable_attrs)
        if missing := [name for name in names if name not in X.data_vars]:
            raise ValueError(
                f"X lacks the variables {missing} seen in fit; it has {list(map(str, X.data_vars))}"
            )
    else:
        names = [str(n) for n, v in X.data_vars.items() if SAMPLE in v.dims and v.ndim > 1]
    if not names:
        raise ValueError(
            f'X must hold a variable with a "{SAMPLE}" dimension and at least one coordinate axis, '
            f"got {dict(X.sizes)} with variables {list(map(str, X.data_vars))}"
        )
    dims = {name: tuple(str(dim) for dim in X[name].dims) for name in names}
    if len({frozenset(d) for d in dims.values()}) > 1:
        raise ValueError(f"all variables of X must have the same dimensions, got {dims}")
    if len(names) > 1 and CHANNEL in dims[names[0]]:
        raise ValueError(
            f'several variables are the channels of X, so none may have a "{CHANNEL}" dimension; '
            f"got {dims}"
        )
    original = X
    X = X.assign({name: decoded(X[name]).variable for name in names})
    signals = _read_variables(X[names], expected)
    layout = signals.layout
    encodings: dict[str, Any] = {name: encoding_of(original[name]) for name in names}
    encodings |= {name: e for name, e in layout.encodings.items() if name != VALUES}
    layout = replace(
        layout,
        container="dataset",
        name=None,
        attrs=dict(X.attrs),
        encodings={name: encoding for name, encoding in encodings.items() if encoding},
        variable_attrs={name: dict(X[name].attrs) for name in names},
    )
    return Signals(signals.groups, layout)


def _read_variables(X: xr.Dataset, expected: Layout | None) -> Signals:
    """Read variables of the same dimensions; several of them are the channels."""
    names = list(X.data_vars)
    if len(names) == 1:
        return read_dataarray(X[names[0]], expected)

    def stacked(part: xr.Dataset) -> xr.DataArray:
        return part.to_dataarray(dim=CHANNEL).transpose(*X[names[0]].dims, CHANNEL)

    if not is_lazy(X) or all(X[name].chunks is not None for name in names):
        return read_dataarray(stacked(X), expected)
    # Stacking would read variables of an opened file whole, so each block is stacked by itself.
    outline = read_dataarray(stacked(X.map(without_values)), expected)
    (group,) = outline.groups

    def read(start: int, stop: int) -> np.ndarray:
        part = stacked(X.isel({SAMPLE: slice(start, stop)}))
        return np.asarray(read_dataarray(part, expected).groups[0].values)

    values = lazy_values(read, group.values.shape, group.values.dtype, stored_chunks(X[names[0]]))
    return Signals((SignalGroup(group.axes, values, group.positions),), outline.layout)
