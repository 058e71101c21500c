"""Coordinates beside the axes: of samples, of channels, and facts about all signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr
from xarray.indexes import PandasMultiIndex

from neurfield._compat import is_in_memory
from neurfield.signals.layout import CHANNEL, SAMPLE

_MOST_AXES = 2  # such as latitude over y and x; what has more is as large as the signals


def coordinates_beside(X: xr.DataArray, axis_names: tuple[str, ...]) -> dict[str, xr.Variable]:
    """Return coordinates that belong to no sample, without the axes themselves.

    Parameters
    ----------
    X : DataArray
        Signals.
    axis_names : tuple of str
        Names of the coordinate axes.
    """
    places, indexes = {*axis_names, CHANNEL}, X.xindexes
    return {
        str(name): coord.variable.copy()
        for name, coord in X.coords.items()
        if name not in axis_names
        and name not in X.dims
        and set(coord.dims) <= places
        and coord.ndim <= _MOST_AXES
        and is_in_memory(coord.variable)
        and not isinstance(indexes.get(name), PandasMultiIndex)  # nor one of its levels
    }


def sample_coordinates(X: Any) -> xr.Coordinates | None:
    """Return the labels of samples: the index of a DataFrame, coordinates of an xarray object.

    Parameters
    ----------
    X : container of signals or of latents
        Arrays have no labels; DataArrays in a list may each have a scalar ``sample``.

    Returns
    -------
    Coordinates or None
        Along ``sample``, with the levels of a MultiIndex; None where there is none.
    """
    if isinstance(X, xr.DataArray | xr.Dataset):
        other = [name for name, c in X.coords.items() if c.dims != (SAMPLE,)]
        found = X.coords.to_dataset().drop_vars(other).coords
        return found if len(found) else None
    index = _index_of_items(X) if isinstance(X, list | tuple) else getattr(X, "index", None)
    if isinstance(index, pd.MultiIndex):
        return xr.Coordinates.from_pandas_multiindex(index, SAMPLE)
    if index is None or callable(index):
        return None
    return xr.Coordinates({SAMPLE: (SAMPLE, index)})


def index_of_samples(X: Any) -> pd.Index | None:
    """Return the index of a DataFrame, or the labels ``sample`` of xarray objects."""
    if isinstance(X, xr.DataArray | xr.Dataset):
        return X.indexes.get(SAMPLE)
    if isinstance(X, list | tuple):
        return _index_of_items(X)
    return X.index if isinstance(X, pd.DataFrame) else None


def _index_of_items(X: list[Any] | tuple[Any, ...]) -> pd.Index | None:
    """Return the scalar ``sample`` of each DataArray of a list, where they tell them apart."""
    if not all(isinstance(x, xr.DataArray) and SAMPLE in x.coords for x in X):
        return None
    labels = [x.coords[SAMPLE].to_numpy()[()] for x in X if not x.coords[SAMPLE].ndim]
    if len(labels) < len(X):
        return None
    index = pd.Index(labels, name=SAMPLE, tupleize_cols=False)
    return index if index.is_unique else None


def same(coords: Mapping[str, xr.Variable], other: Mapping[str, xr.Variable]) -> dict[str, Any]:
    """Return those coordinates that two signals have in common."""
    return {n: v for n, v in coords.items() if n in other and v.identical(other[n])}
