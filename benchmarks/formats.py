"""The kinds of files that the package reads: for each, how a small valid one is made, and read.

A new kind is one more entry of ``FORMATS``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.cli.latent_file import LatentSet
from neurfield.datasets import (
    encode_to_mednf,
    load_bids,
    load_dicom,
    load_dicom_waveforms,
    load_edf,
    load_functa_npz,
    load_heartbeat_csv,
    load_medmnist,
    load_mednf,
    load_netcdf,
    load_nifti,
    load_npz,
    load_pictures,
    load_ptbxl,
    load_volumes,
    load_wfdb,
    load_zarr,
    save_edf,
    save_netcdf,
    save_nifti,
    save_npz,
    save_pictures,
    save_volume,
    save_zarr,
    to_mednf,
)
from neurfield.fields import Siren
from neurfield.interop import read_torch

_RANDOM = np.random.default_rng(0)
_IMAGES = _RANDOM.random((6, 5, 4))
_LATENTS = _RANDOM.random((6, 4)).astype(np.float32)


@dataclass(frozen=True)
class Format:
    """A kind of files."""

    make: Callable[[Path], Path]  # writes a small valid file into a folder, and returns its path
    read: Callable[[Path], Any]
    needs: tuple[str, ...] = ()  # packages without which it is left out


def _labelled() -> xr.DataArray:
    coords = {
        "y": ("y", 0.5 * np.arange(5), {"units": "mm"}),
        "x": np.arange(4.0),
        "label": ("sample", np.arange(6) % 2),
    }
    return xr.DataArray(_IMAGES, coords, ("sample", "y", "x"), name="image", attrs={"site": "A"})


def _numpy(name: str, write: Callable[..., None], folder: Path) -> Path:
    if name.endswith("npy"):
        write(folder / name, _IMAGES)
    else:
        write(folder / name, images=_IMAGES, labels=np.arange(6))
    return folder / name


def _saved(name: str, write: Callable[[Any, Path], Any], folder: Path) -> Path:
    write(_labelled(), folder / name)
    return folder / name


def _functa(folder: Path) -> Path:
    path = folder / "latents.npz"
    part = {"modulation": _LATENTS, "psnr": np.arange(6.0)}
    path.write_bytes(pickle.dumps({"train": part, "test": part}))
    return path


def _torch(is_new: bool, folder: Path) -> Path:
    content = {"modulations": torch.from_numpy(_LATENTS), "label": [1, 2.5, "x"], 3: {1, 2}}
    torch.save(content, folder / "a.pt", _use_new_zipfile_serialization=is_new)
    return folder / "a.pt"


def _encoder(**parameters: Any) -> FunctaEncoder:
    small = {"latent_dim": 3, "hidden_dim": 4, "n_layers": 2, "max_iter": 2, "device": "cpu"}
    return FunctaEncoder(**small, random_state=0, **parameters)


def _fitted(folder: Path) -> Path:
    _encoder(patch_size=2).fit(_labelled().isel(x=slice(4), y=slice(4))).save(folder / "a.field")
    return folder / "a.field"


def _checkpoint(folder: Path) -> Path:
    _encoder(checkpoint=folder / "fit.checkpoint").fit(_IMAGES)
    return folder / "fit.checkpoint"


def _resume(path: Path) -> None:
    _encoder(checkpoint=path).fit(_IMAGES)


def _weights(folder: Path) -> Path:
    state = {}
    for layer, (n_out, n_in) in {
        "layers.0": (4, 2),
        "layers.1": (4, 4),
        "last_layer": (1, 4),
    }.items():
        for part, width in (("linear", n_in), ("modulate_shift_layer", 3)):
            state[f"model.{layer}.{part}.weight"] = torch.zeros(n_out, width)
            state[f"model.{layer}.{part}.bias"] = torch.zeros(n_out)
    torch.save(state, folder / "best.model")
    return folder / "best.model"


def _latents(ending: str, folder: Path) -> Path:
    path = folder / f"z.{ending}"
    grids = None if ending == "csv" else [{"x": np.arange(3.0)} for _ in range(6)]
    names, labels = [f"s{i}" for i in range(6)], np.arange(6)
    LatentSet(_LATENTS, ["a", "b", "c", "d"], labels, names, grids).write(path)
    return path


def _volume_values() -> xr.DataArray:
    return xr.DataArray(
        _RANDOM.random((4, 5, 6)).astype(np.float32),
        {dim: 2.0 * np.arange(size) for dim, size in zip("xyz", (4, 5, 6), strict=True)},
        ("x", "y", "z"),
    )


def _volume(name: str, write: Callable[[xr.DataArray, Path], None], folder: Path) -> Path:
    write(_volume_values(), folder / name)
    return folder / name


def _bids(folder: Path) -> Path:
    root = folder / "study"
    anatomy = root / "sub-01" / "anat"
    anatomy.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.9.0"}')
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t40\n")
    (anatomy / "sub-01_T1w.json").write_text('{"EchoTime": 0.03}')
    save_nifti(_volume_values(), anatomy / "sub-01_T1w.nii")
    return root


def _recording() -> xr.DataArray:
    values = np.sin(np.arange(500) / 20.0)[:, None] * [1.0, 0.5]
    coords = {"time": np.arange(500) / 250, "channel": ["II", "V1"]}
    return xr.DataArray(values, coords, ("time", "channel"), attrs={"units": "mV"})


def _edf(name: str, folder: Path) -> Path:
    save_edf(_recording(), folder / name)
    return folder / name


def _picture(name: str, folder: Path) -> Path:
    colours = _RANDOM.integers(0, 255, (8, 9, 3)).astype(np.uint8)
    save_pictures(xr.DataArray(colours, dims=("y", "x", "channel")), folder / name)
    return folder / name


def _record(folder: Path) -> Path:
    import wfdb

    signal = np.sin(np.arange(1500) / 20.0)[:, None] * [1.0, 0.5]
    names = {"units": ["mV", "mV"], "sig_name": ["II", "V1"], "fmt": ["16", "16"]}
    wfdb.wrsamp("a", fs=250, p_signal=signal, write_dir=str(folder), **names)
    wfdb.wrann("a", "atr", np.arange(200, 1400, 200), symbol=["N"] * 6, write_dir=str(folder))
    return folder / "a"


def _dicom(folder: Path) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    series = folder / "series"
    series.mkdir()
    for place in range(2):
        meta, image = FileMetaDataset(), Dataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
            CTImageStorage,
            ExplicitVRLittleEndian,
        )
        meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"1.2.3.{place + 1}"
        image.file_meta, image.SOPClassUID, image.Modality = meta, CTImageStorage, "CT"
        image.SeriesInstanceUID, image.SeriesNumber = "1.2.3", 1
        image.Rows, image.Columns, image.SamplesPerPixel = 5, 6, 1
        image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 1
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelSpacing, image.SliceThickness = [0.75, 0.5], 2.0
        image.ImagePositionPatient = [0.0, 0.0, 2.0 * place]
        image.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        image.RescaleSlope, image.RescaleIntercept = 2, -1024
        image.PixelData = np.arange(30, dtype="<i2").tobytes()
        image.save_as(series / f"{place}.dcm", enforce_file_format=True)
    return series


def _dicom_waveform(folder: Path) -> Path:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    dataset = dcmread(get_testdata_file("waveform_ecg.dcm", download=False))
    for group in dataset.WaveformSequence:  # a second of it
        n_bytes = int(group.SamplingFrequency) * group.NumberOfWaveformChannels * 2
        group.WaveformData = group.WaveformData[:n_bytes]
        group.NumberOfWaveformSamples = int(group.SamplingFrequency)
    dataset.save_as(folder / "a.dcm")
    return folder / "a.dcm"


def _ptbxl(folder: Path) -> Path:
    import wfdb

    root = folder / "ptb-xl"
    (root / "records100").mkdir(parents=True)
    names = ["I", "II", "III", "AVR", "AVL", "AVF", *(f"V{place}" for place in range(1, 7))]
    signals = {"fs": 100, "units": ["mV"] * 12, "sig_name": names, "fmt": ["16"] * 12}
    signals |= {"p_signal": _RANDOM.random((1000, 12)), "write_dir": str(root / "records100")}
    wfdb.wrsamp("00001_lr", **signals)
    (root / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,strat_fold,scp_codes,recording_date,filename_lr,filename_hr\n"
        "1,157.0,56.0,1,3,{'NORM': 100.0},1984-11-09 09:17:34,records100/00001_lr,none\n"
    )
    (root / "scp_statements.csv").write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\nNORM,1.0,,,NORM,NORM\n"
    )
    return root


def _heartbeats(folder: Path) -> Path:
    path = folder / "mitbih_train.csv"
    rows = np.column_stack([_RANDOM.random((3, 187)), np.arange(3.0)])
    np.savetxt(path, rows, fmt="%.6f", delimiter=",")
    return path


def _medmnist(folder: Path) -> Path:
    path = folder / "pneumoniamnist.npz"
    images = _RANDOM.integers(0, 255, (3, 28, 28)).astype(np.uint8)
    np.savez(path, test_images=images, test_labels=np.array([[0], [1], [1]], np.uint8))
    return path


def _mednf(folder: Path) -> Path:
    coords = {"label": ("sample", np.arange(6)), "split": ("sample", ["train", "test"] * 3)}
    to_mednf(xr.Dataset({"latents": (("sample", "latent"), _LATENTS)}, coords), folder / "Set")
    return folder / "Set"


def _mednf_weights(folder: Path) -> Path:
    encoder = _encoder(field=Siren(residual_scale=1.0)).fit(_labelled())
    encode_to_mednf({"train": _labelled()}, folder / "Set", encoder)
    return (folder / "Set" / "model.safetensors").rename(folder / "model.safetensors")


def _classic(values: xr.DataArray, path: Path) -> None:
    values.to_netcdf(path, format="NETCDF3_CLASSIC")


_published = partial(FunctaEncoder.from_medfuncta, omega=30.0, device="cpu")
_records = partial(load_wfdb, length=100)
_windows = partial(load_edf, length=100)

FORMATS: dict[str, Format] = {
    "npy": Format(partial(_numpy, "a.npy", np.save), load_npz),
    "npz": Format(partial(_numpy, "a.npz", np.savez), load_npz),
    "npz, packed": Format(partial(_saved, "a.npz", save_npz), load_npz),
    "npz, mapped": Format(
        partial(_numpy, "a.npz", np.savez), partial(load_npz, key="images", mmap_mode="r")
    ),
    "functa": Format(_functa, load_functa_npz),
    "torch": Format(partial(_torch, True), read_torch),
    "torch, legacy": Format(partial(_torch, False), read_torch),
    "medfuncta": Format(_weights, _published),
    "medfuncta, safetensors": Format(
        _mednf_weights, partial(FunctaEncoder.from_medfuncta, device="cpu")
    ),
    "encoder": Format(_fitted, partial(FunctaEncoder.load, device="cpu")),
    "checkpoint": Format(_checkpoint, _resume),
    "latents npz": Format(partial(_latents, "npz"), LatentSet.read),
    "latents nc": Format(partial(_latents, "nc"), LatentSet.read, ("netCDF4",)),
    "latents csv": Format(partial(_latents, "csv"), LatentSet.read),
    "netcdf": Format(partial(_saved, "a.nc", save_netcdf), load_netcdf, ("netCDF4",)),
    "netcdf, classic": Format(partial(_saved, "a.nc", _classic), load_netcdf, ("netCDF4",)),
    "zarr": Format(partial(_saved, "a.zarr", save_zarr), load_zarr, ("zarr",)),
    "nii": Format(partial(_volume, "a.nii", save_nifti), load_nifti, ("nibabel",)),
    "nii.gz": Format(partial(_volume, "a.nii.gz", save_nifti), load_nifti, ("nibabel",)),
    "mgz": Format(partial(_volume, "a.mgz", save_volume), load_volumes, ("nibabel",)),
    "analyze": Format(partial(_volume, "a.hdr", save_volume), load_volumes, ("nibabel",)),
    "nrrd": Format(partial(_volume, "a.nrrd", save_volume), load_volumes, ("SimpleITK",)),
    "mha": Format(partial(_volume, "a.mha", save_volume), load_volumes, ("SimpleITK",)),
    "bids": Format(_bids, load_bids, ("nibabel",)),
    "edf": Format(partial(_edf, "a.edf"), _windows, ("edfio",)),
    "bdf": Format(partial(_edf, "a.bdf"), _windows, ("edfio",)),
    "ptb-xl": Format(_ptbxl, load_ptbxl, ("wfdb",)),
    "png": Format(partial(_picture, "a.png"), load_pictures, ("PIL",)),
    "tiff": Format(partial(_picture, "a.tif"), load_pictures, ("tifffile",)),
    "wfdb": Format(_record, _records, ("wfdb",)),
    "dicom": Format(_dicom, load_dicom, ("pydicom",)),
    "dicom waveform": Format(_dicom_waveform, load_dicom_waveforms, ("pydicom",)),
    "heartbeats": Format(_heartbeats, load_heartbeat_csv),
    "medmnist": Format(_medmnist, load_medmnist, ("medmnist",)),
    "mednf": Format(_mednf, load_mednf),
}
