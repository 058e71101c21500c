"""Encode a Zarr store of 100 000 signals: time, peak memory, and the same on a dask cluster.

    python benchmarks/large_zarr.py [--signals 100000] [--folder DIR] [--csv out.csv]

The signals are images of random smooth shapes, written chunk by chunk. The encoder is fitted on the
first chunks. Each way of encoding runs in a process of its own, whose peak resident memory is
measured, and for a cluster also that of its largest worker. Both write their latents to a Zarr
store; the table ends with how far the two differ.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tables import report

MIB = 1024.0  # ru_maxrss is in KiB on Linux


def images(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw images of three soft blobs each, as bytes."""
    axis = np.linspace(-1, 1, size)
    y, x = axis[:, None], axis
    total = np.zeros((n, size, size))
    for _ in range(3):
        cy, cx, width, height = rng.uniform([-0.6, -0.6, 0.1, 0.4], [0.6, 0.6, 0.5, 1.0], (n, 4)).T
        square = (y[None] - cy[:, None, None]) ** 2 + (x[None] - cx[:, None, None]) ** 2
        total += height[:, None, None] * np.exp(-square / (2 * width[:, None, None] ** 2))
    return np.clip(255 * total / 2.5, 0, 255).astype(np.uint8)


def write_store(path: Path, n: int, size: int, chunk: int) -> None:
    """Write the signals chunk by chunk."""
    import dask.array

    rng = np.random.default_rng(0)
    axes = {"y": np.arange(float(size)), "x": np.arange(float(size))}
    blank = dask.array.zeros((n, size, size), dtype=np.uint8, chunks=(chunk, size, size))
    template = xr.Dataset({"images": (("sample", "y", "x"), blank)}, axes)
    template["label"] = ("sample", np.arange(n) % 2)
    template.to_zarr(path, compute=False, mode="w", zarr_format=2)
    for start in range(0, n, chunk):
        block = images(min(chunk, n - start), size, rng)
        part = xr.Dataset({"images": (("sample", "y", "x"), block)})
        part.to_zarr(path, region={"sample": slice(start, start + len(block))}, zarr_format=2)


def encode(folder: Path, how: str) -> None:
    """Encode the store of a folder and print time and peak memory as JSON."""
    import torch

    from neurfield import FunctaEncoder
    from neurfield.datasets import load_zarr, save_latents

    torch.set_num_threads(1)  # one thread for each task; dask runs as many tasks as there are cores
    signals = load_zarr(folder / "signals.zarr", "images", chunks={})
    encoder = FunctaEncoder.load(folder / "encoder.safetensors")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    started = time.perf_counter()
    if how == "cluster":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
        ):
            save_latents(encoder.transform(signals), folder / f"{how}.zarr")
    else:
        save_latents(encoder.transform(signals), folder / f"{how}.zarr")
    seconds = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MIB
    print(
        json.dumps(
            {
                "how": how,
                "signals": len(signals),
                "seconds": round(seconds, 1),
                "signals_per_s": round(len(signals) / seconds, 1),
                "rss_before_mib": round(base),
                "peak_rss_mib": round(own),
                "worker_rss_mib": round(workers) if how == "cluster" else "",
            }
        )
    )


def run(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the store, fit, encode in two ways and compare."""
    from neurfield import FunctaEncoder
    from neurfield.datasets import load_zarr

    write_store(folder / "signals.zarr", args.signals, args.size, args.chunk)
    training = load_zarr(folder / "signals.zarr", "images", chunks={})[: args.train]
    encoder = FunctaEncoder(
        latent_dim=args.latent_dim,
        max_iter=args.max_iter,
        transform_steps=args.transform_steps,
        device="cpu",
        random_state=0,
    )
    encoder.fit(training).save(folder / "encoder.safetensors")
    rows = []
    for how in ("threads", "cluster"):
        command = [sys.executable, __file__, "--encode", how, "--folder", str(folder)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
    here, there = (load_zarr(folder / f"{how}.zarr", chunks={}) for how in ("threads", "cluster"))
    difference = float(abs(here - there).max())
    return [{**row, "largest_difference": difference} for row in rows]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signals", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=28, help="pixels along each axis")
    parser.add_argument("--chunk", type=int, default=500, help="signals in each chunk of the store")
    parser.add_argument("--train", type=int, default=4000, help="signals to fit on")
    parser.add_argument("--max-iter", type=int, default=300)
    parser.add_argument("--latent-dim", type=int, default=64)
    parser.add_argument("--transform-steps", type=int, default=None)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--encode", choices=["threads", "cluster"], help=argparse.SUPPRESS)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.encode is not None:
        encode(args.folder, args.encode)
        return
    if args.folder is not None:
        rows = run(args.folder, args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = run(Path(folder), args)
    report(rows, args.csv)


if __name__ == "__main__":
    main()
