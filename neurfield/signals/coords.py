"""Coordinates that a caller asks for, axis by axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals.layout import CHANNEL, SAMPLE, Layout
from neurfield.signals.times import seconds_of


def axes_from_coords(
    coords: Mapping[Any, Any] | xr.DataArray, layout: Layout
) -> tuple[np.ndarray, ...]:
    """Return one coordinate array per axis from the mapping given as ``coords=``."""
    axis_names = layout.axis_names
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
    axes = tuple(
        np.atleast_1d(_along(layout, name, given[name], f'coords["{name}"]')) for name in axis_names
    )
    for name, axis in zip(axis_names, axes, strict=True):
        if axis.ndim != 1 or axis.size == 0 or not np.isfinite(axis).all():
            raise ValueError(
                f'coords["{name}"] must be a non-empty 1-D array of finite numbers, '
                f"got shape {axis.shape}"
            )
    return axes


def points_from(points: Any, layout: Layout) -> np.ndarray:
    """Return the points given as ``points=`` as numbers, of shape (n_points, d)."""
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] != layout.n_axes or len(array) == 0:
        raise ValueError(
            f"points must have shape (n_points, {layout.n_axes}) for the axes "
            f"{layout.axis_names}, got {array.shape}"
        )
    columns = array.T if array.dtype.kind != "O" else [np.asarray(c.tolist()) for c in array.T]
    along = zip(layout.axis_names, columns, strict=True)
    where = np.stack([_along(layout, name, c, "points") for name, c in along], axis=-1)
    if not np.isfinite(where).all():
        raise ValueError("points must be finite, got NaN or infinity")
    return where


def _along(layout: Layout, name: str, values: Any, what: str) -> np.ndarray:
    if name in layout.times:
        return seconds_of(values, layout.times[name], what)
    return real_array(values, what)


def real_array(values: Any, name: str) -> np.ndarray:
    """Convert an argument to float64, or say which argument holds no real numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "bMmcSU":  # NumPy would take them for other numbers
            raise TypeError(f"got {array.dtype}")
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers, got {values!r}") from error
