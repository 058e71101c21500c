"""A volume as its file describes it, and the labelled array that becomes of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from neurfield.datasets._files import existing, reading
from neurfield.datasets._lazy import lazy_array
from neurfield.datasets.intensity import rescale_intensity
from neurfield.errors import FileError, MissingFileError
from neurfield.geometry import AXES, FRAME_AXES, affine_fault, millimetres

#: What a caller may say of a fourth axis.
Fourth = Literal["time", "channel"] | None

_LONGEST = 2**22  # voxels along one axis
_FEW = 32  # as many whole values as label maps have, and intensities hardly ever
_LOOKED_AT = 100_000  # voxels that tell whether it is worth to count them all


@dataclass(frozen=True)
class Frames:
    """How a file says that its fourth axis goes on.

    Parameters
    ----------
    step, start : float
        Distance of frames, and position of the first.
    unit : str or None
        Of both: a key of ``FRAME_AXES``, or None where the file names none.
    field : str
        What the file calls the step.
    """

    step: float
    start: float = 0.0
    unit: str | None = None
    field: str = "the fourth spacing"


@dataclass(frozen=True)
class StoredVolume:
    """What a file's header says, and how to read its values.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        Its kind in words.
    shape : tuple of int
        Sizes along x, y, z, frames and channels, as far as there are such axes.
    affine : float array of shape (4, 4)
        Voxel index → position in millimetres towards right, front and up.
    dtype : dtype
        Of the values that `read` returns.
    read : callable
        Returns the values, of that shape.
    frames : Frames
        Of the fourth axis.
    space : str
        What positions refer to, in NIfTI's words; "unknown" where left and right are not.
    is_label_map : bool
        Whether the file says so.
    units : str, optional
        Unit of the values.
    components : tuple of str, optional
        Names of the channels, which are the last axis of `shape`.
    """

    path: Path
    what: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]
    frames: Frames = Frames(1.0)
    space: str = "scanner"
    is_label_map: bool = False
    units: str | None = None
    components: tuple[str, ...] | None = None


def labelled(
    stored: StoredVolume,
    *,
    clip: tuple[float, float] | None,
    scale: bool,
    lazy: bool,
    labels: bool | None,
    fourth: Fourth,
) -> xr.DataArray:
    """Return the array of a volume; the options are those of :func:`load_nifti`.

    Raises
    ------
    FileError
        If the file places no voxels, or its axes are not told apart.
    """
    dims, shape, coords = _axes(stored, fourth)
    if (fault := affine_fault(stored.affine)) is not None:
        raise FileError(stored.path, f"{fault}; correct its header")
    if stored.space == "unknown":
        warnings.warn(
            f"{stored.path}: {stored.what} that does not say which side is left and how the "
            "patient lies; distances are right, positions are those that its reader assumes",
            stacklevel=4,
        )
    is_label_map = stored.is_label_map if labels is None else labels
    dtype = np.dtype(np.int32) if is_label_map else stored.dtype
    read = partial(_read, stored, shape, dtype)
    values = lazy_array(read, shape, dtype) if lazy else read()
    attrs = {
        "filename": stored.path.name,
        "affine": stored.affine.tolist(),
        "space": stored.space,
    }
    if stored.units is not None:
        attrs["units"] = stored.units
    if is_label_map:
        attrs["intent"] = "label"
    name = "label" if is_label_map else "intensity"
    volume = xr.DataArray(values, dims=dims, coords=coords, name=name, attrs=attrs)
    if is_label_map or (clip is None and not scale):
        return volume
    if not lazy and labels is None:
        _warn_of_labels(volume, stored)
    try:
        return rescale_intensity(volume, percentiles=clip, scale=scale)
    except ValueError as error:
        raise FileError(stored.path, str(error)) from error


def value_dtype(stored: DTypeLike, slope: float = 1.0, intercept: float = 0.0) -> np.dtype[Any]:
    """Return float32, or float64 where single precision would lose what a file tells apart.

    Parameters
    ----------
    stored : dtype
        Of the numbers in the file.
    slope, intercept : float
        What they are multiplied by, and what is then added.

    Examples
    --------
    >>> value_dtype(np.int16), value_dtype(np.int16, 1e-3, 1e6), value_dtype(np.int32)
    (dtype('float32'), dtype('float64'), dtype('float64'))
    """
    dtype = np.dtype(stored)
    if dtype.kind == "f":
        scaled = (slope, intercept) != (1.0, 0.0)
        return np.dtype(np.float64 if dtype.itemsize > 4 or scaled else np.float32)
    info = np.iinfo(dtype)
    reach = max(abs(info.min), info.max) * abs(slope) + abs(intercept)
    fine = reach < np.finfo(np.float32).max and np.spacing(np.float32(reach)) <= abs(slope) / 16
    return np.dtype(np.float32 if fine else np.float64)


def check_shape(path: Path, shape: Sequence[int]) -> None:
    """Refuse sizes that no volume has, before coordinates are made for them.

    Raises
    ------
    FileError
        If an axis has no voxels, or more than any scanner gives.
    """
    if not shape or min(shape) < 1:
        raise FileError(path, f"holds no voxels: its axes have the sizes {tuple(shape)}")
    if max(shape) > _LONGEST:
        raise FileError(path, f"claims {max(shape)} voxels along one axis; is its header damaged?")


def files_in(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    accepts: Callable[[Path], bool],
    expected: str,
) -> list[Path]:
    """Return the files given, or those of a folder in order of their names.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files, or one folder.
    accepts : callable
        Says of a path whether it is named like one of the files.
    expected : str
        Which those are, in words.

    Raises
    ------
    MissingFileError
        If a file is not there, or a folder holds none.
    """
    if not isinstance(paths, str | os.PathLike):
        return [existing(path) for path in paths]
    source = existing(paths)
    if source.is_file():
        return [source]
    found = sorted(path for path in source.iterdir() if accepts(path))
    if not found:
        raise MissingFileError(source, f"no {expected} in this folder")
    return found


def check_options(clip: tuple[float, float] | None, fourth: Fourth) -> None:
    """Raise ValueError for options that no volume can be read with."""
    if clip is not None and not 0 <= clip[0] < clip[1] <= 100:
        raise ValueError(f"clip must be two rising percentiles from 0 to 100, got {clip}")
    if fourth not in (None, "time", "channel"):
        raise ValueError(f"fourth must be 'time' or 'channel', got {fourth!r}")


def _axes(
    stored: StoredVolume, fourth: Fourth
) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, Any]]:
    """Return dims, shape and coordinates, without axes of one that stand for nothing."""
    space, n_frames, n_channels = _sizes(stored)
    path, frames, unit = stored.path, stored.frames, stored.frames.unit
    if fourth is not None:
        unit = None if fourth == "channel" else unit or "s"
    dims, shape = list(AXES[: len(space)]), list(space)
    coords = millimetres(space, stored.affine)
    if unit is not None and n_frames > 1:
        dims.append(FRAME_AXES[unit])
        shape.append(n_frames)
        coords[FRAME_AXES[unit]] = _positions(path, frames, n_frames, unit)
    elif unit is not None and frames.start != 0:
        coords[FRAME_AXES[unit]] = ((), frames.start, {"units": unit})
    elif n_frames > 1:
        if n_channels > 1:
            raise FileError(
                path,
                f"has {n_frames} frames in no unit that is known and {n_channels} channels; "
                "fourth='time' reads frames as seconds",
            )
        if fourth is None and frames.step not in (0.0, 1.0):
            warnings.warn(
                f"{path}: its fourth axis goes on in steps of {frames.step:g} ({frames.field}) of "
                "no known unit and is read as channels; fourth='time' reads seconds",
                stacklevel=5,
            )
        n_channels = n_frames
    if n_channels > 1 or stored.components is not None:
        dims.append("channel")
        shape.append(n_channels)
        if stored.components:
            coords["channel"] = list(stored.components)
    return tuple(dims), tuple(shape), coords


def _sizes(stored: StoredVolume) -> tuple[tuple[int, ...], int, int]:
    """Return the sizes along axes of space, and the numbers of frames and of channels."""
    shape = list(stored.shape)
    n_components = 1 if stored.components is None else shape.pop()
    space, (n_frames, n_channels, *others) = shape[:3], [*shape[3:], 1, 1][: max(2, len(shape) - 3)]
    if any(size > 1 for size in others) or min(n_channels, n_components) > 1:
        raise FileError(
            stored.path,
            f"expected axes of space, of frames and of channels, got shape {stored.shape}",
        )
    return tuple(space), n_frames, max(n_channels, n_components)


def _positions(path: Path, frames: Frames, n_frames: int, unit: str) -> tuple[Any, ...]:
    if not (np.isfinite([frames.step, frames.start]).all() and frames.step > 0):
        raise FileError(
            path,
            f"has {n_frames} frames with steps of {frames.step:g} {unit} from {frames.start:g}, "
            f"which are no positions; correct {frames.field} in its header, or pass "
            "fourth='channel'",
        )
    positions = frames.start + frames.step * np.arange(n_frames)
    return (FRAME_AXES[unit], positions, {"units": unit})


def _read(stored: StoredVolume, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    with reading(stored.path, stored.what):
        values = np.asarray(stored.read()).reshape(shape)
        if dtype.kind == "f" or values.dtype.kind == "b":
            return values.astype(dtype, copy=False)
        whole = values.astype(dtype)
        if not (whole == values).all():
            raise FileError(
                stored.path, "holds values that are no labels, which are whole; pass labels=False"
            )
        return whole


def _warn_of_labels(volume: xr.DataArray, stored: StoredVolume) -> None:
    """Warn of values that look like labels and are about to be treated as intensities."""
    values = volume.values.ravel()
    some = np.unique(values[:: max(1, values.size // _LOOKED_AT)])
    if not 2 < len(some) <= _FEW or values.size < 100 * len(some):
        return
    if (some == np.round(some)).all() and len(found := np.unique(values)) <= _FEW:
        warnings.warn(
            f"{stored.path}: holds only {len(found)} different whole values, like a label map, and "
            "is clipped and scaled like an intensity; labels=True keeps labels, labels=False says "
            "that they are none",
            stacklevel=5,
        )
