"""Fits over random choices of data, P, ω, seed and number of signals, with defaults otherwise.

    python benchmarks/robustness.py DATA_FOLDER [--fits 30] [--max-time 20] [--csv out.csv]

Each row is one fit: its held-out PSNR in dB beside that of the mean training signal, and whether it
gave a warning. The last line counts the fits that ended finite and better than the mean.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from main_job import evaluate, psnr
from psnr_over_time import DATA
from signals import Split
from tables import print_table, write_csv

from neurfield import FunctaEncoder

N_HELD_OUT = 30
ONE_GRID = ["digits", "ecg", "hippocampus", "pneumonia"]


def draw(random: np.random.Generator) -> dict[str, Any]:
    """Draw the choices of one fit."""
    first = float(random.uniform(5, 60))
    return {
        "data": str(random.choice(ONE_GRID)),
        "signals": int(np.exp(random.uniform(np.log(8), np.log(2000)))),
        "latent_dim": int(np.exp(random.uniform(np.log(16), np.log(512)))),
        "omega": (round(first, 1), round(first * float(random.uniform(1, 3)), 1)),
        "random_state": int(random.integers(1000)),
    }


def run(choice: dict[str, Any], split: Split, max_time: float) -> dict[str, Any]:
    """Fit once and return a row of the table."""
    rows = np.random.default_rng(choice["random_state"])
    train = split.train[np.sort(rows.permutation(len(split.train))[: choice["signals"]])]
    held_out = split.held_out[np.sort(rows.permutation(len(split.held_out))[:N_HELD_OUT])]
    parameters = {name: choice[name] for name in ("latent_dim", "omega", "random_state")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder = FunctaEncoder(max_time=max_time, **parameters).fit(train)
    mean = train.values.mean(axis=0)
    return {
        **choice,
        "signals": len(train),
        "meta_steps": encoder.n_iter_,
        "psnr_db": round(evaluate(encoder, held_out), 2),
        "mean_db": round(float(np.mean([psnr(x, mean) for x in held_out.values])), 2),
        "warnings": len(caught),
    }


def main() -> None:
    """Run the fits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--max-time", type=float, default=20.0, help="seconds of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(args.seed)
    splits = {name: DATA[name](args.data) for name in ONE_GRID}
    rows = []
    for _ in range(args.fits):
        choice = draw(random)
        rows.append(run(choice, splits[choice["data"]], args.max_time))
        print(rows[-1], flush=True)
    print_table(rows)
    good = sum(np.isfinite(row["psnr_db"]) and row["psnr_db"] > row["mean_db"] for row in rows)
    print(f"{good} of {len(rows)} fits ended finite and better than the mean signal")
    if args.csv is not None:
        write_csv(args.csv, rows)


if __name__ == "__main__":
    main()
