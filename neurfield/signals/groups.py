"""A data set in numbers: groups of signals on common points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from neurfield.signals.layout import Layout
from neurfield.signals.lazy import LazyValues, Values, count_observed


def nyquist_of(sizes: Sequence[float]) -> list[float]:
    """Return the highest frequencies that so many points along each axis hold, per extent.

    Parameters
    ----------
    sizes : sequence of d floats
        Points along each axis.
    """
    return [max(1.0, (size - 1) / 2) for size in sizes]


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

    @property
    def nyquist(self) -> list[float]:
        """Highest frequency along each axis that the points can hold, in cycles per extent.

        Scattered points are taken as dense as a grid of as many.
        """
        if self.is_scattered:
            sizes = [self.n_points ** (1 / len(self.axes))] * len(self.axes)
        else:
            sizes = [float(len(axis)) for axis in self.axes]
        return nyquist_of(sizes)

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
    """A data set: groups of signals on common grids, and the layout they came in.

    Parameters
    ----------
    groups : tuple of SignalGroup
        Each on points of its own.
    layout : Layout
        Container, axes and labels.
    sample_weight : float64 array of shape (n,), optional
        As how many signals each counts, more than none, by its position; None = all once.
    """

    groups: tuple[SignalGroup, ...]
    layout: Layout
    sample_weight: np.ndarray | None = None

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
        weight = None if self.sample_weight is None else self.sample_weight[positions]
        return Signals(tuple(groups), self.layout, weight)

    def check(self) -> None:
        """Refuse infinities and signals in which nothing was observed; reads lazy values once."""
        for group in self.groups:
            _ = group.observed
