"""Readers and writers of signals in files, each returning labelled xarray objects."""

from neurfield.datasets.arrays import load_npz, save_npz
from neurfield.datasets.bundled import digits
from neurfield.datasets.gridded import load_netcdf, load_zarr, save_netcdf, save_zarr
from neurfield.datasets.nifti import load_nifti, save_nifti, save_nifti_folder
from neurfield.datasets.opening import Signals, open_signals
from neurfield.datasets.records import MITBIH_SPLITS, load_wfdb
from neurfield.datasets.windows import AAMI_CLASSES

__all__ = [
    "AAMI_CLASSES",
    "MITBIH_SPLITS",
    "Signals",
    "digits",
    "load_netcdf",
    "load_nifti",
    "load_npz",
    "load_wfdb",
    "load_zarr",
    "open_signals",
    "save_netcdf",
    "save_nifti",
    "save_nifti_folder",
    "save_npz",
    "save_zarr",
]
