"""Evenly spaced grids of one spacing, over the extent of signals of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from neurfield.signals.frame import CoordinateFrame
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.lazy import BlockCache, LazySource, LazyValues, Values

_UNEVEN = 0.01  # steps by which points of an even axis may be off
_SAME = 0.05  # steps by which the extent of a signal may be off, over all of it
_EDGE = 0.5 + 1e-6  # steps by which a signal may reach beyond the outermost points


@dataclass(frozen=True)
class BaseGrid:
    """The grid of the largest signal of a fit, whose spacing holds for signals of other sizes.

    Coordinates ascend, whichever way those of the signals run.

    Parameters
    ----------
    lower, upper : array of shape (d,)
        First and last point along each axis, in the caller's units.
    shape : tuple of d int
        Number of points along each axis.

    Examples
    --------
    >>> base = BaseGrid(np.array([0.0]), np.array([63.0]), (64,))
    >>> base.over((np.arange(10.0, 42.0, 0.5),)).shape
    (32,)
    """

    lower: np.ndarray
    upper: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of_signals(cls, signals: Signals, who: str) -> Self:
        """Find the spacing of a data set, the median of its signals', and its largest signal.

        Parameters
        ----------
        signals : Signals
            On grids of any sizes.
        who : str
            What needs them so, for messages.

        Raises
        ------
        ValueError
            If one stands on scattered points, or an axis is not evenly spaced.
        """
        for group in signals.groups:
            if group.is_scattered:
                raise ValueError(f"{who} needs signals on a grid, got scattered points")
            _check_even(group.axes, signals.layout.axis_names, who)
        ends = np.array([_ends(group.axes) for group in signals.groups])
        lower, upper = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
        if len(signals.groups) == 1:
            return cls(lower, upper, tuple(len(axis) for axis in signals.groups[0].axes))
        # A grid of two points has the spacing; the largest signal decides how many there are.
        step = _median_step(signals)
        two = cls(lower, lower + step, (2,) * len(step))
        sizes = np.array([two.over(group.axes).shape for group in signals.groups]).max(axis=0)
        return cls(lower, lower + step * (sizes - 1), tuple(sizes.tolist()))

    @property
    def axes(self) -> tuple[np.ndarray, ...]:
        """Coordinates along each axis."""
        ends = zip(self.lower, self.upper, self.shape, strict=True)
        return tuple(np.linspace(*end) for end in ends)

    @cached_property
    def step(self) -> np.ndarray:
        """Distance of neighbouring points along each axis; 1 where there is one point only."""
        gaps = np.array(self.shape) - 1
        return np.where(gaps > 0, (self.upper - self.lower) / np.maximum(gaps, 1), 1.0)

    @property
    def frame(self) -> CoordinateFrame:
        """The map of its extent onto [-1, 1]."""
        return CoordinateFrame.from_axes([self.axes])

    def over(self, axes: Sequence[np.ndarray], least: Sequence[int] | None = None) -> Self:
        """Return the grid of the same spacing over the extent of another one, in its middle.

        Parameters
        ----------
        axes : sequence of d arrays
            Coordinates along each axis, in the caller's units.
        least : sequence of d int, optional
            Fewest points along each axis, for which the grid may reach beyond the extent.
        """
        lower, upper = _ends(axes)
        gaps = np.floor((upper - lower) / self.step + _SAME).astype(np.int64)
        sizes = gaps + 1 if least is None else np.maximum(gaps + 1, least)
        half = 0.5 * self.step * (sizes - 1)
        off = np.abs(0.5 * (upper - lower) - half) > 0.5 * _SAME * self.step
        middle = 0.5 * (lower + upper)
        return replace(
            self,
            lower=np.where(off, middle - half, lower),
            upper=np.where(off, middle + half, upper),
            shape=tuple(sizes.tolist()),
        )

    def encloses(self, axes: Sequence[np.ndarray]) -> bool:
        """Tell whether coordinates lie within the grid, or half a step beyond its ends.

        Parameters
        ----------
        axes : sequence of d arrays
            Coordinates along each axis, in the caller's units.
        """
        lower, upper = _ends(axes)
        edge = _EDGE * self.step
        return bool((lower >= self.lower - edge).all() and (upper <= self.upper + edge).all())

    def regular(self, signals: Signals) -> Signals:
        """Return signals on grids of this spacing that all begin at its first point.

        Those of another spacing are interpolated by cubic convolution; around a gap, values are
        gaps too.

        Parameters
        ----------
        signals : Signals
            On evenly spaced grids of any size.
        """
        groups = []
        for group in map(ascending, signals.groups):
            grid = self.over(group.axes)
            values = group.values
            first = np.array([axis[0] for axis in group.axes])
            if values.shape[1:-1] != grid.shape or (first != grid.lower).any():
                values = _mapped(values, grid.shape, group.axes, grid.axes)
            ends = zip(self.lower, self.step, grid.shape, strict=True)
            axes = tuple(first + step * np.arange(n) for first, step, n in ends)
            if grid.shape == self.shape:
                axes = self.axes
            groups.append(SignalGroup(axes, values, group.positions))
        return replace(signals, groups=tuple(joined(groups)))


def ascending(group: SignalGroup) -> SignalGroup:
    """Return a group with coordinates that ascend along each axis, without copying values.

    Parameters
    ----------
    group : SignalGroup
        On a grid; one of scattered points or of lazy values is returned as it is.
    """
    if group.is_scattered or isinstance(group.values, LazyValues):
        return group
    down = [j for j, axis in enumerate(group.axes) if axis[0] > axis[-1]]
    if not down:
        return group
    axes = tuple(axis[::-1] if j in down else axis for j, axis in enumerate(group.axes))
    return replace(group, axes=axes, values=np.flip(group.values, tuple(1 + j for j in down)))


def joined(groups: Sequence[SignalGroup]) -> list[SignalGroup]:
    """Put groups of one shape into one, but for those of lazy values.

    Parameters
    ----------
    groups : sequence of SignalGroup
        Whose coordinates are those of the first one, where shapes agree.
    """
    alike: dict[object, list[SignalGroup]] = {}
    for group in groups:
        lazy = isinstance(group.values, LazyValues)
        alike.setdefault(id(group) if lazy else group.values.shape[1:], []).append(group)
    found = []
    for members in alike.values():
        first = members[0]
        if len(members) > 1:
            values = np.concatenate([np.asarray(member.values) for member in members])
            positions = np.concatenate([member.positions for member in members])
            first = replace(first, values=values, positions=positions)
        found.append(first)
    return found


def _ends(axes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest coordinate along each axis."""
    return np.array([axis.min() for axis in axes]), np.array([axis.max() for axis in axes])


