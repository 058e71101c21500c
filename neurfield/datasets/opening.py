"""One door for every kind of file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from neurfield.datasets._files import existing
from neurfield.datasets._options import check_options
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
from neurfield.errors import FileError, MissingFileError

#: What readers return and the estimator takes.
Container = xr.DataArray | xr.Dataset | list[xr.DataArray]

#: Words that stand for signals without a file.
_BUILT_IN: dict[str, Callable[..., xr.DataArray]] = {
    "digits": digits,
    "ecg": synthetic_ecg,
    "phantoms": phantoms,
}


@dataclass(frozen=True)
class _Kind:
    """A kind of file or folder in words, how it is told, and the function that reads it."""

    words: str
    fits: Callable[[Path], bool]
    read: Callable[..., Container]
    endings: str = ""  # by which it goes, for messages


def _ends(*endings: str) -> Callable[[Path], bool]:
    return lambda path: path.name.endswith(endings)


def _holds(fits: Callable[[Path], bool]) -> Callable[[Path], bool]:
    return lambda folder: any(fits(path) for path in folder.iterdir())


#: The first that fits is it.
_FILES = (
    _Kind("a NIfTI file", is_nifti, load_nifti, ".nii, .nii.gz"),
    _Kind("a recording", is_edf, load_edf, ".edf, .bdf"),
    _Kind(
        "a volume",
        lambda path: is_volume(path) or path.suffix == ".img",
        load_volumes,
        ".mgz, .mgh, .hdr with .img, .nrrd, .nhdr, .mha, .mhd",
    ),
    _Kind("a file of MedMNIST", is_medmnist, load_medmnist),
    _Kind("a NumPy file", _ends(".npz", ".npy"), load_npz, ".npz, .npy"),
    _Kind("a NetCDF file", _ends(".nc", ".nc4", ".cdf"), load_netcdf, ".nc"),
    _Kind("a heartbeat table", _ends(".csv", ".csv.gz"), load_heartbeat_csv, ".csv, .csv.gz"),
    _Kind("a picture", is_picture, load_pictures, "such as .png, .tif"),
    _Kind(
        "a DICOM waveform",
        lambda path: reader_kind([path]) == "waveform",
        load_dicom_waveforms,
    ),
    _Kind(
        "a DICOM image",
        lambda path: path.suffix == ".dcm" or is_dicom(path),
        load_dicom,
        ".dcm",
    ),
)

#: Folders that are one thing, which the first that fits is.
_FOLDERS = (
    _Kind("a BIDS data set", is_bids, load_bids),
    _Kind("a Zarr store", is_zarr, load_zarr),
    _Kind("the database PTB-XL", is_ptbxl, load_ptbxl),
)

#: Folders of many things, of which there must be one kind.
_FOLDERS_OF = (
    _Kind(
        "NIfTI files",
        lambda folder: (
            all(map(is_nifti, filter(is_volume, folder.iterdir()))) and _holds(is_nifti)(folder)
        ),
        load_nifti,
    ),
    _Kind(
        "volumes of several formats",
        _holds(lambda path: is_volume(path) and not is_nifti(path)),
        load_volumes,
    ),
    _Kind("WFDB records", _holds(_ends(".hea")), load_wfdb),
    _Kind("EDF and BDF recordings", _holds(is_edf), load_edf),
)

#: Folders of DICOM files, by what the first of them is.
_FOLDERS_OF_DICOM = {
    "image": _Kind("DICOM images", Path.is_dir, load_dicom),
    "waveform": _Kind("DICOM waveforms", Path.is_dir, load_dicom_waveforms),
}

_RECORD = _Kind("a WFDB record", is_record, load_wfdb)
#: Beside other files they are there to be looked at.
_PICTURES = _Kind("pictures", holds_pictures, load_pictures)

_OF_MANY = (*_FOLDERS_OF, *_FOLDERS_OF_DICOM.values(), _PICTURES)
_EXPECTED = "; ".join(
    [
        f"{kind.words} ({kind.endings})" if kind.endings else kind.words
        for kind in (*_FILES, _RECORD, *_FOLDERS)
    ]
    + [f"or a folder of {', '.join(kind.words for kind in _OF_MANY)}"]
)


def open_signals(path: str | os.PathLike[str], **options: Any) -> Container:
    """Read signals from a file or folder, whichever of the known kinds it is.

    Parameters
    ----------
    path : path-like
        A NumPy, NetCDF, NIfTI, DICOM, EDF or BDF file, a picture, a volume such as ``.mgz``,
        ``.nrrd`` or ``.mha``, a heartbeat ``.csv`` file, a WFDB record, a Zarr store, a BIDS data
        set, the folder of PTB-XL, or a folder of NIfTI files, volumes, WFDB records, recordings,
        DICOM images or waveforms or, without any of these, of pictures. A ``.npz`` file that has
        the name of a set of MedMNIST is read as such, if the package medmnist is there. The words
        ``digits``, ``ecg`` and ``phantoms``, if nothing of that name is there, stand for
        :func:`digits`, :func:`synthetic_ecg` and :func:`phantoms`.
    **options
        Options of the reader: see :func:`load_npz`, :func:`load_medmnist`, :func:`load_netcdf`,
        :func:`load_zarr`, :func:`load_nifti`, :func:`load_volumes`, :func:`load_bids`,
        :func:`load_wfdb`, :func:`load_edf`, :func:`load_ptbxl`, :func:`load_dicom`,
        :func:`load_dicom_waveforms`, :func:`load_pictures` and :func:`load_heartbeat_csv`.

    Returns
    -------
    DataArray, Dataset or list of DataArray
        As the reader returns it.

    Raises
    ------
    MissingFileError
        If there is nothing of that name.
    FileError
        If the kind is not known or the file cannot be read.
    ValueError
        If the reader has no such option.

    Examples
    --------
    >>> open_signals("digits").dims
    ('sample', 'y', 'x')
    """
    source = Path(path)
    kind = _kind_of(source)
    built_in = kind.read in _BUILT_IN.values()
    parameters = inspect.signature(kind.read).parameters
    offered = list(parameters)[0 if built_in else 1 :]
    # A reader that takes any names says itself which of them it knows.
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        check_options(source, kind.words, options, offered)
    return kind.read(**options) if built_in else kind.read(source, **options)


def _kind_of(source: Path) -> _Kind:
    if source.is_dir():
        return _kind_of_folder(source)
    if is_record(source):  # of which the name is often given without an ending
        return _RECORD
    if not source.exists():
        if str(source) in _BUILT_IN:
            return _Kind(f"the built-in set {source}", Path.exists, _BUILT_IN[str(source)])
        raise MissingFileError(source, "no such file or folder")
    existing(source)  # no pipe or device, which looking at its beginning would wait for
    for kind in _FILES:
        if kind.fits(source):
            return kind
    raise FileError(source, f"unknown kind of file; expected {_EXPECTED}")


def _kind_of_folder(source: Path) -> _Kind:
    for kind in _FOLDERS:
        if kind.fits(source):
            return kind
    if source.suffix == ".zarr":
        raise FileError(source, "expected a Zarr store, but the folder holds no Zarr metadata")
    held = [kind for kind in _FOLDERS_OF if kind.fits(source)]
    # Series lie in folders of their own as often as not.
    if (dicom := reader_kind(sorted(source.rglob("*")))) is not None:
        held.append(_FOLDERS_OF_DICOM[dicom])
    if not held and _PICTURES.fits(source):
        held = [_PICTURES]
    if len(held) > 1:
        both = " and ".join(kind.words for kind in held)
        raise FileError(source, f"holds both {both}; give the files by name")
    if not held:
        raise FileError(source, f"no signals found in this folder; expected {_EXPECTED}")
    return _Kind(f"a folder of {held[0].words}", held[0].fits, held[0].read)
