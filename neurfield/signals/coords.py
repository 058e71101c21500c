"""Coordinates that a caller asks for, axis by axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals.layout import CHANNEL, SAMPLE


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
