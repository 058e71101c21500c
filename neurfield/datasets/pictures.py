"""Plain pictures: PNG, JPEG, TIFF and their like, alone, as stacks, or in folders of classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from neurfield.datasets._files import existing
from neurfield.datasets._picture_writing import write_folder, write_one
from neurfield.datasets._raster import RASTER_ENDINGS, read_raster
from neurfield.datasets._tiff import TIFF_ENDINGS, Picture, read_tiff
from neurfield.errors import FileError, MissingFileError
from neurfield.signals.dataarrays import one_by_one

#: Endings of the files that are read.
PICTURE_ENDINGS = RASTER_ENDINGS + TIFF_ENDINGS

Pages = Literal["depth", "samples"]

_AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
_COLOURS = ("red", "green", "blue")
_MOST_NAMED = 5  # of files that are passed over, in the warning


@dataclass(frozen=True)
class _Source:
    """A file, what its signal is called, and the class that its folder stands for."""

    path: Path
    name: str
    kind: str | None = None


def load_pictures(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    pages: Pages | None = None,
    alpha: Literal["refuse", "drop"] = "refuse",
) -> xr.DataArray | list[xr.DataArray]:
    """Read pictures from files or from a folder.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        ``.png``, ``.jpg``, ``.jpeg``, ``.gif``, ``.bmp``, ``.webp``, ``.tif`` or ``.tiff`` files,
        or one folder, whose pictures are read in order of their names. Where they lie in
        subfolders instead, each subfolder is a class.
    pages : {"depth", "samples"}, optional
        What the pages of a TIFF stack or the frames of an animation are: places along a third axis
        ``z``, or signals of their own. Needed unless the file itself says that they are slices, as
        ImageJ and OME write it.
    alpha : {"refuse", "drop"}, default="refuse"
        What to do with pictures that are transparent somewhere. One that is opaque everywhere is
        read without its alpha in any case.

    Returns
    -------
    DataArray of shape (n_samples, [z,] y, x[, channel]), or list of DataArrays of various sizes
        Values as stored, in the file's dtype: palettes looked up, 0 black also in TIFF files that
        mean white by it, turned upright as the file's orientation says. Coordinates are pixel
        indices, or distances from the first pixel where ImageJ or OME give a pixel size, with its
        unit in ``attrs["units"]``; the resolution for printing that other files have is passed
        over. Over ``sample`` stand the names of the files and, of subfolders, ``label``, their
        place in order of names, and ``label_name``; in a list, ``attrs`` hold them.
        ``attrs["stored_dtype"]`` is what :func:`save_pictures` writes by default.

    Raises
    ------
    MissingFileError
        If a file is not there, or a folder holds no picture.
    FileError
        If a file cannot be read, would unpack to more than it may, has pages and it is not known
        of what, is transparent, or differs from the others in channels or dtype.
    ImportError
        If Pillow, or for TIFF tifffile, is not installed.

    Warns
    -----
    UserWarning
        Of files in a folder that are no pictures.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> pictures = xr.DataArray(np.full((2, 4, 6), 7, np.uint8), dims=("sample", "y", "x"))
    >>> save_pictures(pictures, folder.name + "/set")
    >>> load_pictures(folder.name + "/set").sizes
    Frozen({'sample': 2, 'y': 4, 'x': 6})
    >>> folder.cleanup()
    """
    if pages not in (None, "depth", "samples"):
        raise ValueError(f"pages must be 'depth', 'samples' or None, got {pages!r}")
    if alpha not in ("refuse", "drop"):
        raise ValueError(f"alpha must be 'refuse' or 'drop', got {alpha!r}")
    sources = _sources(paths)
    kinds = sorted({source.kind for source in sources if source.kind is not None})
    signals: list[xr.DataArray] = []
    for source in sources:
        read = read_tiff if source.path.suffix.lower() in TIFF_ENDINGS else read_raster
        picture = read(source.path, drops_alpha=alpha == "drop")
        own = _signals_of(source, picture, pages, kinds)
        _check_like(source.path, own[0], (signals or own)[0])
        signals += own
    if any(signal.shape != signals[0].shape for signal in signals) or not _same_grid(signals):
        return signals
    return _together(signals)


def save_pictures(
    values: xr.DataArray | Sequence[xr.DataArray],
    path: str | os.PathLike[str],
    *,
    dtype: Any = None,
) -> None:
    """Write pictures to a file, or to a folder of one file each, whole or not at all.

    Parameters
    ----------
    values : DataArray of shape ([sample,] [z,] y, x[, channel]), or list of them without samples
        As :func:`load_pictures` returns them.
    path : path-like
        A file with one of the endings that :func:`load_pictures` reads, but ``.gif``, for one
        signal; or a folder, in which each is called as in ``sample`` or ``attrs["filename"]``,
        ``signal_0000.png`` where it has no name that ends like a picture.
    dtype : dtype, optional
        Type to write. By default that of integers, and of other values
        ``attrs["stored_dtype"]``. Values are rounded, and clipped to its range, for integers.

    Raises
    ------
    FileError
        If the format cannot hold the signal: one picture of eight or sixteen bits, in colour eight,
        for all but TIFF, which holds any type, and pixel sizes too.
    ValueError
        If values are no integers and nothing says what to write.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> picture = xr.DataArray([[-3.0, 99.6, 300.0]], dims=("y", "x"))
    >>> save_pictures(picture, folder.name + "/a.png", dtype="uint8")
    >>> load_pictures(folder.name + "/a.png").values.tolist()
    [[[0, 100, 255]]]
    >>> folder.cleanup()
    """
    signals = one_by_one(values)
    target = Path(path)
    if target.suffix.lower() not in PICTURE_ENDINGS:
        write_folder(signals, target, dtype)
    elif len(signals) != 1:
        raise FileError(
            target,
            f"one file takes one signal, got {len(signals)}; a folder, without an ending, takes "
            "one file for each",
        )
    else:
        write_one(signals[0], target, dtype)


def is_picture(path: Path) -> bool:
    """Tell whether the name of a file is that of a picture."""
    return path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".")


def holds_pictures(folder: Path) -> bool:
    """Tell whether there are pictures in a folder or in its subfolders."""
    return any(is_picture(path) for path in folder.iterdir()) or any(
        is_picture(path) for path in folder.glob("*/*")
    )


def _sources(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[_Source]:
    """Return the files to read."""
    if not isinstance(paths, str | os.PathLike):
        files = [existing(path) for path in paths]
        if not files:
            raise ValueError("paths must name at least one file, got none")
        names = [file.name for file in files]
        whole = len(set(names)) < len(names)
        return [_Source(file, str(file) if whole else file.name) for file in files]
    folder = existing(paths)
    if folder.is_file():
        return [_Source(folder, folder.name)]
    flat = sorted(path for path in folder.iterdir() if path.is_file())
    nested = sorted(path for path in folder.glob("*/*") if path.is_file())
    here, below = (list(filter(is_picture, files)) for files in (flat, nested))
    if here and below:
        raise FileError(
            folder, f"holds pictures both beside and in subfolders ({here[0].name}, {below[0]})"
        )
    if not here and not below:
        raise MissingFileError(folder, f"no picture in this folder ({', '.join(PICTURE_ENDINGS)})")
    others = [p.name for p in flat + nested if not is_picture(p) and not p.name.startswith(".")]
    if others:
        named = ", ".join(others[:_MOST_NAMED]) + (", …" if len(others) > _MOST_NAMED else "")
        warnings.warn(
            f"{folder}: {len(others)} files that are no pictures are passed over ({named})",
            UserWarning,
            stacklevel=3,
        )
    if here:
        return [_Source(path, path.name) for path in here]
    return [_Source(path, f"{path.parent.name}/{path.name}", path.parent.name) for path in below]


def _signals_of(
    source: _Source, picture: Picture, pages: Pages | None, kinds: list[str]
) -> list[xr.DataArray]:
    """Return the signals of one file."""
    axes, values = picture.axes, picture.values
    stacked = [axis for axis in axes if axis not in "zyxc"]
    if pages == "samples" and not stacked and "z" in axes:
        stacked = ["z"]
    if len(stacked) > 1 or (stacked and pages == "depth" and "z" in axes):
        words = ", ".join(f"{values.shape[axes.index(axis)]} along {axis!r}" for axis in stacked)
        raise FileError(source.path, f"has pages along several axes ({words}); write one at a time")
    if stacked and pages is None:
        n_pages = values.shape[axes.index(stacked[0])]
        raise FileError(
            source.path,
            f"has {n_pages} pages, and does not say what they are; give pages='depth' or "
            "pages='samples'",
        )
    order = [*stacked, *(axis for axis in "zyxc" if axis in axes and axis not in stacked)]
    values = values.transpose([axes.index(axis) for axis in order])
    several = bool(stacked) and pages == "samples"
    parts = list(values) if several else [values]
    dims = _AXES[values.ndim - several - ("c" in axes)] + (("channel",) if "c" in axes else ())
    return [
        _labelled(source, part, dims, picture, kinds, i if several else None)
        for i, part in enumerate(parts)
    ]


def _labelled(
    source: _Source,
    values: np.ndarray,
    dims: tuple[str, ...],
    picture: Picture,
    kinds: list[str],
    page: int | None,
) -> xr.DataArray:
    coords: dict[str, Any] = {}
    for dim, size in zip(dims, values.shape, strict=True):
        step, unit = picture.spacing.get(dim, (1.0, None))
        units = {} if unit is None else {"units": unit}
        coords[dim] = (dim, step * np.arange(size, dtype=np.float64), units)
    coords.pop("channel", None)
    if dims[-1] == "channel" and values.shape[-1] == len(_COLOURS):
        coords["channel"] = list(_COLOURS)
    name = source.name if page is None else f"{source.name}[{page}]"
    attrs: dict[str, Any] = {"filename": name, "stored_dtype": str(values.dtype)}
    if source.kind is not None:
        attrs |= {"label": kinds.index(source.kind), "label_name": source.kind}
    return xr.DataArray(values, coords=coords, dims=dims, name="values", attrs=attrs)


def _check_like(path: Path, signal: xr.DataArray, first: xr.DataArray) -> None:
    """Refuse pictures whose values would not mean the same as the first one's."""
    for what, own, other in (
        ("axes", signal.dims, first.dims),
        ("channels", signal.sizes.get("channel", 1), first.sizes.get("channel", 1)),
        ("type", signal.dtype, first.dtype),
        ("units", signal["x"].attrs.get("units"), first["x"].attrs.get("units")),
    ):
        if own != other:
            raise FileError(
                path,
                f"has the {what} {own}, and {first.attrs['filename']} {other}; read them apart, or "
                "convert one",
            )


def _same_grid(signals: list[xr.DataArray]) -> bool:
    first = signals[0]
    return all(signal[dim].equals(first[dim]) for signal in signals for dim in first.dims)


def _together(signals: list[xr.DataArray]) -> xr.DataArray:
    """Return pictures on one grid as one array."""
    own = [signal.attrs for signal in signals]
    whole = xr.concat(
        signals, dim="sample", combine_attrs="drop", coords="minimal", compat="equals"
    )
    whole = whole.assign_coords(sample=[attrs["filename"] for attrs in own])
    for name in ("label", "label_name"):
        if all(name in attrs for attrs in own):
            whole = whole.assign_coords({name: ("sample", [attrs[name] for attrs in own])})
    return whole.assign_attrs(stored_dtype=own[0]["stored_dtype"])
