"""Signals of the sizes that people have: latents of cells beside linear peers of equal length.

    python benchmarks/scale.py DATA_FOLDER [--rows smears-64-1024 ecg12-256 ...] [--seconds 120]
                               [--without-autoencoder]

Every row fits an encoder with nothing but its latent_dim (and the time) set, and encodes held-out
signals, in closed form and with all steps. Beside it stand PCA of whole signals and PCA of blocks,
of the size that does best, and a convolutional autoencoder trained for as many seconds, each with
as many numbers for a signal. "closed" and "refined" are the mean PSNR in dB of held-out signals,
whose values lie in [0, 1] (ECGs: in standard deviations of a lead); "/ s" is the median rate of
three encodings of all of them, fewer where they take long, after a first one of two. "crops of 64"
is the PSNR of the encoder of the row smears-64-1024, refined, on signals of this row: one θ for
both sizes. "GiB" is the most resident memory of the process, as Linux counts it, in which all of
the row's signals are held, fitted, encoded and decoded.

The folder holds ``blood_smear/``, ``brain_slices.npz``, ``ecg12.npz``, ``pneumoniamnist.npz`` and
``measured/brain_volume.npz``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from large import forget_peak, resident
from signals import Split, brain, ecg12, pneumonia, slices, smears
from sklearn.decomposition import PCA
from tables import report

from neurfield import FunctaEncoder
from neurfield.evaluation.peers import BlockPCA, ConvAutoencoder
from neurfield.fields import FieldSpec

_BLOCKS = (4, 8, 16, 32, 64, 125, 250)  # sides that are tried
Measured = tuple[FunctaEncoder, dict[str, object]]
_REPEATS, _LONG = 3, 10.0  # of an encoding, unless it takes so many seconds


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    data : callable
        Takes the folder, returns the signals.
    latent_dim : int
        Length of a signal's latent.
    """

    data: Callable[[Path], Split]
    latent_dim: int


def _volume(folder: Path) -> Split:
    volume = brain(folder)
    return Split(volume, volume)  # it is fitted and described by the same field, as by PCA


ROWS = {
    "smears-64-256": Row(lambda folder: smears(folder, 64, 8000, 1000), 256),
    "smears-64-1024": Row(lambda folder: smears(folder, 64, 8000, 1000), 1024),
    "smears-128-4096": Row(lambda folder: smears(folder, 128, 2000, 200), 4096),
    "smears-224-11760": Row(lambda folder: smears(folder, 224, 600, 60), 11760),
    "xray-28-16": Row(pneumonia, 16),
    "xray-28-64": Row(pneumonia, 64),
    "xray-28-256": Row(pneumonia, 256),
    "slices-128-1024": Row(slices, 1024),
    "ecg12-256": Row(ecg12, 256),
    "ecg12-1024": Row(ecg12, 1024),
    "brain-107520": Row(_volume, 107_520),
}


def mean_psnr(signals: np.ndarray, found: np.ndarray) -> float:
    """Return the mean PSNR in dB, for a peak of one."""
    axes = tuple(range(1, signals.ndim))
    error = np.square(signals.astype(np.float64) - found).mean(axis=axes)
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-12))))


def pca(train: np.ndarray, held_out: np.ndarray, n_components: int) -> float:
    """Return the PSNR of PCA of whole signals; NaN where there are fewer signals than latents."""
    if n_components >= len(train):
        n_components = len(train) - 1
    if n_components < 1:
        return math.nan
    fitted = PCA(n_components, svd_solver="randomized", random_state=0).fit(
        train.reshape(len(train), -1)
    )
    latents = fitted.transform(held_out.reshape(len(held_out), -1))
    return mean_psnr(held_out, fitted.inverse_transform(latents).reshape(held_out.shape))


