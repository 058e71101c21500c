"""How much NetCDF files and Zarr stores would take in memory, from their headers alone."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neurfield.datasets._files import existing, reading, require
from neurfield.limits import check_unpacked

_CLASSIC = (b"CDF\x01", b"CDF\x02")  # with offsets of 32 and of 64 bits


def netcdf_engine(path: Path, is_lazy: bool) -> str:
    """Refuse a NetCDF file that would take more memory than it may; tell what is to read it.

    The classic formats are read by SciPy, whose reader is in Python: of a damaged one, the library
    in C hangs or brings the process down. Nothing in them is packed, so they take what they have.

    Parameters
    ----------
    path : Path
        The file.
    is_lazy : bool
        Whether values are read when needed; the coordinates are read at once in any case.

    Returns
    -------
    str
        Name of the engine, as xarray takes it.

    Raises
    ------
    FileError
        If it is too much, or the file cannot be read.
    """
    with reading(path, "a NetCDF file"), open(path, "rb") as beginning:
        if beginning.read(4) in _CLASSIC:
            return "scipy"
    library = require("netCDF4", "readers")
    with reading(path, "a NetCDF file"), library.Dataset(path) as file:
        variables = file.variables.items()
        sizes = {
            name: math.prod(array.shape) * _item(array.dtype)
            for name, array in variables
            if not is_lazy or array.dimensions == (name,)
        }
        blocks = {
            name: math.prod(chunks) * _item(array.dtype)
            for name, array in variables
            if isinstance(chunks := array.chunking(), list)
        }
    _check(path, sizes, blocks)
    return "netcdf4"


def check_zarr(path: Path, is_lazy: bool) -> None:
    """Refuse a Zarr store that would take more memory than it may, or might be read for ever.

    Parameters
    ----------
    path : Path
        Folder of the store.
    is_lazy : bool
        Whether values are read when needed; the coordinates are read at once in any case.

    Raises
    ------
    FileError
        If it is too much, the store cannot be read, or something in it is no file.
    """
    library = require("zarr", "readers")
    for inside in _no_files(path):
        existing(inside)
    with reading(path, "a Zarr store"):
        arrays = dict(library.open_group(path, mode="r").arrays())
        sizes = {
            name: math.prod(array.shape) * _item(array.dtype)
            for name, array in arrays.items()
            if not is_lazy or array.ndim == 1
        }
        blocks = {
            name: math.prod(array.chunks) * _item(array.dtype) for name, array in arrays.items()
        }
    _check(path, sizes, blocks)


def _check(path: Path, sizes: dict[str, int], blocks: dict[str, int]) -> None:
    for name, size in blocks.items():
        check_unpacked(path, size, f"a chunk of variable {name!r:.80}")
    check_unpacked(path, sum(sizes.values()), f"the variables {', '.join(sizes):.80}")


def _item(dtype: Any) -> int:
    """Return bytes per value; of text of any length, those of a pointer to it."""
    return int(getattr(dtype, "itemsize", 8))


def _no_files(folder: Path) -> Iterator[Path]:
    """Yield what in a folder is neither file nor folder, such as a pipe or a broken link."""
    for place, _, _ in os.walk(folder):
        with os.scandir(place) as entries:
            for entry in entries:
                if not entry.is_file() and not entry.is_dir():
                    yield Path(entry.path)
