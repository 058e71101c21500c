"""NumPy files: one array of signals, with labels and coordinates where the file holds them."""

from __future__ import annotations

import json
import math
import os
from itertools import islice
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import existing, reading
from neurfield.datasets._numpy_file import MmapMode, NumpyFile
from neurfield.datasets._storable import with_multi_indexes, without_multi_indexes
from neurfield.errors import FileError
from neurfield.provenance import FINGERPRINT
from neurfield.signals.attributes import from_json, to_json

#: Names of the coordinate axes of an array without names, by their number.
AXIS_NAMES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}

_SPLITS = ("train", "val", "test")
_IMAGES, _LABELS = "_images", "_labels"
_LABEL_KEYS = ("labels", "label", "targets", "target", "y")
_DIMS_KEY, _COORD_PREFIX = "dims", "coord_"
_BESIDE_KEY = "beside"  # JSON: name, attributes and dimensions of other coordinates
_MOST_LABELS = 1000  # of one signal; the largest sets of findings have some dozens
_MOST_NAMES = 20  # of arrays that an error lists


def load_npz(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    split: str | None = None,
    channel_axis: int | None = None,
    mmap_mode: MmapMode = None,
) -> xr.DataArray | list[xr.DataArray]:
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
    mmap_mode : {"r", "c"}, optional
        Leave the values on disk and read those that are used, as in :func:`numpy.load`: "r" makes
        them read-only, "c" keeps changes in memory. A compressed array is unpacked once, into
        ``<file>_<array>.npy`` beside the file.

    Returns
    -------
    DataArray of shape (n_samples, [z, [y,]] x[, channel])
        Values in the dtype of the file. Coordinates are those stored by :func:`save_npz`, otherwise
        pixel indices. Labels of shape (n_samples,) or (n_samples, 1), found beside the array as
        ``<split>_labels``, ``<key>_labels``, ``labels``, ``label``, ``targets``, ``target`` or
        ``y``, become the coordinate ``label``; k labels per signal, (n_samples, k), the coordinates
        ``label_0`` to ``label_<k-1>``. ``attrs`` hold ``source``, the name of the file, and
        ``split`` where one was chosen, beside those that :func:`save_npz` stored. Where that stored
        a list, so does this return one.

    Raises
    ------
    MissingFileError
        If the file is not there.
    FileError
        If the file cannot be read, asks for more memory than it may
        (:mod:`neurfield.limits`), or does not tell which array is meant.
    ValueError
        If options contradict each other, or `channel_axis` is no channel axis.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.savez(folder.name + "/images.npz", images=np.zeros((5, 8, 6)), labels=np.arange(5))
    >>> load_npz(folder.name + "/images.npz").sizes
    Frozen({'sample': 5, 'y': 8, 'x': 6})
    >>> folder.cleanup()
    """
    if mmap_mode not in (None, "r", "c"):
        raise ValueError(f"mmap_mode must be 'r', 'c' or None, got {mmap_mode!r}")
    if key is not None and split is not None:
        raise ValueError(f"give either key or split, got key={key!r} and split={split!r}")
    with NumpyFile(existing(path)) as arrays:
        if key is None and split is None and _DIMS_KEY + _numbered(0) in arrays:
            return _each(arrays, mmap_mode)
        return _labelled(arrays, _choose(arrays, key, split), channel_axis, mmap_mode)


def _each(arrays: NumpyFile, mmap_mode: MmapMode) -> list[xr.DataArray]:
    """Return the signals of a list that :func:`save_npz` stored."""
    signals: list[xr.DataArray] = []
    while _DIMS_KEY + (ending := _numbered(len(signals))) in arrays:
        dims = [str(dim) for dim in np.atleast_1d(arrays[_DIMS_KEY + ending])]
        with reading(arrays.path, f"signals that save_npz wrote (values{ending})"):
            name = f"values{ending}"
            values = arrays[name] if mmap_mode is None else arrays.mapped(name, mmap_mode)
            stored = {dim: arrays.get(f"{_COORD_PREFIX}{dim}{ending}") for dim in dims}
            coords = {dim: axis for dim, axis in stored.items() if axis is not None}
            signals.append(xr.DataArray(values, coords, dims, name="values"))
        signals[-1] = _with_beside(signals[-1], arrays, ending)
    return signals


def _numbered(place: int) -> str:
    return f"_{place:04d}"


def _labelled(
    arrays: NumpyFile, name: str, channel_axis: int | None, mmap_mode: MmapMode
) -> xr.DataArray:
    """Return an array with the dimensions, coordinates and labels that lie beside it."""
    source = arrays.path
    dtype = arrays.header(name).dtype
    if dtype.kind not in "biuf":
        raise FileError(source, f"{name!r} must hold real numbers, got dtype {dtype}")
    values = arrays[name] if mmap_mode is None else arrays.mapped(name, mmap_mode)
    dims, values = _with_dims(source, name, values, channel_axis, arrays.get(_DIMS_KEY))
    coords: dict[str, object] = {}
    for dim, size in zip(dims, values.shape, strict=True):
        stored = arrays.get(_COORD_PREFIX + dim)
        if stored is not None and stored.shape == (size,):
            coords[dim] = stored
        elif dim not in ("sample", "channel"):
            coords[dim] = np.arange(size, dtype=np.float64)
    coords |= _labels(arrays, name, len(values))
    attrs = {"source": source.name}
    if FINGERPRINT in arrays:  # latents, which can be told from signals by it
        attrs[FINGERPRINT] = str(arrays[FINGERPRINT])
    if name.endswith(_IMAGES):
        attrs["split"] = name.removesuffix(_IMAGES)
    with reading(source, f"signals with the dimensions {', '.join(dims)}"):
        signals = xr.DataArray(values, dims=dims, coords=coords, name="values", attrs=attrs)
    return _with_beside(signals, arrays) if name == "values" else signals


def save_npz(values: xr.DataArray | list[xr.DataArray], path: str | os.PathLike[str]) -> None:
    """Write signals to a ``.npz`` file; an existing file is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray or list of DataArray
        One DataArray with a ``sample`` dimension is stored as ``values``, with ``dims``, one
        ``coord_<dim>`` per axis, ``labels``, other coordinates of up to one dimension, name and
        attributes, so that :func:`load_npz` gives it back. Of a list, each signal is stored so as
        ``values_0000``, ``values_0001``, ..., with ``dims_0000``, ``coord_<dim>_0000``, ... .
    path : path-like
        File to write.

    Raises
    ------
    TypeError
        If `values` is anything else.

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
        content = _content(values, "")
    else:
        if not isinstance(values, list | tuple):
            raise TypeError(
                "values must be a DataArray or a list of them, got "
                f'{type(values).__name__}; of a Dataset, pass values.to_dataarray(dim="channel")'
            )
        for place, signal in enumerate(values):
            content |= _content(signal, _numbered(place))
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


