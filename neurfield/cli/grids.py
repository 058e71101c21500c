"""Other grids over the extent of a given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Axes = dict[str, NDArray[np.float64]]


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
        If there are more or fewer numbers than axes, or they are not positive.

    Examples
    --------
    >>> regrid({"time": np.array([0.0, 1.0, 2.0])}, grid=(5,))
    {'time': array([0. , 0.5, 1. , 1.5, 2. ])}
    >>> regrid({"time": np.array([0.0, 1.0, 2.0])}, spacing=[0.8])
    {'time': array([0. , 0.8, 1.6])}
    """
    names = ", ".join(axes)
    if grid is not None:
        if len(grid) != len(axes):
            raise ValueError(f"grid needs {len(axes)} numbers ({names}), got {list(grid)}")
        return _with_sizes(axes, grid)
    if scale is not None:
        return _with_sizes(axes, [round(len(axis) * scale) for axis in axes.values()])
    if spacing is None:
        return dict(axes)
    steps = list(spacing) * len(axes) if len(spacing) == 1 else list(spacing)
    if len(steps) != len(axes) or min(steps) <= 0:
        raise ValueError(
            f"spacing needs one positive number, or {len(axes)} ({names}), got {list(spacing)}"
        )
    return {
        # A small surplus keeps the last point, which rounding could put beyond the end.
        name: axis[0] + step * np.arange(int((axis[-1] - axis[0]) / step + 1e-6) + 1)
        for (name, axis), step in zip(axes.items(), steps, strict=True)
    }


def _with_sizes(axes: Mapping[str, NDArray[np.float64]], sizes: Sequence[int]) -> Axes:
    if min(sizes) < 1:
        raise ValueError(f"a grid needs at least one point along each axis, got {list(sizes)}")
    return {
        name: np.linspace(axis[0], axis[-1], size)
        for (name, axis), size in zip(axes.items(), sizes, strict=True)
    }
