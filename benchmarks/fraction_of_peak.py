"""How much of the machine's matrix-product rate a meta-step and an encoding reach.

    python benchmarks/fraction_of_peak.py [--only reduced-2d-28] [--threads 2] [--csv out.csv]

Floating-point operations are those of matrix products, as ``torch.utils.flop_counter`` counts them;
sines, cosines and sums are not counted. The machine's rate is that of one large float32 product,
measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from meta_problems import CONFIGURATIONS
from meta_step import cavia, varpro
from tables import report
from torch.utils.flop_counter import FlopCounterMode

from neurfield.learning.solvers import GradientDescent


def median_seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Return the median time of a piece of work, after one run to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def counted(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of the matrix products in a piece of work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def peak_rate(device: torch.device, repeats: int, size: int = 2048) -> float:
    """Return the operations per second of one large matrix product."""
    factor = torch.randn(size, size, device=device)
    product = torch.empty_like(factor)
    return (
        2 * size**3 / median_seconds(lambda: torch.mm(factor, factor, out=product), device, repeats)
    )


def works(name: str, device: torch.device) -> dict[str, Callable[[], Any]]:
    """Return what is measured in a configuration."""
    configuration = CONFIGURATIONS[name]
    field, context = configuration.field(device), configuration.batch(device).context
    solver = GradientDescent(20, configuration.inner_lr)

    def encode() -> None:
        with torch.no_grad():
            solver.solve(field, context)

    return {
        "cavia meta-step": cavia(configuration, device, ""),
        "cavia transform": encode,
        "varpro meta-step": varpro(configuration, device),
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", choices=sorted(CONFIGURATIONS), nargs="+", default=["reduced-2d-28"]
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    peak = peak_rate(device, args.repeats)
    rows = []
    for name in args.only:
        for label, work in works(name, device).items():
            flops = counted(work)
            rate = flops / median_seconds(work, device, args.repeats)
            row = {"configuration": name, "work": label, "gflop": round(flops / 1e9, 2)}
            row |= {"gflop_per_s": round(rate / 1e9, 1), "peak_gflop_per_s": round(peak / 1e9, 1)}
            rows.append(row | {"fraction_of_peak": round(rate / peak, 3)})
    report(rows, args.csv)


if __name__ == "__main__":
    main()
