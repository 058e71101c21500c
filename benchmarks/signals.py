"""The data sets that the benchmarks share, with their splits.

Handwritten digits ship with scikit-learn. The others are read from a folder, which holds
``pneumoniamnist.npz`` (MedMNIST), ``mitbih/`` (WFDB records of the MIT-BIH Arrhythmia Database),
``hippocampus/images/`` and ``hippocampus/labels/`` (NIfTI volumes of the Medical Segmentation
Decathlon, Task04).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from neurfield.datasets import digits as bundled_digits
from neurfield.datasets import load_nifti, load_npz, load_wfdb
from neurfield.evaluation.studies.sources import smear_crops

N_TRAIN_VOLUMES = 150


@dataclass(frozen=True)
class Split:
    """Training and held-out signals, with values in [0, 1]."""

    train: xr.DataArray | list[xr.DataArray]
    held_out: xr.DataArray | list[xr.DataArray]
    train_labels: np.ndarray | None = None
    held_out_labels: np.ndarray | None = None


def pneumonia(folder: Path) -> Split:
    """Chest X-rays, 28×28: MedMNIST's own train and test splits."""
    train = load_npz(folder / "pneumoniamnist.npz", split="train")
    test = load_npz(folder / "pneumoniamnist.npz", split="test")
    return Split(train / 255.0, test / 255.0, train["label"].values, test["label"].values)


def ecg(folder: Path) -> Split:
    """Heartbeats of 187 samples at 125 Hz, inter-patient: DS1 trains, DS2 is held out."""
    train = load_wfdb(folder / "mitbih", split="DS1")
    test = load_wfdb(folder / "mitbih", split="DS2")
    return Split(train, test, train["label"].values, test["label"].values)


def digits(folder: Path | None = None) -> Split:
    """Handwritten digits, 8×8, that ship with scikit-learn: every fifth is held out."""
    images = bundled_digits()
    held_out = np.arange(len(images)) % 5 == 0
    return Split(images[~held_out], images[held_out])


def hippocampus(folder: Path) -> Split:
    """MRI volumes, each of its own shape, in millimetres."""
    volumes = load_nifti(folder / "hippocampus" / "images")
    return Split(volumes[:N_TRAIN_VOLUMES], volumes[N_TRAIN_VOLUMES:])


def hippocampus_resampled(folder: Path, shape: tuple[int, int, int] = (16, 24, 16)) -> Split:
    """The same volumes, each resampled linearly to one grid over its own extent.

    They no longer have millimetres in common, so coordinates count the points of that grid.
    """
    volumes = hippocampus(folder)
    return Split(_resample(volumes.train, shape), _resample(volumes.held_out, shape))


def hippocampus_labelled(folder: Path, shape: tuple[int, int, int] = (16, 24, 16)) -> Split:
    """The same volumes, in standard deviations of each, with labels as two more channels.

    They say which part of a voxel is anterior, and which part posterior.
    """
    images = load_nifti(folder / "hippocampus" / "images")
    labels = load_nifti(folder / "hippocampus" / "labels", labels=True)
    volumes = _resample(images, shape)
    axes = ("x", "y", "z")
    volumes = (volumes - volumes.mean(axes)) / volumes.std(axes)
    parts = [
        _resample([(one == which).astype(np.float32) for one in labels], shape) for which in (1, 2)
    ]
    whole = xr.concat([volumes, *parts], dim="channel").transpose("sample", *axes, "channel")
    return Split(whole[:N_TRAIN_VOLUMES], whole[N_TRAIN_VOLUMES:])


def _resample(volumes: list[xr.DataArray], shape: tuple[int, int, int]) -> xr.DataArray:
    resampled = []
    for volume in volumes:
        target = {
            dim: np.linspace(volume[dim].values[0], volume[dim].values[-1], size)
            for dim, size in zip(volume.dims, shape, strict=True)
        }
        resampled.append(volume.interp(target).values)
    dims = ("x", "y", "z")
    counted = {dim: np.arange(float(size)) for dim, size in zip(dims, shape, strict=True)}
    values = np.stack(resampled).astype(np.float32)
    return xr.DataArray(values, counted, dims=("sample", *dims))


def smears(folder: Path, size: int, n_train: int, n_held_out: int, seed: int = 0) -> Split:
    """Crops of blood smear pictures in colour, halved; train and test pictures are apart."""
    return Split(*smear_crops(folder / "blood_smear", size, n_train, n_held_out, seed))


def large_smears(folder: Path, size: int, n_pictures: int) -> np.ndarray:
    """Test pictures as bytes, continued by mirror images of themselves to size × size pixels."""
    crops = smears(folder, 224, 1, n_pictures).held_out.values
    beside = ((0, 0), (0, max(0, size - 224)), (0, max(0, size - 224)), (0, 0))
    continued = np.pad(np.round(255 * crops).astype(np.uint8), beside, mode="symmetric")
    return continued[:, :size, :size]


def slices(folder: Path) -> Split:
    """Brain MRI slices of three planes, 128×128."""
    with np.load(folder / "brain_slices.npz") as data:
        parts = [data[f"{part}_images"] / np.float32(255) for part in ("train", "test")]
    return Split(*(xr.DataArray(part, dims=("sample", "y", "x")) for part in parts))


def ecg12(folder: Path) -> Split:
    """Twelve-lead ECGs of ten seconds at 100 Hz, in standard deviations of each lead."""
    with np.load(folder / "ecg12.npz") as data:
        parts = [data[part] * np.float32(data["scale"]) for part in ("train", "test")]
    return Split(*(xr.DataArray(part, dims=("sample", "t", "channel")) for part in parts))


def brain(folder: Path) -> xr.DataArray:
    """One MRI volume of a whole head, 160×192×224 voxels, values in [0, 1]."""
    with np.load(folder / "measured" / "brain_volume.npz") as data:
        volume = data["vol"].astype(np.float32)
    return xr.DataArray(volume[None], dims=("sample", "z", "y", "x"))
