"""DICOM images: slices sorted into volumes, with coordinates in millimetres and seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import require
from neurfield.datasets._lazy import lazy_array
from neurfield.datasets.dicom.finding import headers
from neurfield.datasets.dicom.frames import Frame, frames_of
from neurfield.datasets.dicom.geometry import is_placed
from neurfield.datasets.dicom.pixels import is_colour, is_inverted, read_values, unit_of
from neurfield.datasets.dicom.stacks import Series, divide
from neurfield.errors import FileError
from neurfield.geometry import AXES, millimetres


def load_dicom(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    lazy: bool = False,
    invert_monochrome1: bool = True,
) -> list[xr.DataArray]:
    """Read the images in DICOM files, one volume for each series.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files; or one folder, whose DICOM images, those in folders below it too, are read. A warning
        lists which other files were passed over; directories (DICOMDIR), hidden files and texts go
        without saying.
    lazy : bool, default=False
        Whether to read the headers only and leave the pixels in the files, as dask arrays of one
        block for each series, until they are needed.
    invert_monochrome1 : bool, default=True
        Whether pictures whose lowest value is white (``MONOCHROME1``) are inverted within the range
        of their values, so that a higher value is brighter in all. Values with a unit, such as
        Hounsfield units, are what they are and never inverted.

    Returns
    -------
    list of DataArray, in order of the numbers of the series, float32
        One for each series of slices, of shape (x, y, z[, channel]), or (x, y[, channel]) for one
        slice; one for each radiograph; one for each stack of a file of several frames. Stacks
        repeated over time and pictures in sequence have an axis more before ``channel``: ``time``,
        in seconds where the file says when, or ``frame`` where nothing says what is counted.

        ``x`` goes along the rows of the pictures, ``y`` along their columns, ``z`` from slice to
        slice in order of position. Coordinates are in millimetres from the first voxel, on the
        detector for radiographs that were not calibrated; of pictures without any spacing they are
        pixel indices.

        Values are in the unit that rescaling or the modality's table gives: Hounsfield units for
        CT. Windows for display are not applied. Padding is NaN. Colour, of palettes and of YBR too,
        is RGB in three channels. ``attrs`` hold ``filename`` (the UID of the series), ``affine``
        (voxel index → patient position, a nested list of 4×4, with NIfTI's directions: right,
        front, up; sheared where the gantry was tilted), ``space``, "unknown" of pictures that no
        element places, ``modality``, ``series``, its description,
        ``photometric_interpretation`` of the values as returned, ``units``, if known, and for
        several stacks of one file ``stack``, what sets each apart.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    MissingFileError
        If a file is not there, or a folder holds no DICOM image.
    FileError
        If a file cannot be read or decoded, or if the slices of a series are not evenly spaced,
        aligned, and in one unit: one is missing, doubled or of another size.
    ValueError
        If `paths` name a file twice.

    References
    ----------
    DICOM PS3.3, C.7.6.2 "Image Plane Module", equation C.7.6.2.1-1: pixel index to position;
    C.7.6.3.1.2: photometric interpretations; C.7.6.16: functional groups; C.11.1: modality table.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> (image,) = load_dicom(get_testdata_file("CT_small.dcm"))
    >>> image.sizes, image.attrs["units"]
    (Frozen({'x': 128, 'y': 128}), 'HU')
    >>> round(float(image["x"][1]), 6), image["x"].attrs["units"]
    (0.661468, 'mm')
    """
    require("pydicom", "dicom")
    groups: dict[tuple[str, str], list[Frame]] = {}
    for header in headers(paths, "image"):
        for frame in frames_of(header):
            groups.setdefault(_group(frame), []).append(frame)
    for frames in groups.values():
        _check_concatenation(frames)
    ordered = sorted(groups.items(), key=lambda item: (_number(item[1][0]), item[0]))
    found = [(key[0], divide(frames)) for key, frames in ordered]
    return [
        _signal(uid, one, lazy, invert_monochrome1) for uid, several in found for one in several
    ]


def _group(frame: Frame) -> tuple[str, str]:
    """Return what frames that may be one volume have in common.

    Files of several frames are volumes of their own, unless they are parts of one.
    """
    part = ""
    if frame.elements.get("NumberOfFrames", 1) > 1:
        part = frame.get("ConcatenationUID") or frame.get("SOPInstanceUID") or str(frame.path)
    return frame.elements["SeriesInstanceUID"], part


def _check_concatenation(frames: list[Frame]) -> None:
    total = frames[0].get("InConcatenationTotalNumber")
    n_files = len({frame.path for frame in frames})
    if total is not None and frames[0].get("ConcatenationUID") is not None and n_files != total:
        raise FileError(
            frames[0].path,
            f"is one of {total} parts of a series (InConcatenationTotalNumber), of which {n_files} "
            "were given",
        )


def _number(frame: Frame) -> float:
    return float(frame.elements.get("SeriesNumber", np.inf))


def _signal(uid: str, series: Series, lazy: bool, invert: bool) -> xr.DataArray:
    first = series.frames[0]
    space: tuple[int, ...] = (first.elements["Columns"], first.elements["Rows"])
    space += (series.n_slices,) if series.n_slices > 1 else ()
    shape = space + ((len(series.marks),) if series.axis else ()) + (3,) * is_colour(first)
    axes = AXES[: len(space)]
    coords = millimetres(space, series.stack.affine)
    if not series.stack.in_millimetres:
        coords = {axis: np.arange(n, dtype=float) for axis, n in zip(axes, space, strict=True)}
    dims = axes
    if series.axis:
        dims += (series.axis,)
        units = {"units": "s"} if series.in_seconds else {}
        coords[series.axis] = (series.axis, series.marks, units)
    dims += ("channel",) * is_colour(first)
    read = partial(_read, series.frames, shape, invert)
    values = lazy_array(read, shape) if lazy else read()
    return xr.DataArray(
        values, dims=dims, coords=coords, name="intensity", attrs=_attrs(uid, series, invert)
    )


def _read(frames: list[Frame], shape: tuple[int, ...], invert: bool) -> NDArray[np.float32]:
    return read_values(frames, invert).reshape(shape)


def _attrs(uid: str, series: Series, invert: bool) -> dict[str, Any]:
    first = series.frames[0]
    interpretation = first.get("PhotometricInterpretation")
    if is_colour(first):
        interpretation = "RGB"
    elif invert and is_inverted(first):
        interpretation = "MONOCHROME2"
    attrs = {
        "filename": uid,
        "affine": series.stack.affine.tolist(),
        "space": "scanner" if is_placed(first) else "unknown",
        "modality": first.get("Modality") or "",
        "series": first.get("SeriesDescription") or "",
        "photometric_interpretation": interpretation,
    }
    unit = unit_of(first)
    if unit is not None:
        attrs["units"] = unit
    if series.label:
        attrs["stack"] = series.label
    return attrs
