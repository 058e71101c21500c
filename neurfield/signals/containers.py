"""Read arrays, xarray objects and lists of signals into one internal form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals.layout import CHANNEL, SAMPLE, Layout


@dataclass(frozen=True)
class SignalGroup:
    """Signals that stand on one common grid.

    Parameters
    ----------
    axes : tuple of d float64 arrays
        Grid coordinates in the caller's units.
    values : array of shape (n, *shape, c), any real dtype
        NaN marks a value that was not observed.
    positions : int array of shape (n,)
        Where each signal stands in the caller's order.
    """

    axes: tuple[np.ndarray, ...]
    values: np.ndarray
    positions: np.ndarray

    @property
    def n_points(self) -> int:
        """Number of grid points N."""
        return int(np.prod([len(axis) for axis in self.axes]))


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
                groups.append(
                    SignalGroup(group.axes, group.values[chosen], rank[group.positions[chosen]])
                )
        return Signals(tuple(groups), self.layout)


def is_xarray(X: Any) -> bool:
    """Tell whether the input carries labels of its own."""
    return isinstance(X, xr.DataArray | xr.Dataset)


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
    _check_observed(signals)
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
    axis_names = _axis_names(X.dims, expected)
    X = _channels_in_order(X, expected)
    values, axes = _label_free(X, axis_names)
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
    if len(names) == 1:
        array = X[names[0]]
    elif CHANNEL in dims[names[0]]:
        raise ValueError(
            f'several variables are the channels of X, so none may have a "{CHANNEL}" dimension; '
            f"got {dims}"
        )
    else:
        array = X[names].to_dataarray(dim=CHANNEL).transpose(*dims[names[0]], CHANNEL)
    signals = _read_dataarray(array, expected)
    layout = signals.layout
    return Signals(
        signals.groups,
        Layout(
            **{
                **vars(layout),
                "container": "dataset",
                "name": None,
                "attrs": dict(X.attrs),
                "variable_attrs": {name: dict(X[name].attrs) for name in names},
            }
        ),
    )


def _read_list(X: Sequence[Any], channel_axis: int | None, expected: Layout | None) -> Signals:
    arrays: dict[tuple[bytes, ...], list[tuple[int, np.ndarray]]] = {}
    grids: dict[tuple[bytes, ...], tuple[np.ndarray, ...]] = {}
    first: Layout | None = None
    attrs: dict[str, Any] = {}
    for i, item in enumerate(X):
        try:
            if is_xarray(item) != is_xarray(X[0]):
                raise ValueError("a list must hold arrays or DataArrays, not both")
            layout, values = _read_item(item, channel_axis, first or expected)
            if first is None:
                first, attrs = layout, dict(layout.attrs)
            _check_agreement(layout, first, "in X[0]")
        except ValueError as error:
            raise ValueError(f"X[{i}]: {error}") from None
        assert layout.axes is not None
        key = tuple(axis.tobytes() for axis in layout.axes)
        grids[key] = layout.axes
        arrays.setdefault(key, []).append((i, values))
        for name in [n for n, v in attrs.items() if not _same(v, layout.attrs.get(n))]:
            del attrs[name]  # what differs between signals belongs to none of the decoded ones
    assert first is not None
    groups = tuple(
        SignalGroup(
            grids[key],
            np.stack([values for _, values in members]),
            np.array([i for i, _ in members]),
        )
        for key, members in arrays.items()
    )
    axes = reference_grid([group.axes for group in groups])
    layout = Layout(**{**vars(first), "axes": axes, "attrs": attrs, "is_list": True})
    return Signals(groups, layout)


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(np.array_equal(value, other))


def _read_item(
    item: Any, channel_axis: int | None, expected: Layout | None
) -> tuple[Layout, np.ndarray]:
    """Read one signal of a list, which has no sample axis."""
    if isinstance(item, xr.Dataset):
        raise ValueError("items of a list must be arrays or DataArrays, got a Dataset")
    if isinstance(item, xr.DataArray):
        if SAMPLE in item.dims:
            raise ValueError(f'items of a list are single signals without a "{SAMPLE}" dimension')
        signals = _read_dataarray(item.expand_dims(SAMPLE), expected)
    else:
        array = np.asarray(item)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"values must be real numbers, got dtype {array.dtype}")
        if array.ndim == 0:
            raise ValueError("a signal needs at least one axis, got a single number")
        if array.size == 0:
            raise ValueError(f"a signal needs at least one value, got shape {array.shape}")
        signals = _read_array(array[None], channel_axis, expected)
    return signals.layout, signals.groups[0].values[0]


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


def _label_free(
    X: xr.DataArray, axis_names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the values as (n, *shape, c) and the coordinates of each axis."""
    order = [SAMPLE, *axis_names] + ([CHANNEL] if CHANNEL in X.dims else [])
    values = X.transpose(*order).to_numpy()
    if values.dtype.kind not in "biuf":
        raise ValueError(f"values of X must be real numbers, got dtype {values.dtype}")
    if values.size == 0:
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
    return (values if CHANNEL in X.dims else values[..., None]), tuple(axes)


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


def _check_observed(signals: Signals) -> None:
    """Refuse infinities and signals in which nothing was observed."""
    for group in signals.groups:
        if group.values.dtype.kind != "f":
            continue
        flat = group.values.reshape(len(group.values), -1)
        for start in range(0, len(flat), 1024):
            block, positions = flat[start : start + 1024], group.positions[start : start + 1024]
            if (infinite := np.isinf(block).any(axis=1)).any():
                raise ValueError(
                    f"Input X contains infinity in signal(s) {positions[infinite][:5].tolist()}; "
                    "values must be finite, or NaN where nothing was observed"
                )
            if (empty := np.isnan(block).all(axis=1)).any():
                raise ValueError(
                    f"Input X: signal(s) {positions[empty][:5].tolist()} are NaN everywhere; "
                    "each signal needs at least one observed value"
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
