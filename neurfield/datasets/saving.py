"""One door for every kind of file that signals are written to."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from neurfield.datasets._edf_file import ENDINGS as EDF_ENDINGS
from neurfield.datasets._options import check_options
from neurfield.datasets._saved_folder import save_folder
from neurfield.datasets.arrays import save_npz
from neurfield.datasets.gridded import save_netcdf, save_zarr
from neurfield.datasets.nifti import save_nifti
from neurfield.datasets.pictures import PICTURE_ENDINGS, save_pictures
from neurfield.datasets.record_files import save_edf, save_wfdb
from neurfield.datasets.volume_files import VOLUME_ENDINGS, save_volume
from neurfield.errors import FileError
from neurfield.signals.dataarrays import one_by_one


@dataclass(frozen=True)
class _Format:
    """Endings of a format, its writer, and whether that takes any signals, one array or one."""

    endings: tuple[str, ...]
    write: Callable[..., Any]
    takes: Literal["signals", "array", "signal"]


_FORMATS = (
    _Format((".npz",), save_npz, "signals"),
    _Format((".nc",), save_netcdf, "array"),
    _Format((".zarr",), save_zarr, "array"),
    _Format((".nii", ".nii.gz"), save_nifti, "signal"),
    _Format(VOLUME_ENDINGS, save_volume, "signal"),
    _Format((".hea",), save_wfdb, "signal"),
    _Format(EDF_ENDINGS, save_edf, "signal"),
    _Format(PICTURE_ENDINGS, save_pictures, "signal"),
)

#: Endings of the files that are written; "" stands for a folder of one file for each signal.
SAVED_ENDINGS = (*(ending for form in _FORMATS for ending in form.endings), "")


def save_signals(
    signals: xr.DataArray | Sequence[xr.DataArray],
    path: str | os.PathLike[str],
    **options: Any,
) -> None:
    """Write signals in the format that the ending of a path tells, whole or not at all.

    What :func:`open_signals` has read, or a field has decoded, goes back into a file of its kind.

    Parameters
    ----------
    signals : DataArray with a ``sample`` dimension, or list of DataArray without
        Signals on one grid, or each on its own.
    path : path-like
        A ``.npz``, ``.nc``, ``.nii``, ``.nii.gz``, ``.edf`` or ``.bdf`` file, the header ``.hea``
        of a WFDB record, a volume such as ``.mgz``, ``.nrrd`` or ``.mha``, a picture such as
        ``.png`` or ``.tif``, a ``.zarr`` folder, or a folder without an ending: of pictures, EDF
        or BDF files, WFDB records or volumes of a format where signals, by their names and axes,
        came from such, and of NIfTI files otherwise.
    **options
        Options of the writer: see :func:`save_npz`, :func:`save_netcdf`, :func:`save_zarr`,
        :func:`save_nifti`, :func:`save_volume`, :func:`save_wfdb`, :func:`save_edf` and
        :func:`save_pictures`; a folder has ``dtype`` for pictures.

    Raises
    ------
    FileError
        If the ending tells no format, or the format cannot hold signals such as these: NetCDF and
        Zarr only such on one grid, volumes, recordings and pictures only one.
    ValueError
        If the writer has no such option.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import digits, open_signals
    >>> folder = tempfile.TemporaryDirectory()
    >>> save_signals(digits()[:5], folder.name + "/digits.npz")
    >>> open_signals(folder.name + "/digits.npz").equals(digits()[:5])
    True
    >>> folder.cleanup()
    """
    target = Path(path)
    if not target.suffix:
        write, given = save_folder, one_by_one(signals)
    else:
        form = _format_of(target)
        write, given = form.write, _as_taken(signals, form.takes, target)
    offered = [*inspect.signature(write).parameters][2:]
    check_options(target, write.__name__, options, offered)
    write(given, target, **options)


def _format_of(path: Path) -> _Format:
    for form in _FORMATS:
        if path.name.lower().endswith(form.endings):
            return form
    known = ", ".join(ending for ending in SAVED_ENDINGS if ending)
    raise FileError(path, f"the ending must be one of {known}, or none for a folder")


def _as_taken(
    signals: xr.DataArray | Sequence[xr.DataArray],
    takes: Literal["signals", "array", "signal"],
    path: Path,
) -> Any:
    if takes == "signals":
        return signals
    if takes == "array":
        return signals if isinstance(signals, xr.DataArray) else _as_one(signals, path)
    each = one_by_one(signals)
    if len(each) != 1:
        raise FileError(
            path,
            f"one {path.suffix} file takes one signal, got {len(each)}; a folder, without an "
            "ending, takes one file for each",
        )
    return each[0]


def _as_one(signals: Sequence[xr.DataArray], path: Path) -> xr.DataArray:
    """Return a list of signals on one common grid as one array."""
    first = signals[0]
    same = all(
        signal.dims == first.dims and all(signal[d].equals(first[d]) for d in first.dims)
        for signal in signals
    )
    if not same:
        raise FileError(
            path,
            f"signals on different grids do not fit one {path.suffix} file; write them to .npz or "
            "to a folder",
        )
    whole = xr.concat(signals, dim="sample", combine_attrs="drop_conflicts")
    names = [signal.attrs.get("filename") for signal in signals]
    return whole if None in names else whole.assign_coords(sample=names)
