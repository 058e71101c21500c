"""Where to decode, and in which container to return it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from neurfield.codec import Codec
from neurfield.signals import Layout
from neurfield.signals.containers import axes_from_coords, real_array
from neurfield.signals.layout import cast


def decode(
    codec: Codec,
    layout: Layout,
    latents: np.ndarray,
    *,
    grid: Sequence[int] | None,
    coords: Any,
    points: npt.ArrayLike | None,
    dtype: npt.DTypeLike | None,
    samples: npt.ArrayLike | None,
) -> Any:
    """Decode latents where the caller asks: see ``FunctaEncoder.inverse_transform``."""
    targets = {"grid": grid, "coords": coords, "points": points}
    given = [name for name, value in targets.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"give at most one of grid, coords and points, got {given}")
    if dtype is not None:
        dtype = _checked_dtype(dtype)
    if points is not None:
        return _at_points(codec, layout, latents, points, dtype)
    if coords is not None and not isinstance(coords, Mapping | xr.DataArray):
        return _on_own_grids(codec, layout, latents, coords, dtype)
    if coords is not None:
        axes = axes_from_coords(coords, layout.axis_names)
        _warn_outside(codec, axes)
        values = cast(codec.decode_grid(latents, axes), dtype)
        return layout.label(values, axes, samples)
    axes = decoding_axes(layout, grid)
    return layout.wrap(codec.decode_grid(latents, axes), axes, dtype, samples)


def decoding_axes(layout: Layout, grid: Sequence[int] | None) -> tuple[np.ndarray, ...]:
    """Return the axes of the grid seen in fit, or of one of another size over the same extent."""
    if grid is not None:
        return layout.resized(_checked_grid(grid, layout))
    if layout.axes is None:
        raise ValueError("this estimator has seen no grid: give grid=, coords= or points=")
    return layout.axes


def _at_points(
    codec: Codec,
    layout: Layout,
    latents: np.ndarray,
    points: npt.ArrayLike,
    dtype: npt.DTypeLike | None,
) -> np.ndarray:
    where = real_array(points, "points")
    if where.ndim != 2 or where.shape[1] != layout.n_axes or len(where) == 0:
        raise ValueError(
            f"points must have shape (n_points, {layout.n_axes}) for the axes "
            f"{layout.axis_names}, got {where.shape}"
        )
    if not np.isfinite(where).all():
        raise ValueError("points must be finite, got NaN or infinity")
    codec.frame.warn_outside(where.min(axis=0), where.max(axis=0))
    values = cast(codec.decode(latents, where), dtype)
    return values if layout.has_channels else values[..., 0]


def _on_own_grids(
    codec: Codec,
    layout: Layout,
    latents: np.ndarray,
    coords: Any,
    dtype: npt.DTypeLike | None,
) -> list[Any]:
    grids = list(coords) if isinstance(coords, Iterable) else [coords]
    all_axes = [axes_from_coords(one, layout.axis_names) for one in grids]
    if len(grids) != len(latents):
        raise ValueError(
            f"coords must be one mapping, or one per latent: got {len(grids)} for "
            f"{len(latents)} latents"
        )
    results = []
    for latent, axes in zip(latents, all_axes, strict=True):
        _warn_outside(codec, axes)
        values = cast(codec.decode_grid(latent[None], axes), dtype)
        results.append(layout.label(values, axes, None).isel(sample=0))
    return results


def _warn_outside(codec: Codec, axes: Sequence[np.ndarray]) -> None:
    codec.frame.warn_outside(
        np.array([axis.min() for axis in axes]), np.array([axis.max() for axis in axes])
    )


def _checked_grid(grid: Any, layout: Layout) -> list[int]:
    sizes = list(grid) if isinstance(grid, Sequence | np.ndarray) else [grid]
    whole = all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes
    )
    if len(sizes) != layout.n_axes or not whole:
        raise ValueError(
            f"grid must give {layout.n_axes} positive number(s) of points, one for each of the "
            f"axes {layout.axis_names}, got {grid!r}"
        )
    return [int(n) for n in sizes]


def _checked_dtype(dtype: npt.DTypeLike) -> np.dtype:
    try:
        target = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype must be a type of real numbers, got {dtype!r}") from error
    if target.kind not in "iuf":
        raise ValueError(f"dtype must be a type of real numbers, got {dtype!r}")
    return target
