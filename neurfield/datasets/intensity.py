"""Intensities of volumes, mapped to one range; label maps, which are none."""

from __future__ import annotations

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
        Or float64 where not `scale` and values do not fit single precision, as those of 4-byte
        integers. ``attrs["value_range"]`` are the values mapped to 0 and 1, if `scale`; a lazy
        volume stays lazy and has none, because they are not known yet.

    Raises
    ------
    ValueError
        If `percentiles` are not two rising numbers from 0 to 100, if no value was observed or
        some are infinite, or if the volume is a label map (``attrs["intent"]`` is "label").

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

    refuse_labels(volume, "scale")
    precise = np.result_type(volume.dtype, np.float32)
    dtype = np.dtype(np.float32) if scale else precise

    def rescale(values: NDArray[Any]) -> tuple[NDArray[Any], list[float]]:
        clipped = _clip(np.asarray(values, dtype=precise), percentiles, minimum)
        if not scale:
            return clipped, []
        low, high = float(np.nanmin(clipped)), float(np.nanmax(clipped))
        scaled = (clipped - low) / precise.type(high - low if high > low else 1)
        return scaled.astype(dtype, copy=False), [low, high]

    extra: dict[str, Any] = {}
    if volume.chunks is not None:
        # Percentiles need all values at once: one block, which is one volume as readers give it.
        data = volume.data.rechunk(-1).map_blocks(
            lambda block: rescale(block)[0], dtype=dtype, meta=np.empty((0,) * volume.ndim, dtype)
        )
    else:
        data, value_range = rescale(volume.values)
        extra = {"value_range": value_range} if scale else {}
    rescaled = volume.copy(data=data).assign_attrs(extra)
    if scale:
        rescaled.attrs.pop("units", None)  # of numbers from 0 to 1 they are no more
    return rescaled


def is_label_map(volume: xr.DataArray) -> bool:
    """Return whether a volume says of itself that its values are labels."""
    return bool(volume.attrs.get("intent") == "label")


def refuse_labels(volume: xr.DataArray, verb: str) -> None:
    """Raise ValueError for a label map, on which a step makes no sense."""
    if is_label_map(volume):
        raise ValueError(
            f"volume is a label map, and to {verb} its numbers would give other labels; resample "
            "and crop_or_pad keep them; without attrs['intent'] its values count as intensities"
        )


def _clip(
    values: NDArray[Any], percentiles: tuple[float, float] | None, minimum: float | None
) -> NDArray[Any]:
    if np.isnan(values).all():
        raise ValueError("values must hold one that was observed at least, all are NaN")
    if np.isinf(values).any():
        raise ValueError(
            "values must be finite; NaN in the place of infinities marks what was not observed"
        )
    low, high = -np.inf, np.inf
    if percentiles is not None:
        low, high = np.nanpercentile(values, percentiles)
        if low == high:  # Nearly all values are one, as in a mask: the others are what is shown.
            low, high = -np.inf, np.inf
    if minimum is not None:
        low = minimum
    # In the precision of the values, so that single is not promoted to double.
    return np.asarray(np.clip(values, values.dtype.type(low), values.dtype.type(high)))
