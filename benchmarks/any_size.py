"""Time and memory of one θ, learnt on small crops, at signals of growing size.

    python benchmarks/any_size.py DATA_FOLDER [--sizes 64 128 256 512 1024] [--csv out.csv]

A lapped field is learnt on crops of blood smear pictures, 64×64 in colour, with 16 latents for
cells of 8×8 pixels. Then test pictures, continued by mirror images of themselves, are encoded in
closed form and with all steps, and decoded. "closed", "refined" and "decode" are milliseconds of
processor time for a signal, in one thread, the median of --repeats; each time is taken over as many
signals as have --points pixels together. "MiB" are the peaks of resident memory above what the
process holds, as Linux counts it, for one signal, whose own size as float32 stands beside them. The
last line has the slope of log time against log points, which is 1 where time is linear.

The folder holds ``blood_smear/``.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from large import forget_peak, resident
from signals import large_smears, smears
from tables import print_table, write_csv

from neurfield import FunctaEncoder
from neurfield.fields import Lapped

_CELL, _LATENTS = 8, 16
_PICTURES = 16  # that are taken again and again


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Return the median processor time of some runs."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found)


def peak_of(work: Callable[[], Any]) -> int:
    """Return the MiB that are held at most above what is held before."""
    gc.collect()
    before = resident()
    forget_peak()
    work()
    return round(resident(most=True) - before)


def measured(
    encoder: FunctaEncoder, pictures: np.ndarray, n_points: int, repeats: int
) -> dict[str, Any]:
    """Return what the table says of one size."""
    size = pictures.shape[1]
    pictures = np.resize(pictures, (max(1, n_points // size**2), *pictures.shape[1:]))
    row: dict[str, Any] = {"size": size, "signals": len(pictures)}
    memory: dict[str, Any] = {}
    for name, steps, part in (("closed", 1, 1), ("refined", None, 4)):
        some = pictures[: max(1, len(pictures) // part)]
        encoder.set_params(transform_steps=steps)
        latents = np.asarray(encoder.transform(some[:1]))
        decoded = encoder.inverse_transform(latents, grid=(size, size))
        error = np.square(decoded - some[:1].astype(np.float64)).mean()
        row[f"{name} dB"] = round(float(10 * np.log10(255**2 / error)), 2)
        seconds = seconds_of(lambda some=some: encoder.transform(some), repeats)
        row[f"{name} ms"] = round(1000 * seconds / len(some), 2)
        memory[f"{name} MiB"] = peak_of(lambda some=some: encoder.transform(some[:1]))
    latents = np.repeat(latents, len(pictures), axis=0)
    grid = (size, size)
    seconds = seconds_of(lambda: encoder.inverse_transform(latents, grid=grid), repeats)
    row["decode ms"] = round(1000 * seconds / len(latents), 2)
    memory["decode MiB"] = peak_of(lambda: encoder.inverse_transform(latents[:1], grid=grid))
    return {**row, "signal MiB": round(4 * 3 * size**2 / 2**20, 2), **memory}


def main() -> None:
    """Learn, measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--points", type=int, default=2**22)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", type=int, default=2000, help="crops to learn from")
    parser.add_argument("--max-iter", type=int, default=200, help="meta-steps")
    parser.add_argument("--encoder", type=Path, help="file that the encoder is kept in")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.encoder is not None and args.encoder.exists():
        encoder = FunctaEncoder.load(args.encoder)
    else:
        crops = smears(args.data, 64, args.train, 1).train.values
        encoder = FunctaEncoder(
            latent_dim=_LATENTS * (64 // _CELL) ** 2,
            field=Lapped(cell=_CELL),
            channel_axis=3,
            max_iter=args.max_iter,
            random_state=0,
        ).fit(np.round(255 * crops))
        if args.encoder is not None:
            encoder.save(args.encoder)
    rows, pictures = [], large_smears(args.data, max(args.sizes), _PICTURES)
    for size in args.sizes:
        some = np.ascontiguousarray(pictures[:, :size, :size])
        rows.append(measured(encoder, some, args.points, args.repeats))
        print(rows[-1], flush=True)
    print_table(rows)
    points = np.log([row["size"] ** 2 for row in rows])
    for name in ("closed", "refined", "decode"):
        slope = np.polyfit(points, np.log([row[f"{name} ms"] for row in rows]), 1)[0]
        print(f"{name}: slope {slope:.3f}")
    if args.csv is not None:
        write_csv(args.csv, rows)


if __name__ == "__main__":
    main()