def blocks(
    train: np.ndarray, held_out: np.ndarray, channel_axis: int | None, latent_dim: int
) -> str:
    """Return the PSNR of PCA of blocks of the best side, and that side."""
    best = (-math.inf, 0)
    shape = train.shape[1:channel_axis]
    n_channels = 1 if channel_axis is None else train.shape[channel_axis]
    for side in _BLOCKS:
        n_blocks = math.prod(n // side for n in shape)
        size = side ** len(shape) * n_channels
        k = latent_dim // max(n_blocks, 1)
        if any(n % side for n in shape) or not 1 <= k < size or size > 8192:
            continue
        if k >= len(train) * n_blocks:
            continue
        peer = BlockPCA(latent_dim, block_size=side, channel_axis=channel_axis, random_state=0)
        found = peer.inverse_transform(peer.fit(train).transform(held_out))
        best = max(best, (mean_psnr(held_out, found), side))
    return f"{best[0]:.2f} ({best[1]})" if best[1] else ""


def measured(row: Row, data: Split, seconds: float, seed: int) -> Measured:
    """Fit an encoder; return it, and what the table says of it and of its peers."""
    assert isinstance(data.train, xr.DataArray)
    assert isinstance(data.held_out, xr.DataArray)
    encoder = FunctaEncoder(
        latent_dim=row.latent_dim, max_time=seconds, max_iter=10**6, random_state=seed
    )
    forget_peak()
    began = time.perf_counter()
    encoder.fit(data.train)
    took = time.perf_counter() - began
    held_out = data.held_out.values
    found: dict[str, object] = {
        "field": FieldSpec.family_of(encoder.field_),
        "fit s": round(took),
        "steps": encoder.n_iter_,
    }
    for name, steps in (("closed", 1), ("refined", None)):
        encoder.set_params(transform_steps=steps)
        encoder.transform(data.held_out[:2])
        seconds: list[float] = []
        while len(seconds) < _REPEATS and sum(seconds) < _LONG:
            began = time.perf_counter()
            latents = encoder.transform(data.held_out)
            seconds.append(time.perf_counter() - began)
        rate = len(held_out) / statistics.median(seconds)
        decoded = encoder.inverse_transform(latents)
        found[name] = round(mean_psnr(held_out, decoded.values), 2)
        found[f"{name} / s"] = round(rate, 1)
    found["GiB"] = round(resident(most=True) / 1024, 2)
    train = data.train.values
    found["PCA"] = round(pca(train, held_out, row.latent_dim), 2)
    found["PCA of blocks"] = blocks(train, held_out, channels(data.train), row.latent_dim)
    return encoder, found


def of_crops(encoder: FunctaEncoder, held_out: xr.DataArray) -> float:
    """Return the refined PSNR of signals of another size than those that an encoder has seen."""
    encoder.set_params(transform_steps=None)
    axes = {
        dim: np.arange(float(held_out.sizes[dim]))
        for dim in held_out.dims
        if dim not in ("sample", "channel")
    }
    decoded = encoder.inverse_transform(encoder.transform(held_out), coords=axes)
    return round(mean_psnr(held_out.values, decoded.values), 2)


def channels(signals: xr.DataArray) -> int | None:
    """Return the axis of channels, which is the last, or None where there is none."""
    return -1 if "channel" in signals.dims else None


def autoencoder(data: Split, row: Row, seconds: float, seed: int) -> float:
    """Return the PSNR of a convolutional autoencoder after as many seconds of training."""
    assert isinstance(data.train, xr.DataArray)
    assert isinstance(data.held_out, xr.DataArray)
    train, held_out = data.train, data.held_out.values
    peer = ConvAutoencoder(
        row.latent_dim, max_time=seconds, channel_axis=channels(train), random_state=seed
    ).fit(train.values)
    return round(mean_psnr(held_out, peer.inverse_transform(peer.transform(held_out))), 2)


def main() -> None:
    """Measure the rows asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of each fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-autoencoder", action="store_true")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table = []
    small = None
    for name in args.rows:
        row, data = ROWS[name], ROWS[name].data(args.folder)
        encoder, found = measured(row, data, args.seconds, args.seed)
        found |= {"crops of 64": "", "autoencoder": ""}
        if name == "smears-64-1024":
            small = encoder
        elif small is not None and name in ("smears-128-4096", "smears-224-11760"):
            found["crops of 64"] = of_crops(small, data.held_out)
        if not args.without_autoencoder and "brain" not in name:  # one volume, no training set
            found["autoencoder"] = autoencoder(data, row, args.seconds, args.seed)
        print({"signals": name, **found}, flush=True)
        table.append({"signals": name, **found})
    report(table, args.csv)


if __name__ == "__main__":
    main()
