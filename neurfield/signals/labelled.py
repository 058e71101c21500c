"""What an xarray object says of its axes, channels and values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from neurfield._compat import is_in_memory
from neurfield.signals.accepted import real
from neurfield.signals.beside import coordinates_beside
from neurfield.signals.encodings import VALUES, encoding_of
from neurfield.signals.layout import CHANNEL, SAMPLE, Layout
from neurfield.signals.lazy import BlockCache, LazySource, LazyValues, Values, block_bounds
from neurfield.signals.scaling import thinning
from neurfield.signals.times import TimeAxis, refuse_zones

_MOST = np.finfo(np.float64).max / 2  # half the extent that an axis may have
_KINDS = {None: "numbers", "M": "dates", "m": "durations"}


def is_xarray(X: Any) -> bool:
    """Tell whether the input carries labels of its own."""
    return isinstance(X, xr.DataArray | xr.Dataset)


def is_lazy(X: xr.DataArray | xr.Dataset) -> bool:
    """Tell values in a dask graph or an opened file from those in memory."""
    variables = [X.variable] if isinstance(X, xr.DataArray) else list(X.data_vars.values())
    return any(not is_in_memory(getattr(v, "variable", v)) for v in variables)


def names_of_axes(dims: Iterable[Any], expected: Layout | None) -> tuple[str, ...]:
    """Return the names of the coordinate axes, in the order seen in fit."""
    names = tuple(str(dim) for dim in dims if dim not in (SAMPLE, CHANNEL))
    if not names:
        raise ValueError(f"X needs at least one coordinate axis, got dimensions {tuple(dims)}")
    if expected is None or set(names) != set(expected.axis_names):
        return names
    return expected.axis_names


def axes_of(
    X: xr.DataArray, axis_names: tuple[str, ...], expected: Layout | None
) -> tuple[tuple[np.ndarray, ...], dict[str, TimeAxis]]:
    """Return the coordinates of each axis as numbers, and how those that are times count."""
    if X.size == 0:
        raise ValueError(f"X needs at least one signal with one value, got sizes {dict(X.sizes)}")
    axes, times = [], {}
    for name in axis_names:
        if name not in X.coords and expected is not None:
            _refuse_indices(name, expected)
        axis, time = numbers_of(X[name], name, expected)
        if not np.isfinite(axis).all() or axis.max() / 2 - axis.min() / 2 > _MOST:
            raise ValueError(
                f'coordinate "{name}" of X must hold finite numbers, none of them NaN or NaT, '
                f"got {axis[~np.isfinite(axis)][:3].tolist() or 'an infinite extent'}"
            )
        values, counts = np.unique(axis, return_counts=True)
        if len(values) < len(axis):
            raise ValueError(
                f'coordinate "{name}" of X must not repeat a value, got '
                f"{values[counts > 1][0]} {counts.max()} times"
            )
        axes.append(axis)
        if time is not None:
            times[name] = time
    return tuple(axes), times


def _refuse_indices(name: str, expected: Layout) -> None:
    """Refuse a dimension without coordinates, which counts indices, where fit saw positions."""
    if name not in expected.axis_names or expected.axes is None:
        return
    seen = expected.axes[expected.axis_names.index(name)]
    if not np.allclose(seen, np.arange(len(seen))):
        raise ValueError(
            f'dimension "{name}" of X has no coordinates, but before they were from {seen[0]:g} to '
            f"{seen[-1]:g}: give X.assign_coords({name}=...), or pass an array, which is taken to "
            "stand on the grid seen in fit"
        )


def numbers_of(
    coord: xr.DataArray, name: str, expected: Layout | None
) -> tuple[np.ndarray, TimeAxis | None]:
    """Return a coordinate in float64, in seconds where it holds dates or durations.

    Parameters
    ----------
    coord : DataArray
        The coordinate; NaN and NaT are the caller's to refuse or to allow.
    name : str
        Its name.
    expected : Layout or None
        Layout seen in fit, which tells where seconds count from.
    """
    values = coord.to_numpy()
    if values.dtype.kind == "O":
        refuse_zones(values, f'coordinate "{name}" of X')
    if values.dtype.kind not in "iufMm":
        raise ValueError(
            f'coordinate "{name}" of X must hold real numbers, dates or durations, got dtype '
            f"{values.dtype}, such as {values.flat[0]!r}; labels have no distances: call the "
            f'dimension "{CHANNEL}" if they name channels, or give positions with '
            f"X.assign_coords({name}=...)"
        )
    kind = values.dtype.kind if values.dtype.kind in "Mm" else None
    seen = None if expected is None else expected.times.get(name)
    if expected is not None and name in expected.axis_names:
        kind_seen = None if seen is None else np.dtype(seen.dtype).kind
        if kind != kind_seen:
            raise ValueError(
                f'coordinate "{name}" of X must hold {_KINDS[kind_seen]} as before, got '
                f"{_KINDS[kind]}"
            )
    if kind is None:
        return values.astype(np.float64), None
    known = values[~np.isnat(values)]
    if known.size == 0:
        raise ValueError(f'coordinate "{name}" of X holds nothing but NaT')
    time = seen or TimeAxis.of(known)
    return np.where(np.isnat(values), np.nan, time.seconds(values)), time


def values_of(X: xr.DataArray, axis_names: tuple[str, ...]) -> Values:
    """Return the values as (n, *shape, c), read now or, where they are not in memory, later."""
    X = real(X, "values of X")
    if not is_lazy(X):
        return _ordered(X, axis_names)
    n_channels = X.sizes.get(CHANNEL, 1)
    shape = (X.sizes[SAMPLE], *(X.sizes[name] for name in axis_names), n_channels)
    return lazy_values(
        lambda start, stop: _ordered(X.isel({SAMPLE: slice(start, stop)}), axis_names),
        shape,
        X.dtype,
        stored_chunks(X),
        None if X.chunks is None else _transposed(X, axis_names).data.reshape(shape),
    )


def _ordered(X: xr.DataArray, axis_names: tuple[str, ...]) -> np.ndarray:
    values = _transposed(X, axis_names).to_numpy()
    return values if CHANNEL in X.dims else values[..., None]


def _transposed(X: xr.DataArray, axis_names: tuple[str, ...]) -> xr.DataArray:
    return X.transpose(SAMPLE, *axis_names, *([CHANNEL] if CHANNEL in X.dims else []))


def lazy_values(
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: Sequence[int] | None,
    graph: Any = None,
) -> LazyValues:
    """Return values that are read block by block, in the pieces that they are stored in."""
    bounds = block_bounds(shape[0], int(np.prod(shape[1:])), chunks)
    every = thinning(int(np.prod(shape[:-1])))
    return LazyValues(LazySource(read, shape, dtype, bounds, BlockCache(), every, graph))


def stored_chunks(X: xr.DataArray) -> list[int] | None:
    """Return how many signals each piece that can be read alone holds."""
    if X.chunks is not None:
        return list(X.variable.chunksizes[SAMPLE])
    size = X.encoding.get("preferred_chunks", {}).get(SAMPLE)
    if size is None:
        return None
    whole, rest = divmod(X.sizes[SAMPLE], size)
    return [size] * whole + [rest] * (rest > 0)


def channels_in_order(X: xr.DataArray, expected: Layout | None) -> xr.DataArray:
    """Put labelled channels into the order seen in fit."""
    labels, seen = labels_of_channels(X), None if expected is None else expected.channel_labels
    if labels is None or seen is None or labels == seen or len(labels) != len(seen):
        return X
    if set(labels) != set(seen) or len(set(seen)) < len(seen):
        raise ValueError(f"the channels of X must be {seen}, got {labels}")
    return X.isel({CHANNEL: [labels.index(label) for label in seen]})


def labels_of_channels(X: xr.DataArray) -> tuple[Any, ...] | None:
    """Return the labels of the channels; None where they have none."""
    if CHANNEL not in X.dims or CHANNEL not in X.coords:
        return None
    labels = X[CHANNEL].to_numpy()
    # Dates as lists would be numbers.
    return tuple(labels if labels.dtype.kind in "Mm" else labels.tolist())


def description_of(X: xr.DataArray, axis_names: tuple[str, ...]) -> dict[str, Any]:
    """Return what a layout keeps of the labels of a DataArray, which do not change its numbers."""
    along = (*axis_names, CHANNEL) if CHANNEL in X.dims else axis_names
    places = [name for name in along if name in X.coords]
    encodings = {VALUES: encoding_of(X)} | {name: encoding_of(X[name]) for name in places}
    return {
        "channel_labels": labels_of_channels(X),
        "name": None if X.name is None else str(X.name),
        "attrs": dict(X.attrs),
        "axis_attrs": {name: dict(X[name].attrs) for name in places},
        "coords": coordinates_beside(X, axis_names),
        "encodings": {name: encoding for name, encoding in encodings.items() if encoding},
    }


def without_values(X: xr.DataArray) -> xr.DataArray:
    """Return an array of the same labels that takes no memory."""
    return X.copy(data=np.broadcast_to(np.zeros((), X.dtype), X.shape))