def _median_step(signals: Signals) -> np.ndarray:
    """Return the spacing of a signal in the middle, when signals are sorted by their spacing."""
    found = []
    for j in range(signals.layout.n_axes):
        steps: list[float] = []
        for group in signals.groups:
            axis = group.axes[j]
            if len(axis) > 1:
                steps += [float(np.ptp(axis)) / (len(axis) - 1)] * len(group.positions)
        found.append(float(np.quantile(steps, 0.5, method="lower")) if steps else 1.0)
    return np.array(found)


def is_even(axis: np.ndarray) -> bool:
    """Tell whether an axis is evenly spaced, but for a hundredth of a step.

    Parameters
    ----------
    axis : array
        Coordinates, in order.
    """
    steps = np.diff(axis)
    if not len(steps):
        return True
    return not bool(np.abs(steps - steps.mean()).max() > _UNEVEN * abs(steps.mean()))


def _check_even(axes: Sequence[np.ndarray], names: Sequence[str], who: str) -> None:
    for name, axis in zip(names, axes, strict=True):
        if not is_even(axis):
            steps = np.diff(axis)
            raise ValueError(
                f"{who} needs evenly spaced axes, so that all cells are alike; axis "
                f'"{name}" has steps from {steps.min():g} to {steps.max():g}'
            )


def _mapped(
    values: Values,
    shape: tuple[int, ...],
    axes: Sequence[np.ndarray],
    onto: Sequence[np.ndarray],
) -> Values:
    """Interpolate values onto another grid; lazy ones when they are read."""
    if not isinstance(values, LazyValues):
        return _interpolated(values, axes, onto)
    source = values.source

    def read(start: int, stop: int) -> np.ndarray:
        return _interpolated(source.read(start, stop), axes, onto)

    size = (source.shape[0], *shape, source.shape[-1])
    dtype = np.result_type(source.dtype, np.float32)
    lazy = LazySource(read, size, dtype, source.bounds, BlockCache(), source.every)
    return LazyValues(lazy, values.rows)


def _interpolated(
    values: np.ndarray, axes: Sequence[np.ndarray], onto: Sequence[np.ndarray]
) -> np.ndarray:
    """Read values of shape (n, *shape, c) at the points of a grid by cubic convolution."""
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    for j, (axis, points) in enumerate(zip(axes, onto, strict=True), start=1):
        last = len(axis) - 1
        step = (axis[-1] - axis[0]) / last if last else 1.0
        place = np.round((points - axis[0]) / step, 6)
        first = np.floor(place)
        t = place - first
        weights = [
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        ]
        along = [-1 if axis == j else 1 for axis in range(values.ndim)]
        total = np.zeros((), dtype=values.dtype)
        for offset, weight in enumerate(weights):
            index = np.clip(first.astype(np.int64) + offset - 1, 0, last)
            part = np.take(values, index, axis=j) * weight.reshape(along).astype(values.dtype)
            total = total + np.where(weight.reshape(along) == 0, 0, part)  # 0 · NaN is no gap
        values = total
    return values
