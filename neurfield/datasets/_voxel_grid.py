"""Labelled volumes as file formats store them: axes in order, an affine, steps of frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._stored_volume import Frames
from neurfield.geometry import (
    AXES,
    FRAME_AXES,
    affine_from,
    affine_of,
    length_unit,
    step_of,
    voxel_sizes,
)

# Units of time that coordinates are given in, in seconds.
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0}


@dataclass(frozen=True)
class VoxelGrid:
    """Values on a grid of voxels.

    Parameters
    ----------
    data : array of shape (x[, y[, z[, frames[, channels]]]])
        Axes of one stand where later ones need them.
    affine : float array of shape (4, 4)
        Voxel index → position in millimetres.
    frames : Frames
        Of the fourth axis; its unit is None where that counts channels.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    frames: Frames


def voxel_grid(values: xr.DataArray, target: Path) -> VoxelGrid:
    """Return a volume as a grid, its axes found by name.

    Parameters
    ----------
    values : DataArray
        As :func:`save_nifti` takes it.
    target : Path
        File to be written, which errors name.

    Raises
    ------
    ValueError
        If axes or values are none that a file of a volume holds.
    """
    frame_axis = next((a for a in FRAME_AXES.values() if a in values.dims), None) or next(
        (a for a in FRAME_AXES.values() if a in values.coords and values[a].ndim == 0), None
    )
    known = (*AXES, frame_axis, "channel")
    if not values.dims or any(dim not in known for dim in values.dims):
        raise ValueError(
            f"{target}: a volume has dims among {', '.join(AXES)}, time and channel, got "
            f"{values.dims}; values.rename gives others these names"
        )
    try:
        affine = _affine(values)
        frames = _frames(values, frame_axis)
    except ValueError as error:
        raise ValueError(f"{target}: {error}") from error
    dims = [dim for dim in known if dim in values.dims]
    data = _storable(values.transpose(*dims).values, target)
    places = [known.index(dim) for dim in dims]
    placed = [place for place, dim in enumerate(known) if dim in values.coords]
    if frame_axis is None and "channel" in values.dims:
        places[-1] = 3  # channels alone take the fourth axis
        placed = [place for place in placed if place < 3]
    shape = [1] * (max([*places, *(place for place in placed if place < 4)]) + 1)
    for place, size in zip(places, data.shape, strict=True):
        shape[place] = size
    return VoxelGrid(data.reshape(shape), affine, frames)


def _affine(values: xr.DataArray) -> NDArray[np.float64]:
    """Return the affine of the grid on which the values stand."""
    original = affine_of(values)
    steps, first = voxel_sizes(original), np.zeros(3)
    for index, axis in enumerate(AXES):
        if axis not in values.coords:
            continue
        unit = length_unit(values[axis])
        positions = np.atleast_1d(values[axis].values).astype(np.float64) * unit
        if not np.isfinite(positions).all():
            raise ValueError(f"coordinates along {axis!r} must be finite")
        first[index] = positions[0]
        if len(positions) > 1:
            steps[index] = step_of(positions, axis)
    return affine_from(original, first, steps)


def _frames(values: xr.DataArray, axis: str | None) -> Frames:
    if axis is None:
        return Frames(1.0)
    unit = next(unit for unit, name in FRAME_AXES.items() if name == axis)
    if axis not in values.coords:
        raise ValueError(f"frames along {axis!r} need coordinates in {unit}")
    given = values[axis].attrs.get("units", unit)
    factors = _SECONDS if axis == "time" else {unit: 1.0}
    if given not in factors:
        raise ValueError(f"coordinates along {axis!r} must be in {unit}, got {given!r}")
    positions = np.atleast_1d(values[axis].values)
    if positions.dtype.kind not in "iuf" or not np.isfinite(positions).all():
        raise ValueError(f"coordinates along {axis!r} must be real numbers in {unit}")
    positions = positions.astype(np.float64) * factors[given]
    step = step_of(positions, axis) if len(positions) > 1 else 1.0
    if step < 0:
        raise ValueError(
            f"frames must follow each other; values.sortby({axis!r}) puts them in order"
        )
    return Frames(step, float(positions[0]), unit)


def _storable(data: NDArray[Any], target: Path) -> NDArray[Any]:
    """Return the values in a dtype that every program reads, and that holds them all."""
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind not in "biuf":
        hint = "; write real and imaginary part as two channels" if kind == "c" else ""
        raise ValueError(f"{target}: values must be real numbers, got {data.dtype}{hint}")
    if kind == "f":
        return data.astype(np.float64 if size > 4 else np.float32)
    if kind == "b":
        return data.astype(np.uint8)
    narrow = np.iinfo(np.int32)
    fits = not data.size or (data.min() >= narrow.min and data.max() <= narrow.max)
    return data.astype(np.int32) if (size > 4 or data.dtype == np.uint32) and fits else data
