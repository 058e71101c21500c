"""Read arrays, xarray objects and lists of signals into one internal form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from neurfield._compat import is_in_memory
from neurfield.signals.layout import CHANNEL, POINT, SAMPLE, Layout
from neurfield.signals.lazy import (
    BlockCache,
    LazySource,
    LazyValues,
    Values,
    block_bounds,
    count_observed,
)
from neurfield.signals.scaling import thinning


@dataclass(frozen=True)
class SignalGroup:
    """Signals that stand on one common grid, or on the same scattered points.

    Parameters
    ----------
    axes : tuple of d float64 arrays
        Grid coordinates in the caller's units; for scattered points, the coordinates of each.
    values : array or LazyValues of shape (n, *shape, c), any real dtype
        NaN marks a value that was not observed.
    positions : int array of shape (n,)
        Where each signal stands in the caller's order.
    is_scattered : bool, default=False
        Whether ``axes`` are coordinates of points instead of a grid; values are (n, N, c) then.
    """

    axes: tuple[np.ndarray, ...]
    values: Values
    positions: np.ndarray
    is_scattered: bool = False

    @property
    def n_points(self) -> int:
        """Number of points N."""
        if self.is_scattered:
            return len(self.axes[0])
        return int(np.prod([len(axis) for axis in self.axes]))

    @cached_property
    def observed(self) -> np.ndarray:
        """Number of observed values of each signal, of shape (n,); lazy values are read once.

        Raises
        ------
        ValueError
            If a signal holds an infinity, or nothing but NaN.
        """
        if isinstance(self.values, LazyValues):
            return self.values.observed
        return count_observed(self.values, self.positions)

    @property
    def is_checked(self) -> bool:
        """Whether :attr:`observed` is known without reading all values."""
        return not isinstance(self.values, LazyValues) or self.values.is_surveyed

    def take(self, rows: np.ndarray, positions: np.ndarray) -> SignalGroup:
        """Return some signals of the group, in ascending order, at other positions."""
        lazy = isinstance(self.values, LazyValues)
        values = self.values.take(rows) if lazy else self.values[rows]
        return replace(self, values=values, positions=positions)


@dataclass(frozen=True)
class Signals:
    """A data set: groups of signals on common grids, and the layout they came in."""

    groups: tuple[SignalGroup, ...]
    layout: Layout

    def __len__(self) -> int:
        return sum(len(group.positions) for group in self.groups)

    def subset(self, positions: np.ndarray) -> Signals:
        """Return the signals at the given positions, renumbered in that order."""
        rank = np.full(len(self), -1)
        rank[positions] = np.arange(len(positions))
        groups = []
        for group in self.groups:
            chosen = np.flatnonzero(rank[group.positions] >= 0)
            if len(chosen):
                groups.append(group.take(chosen, rank[group.positions[chosen]]))
        return Signals(tuple(groups), self.layout)

    def check(self) -> None:
        """Refuse infinities and signals in which nothing was observed; reads lazy values once."""
        for group in self.groups:
            _ = group.observed


def is_xarray(X: Any) -> bool:
    """Tell whether the input carries labels of its own."""
    return isinstance(X, xr.DataArray | xr.Dataset)


def is_lazy(X: xr.DataArray | xr.Dataset) -> bool:
    """Tell values in a dask graph or an opened file from those in memory."""
    variables = [X.variable] if isinstance(X, xr.DataArray) else list(X.data_vars.values())
    return any(not is_in_memory(getattr(v, "variable", v)) for v in variables)


def is_list_of_signals(X: Any) -> bool:
    """Tell a list of arrays (one signal each) from nested lists of numbers."""
    return isinstance(X, list | tuple) and any(isinstance(x, np.ndarray) or is_xarray(x) for x in X)


def read_signals(
    X: Any,
    channel_axis: int | None = None,
    expected: Layout | None = None,
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

    Returns
    -------
    Signals

    Raises
    ------
    ValueError
        If dimensions, coordinates or channels do not fit together, or a signal has no value.
    """
    if isinstance(X, xr.Dataset):
        signals = _read_dataset(X, expected)
    elif isinstance(X, xr.DataArray):
        signals = _read_dataarray(X, expected)
    elif is_list_of_signals(X):
        signals = _read_list(X, channel_axis, expected)
    else:
        signals = _read_array(X, channel_axis, expected)
    if expected is not None:
        _check_agreement(signals.layout, expected)
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


