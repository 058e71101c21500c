"""NetCDF files and Zarr stores, through xarray."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets._files import existing, existing_file, reading, require
from neurfield.datasets._gridded_sizes import check_zarr, netcdf_engine
from neurfield.datasets._lazy import complete
from neurfield.datasets._storable import storable, with_multi_indexes
from neurfield.errors import FileError
from neurfield.signals.encodings import MEANING

_ZARR_FILES = {"zarr.json", ".zgroup", ".zmetadata"}  # of either version of the format

Chunks = dict[str, int] | Literal["auto"] | None


def load_netcdf(
    path: str | os.PathLike[str],
    variable: str | None = None,
    *,
    sample_dim: str = "sample",
    chunks: Chunks = None,
) -> xr.DataArray | xr.Dataset:
    """Read signals from a NetCDF file.

    Parameters
    ----------
    path : path-like
        File to read.
    variable : str, optional
        Variable that holds the signals. By default all of them.
    sample_dim : str, default="sample"
        Dimension that counts signals; it is renamed to ``sample``.
    chunks : dict of dimension to int, "auto" or None, default=None
        None reads the values now; otherwise they are read when needed, in dask blocks of this size.

    Returns
    -------
    DataArray or Dataset
        With a ``sample`` dimension. A Dataset if several variables hold signals. Variables over
        ``sample`` alone, such as labels, become coordinates.

    Raises
    ------
    MissingFileError
        If the file is not there.
    FileError
        If the file cannot be read, asks for more memory than it may (:mod:`neurfield.limits`), has
        no such variable or no dimension that counts signals.
    """
    source = existing_file(path)
    engine = netcdf_engine(source, is_lazy=chunks is not None)
    with (
        reading(source, "a NetCDF file"),
        xr.open_dataset(source, engine=engine, chunks=chunks) as opened,
    ):
        dataset = opened if chunks is not None else opened.load()
    return _select(source, dataset, variable, sample_dim)


def load_zarr(
    path: str | os.PathLike[str],
    variable: str | None = None,
    *,
    sample_dim: str = "sample",
    chunks: Chunks = None,
) -> xr.DataArray | xr.Dataset:
    """Read signals from a Zarr store.

    Parameters
    ----------
    path : path-like
        Folder of the store.
    variable, sample_dim, chunks
        As in :func:`load_netcdf`.

    Returns
    -------
    DataArray or Dataset
        As in :func:`load_netcdf`.

    Raises
    ------
    MissingFileError
        If the store is not there.
    FileError
        As in :func:`load_netcdf`.
    """
    source = existing(path)
    check_zarr(source, is_lazy=chunks is not None)
    with reading(source, "a Zarr store"):
        dataset = xr.open_zarr(source, chunks=chunks)
        if chunks is None:
            dataset = dataset.load()
    return _select(source, dataset, variable, sample_dim)


def save_netcdf(values: xr.DataArray | xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write signals to a NetCDF file; an existing file is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray or Dataset
        Signals. Attributes that NetCDF cannot hold, such as nested lists, are stored as JSON, and
        float16 as float32. Packing into integers, as ``encoding`` has it, is kept where the
        integers hold the values; otherwise floating-point numbers are written. Values that are yet
        to be computed are refused then.
    path : path-like
        File to write.
    """
    require("netCDF4", "readers")
    dataset = storable(values, "netcdf")
    with replacing(path) as temporary:
        _write(dataset, partial(dataset.to_netcdf, temporary))


def save_zarr(values: xr.DataArray | xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write signals to a Zarr store; an existing store is replaced whole or not at all.

    Parameters
    ----------
    values : DataArray or Dataset
        Signals, stored as :func:`save_netcdf` stores them.
    path : path-like
        Folder of the store.

    Raises
    ------
    FileExistsError
        If `path` is a folder that holds something else than a Zarr store.
    """
    require("zarr", "readers")
    target = Path(path)
    held = _names_in(target)
    if held and held.isdisjoint(_ZARR_FILES):
        raise FileExistsError(f"{target}: is a folder of something else than a Zarr store")
    # A damaged chunk must not be read as numbers: Blosc, the default, notices most but not all.
    compressor = require("numcodecs", "readers").Zstd(level=3, checksum=True)
    dataset = storable(values, "zarr")
    for array in dataset.variables.values():
        meaning = {key: value for key, value in array.encoding.items() if key in MEANING}
        array.encoding = meaning | {"compressors": [compressor]}
    with replacing(target) as temporary:
        # Version 2 of the format is read everywhere, and has text and consolidated metadata in its
        # specification, which version 3 has not.
        _write(dataset, partial(dataset.to_zarr, temporary, mode="w", zarr_format=2))


def is_zarr(path: Path) -> bool:
    """Return whether a folder looks like a Zarr store, of either version of the format."""
    return not _ZARR_FILES.isdisjoint(_names_in(path))


def _names_in(folder: Path) -> set[str]:
    """List a folder, asked once: another writer may be exchanging it."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _write(dataset: xr.Dataset, write: Callable[..., Any]) -> None:
    """Write values in memory, or those of a graph of tasks, by the dataset's own method."""
    if any(array.chunks is not None for array in dataset.variables.values()):
        complete(write(compute=False))
    else:
        write()


def _select(
    source: Path, dataset: xr.Dataset, variable: str | None, sample_dim: str
) -> xr.DataArray | xr.Dataset:
    held = f"it holds {', '.join(map(str, dataset.data_vars)) or 'none'}"
    if variable is not None and variable not in dataset.data_vars:
        raise FileError(source, f"no variable {variable!r}; {held}")
    if sample_dim not in dataset.dims:
        raise FileError(
            source,
            f"no dimension {sample_dim!r} that counts signals; the dimensions are "
            f"{', '.join(sorted(map(str, dataset.dims)))}",  # xarray's order is not always the same
        )
    if sample_dim != "sample":
        with reading(source, f"signals counted by {sample_dim!r}"):
            dataset = dataset.rename({sample_dim: "sample"})
    with reading(source, "signals with several labels each"):
        dataset = with_multi_indexes(dataset)
    facts = [name for name, array in dataset.data_vars.items() if array.dims == ("sample",)]
    dataset = dataset.set_coords([name for name in facts if name != variable])
    if variable is not None:
        return dataset[variable]
    if not dataset.data_vars:
        raise FileError(source, f"no variable of signals over {sample_dim!r}; {held}")
    if len(dataset.data_vars) == 1:
        return dataset[next(iter(dataset.data_vars))]
    return dataset
