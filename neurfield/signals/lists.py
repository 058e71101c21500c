"""Read lists of signals, each on a grid or at points of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals.accepted import real
from neurfield.signals.agreement import check_agreement
from neurfield.signals.arrays import read_array
from neurfield.signals.beside import same
from neurfield.signals.dataarrays import read_dataarray
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.labelled import is_lazy, is_xarray, without_values
from neurfield.signals.layout import SAMPLE, Layout
from neurfield.signals.lazy import BlockCache, LazySource, LazyValues, Values, block_bounds
from neurfield.signals.missing import decoded, filled
from neurfield.signals.scaling import thinning


def is_list_of_signals(X: Any) -> bool:
    """Tell a list of arrays (one signal each) from nested lists of numbers."""
    return isinstance(X, list | tuple) and any(isinstance(x, np.ndarray) or is_xarray(x) for x in X)


def read_list(X: Sequence[Any], channel_axis: int | None, expected: Layout | None) -> Signals:
    """Read single signals, of which those on the same points become one group."""
    arrays: dict[tuple[bool, bytes], list[tuple[int, _Member]]] = {}
    grids: dict[tuple[bool, bytes], tuple[np.ndarray, ...]] = {}
    first: Layout | None = None
    attrs: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for i, item in enumerate(X):
        try:
            if is_xarray(item) != is_xarray(X[0]):
                raise ValueError("a list must hold arrays or DataArrays, not both")
            layout, member = _read_item(item, channel_axis, expected or first)
            if first is None:
                first, attrs, coords = layout, dict(layout.attrs), dict(layout.coords)
            check_agreement(layout, first, "in X[0]")
        except ValueError as error:
            raise ValueError(f"X[{i}]: {error}") from None
        key = (member.is_scattered, b"|".join(axis.tobytes() for axis in member.axes))
        grids[key] = member.axes
        arrays.setdefault(key, []).append((i, member))
        for name in [n for n, v in attrs.items() if not _same(v, layout.attrs.get(n))]:
            del attrs[name]  # what differs between signals belongs to none of the decoded ones
        coords = same(coords, layout.coords)
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
    layout = replace(first, axes=axes, attrs=attrs, coords=coords, is_list=True)
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
        item = decoded(item)
        lazy = is_lazy(item)
        signals = read_dataarray(
            (without_values(item) if lazy else item).expand_dims(SAMPLE), expected
        )
    else:
        lazy = isinstance(item, np.memmap)
        array = real(np.asarray(filled(item)), "values")
        if array.ndim == 0:
            raise ValueError("a signal needs at least one axis, got a single number")
        if array.size == 0:
            raise ValueError(f"a signal needs at least one value, got shape {array.shape}")
        signals = read_array(array[None], channel_axis, expected)
    (group,) = signals.groups
    values = np.asarray(group.values)[0]

    def read() -> np.ndarray:
        if not lazy or not is_xarray(item):
            return values
        (loaded,) = read_dataarray(item.compute().expand_dims(SAMPLE), expected).groups
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
