"""NIfTI volumes: each of its own shape, with coordinates in millimetres."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets._files import require
from neurfield.datasets._nibabel_volume import open_with_nibabel
from neurfield.datasets._staging import moving_into
from neurfield.datasets._stored_volume import check_options, files_in, labelled
from neurfield.datasets._voxel_grid import VoxelGrid, voxel_grid
from neurfield.geometry import voxel_sizes

_ENDINGS = (".nii.gz", ".nii")

_UNITS = {"s": "sec", "Hz": "hz", "ppm": "ppm", "rad/s": "rads"}
_SPACES = ("scanner", "aligned", "talairach", "mni", "template")


def load_nifti(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    clip: tuple[float, float] | None = (0.1, 99.9),
    scale: bool = True,
    lazy: bool = False,
    labels: bool | None = None,
    fourth: Literal["time", "channel"] | None = None,
    form: Literal["sform", "qform"] | None = None,
) -> list[xr.DataArray]:
    """Read volumes from NIfTI files.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files (``.nii`` or ``.nii.gz``), or one folder, whose NIfTI files are read in order of their
        names.
    clip : (float, float) or None, default=(0.1, 99.9)
        Percentiles of each volume's values below and above which values are cut off.
    scale : bool, default=True
        Whether each volume's values, after clipping, are mapped to [0, 1].
    lazy : bool, default=False
        Whether to read the headers only and leave the values in the files, as dask arrays of one
        block each, until they are needed.
    labels : bool, optional
        Whether the volumes are label maps, such as segmentations, of which no value is changed
        whatever `clip` and `scale` say. By default those that say so (``intent_code`` 1002).
    fourth : {"time", "channel"}, optional
        What the fourth axis is. By default what the unit of its steps says, and without a unit an
        axis of channels. "time" without a unit means seconds.
    form : {"sform", "qform"}, optional
        Which of a file's two affines is right. By default the sform where its code is not 0. Files
        in which both claim one space and differ by over half a voxel are refused without it.

    Returns
    -------
    list of DataArray, each of its own shape (x, y, z[, time][, channel]), float32
        Or float64 where `scale` is False and single precision would lose what the file tells apart,
        int32 for label maps. Axes in the order in which the file stores them. Coordinates are voxel
        index × voxel size in millimetres, from 0 at the first voxel, whatever the orientation;
        those of ``time`` are in seconds (of other units ``frequency`` in Hz, ``chemical_shift`` in
        ppm, ``angular_frequency`` in rad/s). Colours are channels. ``attrs`` hold ``filename``,
        ``affine`` (voxel index → scanner position, a nested list of 4×4), ``space``, what positions
        refer to ("scanner", "aligned", "talairach", "mni", "template"; "unknown" with a warning
        where neither affine has a code), ``intent``, "label" for label maps, and ``value_range``,
        the values that were mapped to 0 and 1, if `scale` and not `lazy`.

    Raises
    ------
    FileNotFoundError
        If a file is not there, or a folder holds no NIfTI file.
    FileError
        If a file cannot be read, holds complex values, or does not place its voxels: sizes or steps
        that are not positive, axes in one direction, affines that disagree.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> mm = {"x": [0.0, 2.0, 4.0], "y": [0.0, 1.0], "z": [0.0, 1.0]}
    >>> volume = xr.DataArray(np.arange(12.0).reshape(3, 2, 2), dims=("x", "y", "z"), coords=mm)
    >>> save_nifti(volume, folder.name + "/brain.nii.gz")
    >>> (read,) = load_nifti(folder.name, clip=None)
    >>> read["x"].values.tolist(), float(read.max())
    ([0.0, 2.0, 4.0], 1.0)
    >>> folder.cleanup()
    """
    require("nibabel", "readers")
    check_options(clip, fourth)
    if form not in (None, "sform", "qform"):
        raise ValueError(f"form must be 'sform' or 'qform', got {form!r}")
    files = files_in(paths, is_nifti, f"NIfTI file ({' or '.join(_ENDINGS)})")
    return [
        labelled(
            open_with_nibabel(path, form),
            clip=clip,
            scale=scale,
            lazy=lazy,
            labels=labels,
            fourth=fourth,
        )
        for path in files
    ]


def save_nifti(values: xr.DataArray, path: str | os.PathLike[str]) -> None:
    """Write one volume to a NIfTI file; an existing file is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray with dims among x, y, z, time and channel, in any order
        Coordinates evenly spaced, rising or descending, in millimetres (or another unit of length
        that they name) and seconds, as :func:`load_nifti` gives them; they may cover another region
        at another spacing. A scalar coordinate places a slice or a frame. ``attrs["affine"]``, if
        there, is the affine of the volume that the coordinates belong to; without it, coordinates
        are scanner positions. Instead of ``time`` the fourth axis may be one of the others that
        :func:`load_nifti` gives.
    path : path-like
        File to write, ending in ``.nii`` or ``.nii.gz``.

    Raises
    ------
    ValueError
        If the file name has another ending, values are not real numbers, or the axes are not those
        or not evenly spaced.

    Notes
    -----
    The affine written is that of the original volume, shifted to the first coordinate and scaled to
    the steps of the coordinates, so any viewer shows both in the same place. Values are written in
    their own dtype, integers in four bytes where they fit.
    """
    nibabel = require("nibabel", "readers")
    target = Path(path)
    if not target.name.endswith(_ENDINGS):
        raise ValueError(f"{target}: a NIfTI file must end in {' or '.join(_ENDINGS)}")
    grid = voxel_grid(values, target)
    image = nibabel.Nifti1Image(grid.data, grid.affine, dtype=grid.data.dtype)
    _describe(image, grid, values)
    with replacing(target) as temporary:
        nibabel.save(image, temporary)


def save_nifti_folder(
    volumes: Sequence[xr.DataArray], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write volumes to a folder, one NIfTI file each, named after ``attrs["filename"]``.

    Parameters
    ----------
    volumes : sequence of DataArray
        As :func:`save_nifti` takes them. Those without a file name are called
        ``signal_0000.nii.gz`` by their place.
    folder : path-like
        Folder to write into; made if it is not there. Files appear in it once all are written.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    FileNotFoundError
        If the folder that `folder` is to be made in is not there.
    """
    target = Path(folder)
    names = [
        _file_name(volume.attrs.get("filename"), index) for index, volume in enumerate(volumes)
    ]
    if len(set(names)) < len(names):
        names = [f"{index:04d}_{name}" for index, name in enumerate(names)]
    with moving_into(target, beside=target.parent) as staging:
        for volume, name in zip(volumes, names, strict=True):
            save_nifti(volume, staging / name)
        target.mkdir(exist_ok=True)  # also for no volumes at all
    return [target / name for name in names]


