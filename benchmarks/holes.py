"""Lapped cells with values missing: what fills holes larger than a cell, and how sure it is.

    python benchmarks/holes.py DATA_FOLDER [--max-time 60] [--only smears ecg]

Encoders are fitted to whole signals: blood smear crops of 64×64 pixels in colour, and one lead of
ECGs of 1000 samples. Held-out signals are then observed without a square of 24×24 pixels, or a
stretch of 24 samples, three cells wide, at one place after the other; or without half of their
values, at random. "psnr" is the mean PSNR in dB of the values that were hidden (where nothing was,
of all), "mean" that of filling in the mean of what was observed, and "alone" that of the same field
with the same prior of each cell, but none of what neighbouring cells say of each other. "covered"
is the percentage of these values within 1.645 standard deviations, which should be 90.

The folder holds ``blood_smear/`` and ``ecg12.npz``.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from signals import ecg12, smears
from tables import print_table

from neurfield import FunctaEncoder
from neurfield.fields import Lapped

_LEVEL_90 = 1.645
_SIGNALS = 96

Hole = dict[str, slice]


def _smears(folder: Path) -> tuple[xr.DataArray, xr.DataArray, int, int, list[Hole]]:
    split = smears(folder, 64, 4000, _SIGNALS)
    holes = [
        {"y": slice(y, y + 24), "x": slice(x, x + 24)} for y, x in ((20, 20), (0, 33), (37, 8))
    ]
    return split.train, split.held_out, 1024, 8, holes


def _ecg(folder: Path) -> tuple[xr.DataArray, xr.DataArray, int, int, list[Hole]]:
    split = ecg12(folder)
    train, held_out = (part.isel(channel=1) for part in (split.train, split.held_out))
    holes = [{"t": slice(t, t + 24)} for t in (97, 254, 400, 611, 853)]
    return train, held_out[:_SIGNALS], 250, 8, holes


CASES = {"smears": _smears, "ecg": _ecg}


def alone(encoder: FunctaEncoder) -> FunctaEncoder:
    """Return an encoder of the same field for which cells say nothing of each other."""
    other = copy.copy(encoder)
    other.codec_ = copy.deepcopy(encoder.codec_)
    prior, k = other.codec_.solver.prior, encoder.field_.cell_latents
    cut = torch.zeros_like(prior.covariance)
    for start in range(0, len(cut), k):
        here = slice(start, start + k)
        cut[here, here] = prior.covariance[here, here]
    prior.covariance.copy_(cut)
    return other


def psnr(error: np.ndarray) -> float:
    """Return the mean PSNR over signals, of values that are not NaN."""
    squared = np.nanmean(np.square(error), axis=tuple(range(1, error.ndim)))
    return float(np.mean(-10 * np.log10(squared)))


def row(
    name: str, kind: str, encoder: FunctaEncoder, truth: xr.DataArray, hidden: list[np.ndarray]
) -> dict[str, str]:
    """Return one line of the table, a mean over what is hidden in turn."""
    found = [measured(encoder, truth, each) for each in hidden]
    mean, of_others, own, covered = np.mean(found, axis=0)
    return {
        "signals": name,
        "hidden": kind,
        "mean": f"{mean:.2f}",
        "alone": f"{of_others:.2f}",
        "psnr": f"{own:.2f}",
        "covered": f"{100 * covered:.1f}",
    }


def measured(
    encoder: FunctaEncoder, truth: xr.DataArray, hidden: np.ndarray
) -> tuple[float, float, float, float]:
    """Return three PSNR of hidden values, of the mean and by two encoders, and what is covered."""
    seen = truth.where(~hidden)
    asked = hidden if hidden.any() else np.ones(truth.shape, dtype=bool)
    Z = encoder.transform(seen)
    found, std = encoder.inverse_transform(Z, return_std=True, observed=seen)
    error = (found - truth).where(asked).values
    covered = (np.abs(error) < _LEVEL_90 * std.values)[asked].mean()
    other = alone(encoder)
    of_other = (other.inverse_transform(other.transform(seen)) - truth).where(asked).values
    axes = [dim for dim in truth.dims[1:] if dim != "channel"]
    of_mean = (truth - seen.mean(axes)).where(asked).values
    return psnr(of_mean), psnr(of_other), psnr(error), float(covered)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-time", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        train, truth, latent_dim, cell, holes = CASES[name](arguments.folder)
        encoder = FunctaEncoder(
            latent_dim, field=Lapped(cell=cell), max_time=arguments.max_time, random_state=0
        ).fit(train)
        nothing = np.zeros(truth.shape, dtype=bool)
        drawn = np.random.default_rng(0).random(truth.shape[: 1 + len(holes[0])]) < 0.5
        at_random = nothing | drawn.reshape(*drawn.shape, *[1] * (truth.ndim - drawn.ndim))
        in_holes = []
        for hole in holes:
            in_hole = xr.zeros_like(truth, dtype=bool)
            in_hole[hole] = True
            in_holes.append(in_hole.values)
        for kind, hidden in {
            "nothing": [nothing],
            "half at random": [at_random],
            "holes": in_holes,
        }.items():
            rows.append(row(name, kind, encoder, truth, hidden))
    print_table(rows)


if __name__ == "__main__":
    main()
