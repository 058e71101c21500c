"""What file formats have no type for, in types that they have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from neurfield._compat import is_in_memory
from neurfield.signals.encodings import PACKING, holds

_INDEX = "multi_index"  # attribute with the names of the levels


def storable(values: xr.DataArray | xr.Dataset, form: Literal["netcdf", "zarr"]) -> xr.Dataset:
    """Return a Dataset that a format can hold, with the same values.

    Parameters
    ----------
    values : DataArray or Dataset
        Signals; they are left as they are.
    form : {"netcdf", "zarr"}
        NetCDF has no floating-point numbers of 16 bits, and the JSON of Zarr's attributes neither
        infinities nor NaN.

    Raises
    ------
    ValueError
        If values are complex.
    """
    if isinstance(values, xr.DataArray):
        dataset = values.to_dataset(name="values" if values.name is None else values.name)
    else:
        dataset = values.copy(deep=False)
    dataset = without_multi_indexes(dataset)
    changed, encodings = {}, {}
    for name in dataset.variables:
        found, encodings[name] = _storable_array(dataset[name], form == "zarr")
        if found.variable is not dataset[name].variable:
            changed[name] = (found.dims, found.variable.data)
    plain = partial(_plain_attrs, in_json=form == "zarr")
    attrs = {name: plain(array.attrs) for name, array in dataset.variables.items()}
    dataset = dataset.assign(changed).assign_attrs(plain(dataset.attrs))
    for name, array in dataset.variables.items():
        array.attrs, array.encoding = attrs[name], encodings[name]
    return dataset


def without_multi_indexes(dataset: xr.Dataset) -> xr.Dataset:
    """Return the levels of each MultiIndex as coordinates, and their names as an attribute."""
    indexes = {str(d): i for d, i in dataset.indexes.items() if isinstance(i, pd.MultiIndex)}
    levels = {dim: list(index.names) for dim, index in indexes.items() if dim in dataset.dims}
    if not levels:
        return dataset
    return dataset.reset_index(list(levels)).assign_attrs({_INDEX: json.dumps(levels)})


def with_multi_indexes(dataset: xr.Dataset) -> xr.Dataset:
    """Undo :func:`without_multi_indexes`."""
    if _INDEX not in dataset.attrs:
        return dataset
    dataset = dataset.copy(deep=False)
    try:
        levels = json.loads(dataset.attrs.pop(_INDEX))
        return dataset.set_index(levels)
    except (AttributeError, TypeError, ValueError):  # of another writer
        return dataset


def _plain_attrs(attrs: Mapping[Any, Any], in_json: bool) -> dict[str, Any]:
    """Return attributes as numbers, text and lists of either; all others as JSON or their text."""
    plain = {str(name): _plain_attr(value) for name, value in attrs.items()}
    return {n: str(v) if in_json and not _is_finite(v) else v for n, v in plain.items()}


def _is_finite(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) or np.isfinite(item) for item in items)


def _plain_attr(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = (value.astype(str) if value.dtype.kind == "M" else value).tolist()
    if isinstance(value, str) or type(value) in (int, float):
        # Names of files may hold bytes that are no text.
        value = value.encode(errors="backslashreplace").decode() if type(value) is str else value
        return value if type(value) is not int or abs(value) < 2**63 else str(value)
    if isinstance(value, list | tuple) and [*{type(v) for v in value}] in ([int], [float], [str]):
        return list(value)
    if not isinstance(value, list | tuple | Mapping | bool | None):
        return _text(value)
    try:
        return json.dumps(value, default=_text)
    except (TypeError, ValueError):  # keys that are no text, or a list that holds itself
        return str(value)


def _text(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _storable_array(array: xr.DataArray, has_half: bool) -> tuple[xr.DataArray, dict[str, Any]]:
    """Return a variable in a type that can be stored, and its encoding."""
    encoding, kind = dict(array.encoding), array.dtype.kind
    if kind == "c":
        raise ValueError(
            f'complex values ("{array.name}") have no type in NetCDF and Zarr; '
            "neurfield.datasets.complex_to_channels makes channels of their parts"
        )
    if kind == "f" and (array.dtype.itemsize > 8 or (array.dtype.itemsize < 4 and not has_half)):
        array = array.astype(np.float64 if array.dtype.itemsize > 8 else np.float32)
        encoding.pop("dtype", None)
    if kind in "mM" and np.dtype(encoding.get("dtype") or np.int64).itemsize < 8:
        del encoding["dtype"]  # xarray wraps times around that need finer units than the encoding's
    if kind == "O" and is_in_memory(array.variable):
        array = _as_text(array)
    return _within(array, encoding) if kind in "iuf" else (array, encoding)


def _as_text(array: xr.DataArray) -> xr.DataArray:
    """Return labels of mixed types as text; text with gaps is what formats can hold."""
    held = array.to_numpy()
    if all(isinstance(v, str) or v is None or v != v for v in held.flat):
        return array
    text = np.array([str(v) for v in held.flat], dtype=object).reshape(held.shape)
    return xr.DataArray(text, dims=array.dims)


def _within(array: xr.DataArray, encoding: dict[str, Any]) -> tuple[xr.DataArray, dict[str, Any]]:
    """Keep values from wrapping around in the integers that an encoding packs them into.

    Those of blocks that are yet to be computed are checked when they are.
    """
    dtype = np.dtype(encoding.get("dtype") or array.dtype)
    if dtype == array.dtype or dtype.kind not in "iuf":
        return array, encoding
    if array.chunks is not None:
        checked = array.data.map_blocks(
            partial(_held, encoding=encoding, name=str(array.name)), dtype=array.dtype
        )
        return array.copy(data=checked), encoding
    if holds(encoding, array.to_numpy()):
        return array, encoding
    return array, {name: value for name, value in encoding.items() if name not in PACKING}


def _held(values: np.ndarray, encoding: dict[str, Any], name: str) -> np.ndarray:
    """Return a block of values, which are known only now, or refuse to write them as others."""
    if not holds(encoding, values):
        raise ValueError(
            f'"{name}" has values that {encoding["dtype"]} cannot hold, which its encoding packs '
            "them into; X.drop_encoding() writes them as they are"
        )
    return values
