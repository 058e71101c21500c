"""Where voxels lie: affines, and the spacing of coordinates, a single slice's included."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

#: Names of the axes of a volume, in the order of an affine's columns.
AXES = ("x", "y", "z")

#: Names of the axis that a volume may have beside those of space, by the unit of its steps.
FRAME_AXES = {
    "s": "time",
    "Hz": "frequency",
    "ppm": "chemical_shift",
    "rad/s": "angular_frequency",
}

#: Units of length that coordinates are given in, in millimetres.
LENGTHS = {"mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "nm": 1e-6}

# Positions count as evenly spaced where their gaps differ by no more than this part of them.
_EVEN = 1e-3


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of neighbouring voxels along each axis, shape (3,).

    Parameters
    ----------
    affine : array of shape (4, 4)
        Voxel index → position.

    Examples
    --------
    >>> voxel_sizes(np.diag([-2.0, 3.0, 1.5, 1.0]))
    array([2. , 3. , 1.5])
    """
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def affine_fault(affine: NDArray[np.float64]) -> str | None:
    """Return in words why an affine places no voxels, or None if it does.

    Left-handed, oblique and sheared ones do.

    Parameters
    ----------
    affine : array
        Should be of shape (4, 4).

    Examples
    --------
    >>> affine_fault(np.diag([2.0, 0.0, 1.0, 1.0]))
    'voxel sizes must be positive, got [2.0, 0.0, 1.0] mm'
    """
    if affine.shape != (4, 4):
        return f"an affine must be 4×4, got shape {affine.shape}"
    sizes = voxel_sizes(affine)
    if not (np.isfinite(affine).all() and (sizes > 0).all()):
        return f"voxel sizes must be positive, got {sizes.tolist()} mm"
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        return f"two axes of the volume run in one direction: its affine is {affine.tolist()}"
    return None


def affine_of(volume: xr.DataArray) -> NDArray[np.float64]:
    """Return the affine that a volume's coordinates belong to; without one, they are positions.

    Raises
    ------
    ValueError
        If ``attrs["affine"]`` places no voxels.

    Examples
    --------
    >>> affine_of(xr.DataArray(np.zeros(3), dims="x")).diagonal()
    array([1., 1., 1., 1.])
    """
    stored = volume.attrs.get("affine", np.eye(4))
    try:  # NetCDF and Zarr hold lists of lists as text
        numbers = json.loads(stored) if isinstance(stored, str) else stored
        affine = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"attrs['affine'] must be a 4×4 matrix, got {stored!r:.80}") from None
    if (fault := affine_fault(affine)) is not None:
        raise ValueError(f"attrs['affine']: {fault}")
    return affine


