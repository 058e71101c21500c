"""Folders of one file for each signal, in the format that the signals came from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from neurfield.datasets._edf_file import ENDINGS as EDF_ENDINGS
from neurfield.datasets._staging import moving_into
from neurfield.datasets.nifti import save_nifti_folder
from neurfield.datasets.pictures import PICTURE_ENDINGS, save_pictures
from neurfield.datasets.record_files import save_edf, save_wfdb
from neurfield.datasets.volume_files import VOLUME_ENDINGS, save_volume
from neurfield.errors import FileError


def save_folder(
    signals: Sequence[xr.DataArray], folder: str | os.PathLike[str], *, dtype: Any = None
) -> None:
    """Write signals to a folder, one file each.

    Parameters
    ----------
    signals : sequence of DataArray
        Of one kind. What they are tell their dimensions, ``attrs["stored_dtype"]``, which pictures
        have, and the ending of ``attrs["filename"]``. What says nothing else goes into NIfTI files.
    folder : path-like
        Made if it is not there. Files appear in it once all are written.
    dtype : dtype, optional
        Type to write, of pictures only.

    Raises
    ------
    FileError
        If two pictures have one name, or a record would get the annotations of another.
    ValueError
        If `dtype` is given for other signals than pictures.
    """
    names = [str(signal.attrs.get("filename", "")) for signal in signals]
    if all(name.lower().endswith(PICTURE_ENDINGS) for name in names) or all(
        "stored_dtype" in signal.attrs for signal in signals
    ):
        save_pictures(signals, folder, dtype=dtype)
    elif dtype is not None:
        raise ValueError(f"{folder}: dtype is for pictures, which these signals are not")
    elif all("time" in one.dims and set(one.dims) <= {"time", "channel"} for one in signals):
        _write_each(signals, [_record_name(n, i) for i, n in enumerate(names)], Path(folder))
    elif all(name.endswith(VOLUME_ENDINGS) for name in names):
        _write_each(signals, [Path(name).name for name in names], Path(folder))
    else:
        save_nifti_folder(signals, folder)


def _record_name(stored: str, place: int) -> str:
    name = Path(stored).name
    if name.lower().endswith(EDF_ENDINGS):
        return name
    # All that WFDB allows in the name of a record.
    return (re.sub(r"[^-\w]", "_", name, flags=re.ASCII) or f"signal_{place:04d}") + ".hea"


def _write_one(signal: xr.DataArray, path: Path) -> None:
    if path.suffix.lower() in EDF_ENDINGS:
        save_edf(signal, path)
    elif path.suffix == ".hea":
        save_wfdb(signal, path)
    else:
        save_volume(signal, path)


def _write_each(signals: Sequence[xr.DataArray], names: list[str], folder: Path) -> None:
    if len({Path(name).stem for name in names}) < len(names):
        names = [f"{place:04d}_{name}" for place, name in enumerate(names)]
    if folder.exists() and not folder.is_dir():
        raise FileError(folder, "is a file, and signals of one file each go into a folder")
    with moving_into(folder, beside=folder.parent, is_last=lambda f: f.name in names) as staging:
        for signal, name in zip(signals, names, strict=True):
            _write_one(signal, staging / name)
        written = {file.name for file in staging.iterdir()}
        for record in (name.removesuffix(".hea") for name in names if name.endswith(".hea")):
            notes = f"{record}.atr"
            if (folder / notes).exists() and notes not in written:
                raise FileError(
                    folder / notes, "is there already and would seem to belong to what is written"
                )