def default_axis_names(n_axes: int) -> tuple[str, ...]:
    """Name the axes of an array: x; y, x; z, y, x; and axis_0.. beyond three."""
    if n_axes <= 3:
        return ("z", "y", "x")[3 - n_axes :]
    return tuple(f"axis_{i}" for i in range(n_axes))


def _read_array(X: np.ndarray, channel_axis: int | None, expected: Layout | None) -> Signals:
    if X.size == 0:
        raise ValueError(f"each signal of X needs at least one value, got X of shape {X.shape}")
    values = _channels_last(X, channel_axis)
    shape = values.shape[1:-1]
    if expected is None or expected.container == "array":
        axes = _array_axes(shape, unit_axes=expected is not None and expected.unit_axes)
        axis_names = default_axis_names(len(axes))
    else:
        axes, axis_names = _grid_of_fit(shape, expected), expected.axis_names
    layout = Layout(
        container="array",
        is_list=False,
        axis_names=axis_names,
        axes=axes,
        n_channels=values.shape[-1],
        channel_axis=channel_axis,
    )
    return Signals((SignalGroup(axes, values, np.arange(len(values))),), layout)


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


def _read_dataarray(X: xr.DataArray, expected: Layout | None) -> Signals:
    if SAMPLE not in X.dims:
        raise ValueError(
            f'X must have a dimension named "{SAMPLE}", got dimensions {tuple(X.dims)}; '
            "pass a list for signals without one"
        )
    X = _channels_in_order(X, expected)
    if names := _point_coordinates(X, expected):
        return _read_scattered(X, names)
    axis_names = _axis_names(X.dims, expected)
    axes = _axes_of(X, axis_names)
    values = _values_of(X, axis_names)
    layout = Layout(
        container="dataarray",
        is_list=False,
        axis_names=axis_names,
        axes=axes,
        n_channels=values.shape[-1],
        dims=tuple(str(dim) for dim in X.dims),
        channel_labels=_channel_labels(X),
        name=None if X.name is None else str(X.name),
        attrs=dict(X.attrs),
        axis_attrs={name: dict(X[name].attrs) for name in axis_names},
    )
    return Signals((SignalGroup(axes, values, np.arange(len(values))),), layout)


def _point_coordinates(X: xr.DataArray, expected: Layout | None) -> tuple[str, ...]:
    """Return the names of the coordinates of scattered points; none for values on a grid."""
    if POINT not in X.dims:
        return ()
    along = [
        str(name)
        for name, coord in X.coords.items()
        if POINT in coord.dims and set(coord.dims) <= {SAMPLE, POINT} and name != POINT
    ]
    if expected is not None and set(expected.axis_names) <= set(along):
        return expected.axis_names
    return tuple(name for name in along if X[name].dtype.kind in "biuf")


def _read_scattered(X: xr.DataArray, names: tuple[str, ...]) -> Signals:
    """Read values at points, the same for all signals or, with a sample axis, each one's own."""
    if extra := set(map(str, X.dims)) - {SAMPLE, POINT, CHANNEL}:
        raise ValueError(
            f'X has scattered points along "{POINT}", so it can have no grid beside them; '
            f"got the dimensions {sorted(extra)} too"
        )
    if X.size == 0:
        raise ValueError(f"X needs at least one signal with one value, got sizes {dict(X.sizes)}")
    values, positions = _values_of(X, (POINT,)), np.arange(X.sizes[SAMPLE])
    if any(SAMPLE in X[name].dims for name in names):
        axes = [_per_signal(X, name) for name in names]
        values = values[positions] if isinstance(values, LazyValues) else values
        groups = _grouped_by_points(axes, values)
    else:
        shared = tuple(X[name].to_numpy().astype(np.float64) for name in names)
        groups = (SignalGroup(shared, values, positions, is_scattered=True),)
    for group in groups:
        for name, axis in zip(names, group.axes, strict=True):
            if not np.isfinite(axis).all():
                raise ValueError(f'coordinate "{name}" of X must be finite where X has values')
    layout = Layout(
        container="dataarray",
        is_list=False,
        axis_names=names,
        axes=None,
        n_channels=X.sizes.get(CHANNEL, 1),
        dims=(SAMPLE, *names, *([CHANNEL] if CHANNEL in X.dims else [])),
        channel_labels=_channel_labels(X),
        name=None if X.name is None else str(X.name),
        attrs=dict(X.attrs),
        axis_attrs={name: dict(X[name].attrs) for name in names},
    )
    return Signals(groups, layout)


