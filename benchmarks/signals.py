"""The data sets that the benchmarks share, with their splits.

Handwritten digits ship with scikit-learn. The others are read from a folder, which holds
``pneumoniamnist.npz`` (MedMNIST), ``mitbih/`` (WFDB records of the MIT-BIH Arrhythmia Database)
and ``hippocampus/images/`` (NIfTI volumes of the Medical Segmentation Decathlon, Task04).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from neurfield.datasets import digits as bundled_digits
from neurfield.datasets import load_nifti, load_npz, load_wfdb

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
