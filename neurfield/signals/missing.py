"""What a container says of values that are missing, or that are written as other numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from neurfield._compat import is_in_memory, like_its_blocks
from neurfield.signals.groups import Signals
from neurfield.signals.layout import Layout

# By the CF conventions, which NetCDF and Zarr files follow; xarray takes them out of the attributes
# of what it has decoded.
_STILL_CODED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"}


def filled(values: Any) -> Any:
    """Return an array with NaN where NumPy's mask says that nothing was observed.

    Parameters
    ----------
    values : array of NumPy or dask, or anything else
        What is no masked array is returned as it is; arrays of dask stay lazy.

    Raises
    ------
    ValueError
        If masked values are no real numbers.

    Examples
    --------
    >>> filled(np.ma.masked_equal([3, -1, 5], -1))
    array([ 3., nan,  5.])
    """
    if isinstance(values, np.ma.MaskedArray):
        return _with_nan(values) if np.ma.is_masked(values) else np.asarray(values.data)
    meta = like_its_blocks(values)
    if not isinstance(meta, np.ma.MaskedArray):
        return values
    like = _with_nan(meta)
    return values.map_blocks(_with_nan, dtype=like.dtype, meta=like)


def holds_masks(X: Any) -> bool:
    """Tell whether signals came as masked arrays of NumPy, alone or in a list."""
    items = X if isinstance(X, list | tuple) else [X]
    return any(isinstance(item, np.ma.MaskedArray) for item in items)


def unobserved(signals: Signals, layout: Layout) -> np.ndarray:
    """Return where signals have no value, on the grid of a layout.

    Parameters
    ----------
    signals : Signals
        In memory.
    layout : Layout
        Whose grid decoded signals stand on. Where signals stand on other grids, nothing is said of
        it.

    Returns
    -------
    bool array of shape (n, *shape, c), or ()
        True where there is no value.
    """
    (first, *others) = signals.groups
    if others or first.is_scattered or not layout.is_grid_of_fit(first.axes):
        return np.zeros((), dtype=bool)
    values = np.asarray(first.values)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)


def _with_nan(values: np.ma.MaskedArray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"values of X must be real numbers, got masked {values.dtype}")
    return np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)


def decoded(X: xr.DataArray) -> xr.DataArray:
    """Return values as their mask, and the attributes of the file, say that they are to be read.

    Fill values become NaN, and packed numbers what they stand for. Where xarray opened the file
    with its defaults, that has been done already.

    Parameters
    ----------
    X : DataArray
        In memory or not; what is not stays so.
    """
    if X.chunks is not None:  # in memory xarray itself has put NaN in the place of a mask
        X = X.copy(data=filled(X.data))
    if not _STILL_CODED & set(X.attrs):
        return X
    bare = xr.Dataset({"values": X.variable})
    read = xr.decode_cf(bare, concat_characters=False, decode_times=False, decode_coords=False)
    variable = read["values"].variable
    if is_in_memory(X.variable):
        variable = variable.compute()
    return xr.DataArray(variable, coords=X.coords, name=X.name)
