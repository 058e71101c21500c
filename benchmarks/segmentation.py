"""Labels as channels of a field that are not seen at transform, beside other ways to segment.

    python benchmarks/segmentation.py DATA_FOLDER [--seconds 120] [--latent-dim 256]

Hippocampus MRI, 150 volumes to learn from and 30 held out, on a grid of 16×24×16 points: the image
in standard deviations of each volume, and two channels that say which part of a voxel is anterior
and which posterior. "field" is ours with nothing but latent_dim and the time set: fitted to
all channels, given the image alone, with the labels NaN, and decoded. "measured" is the same
encoder with the image as what an operator has measured, so that values around the field count too.
"labels seen" is the same field given everything, a bound. "ridge" is ridge regression from all
voxels of the image to all labels, with the strength that leave-one-out errors ask for, and "atlas"
the mean label. With "5" labelled, the labels of all but five training volumes are missing; ridge
and atlas learn from five.

A second table is of every sixth coronal slice of a held-out volume labelled by hand: Dice of the
other ones, by the same field with those labels as values ("gaussian") and as labels
("categorical"), from the image alone, and by the labels of slices, interpolated linearly.

Dice of the most probable label on that grid, and "at voxels" on the volumes' own grid, to which the
label channels of each method are interpolated; means over held-out volumes. "covered" is the
percentage of hidden label values within 1.645 standard deviations, which should be 90.

The folder holds ``hippocampus/``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import interp1d
from scipy.ndimage import map_coordinates
from signals import N_TRAIN_VOLUMES, hippocampus_labelled
from sklearn.linear_model import RidgeCV
from tables import print_table, report

from neurfield import FunctaEncoder
from neurfield.datasets import load_nifti
from neurfield.likelihoods import Categorical, Gaussian, Likelihood
from neurfield.operators import Mask

_LABELLED = 5
_NAMES = {"anterior": 1, "posterior": 2}
_SIXTH = 6  # slices, of which one is labelled
_STD = 0.01  # of the image's noise: next to none
_ALPHAS = np.geomspace(1e-1, 1e4, 11)


def most_probable(parts: np.ndarray) -> np.ndarray:
    """Return labels 0, 1, ... of values of shape (..., c) that say which part is 1, 2, ...."""
    rest = 1.0 - parts.sum(axis=-1, keepdims=True)
    return np.concatenate([rest, parts], axis=-1).argmax(axis=-1)


def dice(found: np.ndarray, truth: np.ndarray, label: int) -> float:
    """Return the Dice coefficient of one label of one volume."""
    one, other = found == label, truth == label
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def at_voxels(parts: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolate label channels of one volume to a grid of the same extent."""
    along = [np.linspace(0, n - 1, size) for n, size in zip(parts.shape, shape, strict=False)]
    where = np.meshgrid(*along, indexing="ij")
    channels = np.moveaxis(parts, -1, 0)
    return np.stack([map_coordinates(one, where, order=1) for one in channels], axis=-1)


def mean_dice(found: Any, asked: Any, label: int) -> float:
    """Return the mean over volumes of the Dice coefficient of one label, rounded."""
    return round(float(np.mean([dice(a, b, label) for a, b in zip(found, asked, strict=True)])), 3)


def scores(parts: np.ndarray, truth: np.ndarray, voxels: list[np.ndarray]) -> dict[str, Any]:
    """Return what the table says of the label channels that one method found."""
    found, asked = most_probable(parts), most_probable(truth)
    fine = [most_probable(at_voxels(p, v.shape)) for p, v in zip(parts, voxels, strict=True)]
    row: dict[str, Any] = {}
    for name, label in _NAMES.items():
        row[name] = mean_dice(found, asked, label)
        row[f"{name} at voxels"] = mean_dice(fine, voxels, label)
    return row