def _per_signal(X: xr.DataArray, name: str) -> np.ndarray:
    shape = (X.sizes[SAMPLE], X.sizes[POINT])
    coord = X[name] if SAMPLE in X[name].dims else X[name].expand_dims(SAMPLE)
    points = coord.transpose(SAMPLE, POINT).to_numpy().astype(np.float64)
    return np.broadcast_to(points, shape)


def _grouped_by_points(axes: Sequence[np.ndarray], values: np.ndarray) -> tuple[SignalGroup, ...]:
    """Put signals on the same points together, without points that only fill up the array."""
    blank = np.isnan(np.stack(axes)).any(axis=0)
    if values.dtype.kind == "f":
        blank &= np.isnan(values).all(axis=-1)
    else:
        blank[:] = False
    members: dict[bytes, list[int]] = {}
    for i in range(len(values)):
        key = b"".join(axis[i][~blank[i]].tobytes() for axis in axes)
        members.setdefault(key, []).append(i)
    groups = []
    for rows in members.values():
        points = tuple(axis[rows[0]][~blank[rows[0]]] for axis in axes)
        held = np.stack([values[i][~blank[i]] for i in rows])
        groups.append(SignalGroup(points, held, np.array(rows), is_scattered=True))
    return tuple(groups)


def _read_dataset(X: xr.Dataset, expected: Layout | None) -> Signals:
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
    signals = _read_variables(X[names], expected)
    layout = replace(
        signals.layout,
        container="dataset",
        name=None,
        attrs=dict(X.attrs),
        variable_attrs={name: dict(X[name].attrs) for name in names},
    )
    return Signals(signals.groups, layout)


def _read_variables(X: xr.Dataset, expected: Layout | None) -> Signals:
    """Read variables of the same dimensions; several of them are the channels."""
    names = list(X.data_vars)
    if len(names) == 1:
        return _read_dataarray(X[names[0]], expected)

    def stacked(part: xr.Dataset) -> xr.DataArray:
        return part.to_dataarray(dim=CHANNEL).transpose(*X[names[0]].dims, CHANNEL)

    if not is_lazy(X) or all(X[name].chunks is not None for name in names):
        return _read_dataarray(stacked(X), expected)
    # Stacking would read variables of an opened file whole, so each block is stacked by itself.
    outline = _read_dataarray(stacked(X.map(_outline)), expected)
    (group,) = outline.groups

    def read(start: int, stop: int) -> np.ndarray:
        part = stacked(X.isel({SAMPLE: slice(start, stop)}))
        return np.asarray(_read_dataarray(part, expected).groups[0].values)

    values = _lazy_values(read, group.values.shape, group.values.dtype, _stored_chunks(X[names[0]]))
    return Signals((SignalGroup(group.axes, values, group.positions),), outline.layout)


def _outline(X: xr.DataArray) -> xr.DataArray:
    """Return an array of the same labels that takes no memory."""
    return X.copy(data=np.broadcast_to(np.zeros((), X.dtype), X.shape))


def _read_list(X: Sequence[Any], channel_axis: int | None, expected: Layout | None) -> Signals:
    arrays: dict[tuple[bool, bytes], list[tuple[int, _Member]]] = {}
    grids: dict[tuple[bool, bytes], tuple[np.ndarray, ...]] = {}
    first: Layout | None = None
    attrs: dict[str, Any] = {}
    for i, item in enumerate(X):
        try:
            if is_xarray(item) != is_xarray(X[0]):
                raise ValueError("a list must hold arrays or DataArrays, not both")
            layout, member = _read_item(item, channel_axis, first or expected)
            if first is None:
                first, attrs = layout, dict(layout.attrs)
            _check_agreement(layout, first, "in X[0]")
        except ValueError as error:
            raise ValueError(f"X[{i}]: {error}") from None
        key = (member.is_scattered, b"|".join(axis.tobytes() for axis in member.axes))
        grids[key] = member.axes
        arrays.setdefault(key, []).append((i, member))
        for name in [n for n, v in attrs.items() if not _same(v, layout.attrs.get(n))]:
            del attrs[name]  # what differs between signals belongs to none of the decoded ones
    assert first is not None
    n_points = sum(member.n_points for members in arrays.values() for _, member in members)
    cache = BlockCache()
    groups = tuple(
        SignalGroup(
            grids[key],
            _gathered([member for _, member in members], cache, thinning(n_points)),
            np.array([i for i, _ in members]),
            is_scattered=key[0],
        )
        for key, members in arrays.items()
    )
    scattered = any(group.is_scattered for group in groups)
    axes = None if scattered else reference_grid([group.axes for group in groups])
    layout = replace(first, axes=axes, attrs=attrs, is_list=True)
    return Signals(groups, layout)


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(np.array_equal(value, other))


