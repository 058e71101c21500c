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
    load_dicom,
    load_functa_npz,
    load_heartbeat_csv,
    load_medmnist,
    load_mednf,
    load_netcdf,
    load_nifti,
    load_npz,
    load_wfdb,
    load_zarr,
    save_netcdf,
    save_nifti,
    save_npz,
    save_zarr,
    to_mednf,
)
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
    if path.stat().st_size or path.exists():
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


def _nifti(name: str, folder: Path) -> Path:
    volume = xr.DataArray(
        _RANDOM.random((4, 5, 6)).astype(np.float32),
        {dim: 2.0 * np.arange(size) for dim, size in zip("xyz", (4, 5, 6), strict=True)},
        ("x", "y", "z"),
    )
    save_nifti(volume, folder / name)
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


def _classic(values: xr.DataArray, path: Path) -> None:
    values.to_netcdf(path, format="NETCDF3_CLASSIC")


_published = partial(FunctaEncoder.from_medfuncta, omega=30.0, device="cpu")
_records = partial(load_wfdb, length=100)

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
    "encoder": Format(_fitted, partial(FunctaEncoder.load, device="cpu")),
    "checkpoint": Format(_checkpoint, _resume),
    "latents npz": Format(partial(_latents, "npz"), LatentSet.read),
    "latents nc": Format(partial(_latents, "nc"), LatentSet.read, ("netCDF4",)),
    "latents csv": Format(partial(_latents, "csv"), LatentSet.read),
    "netcdf": Format(partial(_saved, "a.nc", save_netcdf), load_netcdf, ("netCDF4",)),
    "netcdf, classic": Format(partial(_saved, "a.nc", _classic), load_netcdf, ("netCDF4",)),
    "zarr": Format(partial(_saved, "a.zarr", save_zarr), load_zarr, ("zarr",)),
    "nii": Format(partial(_nifti, "a.nii"), load_nifti, ("nibabel",)),
    "nii.gz": Format(partial(_nifti, "a.nii.gz"), load_nifti, ("nibabel",)),
    "wfdb": Format(_record, _records, ("wfdb",)),
    "dicom": Format(_dicom, load_dicom, ("pydicom",)),
    "heartbeats": Format(_heartbeats, load_heartbeat_csv),
    "medmnist": Format(_medmnist, load_medmnist, ("medmnist",)),
    "mednf": Format(_mednf, load_mednf),
}
