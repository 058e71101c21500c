"""Steps that bring volumes to one size: intensities, spacing, extent, resolution.

Every step keeps the coordinates where the tissue is, so that a volume that went through any of
them, and what a field decodes from it, can still be laid over the original.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray


def rescale_intensity(
    volume: xr.DataArray,
    *,
    percentiles: tuple[float, float] | None = (0.1, 99.9),
    minimum: float | None = None,
    scale: bool = True,
) -> xr.DataArray:
    """Cut off extreme values and map the rest to [0, 1].

    Parameters
    ----------
    volume : DataArray of any shape, real dtype
        NaN marks values that were not observed.
    percentiles : (float, float) or None, default=(0.1, 99.9)
        Percentiles of the volume's own values below and above which values are cut off; nothing is
        where both are one value, as in a sparse mask.
    minimum : float, optional
        Value, in the volume's unit, to cut off below instead of at the lower percentile.
    scale : bool, default=True
        Whether values are then mapped to [0, 1].

    Returns
    -------
    DataArray of the same shape, float32
        ``attrs["value_range"]`` are the values mapped to 0 and 1, if `scale`; a lazy volume stays
        lazy and has none, because they are not known yet.

    Raises
    ------
    ValueError
        If `percentiles` are not two rising numbers from 0 to 100.

    Examples
    --------
    >>> ramp = xr.DataArray(np.arange(5.0), dims="x")
    >>> rescale_intensity(ramp, percentiles=(0, 50)).values
    array([0. , 0.5, 1. , 1. , 1. ], dtype=float32)
    """
    if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(
            f"percentiles must be two rising numbers from 0 to 100 or None, got {percentiles}"
        )

    def rescale(values: NDArray[Any]) -> tuple[NDArray[np.float32], list[float]]:
        clipped = _clip(np.asarray(values, dtype=np.float32), percentiles, minimum)
        if not scale:
            return clipped, []
        low, high = float(np.nanmin(clipped)), float(np.nanmax(clipped))
        return (clipped - low) / np.float32(high - low if high > low else 1), [low, high]

    if volume.chunks is not None:
        # Percentiles need all values at once: one block, which is one volume as readers give it.
        data = volume.data.rechunk(-1).map_blocks(lambda block: rescale(block)[0], dtype=np.float32)
        return volume.copy(data=data)
    values, value_range = rescale(volume.values)
    rescaled = volume.copy(data=values)
    return rescaled.assign_attrs(value_range=value_range) if value_range else rescaled


def resample(volume: xr.DataArray, spacing: float | Sequence[float]) -> xr.DataArray:
    """Interpolate linearly to another distance of neighbouring voxels.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, channel])
        With evenly or unevenly spaced rising coordinates.
    spacing : float or one for each axis
        Distance in the unit of the coordinates, millimetres as readers give them.

    Returns
    -------
    DataArray
        Over the extent from the first coordinate to the last, of which up to one spacing is left
        over, half at each end.

    Raises
    ------
    ValueError
        If `spacing` is not positive, or has more or fewer numbers than the volume axes.

    Examples
    --------
    >>> line = xr.DataArray([0.0, 3.0, 6.0], dims="x", coords={"x": [0.0, 3.0, 6.0]})
    >>> resample(line, 2.0)["x"].values
    array([0., 2., 4., 6.])
    """
    positions = {}
    for axis, step in _per_axis(volume, spacing, "spacing").items():
        if not step > 0:
            raise ValueError(f"spacing must be positive, got {spacing}")
        first, last = float(volume[axis][0]), float(volume[axis][-1])
        # A small surplus keeps the last point, which rounding could put beyond the end.
        n_steps = int((last - first) / step + 1e-6)
        start = first + (last - first - n_steps * step) / 2
        positions[axis] = start + step * np.arange(n_steps + 1)
    single = {axis: positions.pop(axis) for axis in list(positions) if volume.sizes[axis] == 1}
    resampled = volume.interp(positions, assume_sorted=True, kwargs={"fill_value": "extrapolate"})
    resampled = resampled.astype(np.float32).assign_coords(single)
    return _with_units(resampled, volume)


def crop_or_pad(
    volume: xr.DataArray, shape: int | Sequence[int], *, fill: float = 0.0
) -> xr.DataArray:
    """Cut off or fill up all sides alike, so that the middle of the volume stays in the middle.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, channel])
        With evenly spaced coordinates.
    shape : int or one for each axis
        Voxels along each axis.
    fill : float, default=0.0
        Value of voxels that are added.

    Returns
    -------
    DataArray
        Coordinates go on evenly into the added voxels. If the sides cannot be alike, the end gets
        or loses one voxel more.

    Raises
    ------
    ValueError
        If `shape` is not positive, or has more or fewer numbers than the volume axes.

    Examples
    --------
    >>> line = xr.DataArray([5.0, 6.0], dims="x", coords={"x": [0.0, 0.5]})
    >>> padded = crop_or_pad(line, 5)
    >>> padded.values, padded["x"].values
    (array([0., 5., 6., 0., 0.]), array([-0.5,  0. ,  0.5,  1. ,  1.5]))
    """
    for axis, size in _per_axis(volume, shape, "shape").items():
        if size < 1:
            raise ValueError(f"shape must be positive, got {shape}")
        found = volume.sizes[axis]
        if size <= found:
            start = (found - size) // 2
            volume = volume.isel({axis: slice(start, start + size)})
            continue
        before = (size - found) // 2
        positions = volume[axis].values
        step = (positions[-1] - positions[0]) / (found - 1) if found > 1 else 1.0
        padded = volume.pad({axis: (before, size - found - before)}, constant_values=fill)
        if padded.chunks is not None:
            padded = padded.chunk(-1)  # a volume is one block, or the steps to come multiply them
        extended = positions[0] + step * (np.arange(size) - before)
        volume = _with_units(padded.assign_coords({axis: extended}), volume)
    return volume


def average_pool(volume: xr.DataArray, factor: int | Sequence[int]) -> xr.DataArray:
    """Average blocks of neighbouring voxels.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, channel])
        NaN, values not observed, take no part in the averages.
    factor : int or one for each axis
        Voxels along each side of a block.

    Returns
    -------
    DataArray
        The coordinates are the centres of the blocks.

    Raises
    ------
    ValueError
        If the volume cannot be divided into such blocks.

    Examples
    --------
    >>> line = xr.DataArray([1.0, 3.0, 5.0, 9.0], dims="x", coords={"x": [0.0, 1.0, 2.0, 3.0]})
    >>> pooled = average_pool(line, 2)
    >>> pooled.values, pooled["x"].values
    (array([2., 7.]), array([0.5, 2.5]))
    """
    blocks = _per_axis(volume, factor, "factor")
    for axis, size in blocks.items():
        if size < 1 or volume.sizes[axis] % size:
            raise ValueError(
                f"factor must divide the {volume.sizes[axis]} voxels along {axis!r}, got {size}; "
                "crop_or_pad brings a volume to a size that it divides"
            )
    pooled: xr.DataArray = volume.coarsen(dict(blocks)).mean()
    return _with_units(pooled, volume)


def _per_axis(volume: xr.DataArray, given: Any, name: str) -> dict[Hashable, Any]:
    """Return one number for each axis that has coordinates of space."""
    axes = [dim for dim in volume.dims if dim not in ("sample", "channel")]
    numbers = [given] * len(axes) if np.ndim(given) == 0 else list(given)
    if len(numbers) != len(axes):
        raise ValueError(f"{name} needs one number for each of {axes}, got {given}")
    missing = [axis for axis in axes if axis not in volume.coords]
    if missing:
        raise ValueError(f"volume must have coordinates along {missing}, which have none")
    return dict(zip(axes, numbers, strict=True))


def _clip(
    values: NDArray[np.float32], percentiles: tuple[float, float] | None, minimum: float | None
) -> NDArray[np.float32]:
    low, high = -np.inf, np.inf
    if percentiles is not None:
        low, high = np.nanpercentile(values, percentiles)
        if low == high:  # Nearly all values are one, as in a mask: the others are what is shown.
            low, high = -np.inf, np.inf
    if minimum is not None:
        low = minimum
    # In single precision, so that the result is not promoted to double.
    return np.asarray(np.clip(values, np.float32(low), np.float32(high)))


def _with_units(changed: xr.DataArray, volume: xr.DataArray) -> xr.DataArray:
    """Return the volume with the attributes of the coordinates, which xarray's steps drop."""
    for dim in changed.dims:
        if dim in volume.coords:
            changed[dim].attrs = dict(volume[dim].attrs)
    return changed