@dataclass(frozen=True)
class _Member:
    """One signal of a list, of shape (*shape, c), in memory or to be read when needed."""

    read: Callable[[], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype
    is_lazy: bool
    axes: tuple[np.ndarray, ...]
    is_scattered: bool

    @property
    def n_points(self) -> int:
        return int(np.prod(self.shape[:-1]))


def _gathered(members: Sequence[_Member], cache: BlockCache, every: int) -> Values:
    """Stack signals of one grid, now or, where one of them is not in memory, block by block."""

    def read(start: int, stop: int) -> np.ndarray:
        return np.stack([member.read() for member in members[start:stop]])

    if not any(member.is_lazy for member in members):
        return read(0, len(members))
    shape = (len(members), *members[0].shape)
    bounds = block_bounds(len(members), int(np.prod(shape[1:])))
    dtype = np.result_type(*(member.dtype for member in members))
    return LazyValues(LazySource(read, shape, dtype, bounds, cache, every))


def _read_item(
    item: Any, channel_axis: int | None, expected: Layout | None
) -> tuple[Layout, _Member]:
    """Read one signal of a list, which has no sample axis."""
    if isinstance(item, xr.Dataset):
        raise ValueError("items of a list must be arrays or DataArrays, got a Dataset")
    if isinstance(item, xr.DataArray):
        if SAMPLE in item.dims:
            raise ValueError(f'items of a list are single signals without a "{SAMPLE}" dimension')
        lazy = is_lazy(item)
        signals = _read_dataarray((_outline(item) if lazy else item).expand_dims(SAMPLE), expected)
    else:
        lazy = isinstance(item, np.memmap)
        array = np.asarray(item)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"values must be real numbers, got dtype {array.dtype}")
        if array.ndim == 0:
            raise ValueError("a signal needs at least one axis, got a single number")
        if array.size == 0:
            raise ValueError(f"a signal needs at least one value, got shape {array.shape}")
        signals = _read_array(array[None], channel_axis, expected)
    (group,) = signals.groups
    values = np.asarray(group.values)[0]

    def read() -> np.ndarray:
        if not lazy or not is_xarray(item):
            return values
        (loaded,) = _read_dataarray(item.compute().expand_dims(SAMPLE), expected).groups
        return np.asarray(loaded.values)[0]

    member = _Member(read, values.shape, values.dtype, lazy, group.axes, group.is_scattered)
    return signals.layout, member


