"""Volumes that SimpleITK reads and writes: NRRD and MetaImage."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing_file, reading, require
from neurfield.datasets._stored_volume import Frames, StoredVolume, check_shape, value_dtype
from neurfield.datasets._voxel_grid import VoxelGrid
from neurfield.errors import FileError
from neurfield.geometry import LENGTHS, voxel_sizes
from neurfield.limits import DEFLATED, check_unpacked

#: Kind of file and ITK's reader of it, by ending.
ITK_KINDS = {
    ".nrrd": ("an NRRD file", "NrrdImageIO"),
    ".nhdr": ("an NRRD file", "NrrdImageIO"),
    ".mha": ("a MetaImage", "MetaImageIO"),
    ".mhd": ("a MetaImage", "MetaImageIO"),
}

# ITK counts positions towards left and back, nibabel and this package towards right and front.
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])

_HEADER = 2**16  # bytes in which the fields of a header lie
_MOST_AXES = 5


def open_with_itk(path: Path) -> StoredVolume:
    """Return what a file's header says; the values stay in the file.

    Parameters
    ----------
    path : Path
        A file that is there.

    Raises
    ------
    FileError
        If it cannot be read, holds complex values, or does not say how large its voxels are.
    """
    what, _ = ITK_KINDS[path.suffix]
    itk = require("SimpleITK", "itk")
    fields = _fields(path)
    _check_axes(path, fields)
    data = _data_file(path, fields)
    reader = _reader(path)
    with reading(path, what):
        reader.ReadImageInformation()
        pixel = itk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in pixel:
        raise FileError(
            path, "holds complex values; write real and imaginary part as components of a vector"
        )
    stored = _dtype(pixel)
    size, n_components = reader.GetSize(), reader.GetNumberOfComponents()
    check_shape(path, size)
    _check_size(path, data, fields, math.prod(size) * n_components * stored.itemsize)
    _check_spacing(path, fields)
    slope = float(fields.get("elementtointensityfunctionslope", 1))
    intercept = float(fields.get("elementtointensityfunctionoffset", 0))
    dtype = value_dtype(stored, slope, intercept)
    vector = n_components > 1
    spacing, origin = reader.GetSpacing(), reader.GetOrigin()
    return StoredVolume(
        path=path,
        what=what,
        shape=(*size, n_components) if vector else tuple(size),
        affine=_affine(reader, _unit(path, fields)),
        dtype=dtype,
        read=partial(_values, path, vector, dtype, slope, intercept),
        frames=Frames(spacing[3], origin[3]) if len(size) > 3 else Frames(1.0),
        space="scanner" if _is_oriented(fields) else "unknown",
        components=() if vector else None,
    )


def write_with_itk(grid: VoxelGrid, values: xr.DataArray, path: Path) -> None:
    """Write a grid of voxels to a file that `path` tells the kind of.

    Raises
    ------
    ValueError
        If it has frames, whose unit these formats do not hold.
    """
    if grid.frames.unit is not None:
        raise ValueError(f"{path}: this format holds no times of frames; a NIfTI file does")
    itk = require("SimpleITK", "itk")
    vector = "channel" in values.dims
    data = _reversed(grid.data, vector)
    image = itk.GetImageFromArray(np.ascontiguousarray(data), isVector=vector)
    n_axes = grid.data.ndim - vector
    sizes = voxel_sizes(grid.affine)
    directions = (_LPS_TO_RAS[:, None] * grid.affine[:3, :3] / sizes)[:n_axes, :n_axes]
    image.SetSpacing(sizes[:n_axes].tolist())
    image.SetOrigin((_LPS_TO_RAS * grid.affine[:3, 3])[:n_axes].tolist())
    image.SetDirection(directions.ravel().tolist())
    itk.WriteImage(image, str(path), imageIO=ITK_KINDS[path.suffix][1])


def _fields(path: Path) -> dict[str, str]:
    """Return the lines of a header, of which ITK passes over units, scalings and gaps."""
    with open(path, "rb") as file:
        text = file.read(_HEADER).decode("latin-1")
    found = {}
    for line in text.splitlines()[1 if path.suffix in (".nrrd", ".nhdr") else 0 :]:
        if not line:
            break
        name, mark, value = line.partition(":" if path.suffix in (".nrrd", ".nhdr") else "=")
        if mark:
            found[name.strip().lower()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    return found


def _check_axes(path: Path, fields: dict[str, str]) -> None:
    """Refuse numbers of axes, and of voxels along them, in which ITK gets lost or ends it all."""
    counts = [fields.get(name) for name in ("ndims", "dimension", "elementnumberofchannels")]
    sizes = (fields.get("dimsize") or fields.get("sizes") or "").split()
    for text in [*(count for count in counts if count is not None), *sizes]:
        if not re.fullmatch(r"\+?0*[1-9]\d{0,17}", text, re.ASCII):
            raise FileError(path, f"has {text[:20]!r} where a number of axes or voxels belongs")
    n_axes = fields.get("ndims") or fields.get("dimension")
    if n_axes is None or int(n_axes) != len(sizes) or int(n_axes) > _MOST_AXES:
        raise FileError(
            path, f"has {len(sizes)} sizes of {n_axes} axes, of which there may be {_MOST_AXES}"
        )


def _dtype(pixel: str) -> np.dtype[Any]:
    """Return the dtype that ITK's words mean, such as "vector of 16-bit signed integer"."""
    bits, words = pixel.removeprefix("vector of ").split("-bit ", 1)
    kind = "f" if "float" in words else "u" if "unsigned" in words else "i"
    return np.dtype(f"{kind}{int(bits) // 8}")