def affine_from(
    affine: NDArray[np.float64], first: NDArray[np.float64], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the affine of another grid along the same axes.

    Parameters
    ----------
    affine : array of shape (4, 4)
        Voxel index → position in millimetres, of the grid that coordinates belong to.
    first : array of shape (3,)
        Coordinates of the other grid's first voxel, in millimetres.
    steps : array of shape (3,)
        Its steps in millimetres, negative where coordinates descend.

    Examples
    --------
    >>> affine_from(np.diag([2.0, 2.0, 2.0, 1.0]), np.array([6.0, 0, 0]), np.array([1.0, 2, 2]))[0]
    array([1., 0., 0., 6.])
    """
    sizes = voxel_sizes(affine)
    to_index = np.eye(4)
    to_index[range(3), range(3)] = steps / sizes
    to_index[:3, 3] = first / sizes
    return np.asarray(affine @ to_index)


def millimetres(shape: Sequence[int], affine: NDArray[np.float64]) -> dict[str, Any]:
    """Return coordinates along x, y and z, in xarray's form: voxel index × voxel size.

    Parameters
    ----------
    shape : sequence of at most three int
        Voxels along each axis.
    affine : array of shape (4, 4)
        Voxel index → position in millimetres.

    Examples
    --------
    >>> millimetres((3,), np.diag([0.5, 1.0, 1.0, 1.0]))
    {'x': ('x', array([0. , 0.5, 1. ]), {'units': 'mm'})}
    """
    return {
        axis: (axis, np.arange(size) * step, {"units": "mm"})
        for axis, size, step in zip(AXES, shape, voxel_sizes(affine), strict=False)
    }


def length_unit(coordinate: xr.DataArray) -> float:
    """Return the unit of a coordinate in millimetres; one without a unit is in millimetres.

    Raises
    ------
    ValueError
        If the unit is none of length.

    Examples
    --------
    >>> length_unit(xr.DataArray([0.0, 1.0], dims="x", attrs={"units": "cm"}))
    10.0
    """
    unit = coordinate.attrs.get("units", "mm")
    if unit not in LENGTHS:
        raise ValueError(
            f"coordinate {coordinate.name!r} must be in one of {', '.join(LENGTHS)}, got {unit!r}"
        )
    return LENGTHS[unit]


def step_of(positions: NDArray[Any], name: str) -> float:
    """Return the step between two or more evenly spaced positions, negative if they descend.

    Raises
    ------
    ValueError
        If they are not evenly spaced.

    Examples
    --------
    >>> step_of(np.array([4.0, 2.0, 0.0]), "x")
    -2.0
    """
    gaps = np.diff(np.asarray(positions, dtype=np.float64))
    step = float(gaps.mean())
    if step == 0 or not np.allclose(gaps, step, rtol=_EVEN, atol=0):
        raise ValueError(
            f"coordinates must be evenly spaced; those of {name!r} have gaps from {gaps.min():g} "
            f"to {gaps.max():g}"
        )
    return step


def slice_spacing(volume: xr.DataArray, axis: str) -> float | None:
    """Return how far the next voxel would be along an axis of one, in the coordinate's unit.

    A single coordinate says nothing of it; the affine does, of which only the directions serve
    otherwise.

    Parameters
    ----------
    volume : DataArray
        With one position along `axis`.
    axis : str
        Name of the axis.

    Returns
    -------
    float or None
        None if it is not known.

    Examples
    --------
    >>> volume = xr.DataArray(np.zeros((1, 1, 1)), dims=("x", "y", "z"))
    >>> slice_spacing(volume.assign_attrs(affine=np.diag([1.0, 1.0, 5.0, 1.0])), "z")
    5.0
    """
    if "affine" not in volume.attrs or not _is_of_space(volume, axis):
        return None
    size = voxel_sizes(affine_of(volume))[AXES.index(axis)]
    return float(size) / length_unit(volume[axis])


def with_spacing(volume: xr.DataArray, spacing: Mapping[str, float]) -> xr.DataArray:
    """Return the volume with the spacing of its single slices in the affine.

    Parameters
    ----------
    volume : DataArray
        Its voxels stay where they are: coordinates are millimetres along the affine's directions.
    spacing : mapping of str to float
        Spacing by axis, in the unit of the axis; axes of several voxels are passed over, because
        their coordinates say it.

    Examples
    --------
    >>> line = xr.DataArray([[1.0]], {"x": [0.0], "z": [3.5]}, ("x", "z"))
    >>> with_spacing(line, {"z": 8.0}).attrs["affine"][2]
    [0.0, 0.0, 8.0, 0.0]
    """
    single = [a for a in spacing if volume.sizes.get(a) == 1 and _is_of_space(volume, a)]
    affine = affine_of(volume).copy()
    for axis in single:
        column = AXES.index(axis)
        size = spacing[axis] * length_unit(volume[axis])
        affine[:3, column] *= size / voxel_sizes(affine)[column]
    return volume.assign_attrs(affine=affine.tolist()) if single else volume


def _is_of_space(volume: xr.DataArray, axis: str) -> bool:
    """Return whether an axis is one that the affine speaks of, and not a picture's in pixels."""
    return axis in AXES and volume[axis].attrs.get("units", "mm") in LENGTHS
