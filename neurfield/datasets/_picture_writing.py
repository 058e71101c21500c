"""How pictures are written: clipped to what the type holds, never wrapped around."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets._files import require
from neurfield.datasets._raster import RASTER_ENDINGS
from neurfield.datasets._staging import moving_into
from neurfield.datasets._tiff import TIFF_ENDINGS
from neurfield.errors import FileError
from neurfield.signals.layout import cast

_OME_UNITS = {"um": "µm", "nm": "nm", "mm": "mm", "cm": "cm", "m": "m", "in": "in"}
_WRITTEN = tuple(ending for ending in RASTER_ENDINGS if ending != ".gif") + TIFF_ENDINGS


def write_folder(signals: list[xr.DataArray], folder: Path, dtype: Any) -> None:
    """Write one file for each signal, in subfolders where their names have some.

    Parameters
    ----------
    signals : list of DataArray of shape ([z,] y, x[, channel])
        With their names in ``attrs["filename"]``.
    folder : Path
        Made if it is not there. Files appear in it, beside what it holds, once all are written.
    dtype : dtype or None
        As in :func:`neurfield.datasets.save_pictures`.

    Raises
    ------
    FileError
        If names repeat or lead out of the folder.
    """
    names = [_name_of(signal, i) for i, signal in enumerate(signals)]
    if len(set(names)) < len(names):
        raise FileError(folder, "several signals have one name; give each its own in 'sample'")
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise FileError(folder, f"{name!r} is no name of a file in it")
    if folder.exists() and not folder.is_dir():
        raise FileError(folder, "is a file, and pictures go into a folder")
    with moving_into(folder, beside=folder.parent) as staging:
        for name, signal in zip(names, signals, strict=True):
            written = staging / name
            written.parent.mkdir(parents=True, exist_ok=True)
            write_one(signal, written, dtype)


def write_one(signal: xr.DataArray, path: Path, dtype: Any) -> None:
    """Write one signal to one file.

    Parameters
    ----------
    signal : DataArray of shape ([z,] y, x[, channel])
        Whose axes are called so.
    path : Path
        File, of which the ending tells the format.
    dtype : dtype or None
        As in :func:`neurfield.datasets.save_pictures`.

    Raises
    ------
    FileError
        If the format cannot hold it.
    """
    order = [dim for dim in ("z", "y", "x", "channel") if dim in signal.dims]
    if set(order) != set(signal.dims) or not {"y", "x"} <= set(order):
        raise FileError(path, f"a picture has the axes y and x, and may have z; got {signal.dims}")
    signal = signal.transpose(*order)
    target = _target(signal, dtype)
    if target.kind in "iu" and not np.isfinite(signal.values).all():
        raise FileError(path, f"{target} has no place for NaN or infinity; fill gaps before")
    values = cast(signal.values, target)
    if path.suffix.lower() in TIFF_ENDINGS:
        _write_tiff(signal, values, path)
    else:
        _write_raster(values, path)


def _target(signal: xr.DataArray, dtype: Any) -> np.dtype[Any]:
    if dtype is not None:
        return np.dtype(dtype)
    if signal.dtype.kind in "iu":
        return signal.dtype
    stored = signal.attrs.get("stored_dtype")
    if stored is None:
        raise ValueError(
            f"pictures hold integers for the most part, got {signal.dtype}: give dtype, such as "
            "'uint8', or 'float32' for TIFF"
        )
    return np.dtype(stored)


def _write_raster(values: np.ndarray, path: Path) -> None:
    require("PIL", "pictures")
    from PIL import Image

    n_channels = values.shape[2] if values.ndim == 3 else 1
    deep = values.dtype == np.uint16 and n_channels == 1 and path.suffix.lower() == ".png"
    known = (values.ndim == 2 or n_channels == 3) and (values.dtype == np.uint8 or deep)
    if path.suffix.lower() not in _WRITTEN or not known:
        raise FileError(
            path,
            f"cannot hold values of the type {values.dtype} and shape {values.shape}; "
            "it holds eight bits of grey or RGB, .png also sixteen of grey, and .tif all",
        )
    options: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    with replacing(path) as temporary:
        Image.fromarray(values).save(temporary, **options)


def _write_tiff(signal: xr.DataArray, values: np.ndarray, path: Path) -> None:
    tifffile = require("tifffile", "pictures")
    colour = values.shape[-1] == 3 and "channel" in signal.dims
    facts: dict[str, Any] = {}
    for axis in ("z", "y", "x"):
        if axis in signal.coords and (unit := signal[axis].attrs.get("units")) is not None:
            facts[f"PhysicalSize{axis.upper()}"] = _step(signal, axis, path)
            if unit not in _OME_UNITS:
                raise FileError(path, f"TIFF has no unit {unit!r}, which the axis {axis} is in")
            facts[f"PhysicalSize{axis.upper()}Unit"] = _OME_UNITS[unit]
    axes = "".join(str(dim)[0].upper() for dim in signal.dims)
    if colour:
        axes = axes.replace("C", "S")
    elif "C" in axes:
        values, axes = np.moveaxis(values, -1, 0), f"C{axes.replace('C', '')}"
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            values,
            ome=True,
            photometric="rgb" if colour else "minisblack",
            metadata={"axes": axes, **facts},
        )


def _step(signal: xr.DataArray, axis: str, path: Path) -> float:
    """Return the size of a pixel along an axis, of which TIFF knows nothing else."""
    places = signal[axis].values.astype(np.float64)
    step = float(places[1] - places[0]) if len(places) > 1 else 1.0
    if step <= 0 or not np.allclose(
        places, step * np.arange(len(places)), rtol=1e-6, atol=1e-6 * step
    ):
        raise FileError(
            path, f"TIFF holds evenly spaced pixels from 0 on, and the axis {axis} is another"
        )
    return step


def _name_of(signal: xr.DataArray, place: int) -> str:
    name = str(signal.attrs.get("filename", ""))
    named = name.lower().endswith(_WRITTEN)
    return name if named else f"signal_{place:04d}.png"
