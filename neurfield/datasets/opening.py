"""One door for every kind of file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from neurfield.datasets._files import existing
from neurfield.datasets.arrays import load_npz
from neurfield.datasets.bids import is_bids, load_bids
from neurfield.datasets.bundled import digits
from neurfield.datasets.dicom import is_dicom, load_dicom, load_dicom_waveforms, reader_kind
from neurfield.datasets.edf import is_edf, load_edf
from neurfield.datasets.gridded import is_zarr, load_netcdf, load_zarr
from neurfield.datasets.heartbeats import load_heartbeat_csv
from neurfield.datasets.medmnist import is_medmnist, load_medmnist
from neurfield.datasets.nifti import is_nifti, load_nifti
from neurfield.datasets.pictures import holds_pictures, is_picture, load_pictures
from neurfield.datasets.ptbxl import is_ptbxl, load_ptbxl
from neurfield.datasets.records import is_record, load_wfdb
from neurfield.datasets.synthetic_beats import synthetic_ecg
from neurfield.datasets.synthetic_heads import phantoms
from neurfield.datasets.volume_files import is_volume, load_volumes
from neurfield.errors import MissingFileError

#: What readers return and the estimator takes.
Container = xr.DataArray | xr.Dataset | list[xr.DataArray]

#: Words that stand for signals without a file.
_BUILT_IN: dict[str, Callable[..., xr.DataArray]] = {
    "digits": digits,
    "ecg": synthetic_ecg,
    "phantoms": phantoms,
}

#: What DICOM files hold.
_DICOM: dict[str, tuple[str, Callable[..., Container]]] = {
    "image": ("a DICOM image", load_dicom),
    "waveform": ("a DICOM waveform", load_dicom_waveforms),
}

_EXPECTED = (
    ".npz, .npy, .nc, a .zarr folder, .nii, .nii.gz, a WFDB record, .dcm, a heartbeat .csv, "
    "a picture, or a folder of NIfTI files, of WFDB records, of DICOM images or of pictures"
)


def open_signals(path: str | os.PathLike[str], **options: Any) -> Container:
    """Read signals from a file or folder, whichever of the known kinds it is.

    Parameters
    ----------
    path : path-like
        A ``.npz``, ``.npy``, ``.nc``, ``.nii``, ``.nii.gz``, ``.dcm`` or heartbeat ``.csv`` file, a
        Zarr store, a WFDB record, an ``.edf`` or ``.bdf`` file, the folder of PTB-XL, or a folder
        of NIfTI files, of WFDB records, of EDF files or of DICOM images. A
        ``.npz`` file that has the name of a set of MedMNIST is read as such, if the package
        medmnist is there. The words ``digits``, ``ecg`` and ``phantoms``, if nothing of that name
        is there, stand for :func:`digits`, :func:`synthetic_ecg` and :func:`phantoms`.
    **options
        Options of the reader: see :func:`load_npz`, :func:`load_medmnist`, :func:`load_netcdf`,
        :func:`load_zarr`, :func:`load_nifti`, :func:`load_wfdb`, :func:`load_edf`,
        :func:`load_ptbxl`, :func:`load_dicom` and :func:`load_heartbeat_csv`.

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
    built_in = reader in _BUILT_IN.values()
    parameters = inspect.signature(reader).parameters
    offered = list(parameters)[0 if built_in else 1 :]
    # A reader that takes any names says itself which of them it knows.
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    for name in options:
        if name not in offered and not takes_any:
            raise ValueError(
                f"{source}: {kind} has no option {name!r}; "
                + (f"it has {', '.join(offered)}" if offered else "it has none")
            )
    return reader(**options) if built_in else reader(source, **options)


def _reader_of(source: Path) -> tuple[str, Callable[..., Container]]:
    """Return the kind in words and the function that reads it."""
    if source.is_dir():
        return _reader_of_folder(source)
    if is_record(source):
        return "a WFDB record", load_wfdb
    if not source.exists():
        if str(source) in _BUILT_IN:
            return f"the built-in set {source}", _BUILT_IN[str(source)]
        raise MissingFileError(source, "no such file or folder")
    existing(source)  # no pipe or device, which looking at its beginning would wait for
    if is_nifti(source):
        return "a NIfTI file", load_nifti
    if is_edf(source):
        return "an EDF or BDF file", load_edf
    if is_volume(source) or source.suffix == ".img":
        return "a file of a volume", load_volumes
    if is_medmnist(source):
        return "a file of MedMNIST", load_medmnist
    if source.suffix in (".npz", ".npy"):
        return "a NumPy file", load_npz
    if source.suffix in (".nc", ".nc4", ".cdf"):
        return "a NetCDF file", load_netcdf
    if source.suffix == ".csv" or source.name.endswith(".csv.gz"):
        return "a heartbeat table", load_heartbeat_csv
    if is_picture(source):
        return "a picture", load_pictures
    if source.suffix == ".dcm" or is_dicom(source):
        return _DICOM[reader_kind([source]) or "image"]
    raise ValueError(f"{source}: unknown kind of file; expected {_EXPECTED}")


def _reader_of_folder(source: Path) -> tuple[str, Callable[..., Container]]:
    if is_bids(source):
        return "a BIDS data set", load_bids
    if is_zarr(source):
        return "a Zarr store", load_zarr
    if source.suffix == ".zarr":
        raise ValueError(f"{source}: expected a Zarr store, but the folder holds no Zarr metadata")
    if is_ptbxl(source):
        return "the database PTB-XL", load_ptbxl
    held: dict[str, Callable[..., Container]] = {}
    if any(is_nifti(path) for path in source.iterdir()):
        held["NIfTI files"] = load_nifti
    if any(is_volume(path) and not is_nifti(path) for path in source.iterdir()):
        # One reader for all, so that NIfTI files beside others are read too.
        held = {"volumes": load_volumes}
    if any(source.glob("*.hea")):
        held["WFDB records"] = load_wfdb
    if any(is_edf(path) for path in source.iterdir()):
        held["EDF files"] = load_edf
    # Series lie in folders of their own as often as not; the first file tells.
    dicom = reader_kind(sorted(source.rglob("*")))
    if dicom is not None:
        kind, reader = _DICOM[dicom]
        held[f"{kind.removeprefix('a ')}s"] = reader
    if not held and holds_pictures(source):  # beside other files they are there to be looked at
        held["pictures"] = load_pictures
    if len(held) == 1:
        ((kind, reader),) = held.items()
        return f"a folder of {kind}", reader
    if held:
        raise ValueError(f"{source}: holds both {' and '.join(held)}; give the files by name")
    raise ValueError(f"{source}: no signals found in this folder; expected {_EXPECTED}")
