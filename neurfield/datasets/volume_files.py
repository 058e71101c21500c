"""Volumes in any of the formats of imaging: one reader and one writer that go by the ending."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import require
from neurfield.datasets._itk_volume import ITK_KINDS, open_with_itk, write_with_itk
from neurfield.datasets._nibabel_volume import open_with_nibabel
from neurfield.datasets._staging import moving_into
from neurfield.datasets._stored_volume import check_options, files_in, labelled
from neurfield.datasets._voxel_grid import VoxelGrid, voxel_grid
from neurfield.datasets.nifti import is_nifti, save_nifti
from neurfield.errors import FileError, MissingFileError

_MGH = (".mgz", ".mgh")
_ANALYZE = (".hdr", ".img")
_WORDS = ".nii, .nii.gz, .mgz, .mgh, .hdr, .img, .nrrd, .nhdr, .mha or .mhd"

#: Endings of files of volumes beside those of NIfTI.
VOLUME_ENDINGS = (*_MGH, *_ANALYZE, *ITK_KINDS)

# Dtypes that other formats than NIfTI hold, from the smallest on.
_MGH_DTYPES = (np.uint8, np.int16, np.int32, np.float32)
_ANALYZE_DTYPES = (*_MGH_DTYPES, np.float64)


def load_volumes(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    clip: tuple[float, float] | None = (0.1, 99.9),
    scale: bool = True,
    lazy: bool = False,
    labels: bool | None = None,
    fourth: Literal["time", "channel"] | None = None,
) -> list[xr.DataArray]:
    """Read volumes from NIfTI, MGH, Analyze, NRRD and MetaImage files.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files, or one folder, whose volumes are read in order of their names: ``.nii``, ``.nii.gz``;
        FreeSurfer's ``.mgz`` and ``.mgh``; ``.hdr`` with ``.img``, Analyze's or NIfTI's; ``.nrrd``,
        ``.nhdr``, ``.mha`` and ``.mhd``.
    clip : (float, float) or None, default=(0.1, 99.9)
        Percentiles of each volume's values below and above which values are cut off.
    scale : bool, default=True
        Whether each volume's values, after clipping, are mapped to [0, 1].
    lazy : bool, default=False
        Whether to read the headers only and leave the values in the files, as dask arrays of one
        block each, until they are needed.
    labels : bool, optional
        Whether the volumes are label maps, of which no value is changed. By default those that say
        so, as only NIfTI files can.
    fourth : {"time", "channel"}, optional
        What the fourth axis is. By default what the file says: NIfTI names a unit, MGH a repetition
        time. Without that an axis of channels; "time" then means seconds.

    Returns
    -------
    list of DataArray, each of its own shape (x, y, z[, time][, channel])
        As :func:`load_nifti` returns them, whatever the format: positions towards right, front and
        up, in millimetres. Vectors and colours are channels.

    Raises
    ------
    ImportError
        If nibabel or, for the last four endings, SimpleITK is not installed.
    FileNotFoundError
        If a file is not there, or a folder holds no volume.
    FileError
        If a file cannot be read, holds complex values, or does not place its voxels.

    Warns
    -----
    UserWarning
        If a file does not say which side is left, as Analyze files without SPM's ``.mat`` file.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> mm = {axis: 2.0 * np.arange(3) for axis in "xyz"}
    >>> volume = xr.DataArray(np.arange(27.0, dtype="f4").reshape(3, 3, 3), mm)
    >>> save_volume(volume, folder.name + "/brain.mgz")
    >>> (read,) = load_volumes(folder.name, clip=None, scale=False)
    >>> read["z"].values.tolist(), bool((read == volume).all())
    ([0.0, 2.0, 4.0], True)
    >>> folder.cleanup()
    """
    check_options(clip, fourth)
    found = files_in(paths, is_volume, f"file of a volume ({_WORDS})")
    # Of a pair of files either may be given, and is read once.
    headers = {path.with_suffix(".hdr") if path.suffix == ".img" else path: path for path in found}
    return [
        labelled(_open(path), clip=clip, scale=scale, lazy=lazy, labels=labels, fourth=fourth)
        for path in headers.values()
    ]


def save_volume(values: xr.DataArray, path: str | os.PathLike[str]) -> None:
    """Write one volume in the format that the ending tells, whole or not at all.

    Parameters
    ----------
    values : DataArray with dims among x, y, z, time and channel, in any order
        As :func:`save_nifti` takes it.
    path : path-like
        File to write, with one of the endings that :func:`load_volumes` reads. ``.hdr`` or ``.img``
        makes both and SPM's ``.mat`` file, which holds the affine; ``.nhdr`` and ``.mhd`` have
        their values in a file beside them.

    Raises
    ------
    ValueError
        If the ending is another, or the format does not hold what `values` hold: times of frames
        (other than NIfTI and, from 0 on, MGH), or values of that dtype.

    Examples
    --------
    See :func:`load_volumes`.
    """
    target = Path(path)
    if is_nifti(target):
        save_nifti(values, target)
        return
    if not is_volume(target) and target.suffix != ".img":
        raise ValueError(f"{target}: the file of a volume must end in {_WORDS}")
    grid = voxel_grid(values, target)
    if target.suffix in ITK_KINDS:
        if target.suffix in (".nrrd", ".mha"):
            with replacing(target) as temporary:
                write_with_itk(grid, values, temporary)
        else:
            with _replacing_all(target) as temporary:
                write_with_itk(grid, values, temporary)
    elif target.suffix in _MGH:
        image = _mgh(grid, values, target)
        with replacing(target) as temporary:
            image.to_filename(temporary)
    else:
        image = _analyze(grid, target)
        with _replacing_all(target) as temporary:
            image.to_filename(temporary)


def is_volume(path: Path) -> bool:
    """Return whether a file is named like that of a volume; hidden ones do not count.

    Of pairs of files that is the header.
    """
    endings = (*_MGH, ".hdr", *ITK_KINDS)
    return is_nifti(path) or (path.suffix in endings and not path.name.startswith("."))


def _open(path: Path) -> Any:
    if path.suffix in ITK_KINDS:
        return open_with_itk(path)
    if not (is_nifti(path) or path.suffix in (*_MGH, *_ANALYZE)):
        raise FileError(path, f"unknown kind of file; expected {_WORDS}")
    return open_with_nibabel(path)


def _mgh(grid: VoxelGrid, values: xr.DataArray, target: Path) -> Any:
    nibabel = require("nibabel", "readers")
    if grid.data.ndim > 4 or grid.frames.start != 0:
        raise ValueError(
            f"{target}: an MGH file holds frames from time 0 on or channels; a NIfTI file holds all"
        )
    data = _held(grid.data, _MGH_DTYPES, target)
    image = nibabel.MGHImage(data.reshape(data.shape + (1,) * (3 - data.ndim)), grid.affine)
    if data.ndim == 4:
        repetition = grid.frames.step * 1e3 if grid.frames.unit == "s" else 0.0
        image.header.set_zooms((*image.header.get_zooms()[:3], repetition))
    return image


def _analyze(grid: VoxelGrid, target: Path) -> Any:
    nibabel = require("nibabel", "readers")
    if grid.frames.unit is not None:
        raise ValueError(f"{target}: an Analyze file holds no times of frames; a NIfTI file does")
    data = _held(grid.data, _ANALYZE_DTYPES, target)
    return nibabel.Spm99AnalyzeImage(data.reshape(data.shape + (1,) * (3 - data.ndim)), grid.affine)


def _held(data: NDArray[Any], dtypes: Iterable[Any], target: Path) -> NDArray[Any]:
    """Return the values in the first dtype of a format that holds every one of them."""
    allowed = [np.dtype(dtype) for dtype in dtypes]
    if data.dtype in allowed:
        return data
    for dtype in allowed:
        # NumPy calls it safe to turn integers of eight bytes into floats, which lose some of them.
        if np.can_cast(data.dtype, dtype) and not (data.dtype.itemsize > 4 and dtype.kind == "f"):
            return data.astype(dtype)
    raise ValueError(
        f"{target}: this format holds no {data.dtype}, only "
        f"{', '.join(map(str, allowed))}; values.astype makes it one of them"
    )


@contextmanager
def _replacing_all(target: Path) -> Iterator[Path]:
    """Yield a path in a folder of its own, from which all files move beside `target` at the end."""
    if not target.parent.is_dir():
        raise MissingFileError(target.parent, f"no such folder to write {target.name} into")
    with moving_into(target.parent, beside=target.parent, is_last=is_volume) as staging:
        yield staging / target.name
