"""One meta-step of each of MedFuncta's published configurations: seconds and peak memory.

    python benchmarks/published_sizes.py [--only medfuncta-2d-64 ...] [--budget-gib 20]

``FunctaEncoder.from_preset(name, max_iter=1).fit(X)`` with a whole batch of random signals (colour
pictures, grey volumes), each in a fresh process. "peak GiB" is the most that this process ever
held, Python and libraries included; "estimate GiB" is what the package says beforehand, and
"libraries GiB" what the process held before the fit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import re
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meta_problems import SHAPES
from tables import report

from neurfield import FunctaEncoder
from neurfield.presets import preset_parameters

_GIB = 2**30
_PUBLISHED = [name for name in SHAPES if name != "medfuncta-1d"]


def one_meta_step(name: str, budget: int, threads: int) -> dict[str, Any]:
    """Fit a preset for one meta-step; meant for a process of its own."""
    torch.set_num_threads(threads)
    preset, shape = preset_parameters(name), SHAPES[name]
    n_channels = 3 if len(shape) == 2 else 1
    random = np.random.default_rng(0)
    signals = random.random((preset["batch_size"], *shape, n_channels), dtype=np.float32)
    before = _peak()
    encoder = FunctaEncoder.from_preset(
        name, max_iter=1, memory_budget=budget, channel_axis=-1, random_state=0, verbose=1
    )
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        encoder.fit(signals)
    seconds = time.perf_counter() - began
    return {
        "preset": name,
        "P": preset["latent_dim"],
        "batch": preset["batch_size"],
        "context ratio": preset["learner"].context_ratio,
        "seconds": round(seconds, 1),
        "peak GiB": round(_peak(), 2),
        "estimate GiB": _estimate(said.getvalue()),
        "libraries GiB": round(before, 2),
        "loss": f"{encoder.loss_curve_[-1]:.4g}",
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10 / _GIB


def _estimate(said: str) -> float | str:
    found = re.search(r"fit: about ([\d.]+) (MiB|GiB)", said)
    if found is None:
        return ""
    return round(float(found[1]) / (1024 if found[2] == "MiB" else 1), 2)


def main() -> None:
    """Measure and print the table; fail where a preset takes more than the budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=_PUBLISHED, nargs="+", default=_PUBLISHED)
    parser.add_argument("--budget-gib", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    for name in args.only:
        # A fresh process: the peak of a process never falls.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            work = (name, int(args.budget_gib * _GIB), args.threads)
            rows.append(pool.apply(one_meta_step, work))
        print(rows[-1], flush=True)
    report(rows, args.csv)
    over = [row["preset"] for row in rows if row["peak GiB"] > args.budget_gib]
    if over:
        raise SystemExit(f"more than {args.budget_gib} GiB: {', '.join(over)}")


if __name__ == "__main__":
    main()
