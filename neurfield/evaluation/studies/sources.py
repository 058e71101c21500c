"""The data sets that studies are made on, each found in a folder under its usual name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets import Container, open_signals

Parts = tuple[Container, Container | None]

_CROP, _LARGE_CROP, _N_TRAIN, _N_TEST = 64, 224, 1000, 200
_BYTE = np.float32(255)


@dataclass(frozen=True)
class Source:
    """Signals to learn from, and to measure on if they are apart.

    Parameters
    ----------
    title : str
        What they are.
    path : str
        File or folder in the folder of all data.
    credit : str
        Whose they are, and under which licence.
    read : callable
        Takes the path, returns both parts; None for one that is to be held out.
    grid : tuple of int, optional
        To resample signals to.
    """

    title: str
    path: str
    credit: str
    read: Callable[[Path], Parts]
    grid: tuple[int, ...] | None = None


def _splits(*names: str) -> Callable[[Path], Parts]:
    def read(path: Path) -> Parts:
        train, test = (open_signals(path, split=name) for name in names)
        return train, test

    return read


def _leads(path: Path) -> Parts:
    train, test = (open_signals(path, key=key, channel_axis=-1) for key in ("train", "test"))
    return train, test


def smear_crops(
    folder: Path, size: int, n_train: int, n_test: int, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return crops of pictures in colour, halved; those to measure on are of other pictures.

    Parameters
    ----------
    folder : Path
        Of ``.jpg`` files, one in five of which is held out.
    size : int
        Pixels along each side.
    n_train, n_test : int
        How many crops to make.
    seed : int, default=0
        Of the division, and where crops are.

    Returns
    -------
    (DataArray, DataArray)
        Of dims (sample, y, x, channel), float32 in [0, 1].
    """
    from PIL import Image

    random = np.random.default_rng(seed)
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as picture:
            half = (picture.width // 2, picture.height // 2)
            halved = picture.convert("RGB").resize(half, Image.Resampling.LANCZOS)
            pictures.append(np.asarray(halved))
    order = random.permutation(len(pictures))
    n_held_out = len(pictures) // 5
    test = _crops([pictures[i] for i in order[:n_held_out]], size, n_test, random)
    return _crops([pictures[i] for i in order[n_held_out:]], size, n_train, random), test


def _crops(
    pictures: list[NDArray[np.uint8]], size: int, n_crops: int, random: np.random.Generator
) -> xr.DataArray:
    crops = np.empty((n_crops, size, size, 3), dtype=np.float32)
    for crop in crops:
        picture = pictures[random.integers(len(pictures))]
        y, x = (random.integers(n - size + 1) for n in picture.shape[:2])
        crop[:] = picture[y : y + size, x : x + size] / _BYTE
    return xr.DataArray(crops, dims=("sample", "y", "x", "channel"))


#: Sets of MedMNIST that MedFuncta is measured on, read at 64 × 64 pixels.
MEDMNIST = ("chestmnist", "octmnist", "retinamnist", "dermamnist", "pathmnist", "tissuemnist")
_BCCD = "BCCD (Shenggan), MIT"

SOURCES: dict[str, Source] = {
    "beats": Source(
        "ECG beats",
        "mitbih",
        "MIT-BIH Arrhythmia Database, PhysioNet (Moody and Mark 2001), ODC-By 1.0",
        _splits("DS1", "DS2"),
    ),
    "xrays": Source(
        "Chest X-rays",
        "pneumoniamnist.npz",
        "PneumoniaMNIST, MedMNIST v2 (Yang et al. 2023, Kermany et al. 2018), CC BY 4.0",
        _splits("train", "test"),
    ),
    "volumes": Source(
        "Hippocampus volumes",
        "hippocampus/images",
        "Medical Segmentation Decathlon, Task04 (Antonelli et al. 2022), CC BY-SA 4.0",
        lambda path: (open_signals(path), None),
        grid=(16, 24, 16),
    ),
    "smears": Source(
        "Blood smears in colour",
        "blood_smear",
        _BCCD,
        lambda path: smear_crops(path, _CROP, _N_TRAIN, _N_TEST),
    ),
    "pictures": Source(
        "Larger crops of blood smears",
        "blood_smear",
        _BCCD,
        lambda path: smear_crops(path, _LARGE_CROP, _N_TRAIN // 2, _N_TEST // 10),
    ),
    "slices": Source(
        "Brain slices",
        "brain_slices.npz",
        "Brain Tumor Classification (MRI) (Bhuvaji et al. 2020), without a licence: figures alone",
        _splits("train", "test"),
    ),
    "leads": Source(
        "ECGs of twelve leads",
        "ecg12.npz",
        "PTB-XL, PhysioNet (Wagner et al. 2020), CC BY 4.0",
        _leads,
    ),
    **{
        name: Source(
            f"{name} at 64 × 64",
            f"{name}_64.npz",
            "MedMNIST v2 (Yang et al. 2023), under the licence of each set",
            _splits("train", "test"),
        )
        for name in MEDMNIST
    },
}
