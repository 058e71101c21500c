"""TIFF pictures and stacks, with the pixel sizes of ImageJ and OME, through tifffile."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurfield.datasets._files import reading, require
from neurfield.errors import FileError
from neurfield.limits import check_unpacked

TIFF_ENDINGS = (".tif", ".tiff")

_PAGE = 102  # bytes at least, of a directory of the eight tags that every page has

_AXES = {"Y": "y", "X": "x", "Z": "z", "C": "c", "S": "c"}
_UNITS = {
    "micron": "um",
    "microns": "um",
    "µm": "um",
    "μm": "um",
    "\\u00b5m": "um",
    "um": "um",
    "nm": "nm",
    "mm": "mm",
    "cm": "cm",
    "m": "m",
    "inch": "in",
    "in": "in",
}
_ALPHA = ((1,), (2,))  # last of the extra samples: associated, unassociated
_NOT_GREY = ("SEPARATED", "YCBCR", "CIELAB", "ICCLAB", "ITULAB", "CFA")
# Tag 274 says which of these turns a picture upright: transposed first, then reversed along (y, x).
_TURNS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}


@dataclass(frozen=True)
class Picture:
    """Values of a file with a letter for each axis.

    Parameters
    ----------
    values : array
        As stored, without alpha.
    axes : str
        One letter an axis: z, y, x, c for channels; others are pages, of what is not known.
    spacing : dict of str to (float, str), optional
        Size and unit of a pixel along an axis, where the file gives them.
    """

    values: np.ndarray
    axes: str
    spacing: dict[str, tuple[float, str]] = field(default_factory=dict)


def read_tiff(path: Path, drops_alpha: bool = False) -> Picture:
    """Read a TIFF picture or stack, upright, with 0 for black.

    Parameters
    ----------
    path : Path
        File, which must be there.
    drops_alpha : bool, default=False
        Whether to read transparent pictures too, without their alpha.

    Raises
    ------
    FileError
        If it cannot be read as it is stored.
    """
    tifffile = require("tifffile", "pictures")
    # Of a damaged file, tags may contradict each other and the values.
    with reading(path, "a TIFF picture"):
        return _read(path, tifffile, drops_alpha)


def _read(path: Path, tifffile: Any, drops_alpha: bool) -> Picture:
    with tifffile.TiffFile(path) as file:
        _check_pages(path, file)
        if len(file.series) != 1:
            raise FileError(
                path, f"holds {len(file.series)} pictures of various sizes; write each to a file"
            )
        series = file.series[0]
        check_unpacked(path, int(np.prod(series.shape)) * series.dtype.itemsize, "its pictures")
        page = series.keyframe
        kind = page.photometric.name
        if kind in _NOT_GREY:
            raise FileError(path, f"is stored as {kind}; convert it to grey or RGB")
        values = series.asarray()
        if not values.size:
            raise FileError(path, f"holds no pixels: its shape is {series.shape}")
        if values.shape != series.shape:  # tifffile gives what there is
            raise FileError(path, f"is cut off: shape {series.shape} is said, {values.shape} there")
        axes = "".join(_AXES.get(a, a) for a in series.axes)
        spacing = _imagej_spacing(file, page) if file.is_imagej else _ome_spacing(file, tifffile)
        orientation = page.tags.get(274)
        turn = 1 if orientation is None else int(orientation.value)
        colours = page.colormap if kind == "PALETTE" else None
        has_alpha = "S" in series.axes and page.extrasamples[-1:] in _ALPHA
    if axes.count("c") > 1 or not {"y", "x"} <= set(axes) or turn not in _TURNS:
        raise FileError(path, f"has the axes {series.axes!r} and the orientation {turn}")
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if kind == "MINISWHITE":
        values = _inverted(path, values, page.bitspersample)
    if has_alpha:
        place = axes.index("c")
        opaque = without_alpha(path, np.moveaxis(values, place, -1), drops_alpha)
        values = np.moveaxis(opaque, -1, place)
    if colours is not None:
        values, axes = np.moveaxis(_eight_bits(colours)[:, values], 0, -1), f"{axes}c"
    values, spacing = _upright(values, axes, spacing, turn)
    if "c" in axes and values.shape[axes.index("c")] == 1:
        values, axes = values.squeeze(axes.index("c")), axes.replace("c", "")
    return Picture(values, axes, spacing)


def _check_pages(path: Path, file: Any) -> None:
    """Refuse a chain of pages that leads back into itself, which tifffile follows for hours."""
    most = path.stat().st_size // _PAGE + 1
    with suppress(IndexError):
        file.pages[most]
        raise FileError(path, f"has over {most} pages, more than its bytes can hold")


def without_alpha(path: Path, values: np.ndarray, drops: bool) -> np.ndarray:
    """Return values of shape (..., c) without the last channel, alpha, if that loses nothing.

    Parameters
    ----------
    path : Path
        The file, for the message.
    values : array of shape (..., c)
        Alpha last.
    drops : bool
        Whether to drop it in any case.

    Raises
    ------
    FileError
        If something is transparent, and that may not be dropped.
    """
    colours, alpha = values[..., :-1], values[..., -1]
    opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    if not drops and (alpha != opaque).any():
        share = float((alpha != opaque).mean())
        raise FileError(
            path,
            f"is transparent in {share:.1%} of its pixels, whose values mean little; alpha='drop' "
            "reads them all the same",
        )
    return colours


def _inverted(path: Path, values: np.ndarray, bits: int) -> np.ndarray:
    """Turn values of which 0 is white into those of which 0 is black."""
    if values.dtype.kind != "u":
        raise FileError(path, f"means white by 0, and holds values of the type {values.dtype}")
    most = 2**bits - 1 if bits > 1 else 255
    return (most - values).astype(values.dtype)


def _eight_bits(colours: np.ndarray) -> np.ndarray:
    """Return the colours of a palette as they were before the format made them sixteen bits."""
    high, low = colours >> 8, colours & 255
    # Writers multiply eight bits by 256 or by 257.
    return high.astype(np.uint8) if ((low == 0) | (low == high)).all() else colours


def _upright(
    values: np.ndarray, axes: str, spacing: dict[str, tuple[float, str]], turn: int
) -> tuple[np.ndarray, dict[str, tuple[float, str]]]:
    """Turn a picture as its orientation asks for."""
    transposed, along_y, along_x = _TURNS[turn]
    y, x = axes.index("y"), axes.index("x")
    if transposed:
        values = values.swapaxes(y, x)
        swapped = {"y": "x", "x": "y"}
        spacing = {swapped.get(axis, axis): step for axis, step in spacing.items()}
    for axis, sign in ((y, along_y), (x, along_x)):
        values = np.flip(values, axis) if sign < 0 else values
    return np.ascontiguousarray(values), spacing


def _imagej_spacing(file: Any, page: Any) -> dict[str, tuple[float, str]]:
    """Return pixel sizes as ImageJ writes them: resolutions in pixels per its own unit."""
    facts = file.imagej_metadata or {}
    unit = _UNITS.get(str(facts.get("unit", "")).lower())
    if unit is None:
        return {}
    found = {}
    for axis, name in (("x", "XResolution"), ("y", "YResolution")):
        tag = page.tags.get(name)
        if tag is not None and tag.value[0] > 0:
            found[axis] = (tag.value[1] / tag.value[0], unit)
    if facts.get("spacing", 0) > 0:
        found["z"] = (float(facts["spacing"]), unit)
    return found


def _ome_spacing(file: Any, tifffile: Any) -> dict[str, tuple[float, str]]:
    """Return pixel sizes as OME writes them."""
    if not file.is_ome:
        return {}
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    found = {}
    for axis in "xyz":
        size = float(pixels.get(f"PhysicalSize{axis.upper()}", 0))
        unit = _UNITS.get(str(pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm")).lower())
        if size > 0 and unit is not None:
            found[axis] = (size, unit)
    return found
