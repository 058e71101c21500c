"""One door for every kind of file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from neurfield.datasets.arrays import load_npz
from neurfield.datasets.bundled import digits
from neurfield.datasets.gridded import is_zarr, load_netcdf, load_zarr
from neurfield.datasets.nifti import is_nifti, load_nifti
from neurfield.datasets.records import is_record, load_wfdb

#: What readers return and the estimator takes.
Signals = xr.DataArray | xr.Dataset | list[xr.DataArray]

_EXPECTED = (
    ".npz, .npy, .nc, a .zarr folder, .nii, .nii.gz, a WFDB record, "
    "or a folder of NIfTI files or of WFDB records"
)


def open_signals(path: str | os.PathLike[str], **options: Any) -> Signals:
    """Read signals from a file or folder, whichever of the known kinds it is.

    Parameters
    ----------
    path : path-like
        A ``.npz``, ``.npy``, ``.nc``, ``.nii`` or ``.nii.gz`` file, a Zarr store, a WFDB record,
        or a folder of NIfTI files or of WFDB records. The word ``digits``, if nothing of that name
        is there, stands for :func:`digits`.
    **options
        Options of the reader: see :func:`load_npz`, :func:`load_netcdf`, :func:`load_zarr`,
        :func:`load_nifti` and :func:`load_wfdb`.

    Returns
    -------
    DataArray, Dataset or list of DataArray
        As the reader returns it.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name.
    ValueError
        If the kind is not known, the file cannot be read or the reader has no such option.

    Examples
    --------
    >>> open_signals("digits").dims
    ('sample', 'y', 'x')
    """
    source = Path(path)
    kind, reader = _reader_of(source)
    known = [name for name in inspect.signature(reader).parameters if name in options]
    for name in options:
        if name not in known:
            offered = list(inspect.signature(reader).parameters)[1:]
            raise ValueError(
                f"{source}: {kind} has no option {name!r}; "
                + (f"it has {', '.join(offered)}" if offered else "it has none")
            )
    return reader(**options) if reader is digits else reader(source, **options)


def _reader_of(source: Path) -> tuple[str, Callable[..., Signals]]:
    """Return the kind in words and the function that reads it."""
    if source.is_dir():
        return _reader_of_folder(source)
    if is_record(source):
        return "a WFDB record", load_wfdb
    if not source.exists():
        if str(source) == "digits":
            return "the built-in set of digits", digits
        raise FileNotFoundError(f"{source}: no such file or folder")
    if is_nifti(source):
        return "a NIfTI file", load_nifti
    if source.suffix in (".npz", ".npy"):
        return "a NumPy file", load_npz
    if source.suffix in (".nc", ".nc4", ".cdf"):
        return "a NetCDF file", load_netcdf
    raise ValueError(f"{source}: unknown kind of file; expected {_EXPECTED}")


def _reader_of_folder(source: Path) -> tuple[str, Callable[..., Signals]]:
    if is_zarr(source):
        return "a Zarr store", load_zarr
    if source.suffix == ".zarr":
        raise ValueError(f"{source}: expected a Zarr store, but the folder holds no Zarr metadata")
    held: list[tuple[str, Callable[..., Signals]]] = []
    if any(is_nifti(path) for path in source.iterdir()):
        held.append(("a folder of NIfTI files", load_nifti))
    if any(source.glob("*.hea")):
        held.append(("a folder of WFDB records", load_wfdb))
    if len(held) == 1:
        return held[0]
    if held:
        raise ValueError(
            f"{source}: holds both NIfTI files and WFDB records; give the files by name"
        )
    raise ValueError(f"{source}: no signals found in this folder; expected {_EXPECTED}")
