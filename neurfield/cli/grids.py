"""Other grids over the extent of a given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Axes = dict[str, NDArray[np.float64]]

_MOST_POINTS = 2**31 - 1  # along one axis; no field has seen as many


def regrid(
    axes: Mapping[str, NDArray[np.float64]],
    grid: Sequence[int] | None = None,
    scale: float | None = None,
    spacing: Sequence[float] | None = None,
) -> Axes:
    """Return coordinates over the same extent, at another resolution.

    Parameters
    ----------
    axes : mapping of str to array
        Coordinates of each axis.
    grid : sequence of int, optional
        Number of points along each axis, from the first coordinate to the last.
    scale : float, optional
        Factor on the number of points along each axis.
    spacing : sequence of float, optional
        Distance of neighbouring points, one for all axes or one for each, from the first
        coordinate on.

    Returns
    -------
    dict of str to array
        The axes as they were, if neither is given.

    Raises
    ------
    ValueError
        If there are more or fewer numbers than axes, they are not positive, or ask for more points
        along an axis than there can be.

    Examples
    --------
    >>> regrid({"time": np.array([0.0, 1.0, 2.0])}, grid=(5,))
    {'time': array([0. , 0.5, 1. , 1.5, 2. ])}
    >>> regrid({"time": np.array([2.0, 1.0, 0.0])}, spacing=[0.8])
    {'time': array([2. , 1.2, 0.4])}
    """
    names = ", ".join(axes)
    if grid is not None:
        if len(grid) != len(axes):
            raise ValueError(f"grid needs {len(axes)} numbers ({names}), got {list(grid)}")
        return _with_sizes(axes, grid)
    if scale is not None:
        if not 0 < scale < np.inf:
            raise ValueError(f"scale must be a positive number, got {scale}")
        return _with_sizes(axes, [round(len(axis) * scale) for axis in axes.values()])
    if spacing is None:
        return dict(axes)
    steps = list(spacing) * len(axes) if len(spacing) == 1 else list(spacing)
    if len(steps) != len(axes) or not all(0 < step < np.inf for step in steps):
        raise ValueError(
            f"spacing needs one positive number, or {len(axes)} ({names}), got {list(spacing)}"
        )
    for (name, axis), step in zip(axes.items(), steps, strict=True):
        _check_size(name, abs(_length(axis)) / step)
    return {
        # A small surplus keeps the last point, which rounding could put beyond the end.
        name: axis[0] + _towards(axis, step) * np.arange(int(abs(_length(axis)) / step + 1e-6) + 1)
        for (name, axis), step in zip(axes.items(), steps, strict=True)
    }


def _length(axis: NDArray[np.float64]) -> float:
    """Return the distance from the first point to the last, negative where coordinates fall."""
    return float(axis[-1] - axis[0])


def _towards(axis: NDArray[np.float64], step: float) -> float:
    return step if _length(axis) >= 0 else -step


def _with_sizes(axes: Mapping[str, NDArray[np.float64]], sizes: Sequence[int]) -> Axes:
    if min(sizes) < 1:
        raise ValueError(f"a grid needs at least one point along each axis, got {list(sizes)}")
    for name, size in zip(axes, sizes, strict=True):
        _check_size(name, size)
    return {
        name: np.linspace(axis[0], axis[-1], size)
        for (name, axis), size in zip(axes.items(), sizes, strict=True)
    }


def _check_size(name: str, size: float) -> None:
    """Refuse an axis of more points than any signal has, before it is made."""
    if size > _MOST_POINTS:
        raise ValueError(
            f"a grid has at most {_MOST_POINTS} points along an axis, got {size:.3g} along {name}"
        )