def _content(values: xr.DataArray, ending: str) -> dict[str, NDArray[np.generic]]:
    """Return what is stored of signals on one grid, or of one signal, under names that end so."""
    levels = without_multi_indexes(values.to_dataset(name="values"))
    signals = levels["values"]
    content = {
        f"values{ending}": signals.values,
        f"{_DIMS_KEY}{ending}": np.array([str(dim) for dim in signals.dims], dtype=str),
        **_axes(signals, ending),
    }
    others = {
        str(name): coord for name, coord in signals.coords.items() if name not in signals.dims
    }
    if not ending and "label" in others:  # where other programs look for them
        content["labels"] = _plain(others.pop("label").values)
    stored = {name: coord for name, coord in others.items() if coord.ndim <= 1}
    described = {
        "name": None if values.name is None else str(values.name),
        "attrs": to_json(dict(values.attrs)),
        "index": dict(levels.attrs),
        "dims": {name: [str(dim) for dim in coord.dims] for name, coord in stored.items()},
        "coord_attrs": {str(n): to_json(dict(c.attrs)) for n, c in signals.coords.items()},
    }
    content |= {f"{_COORD_PREFIX}{n}{ending}": _plain(coord.values) for n, coord in stored.items()}
    return content | {_BESIDE_KEY + ending: np.array(json.dumps(described))}


