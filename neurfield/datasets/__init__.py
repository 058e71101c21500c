"""Readers and writers of signals in files, each returning labelled xarray objects."""

from neurfield.datasets.aami import AAMI_CLASSES
from neurfield.datasets.arrays import load_npz, save_npz
from neurfield.datasets.bids import load_bids
from neurfield.datasets.bundled import digits
from neurfield.datasets.complex_values import channels_to_complex, complex_to_channels
from neurfield.datasets.dicom import load_dicom, load_dicom_waveforms
from neurfield.datasets.edf import load_edf
from neurfield.datasets.functa import load_functa_npz
from neurfield.datasets.gridded import load_netcdf, load_zarr, save_netcdf, save_zarr
from neurfield.datasets.heartbeats import load_heartbeat_csv
from neurfield.datasets.intensity import rescale_intensity
from neurfield.datasets.latents import save_latents
from neurfield.datasets.medmnist import load_medmnist
from neurfield.datasets.mednf import load_mednf, to_mednf
from neurfield.datasets.mednf_encoding import encode_to_mednf
from neurfield.datasets.nifti import load_nifti, save_nifti, save_nifti_folder
from neurfield.datasets.opening import Container, open_signals
from neurfield.datasets.pictures import load_pictures, save_pictures
from neurfield.datasets.preparation import prepare_brats, prepare_lidc
from neurfield.datasets.ptbxl import PTBXL_SPLITS, load_ptbxl
from neurfield.datasets.record_files import save_edf, save_wfdb
from neurfield.datasets.records import MITBIH_SPLITS, load_wfdb
from neurfield.datasets.saving import save_signals
from neurfield.datasets.synthetic_beats import synthetic_ecg
from neurfield.datasets.synthetic_heads import phantoms
from neurfield.datasets.volume_files import load_volumes, save_volume
from neurfield.datasets.volume_steps import average_pool, crop_or_pad, resample

__all__ = [
    "AAMI_CLASSES",
    "MITBIH_SPLITS",
    "PTBXL_SPLITS",
    "Container",
    "average_pool",
    "channels_to_complex",
    "complex_to_channels",
    "crop_or_pad",
    "digits",
    "encode_to_mednf",
    "load_bids",
    "load_dicom",
    "load_dicom_waveforms",
    "load_edf",
    "load_functa_npz",
    "load_heartbeat_csv",
    "load_medmnist",
    "load_mednf",
    "load_netcdf",
    "load_nifti",
    "load_npz",
    "load_pictures",
    "load_ptbxl",
    "load_volumes",
    "load_wfdb",
    "load_zarr",
    "open_signals",
    "phantoms",
    "prepare_brats",
    "prepare_lidc",
    "resample",
    "rescale_intensity",
    "save_edf",
    "save_latents",
    "save_netcdf",
    "save_nifti",
    "save_nifti_folder",
    "save_npz",
    "save_pictures",
    "save_signals",
    "save_volume",
    "save_wfdb",
    "save_zarr",
    "synthetic_ecg",
    "to_mednf",
]
