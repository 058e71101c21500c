"""NumPy files: one array of signals, with labels and coordinates where the file holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading, replacing

#: Names of the coordinate axes of an array without names, by their number.
AXIS_NAMES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}

_SPLITS = ("train", "val", "test")
_LABEL_KEYS = ("labels", "label", "targets", "target", "y")
_DIMS_KEY, _COORD_PREFIX = "dims", "coord_"


def load_npz(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    split: str | None = None,
    channel_axis: int | None = None,
) -> xr.DataArray:
    """Read signals from a ``.npz`` or ``.npy`` file.

    Parameters
    ----------
    path : path-like
        File to read. Pickled objects are never loaded.
    key : str, optional
        Name of the array in a ``.npz`` file. Needed only if the file holds more than one array of
        signals.
    split : {"train", "val", "test"}, optional
        Which part of a file laid out like MedMNIST's (``train_images``, ``train_labels``, ...).
    channel_axis : int, optional
        Axis of the array that holds channels. By default a last axis of size 3 or 4 of a 4-D array
        (colour images) and the last axis of a 5-D array hold channels; other arrays have none.

    Returns
    -------
    DataArray of shape (n_samples, [z, [y,]] x[, channel])
        Values in the dtype of the file. Coordinates are those stored by :func:`save_npz`, otherwise
        pixel indices. Labels of shape (n_samples,) or (n_samples, 1), found beside the array as
        ``<split>_labels``, ``<key>_labels``, ``labels``, ``label``, ``targets``, ``target`` or
        ``y``, become the coordinate ``label``; several labels per signal are left out.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file cannot be read, or if it is not clear which array is meant.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.savez(folder.name + "/images.npz", images=np.zeros((5, 8, 6)), labels=np.arange(5))
    >>> load_npz(folder.name + "/images.npz").sizes
    Frozen({'sample': 5, 'y': 8, 'x': 6})
    >>> folder.cleanup()
    """
    source = existing(path)
    arrays = _read_arrays(source)
    name = _choose(source, arrays, key, split)
    values = arrays[name]
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{source}: {name!r} must hold real numbers, got dtype {values.dtype}")
    dims, values = _with_dims(source, name, values, channel_axis, arrays.get(_DIMS_KEY))
    coords: dict[str, object] = {}
    for dim, size in zip(dims, values.shape, strict=True):
        stored = arrays.get(_COORD_PREFIX + dim)
        if stored is not None and stored.shape == (size,):
            coords[dim] = stored
        elif dim not in ("sample", "channel"):
            coords[dim] = np.arange(size, dtype=np.float64)
    labels = _find_labels(arrays, name, len(values))
    if labels is not None:
        coords["label"] = ("sample", labels)
    return xr.DataArray(
        values, dims=dims, coords=coords, name="values", attrs={"source": source.name}
    )


def save_npz(values: xr.DataArray | list[xr.DataArray], path: str | os.PathLike[str]) -> None:
    """Write signals to a ``.npz`` file; an existing file is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray or list of DataArray
        One DataArray with a ``sample`` dimension is stored as ``values``, with ``dims``, one
        ``coord_<dim>`` per axis and ``labels``, so that :func:`load_npz` gives it back. Of a list,
        each signal is stored as ``values_0000``, ``values_0001``, ..., with
        ``coord_<dim>_0000``, ... .
    path : path-like
        File to write.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> beats = xr.DataArray(np.ones((3, 4)), dims=("sample", "time"), coords={"time": np.ones(4)})
    >>> save_npz(beats, folder.name + "/beats.npz")
    >>> load_npz(folder.name + "/beats.npz").dims
    ('sample', 'time')
    >>> folder.cleanup()
    """
    content: dict[str, NDArray[np.generic]] = {}
    if isinstance(values, xr.DataArray):
        content["values"] = values.values
        content[_DIMS_KEY] = np.array([str(dim) for dim in values.dims])
        content |= _axes(values, "")
        if "label" in values.coords:
            content["labels"] = _plain(values["label"].values)
    else:
        for index, signal in enumerate(values):
            content[f"values_{index:04d}"] = signal.values
            content |= _axes(signal, f"_{index:04d}")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


def _read_arrays(source: Path) -> Mapping[str, NDArray[np.generic]]:
    with reading(source, "a NumPy .npz or .npy file"):
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"values": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}


def _choose(
    source: Path, arrays: Mapping[str, NDArray[np.generic]], key: str | None, split: str | None
) -> str:
    """Return the name of the array of signals."""
    held = f"the file holds {', '.join(sorted(arrays)) or 'nothing'}"
    if key is not None and split is not None:
        raise ValueError(f"{source}: give either key or split, got key={key!r} and split={split!r}")
    if key is not None:
        if key not in arrays:
            raise ValueError(f"{source}: no array {key!r}; {held}")
        return key
    splits = [part for part in _SPLITS if f"{part}_images" in arrays]
    if split is not None:
        if f"{split}_images" not in arrays:
            raise ValueError(f"{source}: no split {split!r} (array '{split}_images'); {held}")
        return f"{split}_images"
    if len(splits) > 1:
        raise ValueError(f"{source}: choose a split of {', '.join(splits)}")
    candidates = [
        name
        for name, array in arrays.items()
        if array.ndim >= 2 and name not in _LABEL_KEYS and not name.endswith("_labels")
    ]
    if len(candidates) != 1:
        raise ValueError(f"{source}: choose the array of signals with key; {held}")
    return candidates[0]


def _with_dims(
    source: Path,
    name: str,
    values: NDArray[np.generic],
    channel_axis: int | None,
    stored: NDArray[np.generic] | None,
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    """Return names of the dimensions and the values, channels moved to the end."""
    if stored is not None and channel_axis is None and stored.shape == (values.ndim,):
        return tuple(str(dim) for dim in stored), values
    if channel_axis is None:
        coloured = values.ndim == 4 and values.shape[-1] in (3, 4)
        channel_axis = -1 if coloured or values.ndim == 5 else None
    elif not -values.ndim <= channel_axis < values.ndim or channel_axis % values.ndim == 0:
        raise ValueError(
            f"{source}: channel_axis={channel_axis} is no channel axis of {name!r} of shape "
            f"{values.shape}, whose axis 0 counts signals"
        )
    n_axes = values.ndim - 1 - (channel_axis is not None)
    if n_axes not in AXIS_NAMES:
        raise ValueError(
            f"{source}: {name!r} must have one axis of signals and one to three of coordinates, "
            f"got shape {values.shape}"
        )
    dims: tuple[str, ...] = ("sample", *AXIS_NAMES[n_axes])
    if channel_axis is not None:
        dims, values = (*dims, "channel"), np.moveaxis(values, channel_axis, -1)
    return dims, values


def _find_labels(
    arrays: Mapping[str, NDArray[np.generic]], name: str, n_samples: int
) -> NDArray[np.generic] | None:
    for key in (name.removesuffix("_images") + "_labels", f"{name}_labels", *_LABEL_KEYS):
        labels = arrays.get(key)
        if labels is not None and labels.shape in ((n_samples,), (n_samples, 1)):
            return labels.reshape(n_samples)
    return None


def _axes(signal: xr.DataArray, ending: str) -> dict[str, NDArray[np.generic]]:
    return {
        f"{_COORD_PREFIX}{dim}{ending}": _plain(signal[dim].values)
        for dim in signal.dims
        if dim in signal.coords
    }


def _plain(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return strings as fixed-width text, which needs no pickle."""
    return array.astype(str) if array.dtype.kind not in "biufMm" else array