def _choose(arrays: NumpyFile, key: str | None, split: str | None) -> str:
    """Return the name of the array of signals."""
    names = sorted(islice(arrays, _MOST_NAMES))
    more = f" and {len(arrays) - len(names)} more" if len(arrays) > len(names) else ""
    held = f"the file holds {', '.join(names) or 'nothing'}{more}"
    if key is not None:
        if key not in arrays:
            raise FileError(arrays.path, f"no array {key!r}; {held}")
        return key
    splits = [part for part in _SPLITS if part + _IMAGES in arrays]
    if split is not None:
        if split + _IMAGES not in arrays:
            raise FileError(arrays.path, f"no split {split!r} (array '{split}{_IMAGES}'); {held}")
        return split + _IMAGES
    if len(splits) > 1:
        raise FileError(arrays.path, f"choose a split of {', '.join(splits)}")
    candidates = (
        name
        for name in arrays
        if not (name in _LABEL_KEYS or name.startswith(_COORD_PREFIX))
        and not name.endswith(_LABELS)
        and len(arrays.header(name).shape) >= 2
    )
    found = list(islice(candidates, 2))
    if len(found) != 1:
        raise FileError(arrays.path, f"choose the array of signals with key; {held}")
    return found[0]


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
        raise FileError(
            source,
            f"channel_axis={channel_axis} is no channel axis of {name!r} of shape "
            f"{values.shape}, whose axis 0 counts signals",
        )
    n_axes = values.ndim - 1 - (channel_axis is not None)
    if n_axes not in AXIS_NAMES:
        raise FileError(
            source,
            f"{name!r} must have one axis of signals and one to three of coordinates, "
            f"got shape {values.shape}",
        )
    dims: tuple[str, ...] = ("sample", *AXIS_NAMES[n_axes])
    if channel_axis is not None:
        dims, values = (*dims, "channel"), np.moveaxis(values, channel_axis, -1)
    return dims, values


def _labels(
    arrays: NumpyFile, name: str, n_samples: int
) -> dict[str, tuple[str, NDArray[np.generic]]]:
    """Return the coordinates of the labels that belong to an array of signals."""
    for key in (name.removesuffix(_IMAGES) + _LABELS, name + _LABELS, *_LABEL_KEYS):
        labels = arrays.get(key)
        if labels is None or labels.shape[:1] != (n_samples,) or labels.ndim > 2:
            continue
        columns = labels.reshape(n_samples, math.prod(labels.shape[1:])).T
        if len(columns) > _MOST_LABELS:
            raise FileError(
                arrays.path,
                f"{key!r} has {len(columns)} labels for each signal, and {_MOST_LABELS} are "
                "allowed; give it another name if it holds something else",
            )
        if len(columns) == 1:
            return {"label": ("sample", columns[0])}
        return {f"label_{place}": ("sample", column) for place, column in enumerate(columns)}
    return {}


def _with_beside(signals: xr.DataArray, arrays: NumpyFile, ending: str = "") -> xr.DataArray:
    """Return signals with the coordinates beside the axes, and what describes them."""
    held = arrays.get(_BESIDE_KEY + ending)
    if held is None or held.dtype.kind != "U":
        return signals
    with reading(arrays.path, f"a file of save_npz (array {_BESIDE_KEY!r})"):
        described = json.loads(str(held))
        for name, dims in described["dims"].items():
            stored = arrays[f"{_COORD_PREFIX}{name}{ending}"]
            signals = signals.assign_coords({name: (dims, stored)})
        for name, attrs in described["coord_attrs"].items():
            signals[name].attrs.update(from_json(attrs))
        whole = signals.to_dataset(name="values").assign_attrs(described["index"])
        signals = with_multi_indexes(whole)["values"].rename(described["name"])
        return signals.assign_attrs({**from_json(described["attrs"]), **signals.attrs})


def _axes(signal: xr.DataArray, ending: str) -> dict[str, NDArray[np.generic]]:
    return {
        f"{_COORD_PREFIX}{dim}{ending}": _plain(signal[dim].values)
        for dim in signal.dims
        if dim in signal.coords
    }


def _plain(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return strings as fixed-width text, which needs no pickle."""
    return array.astype(str) if array.dtype.kind not in "biufMm" else array
