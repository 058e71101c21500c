"""Steps that bring volumes to one size: spacing, extent, resolution.

Every step keeps the coordinates where the tissue is, so that a volume that went through any of
them, and what a field decodes from it, can still be laid over the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from neurfield.datasets.intensity import is_label_map, refuse_labels
from neurfield.geometry import FRAME_AXES, slice_spacing, step_of, with_spacing


def resample(
    volume: xr.DataArray,
    spacing: float | Sequence[float],
    *,
    method: Literal["linear", "nearest"] | None = None,
) -> xr.DataArray:
    """Interpolate to another distance of neighbouring voxels.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, time][, channel])
        With evenly or unevenly spaced coordinates that rise or descend.
    spacing : float or one for each axis of space
        Distance in the unit of the coordinates, millimetres as readers give them. An axis of time
        stays as it is.
    method : {"linear", "nearest"}, optional
        By default linear, and nearest for label maps (``attrs["intent"]`` is "label"), whose
        numbers have nothing between them.

    Returns
    -------
    DataArray
        Over the extent from the first coordinate to the last, in their direction, of which up to
        one spacing is left over, half at each end. A single slice stays as thick as it is.

    Raises
    ------
    ValueError
        If `spacing` is not positive, or has more or fewer numbers than there are axes of space, or
        coordinates neither rise nor descend.

    Examples
    --------
    >>> line = xr.DataArray([0.0, 3.0, 6.0], dims="x", coords={"x": [0.0, 3.0, 6.0]})
    >>> resample(line, 2.0)["x"].values
    array([0., 2., 4., 6.])
    """
    if method not in (None, "linear", "nearest"):
        raise ValueError(f"method must be 'linear' or 'nearest', got {method!r}")
    steps = _per_axis(volume, spacing, "spacing")
    if not all(step > 0 for step in steps.values()):
        raise ValueError(f"spacing must be positive, got {spacing}")
    dtype = np.result_type(volume.dtype, np.float32)
    if method is None:
        method = "nearest" if is_label_map(volume) else "linear"
    positions = {}
    for axis, step in steps.items():
        if volume.sizes[axis] == 1:
            continue
        first, last = (float(volume[axis][end]) for end in (0, -1))
        # A small surplus keeps the last point, which rounding could put beyond the end.
        n_steps = int(abs(last - first) / step + 1e-6)
        step = step if last > first else -step
        start = first + (last - first - n_steps * step) / 2
        positions[axis] = start + step * np.arange(n_steps + 1)
    rising = {axis: slice(None, None, 1 if _rises(volume, axis) else -1) for axis in positions}
    resampled = (
        volume.astype(dtype)
        .isel(rising)
        .interp(positions, method, assume_sorted=True, kwargs={"fill_value": "extrapolate"})
        .astype(volume.dtype if method == "nearest" else dtype)
    )
    return _with_units(with_spacing(resampled, {a: steps[a] for a in positions}), volume)


def crop_or_pad(
    volume: xr.DataArray, shape: int | Sequence[int], *, fill: float = 0.0
) -> xr.DataArray:
    """Cut off or fill up all sides alike, so that the middle of the volume stays in the middle.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, time][, channel])
        With coordinates that rise or descend; evenly where voxels are added.
    shape : int or one for each axis of space
        Voxels along each axis. An axis of time stays as it is.
    fill : float, default=0.0
        Value of voxels that are added. The volume becomes one of floats if its dtype cannot hold
        it.

    Returns
    -------
    DataArray
        Coordinates go on evenly into the added voxels. If the sides cannot be alike, the end gets
        or loses one voxel more. Where a single slice is left, the affine in ``attrs`` keeps its
        spacing.

    Raises
    ------
    ValueError
        If `shape` is not positive, or has more or fewer numbers than there are axes of space, or
        if it cannot be told where added voxels lie.

    Examples
    --------
    >>> line = xr.DataArray([5.0, 6.0], dims="x", coords={"x": [0.0, 0.5]})
    >>> padded = crop_or_pad(line, 5)
    >>> padded.values, padded["x"].values
    (array([0., 5., 6., 0., 0.]), array([-0.5,  0. ,  0.5,  1. ,  1.5]))
    """
    sizes = _per_axis(volume, shape, "shape")
    if not all(size >= 1 for size in sizes.values()):
        raise ValueError(f"shape must be positive, got {shape}")
    for axis, size in sizes.items():
        found = volume.sizes[axis]
        if size <= found:
            volume = _cut(volume, axis, (found - size) // 2, size)
            continue
        before = (size - found) // 2
        positions = volume[axis].values.astype(np.float64)
        step = _step_beyond(volume, axis)
        padded = _holding(volume, fill).pad(
            {axis: (before, size - found - before)}, constant_values=fill
        )
        if padded.chunks is not None:
            padded = padded.chunk(-1)  # a volume is one block, or the steps to come multiply them
        extended = np.concatenate(
            [
                positions[0] + step * np.arange(-before, 0),
                positions,
                positions[-1] + step * np.arange(1, size - found - before + 1),
            ]
        )
        volume = _with_units(padded.assign_coords({axis: extended}), volume)
    return volume


def average_pool(volume: xr.DataArray, factor: int | Sequence[int]) -> xr.DataArray:
    """Average blocks of neighbouring voxels.

    Parameters
    ----------
    volume : DataArray of shape (x[, y[, z]][, time][, channel])
        NaN, values not observed, take no part in the averages.
    factor : int or one for each axis of space
        Voxels along each side of a block. An axis of time stays as it is.

    Returns
    -------
    DataArray
        The coordinates are the centres of the blocks. Where one block is left along an axis, the
        affine in ``attrs`` keeps its width.

    Raises
    ------
    ValueError
        If the volume cannot be divided into such blocks, or is a label map (``attrs["intent"]`` is
        "label").

    Examples
    --------
    >>> line = xr.DataArray([1.0, 3.0, 5.0, 9.0], dims="x", coords={"x": [0.0, 1.0, 2.0, 3.0]})
    >>> pooled = average_pool(line, 2)
    >>> pooled.values, pooled["x"].values
    (array([2., 7.]), array([0.5, 2.5]))
    """
    refuse_labels(volume, "average")
    blocks = _per_axis(volume, factor, "factor")
    for axis, size in blocks.items():
        if size < 1 or volume.sizes[axis] % size:
            raise ValueError(
                f"factor must divide the {volume.sizes[axis]} voxels along {axis!r}, got {size}; "
                "crop_or_pad brings a volume to a size that it divides"
            )
    pooled: xr.DataArray = volume.coarsen(dict(blocks)).mean()
    widths = {
        axis: size * abs(float(volume[axis][-1] - volume[axis][0])) / (size - 1)
        for axis, size in blocks.items()
        if pooled.sizes[axis] == 1 < size
    }
    return _with_units(with_spacing(pooled, widths), volume)


def _per_axis(volume: xr.DataArray, given: Any, name: str) -> dict[str, Any]:
    """Return one number for each axis of space, of which the coordinates are in order."""
    axes = [str(dim) for dim in volume.dims if dim not in ("sample", "channel")]
    # Where there are axes of space, the steps are about those.
    axes = [axis for axis in axes if axis not in FRAME_AXES.values()] or axes
    numbers = [given] * len(axes) if np.ndim(given) == 0 else list(given)
    if len(numbers) != len(axes):
        raise ValueError(f"{name} needs one number for each of {axes}, got {given}")
    missing = [axis for axis in axes if axis not in volume.coords]
    if missing:
        raise ValueError(f"volume must have coordinates along {missing}, which have none")
    for axis in axes:
        positions = volume[axis].values
        if positions.dtype.kind not in "iuf" or not np.isfinite(positions).all():
            raise ValueError(f"volume must have real numbers as coordinates along {axis!r}")
        gaps = np.diff(positions.astype(np.float64))
        if not ((gaps > 0).all() or (gaps < 0).all()):
            raise ValueError(
                f"volume must have coordinates along {axis!r} that rise or descend all the way; "
                f"volume.sortby({axis!r}) puts them in order"
            )
    return dict(zip(axes, numbers, strict=True))


def _rises(volume: xr.DataArray, axis: str) -> bool:
    return bool(volume[axis][-1] > volume[axis][0])


def _step_beyond(volume: xr.DataArray, axis: str) -> float:
    """Return the step at which coordinates go on, which a single slice has in its affine."""
    if volume.sizes[axis] > 1:
        return step_of(volume[axis].values, axis)
    step = slice_spacing(volume, axis)
    if step is None:
        raise ValueError(
            f"volume has one voxel along {axis!r}, which does not say where the next would be; "
            "give it attrs['affine'], whose columns have the lengths of the voxels' sides"
        )
    return step


def _cut(volume: xr.DataArray, axis: str, start: int, size: int) -> xr.DataArray:
    """Return some of the voxels along an axis; a single one keeps its distance to the next."""
    cut = volume.isel({axis: slice(start, start + size)})
    if size > 1 or volume.sizes[axis] == 1:
        return cut
    gaps = np.abs(np.diff(volume[axis].values.astype(np.float64)))
    return with_spacing(cut, {axis: float(np.median(gaps))})


def _holding(volume: xr.DataArray, fill: float) -> xr.DataArray:
    """Return the volume in a dtype that can hold a value too."""
    if volume.dtype.kind in "biu":
        info = None if volume.dtype.kind == "b" else np.iinfo(volume.dtype)
        low, high = (0, 1) if info is None else (info.min, info.max)
        if not (low <= fill <= high and float(fill).is_integer()):
            return volume.astype(np.result_type(volume.dtype, np.float32))
    return volume


def _with_units(changed: xr.DataArray, volume: xr.DataArray) -> xr.DataArray:
    """Return the volume with the attributes of the coordinates, which xarray's steps drop."""
    for dim in changed.dims:
        if dim in volume.coords:
            changed[dim].attrs = dict(volume[dim].attrs)
    return changed
