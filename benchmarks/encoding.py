"""Signals per second and PSNR of encoding, beside a textbook encoder in the same run.

    python benchmarks/encoding.py DATA_FOLDER [--max-time 50] [--signals 128] [--csv out.csv]

Two fields of the same shape are trained for the same time, one with the default learner and one
with the published one. The first is encoded with 1, 2 and 4 Gauss–Newton steps, the second with 20
gradient steps, by this package and by a textbook loop over torch.autograd. Speeds are medians over
repeats, over the same held-out signals; PSNR is in dB, with values clamped to [0, 1].
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from main_job import psnr
from peers import textbook_encoder
from signals import Split, ecg, pneumonia
from tables import report

from neurfield import FunctaEncoder
from neurfield.signals import read_signals

CASES: dict[str, tuple[Callable[[Path], Split], int]] = {
    "pneumonia": (pneumonia, 256),
    "ecg": (ecg, 64),
}
GAUSS_NEWTON = (1, 2, 4)
GRADIENT_STEPS = 20


def measure(
    name: str,
    encode: Callable[[], np.ndarray],
    encoder: FunctaEncoder,
    signals: Any,
    repeats: int,
) -> dict[str, Any]:
    """Return speed and quality of one way of encoding."""
    latents = encode()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        encode()
        times.append(time.perf_counter() - started)
    decoded = encoder.inverse_transform(latents)
    quality = [psnr(x, r) for x, r in zip(signals.values, decoded.values, strict=True)]
    return {
        "encoder": name,
        "signals_per_s": round(len(signals) / statistics.median(times), 1),
        "psnr_db": round(float(np.mean(quality)), 2),
    }


def textbook(encoder: FunctaEncoder, signals: Any, batch_size: int) -> np.ndarray:
    """Encode with the textbook loop, from the caller's values to latents as well."""
    codec = encoder.codec_
    (group,) = read_signals(signals).groups
    coords = torch.as_tensor(
        codec.units.frame.grid(group.axes), dtype=codec.dtype, device=codec.device
    )
    scaled = codec.units.scaler.apply(group.values).reshape(len(signals), group.n_points, -1)
    found = textbook_encoder.encode(
        codec.field.requires_grad_(False),
        coords,
        torch.as_tensor(scaled, dtype=codec.dtype, device=codec.device),
        codec.field.latent_dim,
        GRADIENT_STEPS,
        encoder.learner_.inner_lr,
        batch_size,
    )
    return found.cpu().numpy()


def run(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train both fields on one data set and return its rows of the table."""
    load, latent_dim = CASES[name]
    split = load(args.data)
    chosen = np.random.default_rng(0).permutation(len(split.held_out))[: args.signals]
    signals = split.held_out[np.sort(chosen)]
    common = {
        "latent_dim": latent_dim,
        "n_layers": 7,
        "max_time": args.max_time,
        "max_iter": args.max_iter,
        "device": args.device,
        "random_state": 0,
    }
    ours = FunctaEncoder(**common).fit(split.train)
    published = FunctaEncoder(learner="cavia", **common).fit(split.train)
    rows = []
    for steps in GAUSS_NEWTON:
        ours.set_params(transform_steps=steps)
        label = f"Gauss-Newton, {steps} step(s)"
        rows.append(measure(label, lambda: ours.transform(signals), ours, signals, args.repeats))
    rows.append(
        measure(
            f"gradient, {GRADIENT_STEPS} steps",
            lambda: published.transform(signals),
            published,
            signals,
            args.repeats,
        )
    )
    rows.append(
        measure(
            f"textbook, {GRADIENT_STEPS} steps",
            lambda: textbook(published, signals, args.batch_size),
            published,
            signals,
            args.repeats,
        )
    )
    slowest = rows[-1]["signals_per_s"]
    return [
        {"data": name, **row, "times_textbook": round(row["signals_per_s"] / slowest, 1)}
        for row in rows
    ]


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--only", choices=sorted(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--max-time", type=float, default=50.0, help="seconds of each training")
    parser.add_argument("--max-iter", type=int, help="meta-steps of each training")
    parser.add_argument("--signals", type=int, default=128, help="held-out signals to encode")
    parser.add_argument("--batch-size", type=int, default=16, help="of the textbook encoder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    rows = [row for name in args.only for row in run(name, args)]
    report(rows, args.csv)


if __name__ == "__main__":
    main()
