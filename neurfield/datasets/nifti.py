"""NIfTI volumes: each of its own shape, with coordinates in millimetres."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import existing, reading, require
from neurfield.datasets._lazy import lazy_array
from neurfield.datasets.volume_steps import rescale_intensity

_ENDINGS = (".nii.gz", ".nii")
_WHAT = "a NIfTI file"

#: Names of the axes of a volume.
AXES = ("x", "y", "z")

# The format's units of length, in millimetres; files that name none mean millimetres.
_MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}


def load_nifti(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    clip: tuple[float, float] | None = (0.1, 99.9),
    scale: bool = True,
    lazy: bool = False,
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

    Returns
    -------
    list of DataArray, each of its own shape (x, y, z[, channel]), float32
        Axes in the order in which the file stores them. Coordinates are voxel index × voxel size in
        millimetres, from 0 at the first voxel, whatever the orientation. ``attrs`` hold
        ``filename``, ``affine`` (voxel index → scanner position, a nested list of 4×4) and
        ``value_range``, the values that were mapped to 0 and 1, if `scale` and not `lazy`.

    Raises
    ------
    FileNotFoundError
        If a file is not there, or a folder holds no NIfTI file.
    ValueError
        If a file cannot be read.

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
    nibabel = require("nibabel", "readers")
    if clip is not None and not 0 <= clip[0] < clip[1] <= 100:
        raise ValueError(f"clip must be two rising percentiles from 0 to 100, got {clip}")
    volumes = [_load_one(nibabel, path, lazy) for path in _expand(paths)]
    if clip is None and not scale:
        return volumes
    return [rescale_intensity(volume, percentiles=clip, scale=scale) for volume in volumes]


def save_nifti(values: xr.DataArray, path: str | os.PathLike[str]) -> None:
    """Write one volume to a NIfTI file; an existing file is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray of shape (x[, y[, z]][, channel])
        Coordinates in millimetres, evenly spaced, as :func:`load_nifti` gives them; they may cover
        another region at another spacing. ``attrs["affine"]``, if there, is the affine of the
        volume that the coordinates belong to; without it, coordinates are scanner positions.
    path : path-like
        File to write, ending in ``.nii`` or ``.nii.gz``.

    Raises
    ------
    ValueError
        If the file name has another ending, or coordinates are not evenly spaced.

    Notes
    -----
    The affine written is that of the original volume, shifted to the first coordinate and scaled to
    the spacing of the coordinates, so any viewer shows both in the same place.
    """
    nibabel = require("nibabel", "readers")
    target = Path(path)
    if not target.name.endswith(_ENDINGS):
        raise ValueError(f"{target}: a NIfTI file must end in {' or '.join(_ENDINGS)}")
    axes = [str(dim) for dim in values.dims if dim != "channel"]
    if not 1 <= len(axes) <= 3:
        raise ValueError(f"{target}: a NIfTI volume has one to three axes, got dims {values.dims}")
    data = values.transpose(*axes, ...).values
    if "channel" in values.dims:
        # The format counts axes: the first three are space, further ones anything else.
        data = data.reshape(*data.shape[:-1], *[1] * (3 - len(axes)), data.shape[-1])
    affine = _affine_of(values, axes, target)
    image = nibabel.Nifti1Image(_storable(data), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
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
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such folder to make {target.name} in")
    with TemporaryDirectory(dir=target.parent, prefix=".writing-") as staging:
        for volume, name in zip(volumes, names, strict=True):
            save_nifti(volume, Path(staging) / name)
        target.mkdir(exist_ok=True)
        for name in names:
            os.replace(Path(staging) / name, target / name)
    return [target / name for name in names]


def is_nifti(path: Path) -> bool:
    """Return whether a file is named like a NIfTI file; hidden ones do not count."""
    return path.name.endswith(_ENDINGS) and not path.name.startswith(".")


def _expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    if not isinstance(paths, str | os.PathLike):
        return [existing(path) for path in paths]
    source = existing(paths)
    if source.is_file():
        return [source]
    found = sorted(path for path in source.iterdir() if is_nifti(path))
    if not found:
        raise FileNotFoundError(f"{source}: no NIfTI file ({' or '.join(_ENDINGS)}) in this folder")
    return found


def _load_one(nibabel: Any, path: Path, lazy: bool) -> xr.DataArray:
    with reading(path, _WHAT):
        image = nibabel.load(path)
        affine = _in_millimetres(image)
        shape = _shape(image.shape)
    if not 1 <= len(shape) <= 4:
        raise ValueError(
            f"{path}: expected a volume with at most one axis of channels, got shape {shape}"
        )
    sizes = np.linalg.norm(affine[:3, : min(len(shape), 3)], axis=0)
    if not (np.isfinite(affine).all() and (sizes > 0).all()):
        raise ValueError(f"{path}: voxel sizes must be positive, got {sizes.tolist()} mm")
    read = partial(_read_values, image, path, shape)
    attrs = {"filename": path.name, "affine": affine.tolist()}
    dims = (*AXES[: min(len(shape), 3)], "channel")[: len(shape)]
    values = lazy_array(read, shape) if lazy else read()
    coords = millimetres(shape[:3], affine)
    return xr.DataArray(values, dims=dims, coords=coords, name="intensity", attrs=attrs)


def _in_millimetres(image: Any) -> NDArray[np.float64]:
    """Return the affine from voxel index to scanner position in millimetres."""
    affine = np.array(image.affine, dtype=np.float64)
    units = getattr(image.header, "get_xyzt_units", lambda: ("unknown",))()
    affine[:3] *= _MILLIMETRES[units[0]]
    return affine


def millimetres(shape: Sequence[int], affine: NDArray[np.float64]) -> dict[str, Any]:
    """Return coordinates along x, y and z: voxel index × voxel size."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return {
        axis: (axis, np.arange(size) * step, {"units": "mm"})
        for axis, size, step in zip(AXES, shape, sizes, strict=False)
    }


