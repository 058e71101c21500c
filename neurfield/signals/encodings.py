"""How files that signals came from stored them, for files that decoded signals go to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from neurfield.signals.layout import Layout

#: What of an encoding makes other numbers of values.
PACKING = ("dtype", "scale_factor", "add_offset", "_FillValue", "missing_value")
#: What says how numbers stand for values. The rest (chunks, compressors) is about one file, which a
#: Zarr store need not follow, and dask's blocks could not.
MEANING = (*PACKING, "units", "calendar")
# And how they are packed, without the file's name and compressors of one format alone.
_KEPT = (*MEANING, "zlib", "complevel", "shuffle", "chunksizes")
VALUES = ""  # name of the values of a DataArray, which need not have one


def encoding_of(variable: xr.DataArray) -> dict[str, Any]:
    """Return what is kept of the encoding of a variable, in plain types.

    Parameters
    ----------
    variable : DataArray
        As it was read from a file, or made.
    """
    kept = {name: variable.encoding[name] for name in _KEPT if name in variable.encoding}
    if "dtype" in kept:
        try:
            dtype = np.dtype(kept["dtype"])
        except TypeError:  # text of variable length
            dtype = np.dtype(object)
        if dtype.kind not in "iuf":
            return {}
        kept["dtype"] = dtype.name
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in kept.items()}


def encode(found: Any, layout: Layout) -> Any:
    """Give decoded values the encodings of the signals of fit, where these hold them.

    Parameters
    ----------
    found : container that ``Layout.wrap`` or ``Layout.label`` returned
        Its variables take encodings, its values stay as they are.
    layout : Layout
        As seen in fit.

    Returns
    -------
    container
        `found`. Integers that could not hold the values, because these lie outside of their range
        or on the fill value, are left out, so that a file gets floating-point numbers.
    """
    if not layout.encodings:
        return found
    for part in found if isinstance(found, list) else [found]:
        if isinstance(part, xr.DataArray):
            _set(part, layout.encodings.get(VALUES, {}), is_axis=False)
        if isinstance(part, xr.DataArray | xr.Dataset):
            for name in [*getattr(part, "data_vars", ()), *part.coords]:
                own = layout.encodings.get(str(name), {})
                _set(part[name], own, is_axis=name in part.coords)
    return found


def _set(variable: xr.DataArray, encoding: Mapping[str, Any], is_axis: bool) -> None:
    kept = dict(encoding)
    numeric = bool(kept) and variable.dtype.kind in "iuf"
    if numeric and not holds(kept, variable.to_numpy(), exactly=is_axis):
        kept = {name: value for name, value in kept.items() if name not in PACKING}
    sizes = kept.get("chunksizes") or ()
    if len(sizes) != variable.ndim or any(
        c > n for c, n in zip(sizes, variable.shape, strict=True)
    ):
        kept.pop("chunksizes", None)
    variable.encoding = kept


def holds(encoding: Mapping[str, Any], values: np.ndarray, exactly: bool = False) -> bool:
    """Tell whether packed integers can stand for values, as an encoding says.

    Parameters
    ----------
    encoding : mapping
        With ``dtype``, ``scale_factor``, ``add_offset`` and ``_FillValue`` as xarray has them.
    values : array of real numbers
        In memory.
    exactly : bool, default=False
        Whether steps of the integers, which rounding brings values to, are too coarse.
    """
    dtype = np.dtype(encoding.get("dtype", values.dtype))
    if values.size == 0:
        return True
    if dtype.kind == "f":
        return bool(np.nanmax(np.abs(values), initial=0.0) <= np.finfo(dtype).max)
    packed = np.asarray(values, dtype=np.float64) - encoding.get("add_offset", 0.0)
    packed /= encoding.get("scale_factor", 1.0)
    gaps = np.isnan(packed)
    fills = [encoding[name] for name in ("_FillValue", "missing_value") if name in encoding]
    if gaps.any() and not fills:
        return False
    whole = np.rint(packed[~gaps])
    if exactly and not np.allclose(whole, packed[~gaps], rtol=0, atol=1e-6):
        return False
    limits = np.iinfo(dtype)
    inside = bool(((whole >= limits.min) & (whole <= limits.max)).all())
    return inside and not np.isin(whole, np.asarray(fills, dtype=np.float64)).any()
