"""Held-out PSNR of the default encoder after a fixed time of fit, beside PCA in the same run.

    python benchmarks/main_job.py DATA_FOLDER [--max-time 50] [--only ecg] [--csv out.csv]

PSNR is in dB, of the full field, on held-out signals, with values clamped to [0, 1]. PCA has the
same number of components where the training set allows it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from signals import Split, ecg, hippocampus, hippocampus_resampled, pneumonia
from sklearn.decomposition import PCA
from tables import write_csv

from neurfield import FunctaEncoder

CASES: dict[str, tuple[Callable[[Path], Split], int]] = {
    "ecg": (ecg, 64),
    "pneumonia": (pneumonia, 256),
    "hippocampus 16x24x16": (hippocampus_resampled, 256),
    "hippocampus own grids": (hippocampus, 256),
}
N_HELD_OUT = 1000


def psnr(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Return one signal's PSNR in dB, for values in [0, 1]."""
    return float(-10.0 * np.log10(np.mean((truth - np.clip(reconstruction, 0.0, 1.0)) ** 2)))


def evaluate(encoder: FunctaEncoder, held_out: Any) -> float:
    """Return the mean PSNR of encoding and decoding each signal on its own grid."""
    latents = encoder.transform(held_out)
    decoded = encoder.inverse_transform(
        latents, coords=held_out if isinstance(held_out, list) else None
    )
    pairs = zip(held_out, decoded, strict=True)
    return float(np.mean([psnr(x.values, r.values) for x, r in pairs]))


def pca_psnr(split: Split, n_components: int) -> float:
    """Return the mean PSNR of PCA; NaN where signals share no grid."""
    if isinstance(split.train, list):
        return float("nan")
    train = split.train.values.reshape(len(split.train), -1)
    held_out = split.held_out.values.reshape(len(split.held_out), -1)
    pca = PCA(min(n_components, len(train) - 1), random_state=0).fit(train)
    decoded = pca.inverse_transform(pca.transform(held_out))
    return float(np.mean([psnr(x, r) for x, r in zip(held_out, decoded, strict=True)]))


def run(name: str, folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Fit one case and return its row of the table."""
    load, latent_dim = CASES[name]
    split = load(folder)
    held_out = split.held_out
    if not isinstance(held_out, list) and len(held_out) > N_HELD_OUT:
        chosen = np.random.default_rng(0).permutation(len(held_out))[:N_HELD_OUT]
        held_out = held_out[np.sort(chosen)]
    parameters = {"latent_dim": latent_dim, **parameters}
    started = time.perf_counter()
    encoder = FunctaEncoder(**parameters).fit(split.train)
    seconds = time.perf_counter() - started
    return {
        "data": name,
        "P": parameters["latent_dim"],
        "train": len(split.train),
        "held_out": len(held_out),
        "fit_s": round(seconds, 1),
        "meta_steps": encoder.n_iter_,
        "psnr_db": round(evaluate(encoder, held_out), 2),
        "pca_db": round(pca_psnr(Split(split.train, held_out), parameters["latent_dim"]), 2),
    }


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--only", choices=sorted(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--max-time", type=float, default=50.0, help="seconds of training")
    parser.add_argument("--latent-dim", type=int, help="instead of each case's own")
    parser.add_argument("--omega", type=float, nargs=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    parameters: dict[str, Any] = {"max_time": args.max_time, "random_state": args.seed}
    if args.latent_dim is not None:
        parameters["latent_dim"] = args.latent_dim
    if args.omega is not None:
        parameters["omega"] = tuple(args.omega)
    rows = []
    for name in args.only:
        rows.append(run(name, args.data, parameters))
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if args.csv is not None:
        write_csv(args.csv, rows)


if __name__ == "__main__":
    main()