def reference_grid(grids: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Cover the extent of all grids at their median spacing, axis by axis."""
    if len(grids) == 1:
        return grids[0]
    axes = []
    for parts in zip(*grids, strict=True):
        lower = min(axis.min() for axis in parts)
        upper = max(axis.max() for axis in parts)
        steps = [np.ptp(axis) / (len(axis) - 1) for axis in parts if len(axis) > 1]
        size = 1 + round((upper - lower) / np.median(steps)) if steps and upper > lower else 1
        axes.append(np.linspace(lower, upper, size))
    return tuple(axes)


def _axis_names(dims: Iterable[Any], expected: Layout | None) -> tuple[str, ...]:
    names = tuple(str(dim) for dim in dims if dim not in (SAMPLE, CHANNEL))
    if not names:
        raise ValueError(f"X needs at least one coordinate axis, got dimensions {tuple(dims)}")
    if expected is None or set(names) != set(expected.axis_names):
        return names
    return expected.axis_names


def _axes_of(X: xr.DataArray, axis_names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Return the coordinates of each axis."""
    if X.size == 0:
        raise ValueError(f"X needs at least one signal with one value, got sizes {dict(X.sizes)}")
    axes = []
    for name in axis_names:
        axis = X[name].to_numpy()
        if axis.dtype.kind not in "biuf" or not np.isfinite(axis).all():
            raise ValueError(
                f'coordinate "{name}" of X must be finite real numbers in one unit, '
                f"got dtype {axis.dtype}"
            )
        axes.append(axis.astype(np.float64))
    return tuple(axes)


def _values_of(X: xr.DataArray, axis_names: tuple[str, ...]) -> Values:
    """Return the values as (n, *shape, c), read now or, where they are not in memory, later."""
    if X.dtype.kind not in "biuf":
        raise ValueError(f"values of X must be real numbers, got dtype {X.dtype}")
    if not is_lazy(X):
        return _ordered(X, axis_names)
    n_channels = X.sizes.get(CHANNEL, 1)
    shape = (X.sizes[SAMPLE], *(X.sizes[name] for name in axis_names), n_channels)
    return _lazy_values(
        lambda start, stop: _ordered(X.isel({SAMPLE: slice(start, stop)}), axis_names),
        shape,
        X.dtype,
        _stored_chunks(X),
        None if X.chunks is None else _transposed(X, axis_names).data.reshape(shape),
    )


def _ordered(X: xr.DataArray, axis_names: tuple[str, ...]) -> np.ndarray:
    values = _transposed(X, axis_names).to_numpy()
    return values if CHANNEL in X.dims else values[..., None]


def _transposed(X: xr.DataArray, axis_names: tuple[str, ...]) -> xr.DataArray:
    return X.transpose(SAMPLE, *axis_names, *([CHANNEL] if CHANNEL in X.dims else []))


def _lazy_values(
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: Sequence[int] | None,
    graph: Any = None,
) -> LazyValues:
    bounds = block_bounds(shape[0], int(np.prod(shape[1:])), chunks)
    every = thinning(int(np.prod(shape[:-1])))
    return LazyValues(LazySource(read, shape, dtype, bounds, BlockCache(), every, graph))


def _stored_chunks(X: xr.DataArray) -> list[int] | None:
    """Return how many signals each piece that can be read alone holds."""
    if X.chunks is not None:
        return list(X.variable.chunksizes[SAMPLE])
    size = X.encoding.get("preferred_chunks", {}).get(SAMPLE)
    if size is None:
        return None
    whole, rest = divmod(X.sizes[SAMPLE], size)
    return [size] * whole + [rest] * (rest > 0)


def _channels_in_order(X: xr.DataArray, expected: Layout | None) -> xr.DataArray:
    """Put labelled channels into the order seen in fit."""
    labels, seen = _channel_labels(X), None if expected is None else expected.channel_labels
    if labels is None or seen is None or labels == seen or len(labels) != len(seen):
        return X
    if set(labels) != set(seen):
        raise ValueError(f"the channels of X must be {seen}, got {labels}")
    return X.isel({CHANNEL: [labels.index(label) for label in seen]})


def _channel_labels(X: xr.DataArray) -> tuple[Any, ...] | None:
    return tuple(X[CHANNEL].to_numpy().tolist()) if CHANNEL in X.coords else None


def _check_agreement(layout: Layout, expected: Layout, where: str = "seen in fit") -> None:
    if layout.n_axes != expected.n_axes:
        raise ValueError(
            f"X must have {expected.n_axes} coordinate axes {expected.axis_names} as {where}, "
            f"got {layout.n_axes}: {layout.axis_names}"
        )
    if set(layout.axis_names) != set(expected.axis_names):
        raise ValueError(
            f"the coordinate axes of X must be {expected.axis_names} as {where}, "
            f"got {layout.axis_names}"
        )
    if layout.n_channels != expected.n_channels:
        raise ValueError(
            f"X must have {expected.n_channels} channel(s) as {where}, got {layout.n_channels}"
        )


def axes_from_coords(
    coords: Mapping[Any, Any] | xr.DataArray, axis_names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Return one coordinate array per axis from the mapping given as ``coords=``."""
    if isinstance(coords, xr.DataArray):
        coords = {name: coords[name].to_numpy() for name in coords.dims}
    if not isinstance(coords, Mapping):
        raise ValueError(
            f"coords must be a mapping with the axes {tuple(axis_names)}, or one such mapping per "
            f"latent, got {coords!r}"
        )
    given = {str(name): value for name, value in coords.items() if name not in (SAMPLE, CHANNEL)}
    if set(given) != set(axis_names):
        raise ValueError(
            f"coords must have the axes seen in fit, {tuple(axis_names)}, got {tuple(given)}"
        )
    axes = tuple(np.atleast_1d(real_array(given[name], f'coords["{name}"]')) for name in axis_names)
    for name, axis in zip(axis_names, axes, strict=True):
        if axis.ndim != 1 or axis.size == 0 or not np.isfinite(axis).all():
            raise ValueError(
                f'coords["{name}"] must be a non-empty 1-D array of finite numbers, '
                f"got shape {axis.shape}"
            )
    return axes


def real_array(values: Any, name: str) -> np.ndarray:
    """Convert an argument to float64, or say which argument holds no real numbers."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers, got {values!r}") from error