def is_nifti(path: Path) -> bool:
    """Return whether a file is named like a NIfTI file; hidden ones do not count."""
    return path.name.endswith(_ENDINGS) and not path.name.startswith(".")


def _describe(image: Any, grid: VoxelGrid, values: xr.DataArray) -> None:
    """Say in the header what the values and the positions are."""
    header = image.header
    header.set_xyzt_units("mm", _UNITS.get(grid.frames.unit or "", "unknown"))
    if grid.data.ndim > 3 and grid.frames.unit is not None:
        # Of the axes beyond space nibabel knows zooms only from the data's own dimensions.
        header["pixdim"][4] = grid.frames.step
        header["toffset"] = grid.frames.start
    stored = values.attrs.get("space", "scanner")
    # Positions of a file without a code are those that its readers agree upon: another file's.
    code = stored if stored in _SPACES else "aligned"
    image.set_sform(grid.affine, code=code)
    directions = grid.affine[:3, :3] / voxel_sizes(grid.affine)
    if np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        image.set_qform(grid.affine, code=code)
    else:
        image.set_qform(None, code="unknown")  # it is a turn, and turns no sheared axes
        header["pixdim"][1:4] = voxel_sizes(grid.affine)
    if values.attrs.get("intent") == "label" and grid.data.dtype.kind in "iu":
        header.set_intent("label")
    elif "channel" in values.dims and grid.data.ndim == 5:
        header.set_intent("vector")


def _file_name(stored: str | None, index: int) -> str:
    if not stored:
        return f"signal_{index:04d}.nii.gz"
    name = Path(stored).name
    return name if name.endswith(_ENDINGS) else f"{name}.nii.gz"