def _affine(reader: Any, unit: float) -> NDArray[np.float64]:
    n_axes = reader.GetDimension()
    n_space = min(n_axes, 3)
    directions = np.array(reader.GetDirection()).reshape(n_axes, n_axes)[:n_space, :n_space]
    affine = np.eye(4)
    affine[:n_space, :n_space] = directions * reader.GetSpacing()[:n_space]
    affine[:n_space, 3] = reader.GetOrigin()[:n_space]
    affine[:3] *= unit
    affine[:3] *= _LPS_TO_RAS[:, None]
    if n_space < 3:
        affine[2, 2] = 1.0
    return affine


def _unit(path: Path, fields: dict[str, str]) -> float:
    """Return the unit of length in millimetres."""
    named = fields.get("space units") or fields.get("distanceunits") or '"mm"'
    units = set(named.replace('"', " ").split()) - {"?", "none"}
    if len(units) > 1 or not units <= set(LENGTHS):
        raise FileError(path, f"its positions are in {named}, and must be in one unit of length")
    return LENGTHS[units.pop()] if units else 1.0


def _check_spacing(path: Path, fields: dict[str, str]) -> None:
    """Refuse files for which ITK would make up voxels of 1 mm."""
    if "old min" in fields or "old max" in fields:
        raise FileError(
            path, "its values were quantized; unu unquantize, a tool of the format, restores them"
        )
    named = ("space directions", "spacings", "elementspacing", "elementsize")
    if not any(name in fields for name in named):
        raise FileError(path, "does not say how large its voxels are; add spacings to its header")
    if "space directions" in fields:
        return
    spacings = [word.lower() for name in named if name in fields for word in fields[name].split()]
    if "nan" in spacings[: int(fields.get("dimension", 0))] and fields.get("kinds") is None:
        raise FileError(path, f"some of its spacings are not known: {fields['spacings']}")


def _is_oriented(fields: dict[str, str]) -> bool:
    space = fields.get("space", "")
    named = [space] if space else fields.keys() & {"transformmatrix", "orientation", "rotation"}
    return bool(named) and not space.startswith("3d-")


def _data_file(path: Path, fields: dict[str, str]) -> Path | None:
    """Return the file that holds the values, which must be there; None where they are several."""
    name = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile")
    if name is None or name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        return None
    data = path.parent / name
    try:
        return existing_file(data)
    except FileError as error:
        raise type(error)(path, f"its values should be in {data}: {error.reason}") from error


def _check_size(path: Path, data: Path | None, fields: dict[str, str], claimed: int) -> None:
    """Refuse a header that claims more than the file holds, before memory is taken for it."""
    check_unpacked(path, claimed, "the volume that its header claims")
    if data is None:
        return
    packed = fields.get("compresseddata", "").lower() == "true"
    packed = packed or fields.get("encoding", "raw") != "raw"
    most = data.stat().st_size * (DEFLATED if packed else 1)
    if claimed > most:
        raise FileError(
            path, f"is cut off: its header claims {claimed} bytes, {most} are there at most"
        )


def _reader(path: Path) -> Any:
    reader = require("SimpleITK", "itk").ImageFileReader()
    reader.SetImageIO(ITK_KINDS[path.suffix][1])
    reader.SetFileName(str(path))
    return reader


def _values(
    path: Path, vector: bool, dtype: np.dtype[Any], slope: float, intercept: float
) -> NDArray[Any]:
    image = _reader(path).Execute()
    # Without a copy, so it must not outlive the image.
    values = require("SimpleITK", "itk").GetArrayViewFromImage(image)
    found = _reversed(values, vector).astype(dtype)
    return found if (slope, intercept) == (1.0, 0.0) else found * slope + intercept


def _reversed(values: NDArray[Any], vector: bool) -> NDArray[Any]:
    """Return values with their axes in the other order, components last in either."""
    n_axes = values.ndim - vector
    return values.transpose([*reversed(range(n_axes)), *range(n_axes, values.ndim)])
