"""Time and memory against points, latents, signals and cores.

    python benchmarks/scaling.py [--only points latents] [--csv out.csv]

Each line is a process of its own that fits on smooth random images for a few meta-steps and encodes
them. Times are medians over repeats; memory is the peak of the process less what it takes after its
imports and data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tables import report

BASE = {"size": 28, "latent_dim": 64, "signals": 512, "threads": 1}
SWEEPS: dict[str, tuple[str, list[int]]] = {
    "points": ("size", [14, 28, 56, 112]),
    "latents": ("latent_dim", [16, 64, 256, 1024]),
    "signals": ("signals", [128, 512, 2048, 8192]),
    "cores": ("threads", [1, 2, 4, 8]),
}
MIB = 1024.0  # ru_maxrss is in KiB on Linux


def images(n: int, size: int) -> np.ndarray:
    """Draw smooth random images."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, size, dtype=np.float32)], indexing="ij")
    a, b, phase = rng.uniform(-4, 4, (3, n, 1, 1)).astype(np.float32)
    return np.sin(a * y + b * x + phase)


def peak() -> float:
    """Return the peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def measure(case: dict[str, int], meta_steps: int, repeats: int, device: str) -> dict[str, Any]:
    """Fit and encode in this process."""
    import torch

    from neurfield import FunctaEncoder

    torch.set_num_threads(case["threads"])
    X = images(case["signals"], case["size"])
    before = peak()
    stamps: list[float] = []
    encoder = FunctaEncoder(
        latent_dim=case["latent_dim"],
        max_iter=meta_steps,
        callbacks=[lambda progress: stamps.append(progress.elapsed)],
        device=device,
        random_state=0,
    ).fit(X)
    fit_peak = peak()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        encoder.transform(X)
        times.append(time.perf_counter() - started)
    steps = np.diff([0.0, *stamps])
    return {
        "meta_step_ms": round(1e3 * float(np.median(steps)), 1),
        "signals_per_s": round(len(X) / statistics.median(times), 1),
        "fit_mib": round(fit_peak - before),
        "transform_mib": round(peak() - before),
    }


def main() -> None:
    """Run the sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(SWEEPS), nargs="+", default=list(SWEEPS))
    parser.add_argument("--meta-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smallest", action="store_true", help="two sizes of each sweep only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.case is not None:
        print(json.dumps(measure(args.case, args.meta_steps, args.repeats, args.device)))
        return
    rows = []
    for sweep in args.only:
        key, sizes = SWEEPS[sweep]
        cores = os.cpu_count() or 1
        for size in sizes[:2] if args.smallest else sizes:
            if key == "threads" and size > cores:
                continue
            case = {**BASE, key: size}
            command = [sys.executable, __file__, "--case", json.dumps(case)]
            command += ["--meta-steps", str(args.meta_steps), "--repeats", str(args.repeats)]
            command += ["--device", args.device]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"sweep": sweep, **case, **json.loads(output.splitlines()[-1])})
    report(rows, args.csv)


if __name__ == "__main__":
    main()