def of_ridge(train: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the label channels that ridge regression finds."""
    ridge = RidgeCV(_ALPHAS).fit(
        train[..., 0].reshape(len(train), -1), train[..., 1:].reshape(len(train), -1)
    )
    found = ridge.predict(images.reshape(len(images), -1))
    return found.reshape(*images.shape, 2)


def measured_parts(
    encoder: FunctaEncoder, hidden: np.ndarray, likelihood: Likelihood
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label channels given the rest as an operator measures it, and deviations."""
    shape = hidden.shape[1:-1]
    values = hidden.reshape(len(hidden), -1, hidden.shape[-1])
    how: dict[str, Any] = {
        "operator": Mask(shape, np.ones(shape, dtype=bool)),
        "likelihood": likelihood,
    }
    latents = encoder.transform(values, **how)
    found, std = encoder.inverse_transform(latents, observed=values, return_std=True, **how)
    return np.asarray(found)[..., 1:], np.asarray(std)[..., 1:]


def of_slices(
    encoder: FunctaEncoder, held_out: np.ndarray, alone: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, Any]]:
    """Return the rows of volumes of which every sixth coronal slice was labelled, or none was."""
    n = held_out.shape[2]
    labelled = np.arange(_SIXTH // 2, n, _SIXTH)
    others = np.setdiff1d(np.arange(n), labelled)
    truth, seen, image = held_out[..., 1:], held_out.copy(), Gaussian(std=_STD)
    seen[:, :, others, :, 1:] = np.nan
    found = {
        "image alone": alone,
        "gaussian": measured_parts(encoder, seen, image),
        "categorical": measured_parts(encoder, seen, Categorical([1, 2], image)),
        "interpolated": (
            interp1d(labelled, truth[:, :, labelled], axis=2, fill_value="extrapolate")(
                np.arange(n)
            ),
            None,
        ),
    }
    rows = []
    for method, (parts, std) in found.items():
        row: dict[str, Any] = {"method": method}
        labels, asked = (most_probable(one[:, :, others]) for one in (parts, truth))
        row |= {name: mean_dice(labels, asked, label) for name, label in _NAMES.items()}
        row["covered"] = ""
        if std is not None:
            inside = np.abs(parts - truth)[:, :, others] < 1.645 * std[:, :, others]
            row["covered"] = round(100 * float(inside.mean()), 1)
        rows.append(row)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each fit")
    parser.add_argument("--latent-dim", type=int, default=256)
    parser.add_argument("--labelled", nargs="+", choices=["all", "5"], default=["all", "5"])
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = hippocampus_labelled(args.folder)
    train, held_out = (np.asarray(part, dtype=np.float32) for part in (data.train, data.held_out))
    labels = load_nifti(args.folder / "hippocampus" / "labels", labels=True)
    voxels = [np.asarray(one) for one in labels[N_TRAIN_VOLUMES:]]
    images, truth, table = held_out[..., 0], held_out[..., 1:], []

    def entered(which: str, method: str, parts: np.ndarray, **more: Any) -> None:
        rest = {"covered": "", "meta-steps": "", **more}
        table.append({"labelled": which, "method": method, **scores(parts, truth, voxels), **rest})
        print(table[-1], flush=True)

    for which in args.labelled:
        some = np.arange(len(train))
        if which == "5":
            some = np.linspace(0, len(train) - 1, _LABELLED).astype(int)
        seen, hidden = train.copy(), held_out.copy()
        seen[np.setdiff1d(np.arange(len(train)), some), ..., 1:] = np.nan
        hidden[..., 1:] = np.nan
        encoder = FunctaEncoder(
            args.latent_dim, max_time=args.seconds, max_iter=10**6, channel_axis=-1, random_state=0
        ).fit(seen)
        latents = encoder.transform(hidden)
        found, std = encoder.inverse_transform(latents, observed=hidden, return_std=True)
        inside = (np.abs(found - held_out) < 1.645 * std)[..., 1:].mean()
        more = {"covered": round(100 * float(inside), 1), "meta-steps": encoder.n_iter_}
        entered(which, "field", found[..., 1:], **more)
        if which == "all":
            alone = measured_parts(encoder, hidden, Gaussian(std=_STD))
            entered(which, "field, measured", alone[0])
            slices = of_slices(encoder, held_out, alone)
        bound = encoder.inverse_transform(encoder.transform(held_out))[..., 1:]
        entered(which, "field, labels seen", bound)
        entered(which, "ridge", of_ridge(train[some], images))
        entered(which, "atlas", np.repeat(train[some, ..., 1:].mean(axis=0)[None], len(images), 0))
    report(table, args.csv)
    if "all" in args.labelled:
        print_table(slices)


if __name__ == "__main__":
    main()