def _shape(stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without axes of one that stand for nothing."""
    shape = list(stored)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5 and shape[3] == 1:
        del shape[3]  # vectors are stored on the fifth axis, after one time step
    return tuple(shape)


def _read_values(image: Any, path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    with reading(path, _WHAT):
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")).reshape(shape)


def _affine_of(values: xr.DataArray, axes: list[str], target: Path) -> NDArray[np.float64]:
    """Return the affine of the grid on which the values stand."""
    stored = values.attrs.get("affine")
    original = np.eye(4) if stored is None else np.asarray(stored, dtype=np.float64)
    if original.shape != (4, 4):
        raise ValueError(f"{target}: attrs['affine'] must be 4×4, got shape {original.shape}")
    voxel = np.linalg.norm(original[:3, :3], axis=0)
    steps, first = voxel.copy(), np.zeros(3)
    for index, axis in enumerate(axes):
        if axis not in values.coords:
            continue
        positions = values[axis].values.astype(np.float64)
        first[index] = positions[0]
        if len(positions) > 1:
            gaps = np.diff(positions)
            steps[index] = gaps.mean()
            if steps[index] <= 0 or not np.allclose(gaps, steps[index], rtol=1e-3, atol=0):
                raise ValueError(
                    f"{target}: a NIfTI file needs evenly spaced, rising coordinates; those of "
                    f"{axis!r} have gaps from {gaps.min():g} to {gaps.max():g}"
                )
    to_index = np.eye(4)
    to_index[range(3), range(3)] = steps / voxel
    to_index[:3, 3] = first / voxel
    return np.asarray(original @ to_index)


def _storable(data: NDArray[Any]) -> NDArray[Any]:
    """Return the values in a dtype that every NIfTI program reads."""
    if data.dtype.kind == "f":
        return data.astype(np.float64 if data.dtype.itemsize > 4 else np.float32)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    return data.astype(np.int32) if data.dtype.itemsize > 4 else data


def _file_name(stored: str | None, index: int) -> str:
    if not stored:
        return f"signal_{index:04d}.nii.gz"
    name = Path(stored).name
    return name if name.endswith(_ENDINGS) else f"{name}.nii.gz"
