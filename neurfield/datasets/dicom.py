"""DICOM series: slices sorted into volumes, with coordinates in millimetres."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading, require
from neurfield.datasets._lazy import lazy_array
from neurfield.datasets.nifti import AXES, millimetres

_WHAT = "a DICOM image"

#: DICOM counts patient positions towards left and back, NIfTI towards right and front.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

#: How far, as a part of their distance, slices may lie from an evenly spaced stack.
_TOLERANCE = 0.02


class _Slice(NamedTuple):
    """One file, without its pixels."""

    path: Path
    header: Any  # pydicom.Dataset


def load_dicom(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, lazy: bool = False
) -> list[xr.DataArray]:
    """Read the images in DICOM files, one volume for each series.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files; or one folder, whose DICOM images, those in folders below it too, are read and whose
        other files are passed over.
    lazy : bool, default=False
        Whether to read the headers only and leave the pixels in the files, as dask arrays of one
        block for each series, until they are needed.

    Returns
    -------
    list of DataArray, one for each series, in order of their numbers
        A series of several slices has shape (x, y, z[, channel]), a single image (x, y[, channel]);
        float32, in the unit that the file's rescale slope and intercept give: Hounsfield units for
        CT. ``x`` goes along the rows of the pictures, ``y`` along their columns, ``z`` from slice
        to slice in order of position. Coordinates are in millimetres from the first voxel; of
        single images without any spacing they are pixel indices. ``attrs`` hold ``filename`` (the
        UID of the series), ``affine`` (voxel index → patient position, a nested list of 4×4, with
        NIfTI's directions: right, front, up), ``modality``, ``series``, its description, and
        ``units``, if known.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    FileNotFoundError
        If a file is not there, or a folder holds no DICOM image.
    ValueError
        If a file cannot be read or decoded or holds several frames, or if the slices of a series
        are not evenly spaced and aligned: one is missing, doubled or of another size.

    References
    ----------
    DICOM PS3.3, C.7.6.2 "Image Plane Module", equation C.7.6.2.1-1: pixel index to position.
    """
    require("pydicom", "dicom")
    series: dict[str, list[_Slice]] = {}
    for one in _slices(paths):
        series.setdefault(str(one.header.SeriesInstanceUID), []).append(one)
    ordered = sorted(
        series.items(), key=lambda item: (_number(item[1][0].header.get("SeriesNumber")), item[0])
    )
    return [_volume(uid, slices, lazy) for uid, slices in ordered]


def is_dicom(path: Path) -> bool:
    """Return whether a file has the mark of DICOM, which stands after a preamble of 128 bytes."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _slices(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[_Slice]:
    if not isinstance(paths, str | os.PathLike):
        return [_read_header(existing(path)) for path in paths]
    source = existing(paths)
    if source.is_file():
        return [_read_header(source)]
    found = [path for path in sorted(source.rglob("*")) if is_dicom(path)]
    images = [one for one in map(_read_header, found) if "Image Storage" in _storage(one.header)]
    if not images:
        raise FileNotFoundError(f"{source}: no DICOM image in this folder")
    return images


def _storage(header: Any) -> str:
    """Return the kind of object in words; a file may hold a directory, a report, a plan ..."""
    kind = header.file_meta.get("MediaStorageSOPClassUID")
    return "" if kind is None else kind.name


def _read_header(path: Path) -> _Slice:
    import pydicom

    with reading(path, _WHAT):
        header = pydicom.dcmread(path, stop_before_pixels=True)
    if "Image Storage" not in _storage(header):
        return _Slice(path, header)
    for keyword in ("SeriesInstanceUID", "Rows", "Columns", "BitsAllocated"):
        if keyword not in header:
            raise ValueError(f"{path}: the DICOM file has no {keyword}; is it truncated?")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ValueError(
            f"{path}: holds {header.NumberOfFrames} frames in one file, which is not supported; "
            "convert it to NIfTI, with dcm2niix for example"
        )
    return _Slice(path, header)


def _volume(uid: str, slices: list[_Slice], lazy: bool) -> xr.DataArray:
    slices, affine, known = _arrange(slices)
    first = slices[0].header
    _check_decoder(slices)
    n_channels = int(first.get("SamplesPerPixel", 1))
    colours = first.get("PhotometricInterpretation") == "PALETTE COLOR"
    shape: tuple[int, ...] = (int(first.Columns), int(first.Rows))
    shape += (len(slices),) if len(slices) > 1 else ()
    axes = AXES[: len(shape)]
    channels = (3,) if n_channels > 1 or colours else ()
    read = partial(_read_pixels, [one.path for one in slices], shape + channels)
    attrs: dict[str, Any] = {
        "filename": uid,
        "affine": affine.tolist(),
        "modality": str(first.get("Modality", "")),
        "series": str(first.get("SeriesDescription", "")),
    }
    unit = first.get("RescaleType") or ("HU" if first.get("Modality") == "CT" else None)
    if unit is not None:
        attrs["units"] = str(unit)
    coords = millimetres(shape, affine)
    if not known:
        coords = {
            axis: np.arange(size, dtype=float) for axis, size in zip(axes, shape, strict=True)
        }
    dims = (*axes, "channel") if channels else axes
    values = lazy_array(read, shape + channels) if lazy else read()
    return xr.DataArray(values, dims=dims, coords=coords, name="intensity", attrs=attrs)


def _read_pixels(paths: list[Path], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the values with x before y, slices on the third axis, channels last."""
    import pydicom

    pixels = require("pydicom.pixels", "dicom")
    planes = []
    for path in paths:
        with reading(path, _WHAT):
            dataset = pydicom.dcmread(path)
            values = dataset.pixel_array
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                values = pixels.apply_color_lut(values, dataset)[..., :3]
            values = np.asarray(pixels.apply_modality_lut(values, dataset), np.float32)
        planes.append(np.swapaxes(values, 0, 1))
    return np.stack(planes, axis=2).reshape(shape)


def _check_decoder(slices: list[_Slice]) -> None:
    """Refuse pixels that pydicom cannot decompress, before any are read."""
    pixels = require("pydicom.pixels", "dicom")
    for path, header in slices:
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax is None or not syntax.is_compressed:
            continue
        try:
            decoder = pixels.get_decoder(syntax)
            missing = "" if decoder.is_available else "; ".join(decoder.missing_dependencies)
        except NotImplementedError:
            missing = "none is known"
        if missing:
            raise ValueError(
                f"{path}: its pixels are compressed as {syntax.name}, and pydicom finds no decoder "
                f"for that ({missing}); pip install pylibjpeg[all] brings most of them"
            )


def _arrange(slices: list[_Slice]) -> tuple[list[_Slice], NDArray[np.float64], bool]:
    """Return the slices in order of position, their common affine, and whether it is known."""
    first = slices[0].header
    spacing = first.get("PixelSpacing") or first.get("ImagerPixelSpacing")
    placed = "ImagePositionPatient" in first and "ImageOrientationPatient" in first
    if len(slices) == 1 and not placed:
        row, column = (1.0, 1.0) if spacing is None else map(float, spacing)
        return slices, np.diag([column, row, 1.0, 1.0]), spacing is not None
    for one in slices:
        _check_like(one, slices[0])
    row, column = map(float, spacing)
    along_row, along_column = np.reshape(
        np.array(first.ImageOrientationPatient, dtype=np.float64), (2, 3)
    )
    normal = np.cross(along_row, along_column)
    slices = sorted(slices, key=lambda one: float(_position(one) @ normal))
    if len(slices) == 1:
        step = normal * float(first.get("SliceThickness") or 1.0)
    else:
        step = _step(slices, normal)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack([along_row * column, along_column * row, step])
    affine[:3, 3] = _LPS_TO_RAS @ _position(slices[0])
    return slices, affine, True


def _check_like(one: _Slice, first: _Slice) -> None:
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if one.header.get(keyword) is None:
            raise ValueError(
                f"{one.path}: has no {keyword}, which its series needs to be made a volume"
            )
    for keyword in (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "ImageOrientationPatient",
        "PixelSpacing",
    ):
        mine, other = one.header.get(keyword), first.header.get(keyword)
        same = mine == other
        if keyword in ("ImageOrientationPatient", "PixelSpacing"):
            same = np.allclose(np.array(mine, float), np.array(other, float), atol=1e-4)
        if not same:
            raise ValueError(
                f"{one.path}: {keyword} is {mine}, but {other} in {first.path.name} of the same "
                "series"
            )


def _step(slices: list[_Slice], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector from one slice to the next, which must be the same for all."""
    positions = np.array([_position(one) for one in slices])
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    usual = float(np.median(gaps))
    for before, after, gap in zip(slices, slices[1:], gaps, strict=False):
        between = f"{before.path} and {after.path.name}"
        if gap <= _TOLERANCE * usual or usual <= 0:
            raise ValueError(
                f"{between}: two slices of one series at the same position, such as several times "
                "or echoes; give the files of one volume"
            )
        if gap > 1.5 * usual:
            raise ValueError(
                f"{between}: {gap:g} mm apart where slices of the series are {usual:g} mm apart; "
                "a slice is missing"
            )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    even = positions[0] + np.arange(len(slices))[:, None] * step
    away = np.linalg.norm(positions - even, axis=1)
    worst = int(away.argmax())
    if away[worst] > _TOLERANCE * usual:
        raise ValueError(
            f"{slices[worst].path}: lies {away[worst]:g} mm away from where it would in an evenly "
            f"spaced stack of slices {usual:g} mm apart"
        )
    return np.asarray(step)


def _position(one: _Slice) -> NDArray[np.float64]:
    return np.array(one.header.ImagePositionPatient, dtype=np.float64)


def _number(value: Any) -> float:
    return np.inf if value is None else float(value)
