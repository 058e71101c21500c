"""How a fit and a cross-validation fare beside other work on the same processors.

    python benchmarks/contention.py [--busy 0 1 2] [--meta-steps 30] [--latent-dim 64]
        [--validation-steps 100]

Signals are random smooth images of 28 × 28 points. The first rows are fits beside so many processes
that do nothing but count: seconds of a meta-step, median and mean, and the speed as a share of that
beside none. The last rows are ``cross_val_score`` with one and two jobs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.model_selection import cross_val_score
from tables import print_table

from neurfield import FunctaEncoder
from neurfield.learning import Progress

N_SIGNALS, SIZE = 2000, 28
WARM = 5  # meta-steps that are not counted


def images(seed: int = 0) -> np.ndarray:
    """Return smooth random images of shape (n, 28, 28)."""
    noise = np.random.default_rng(seed).standard_normal((N_SIGNALS, SIZE, SIZE))
    return gaussian_filter(noise, (0, 2, 2))


@contextmanager
def busy(n_processes: int) -> Iterator[None]:
    """Keep so many other processes busy inside."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def meta_step(X: np.ndarray, latent_dim: int, n_steps: int) -> tuple[float, float]:
    """Return the median and the mean of the seconds of a meta-step."""
    ends: list[float] = []

    def note(progress: Progress) -> None:
        ends.append(time.perf_counter())

    encoder = FunctaEncoder(latent_dim, max_iter=WARM + n_steps, callbacks=[note], random_state=0)
    encoder.fit(X)
    seconds = np.diff(ends[WARM - 1 :])
    return float(np.median(seconds)), float(seconds.mean())


def validation(X: np.ndarray, latent_dim: int, n_steps: int, n_jobs: int) -> float:
    """Return the seconds of a cross-validation, new processes included."""
    encoder = FunctaEncoder(latent_dim, max_iter=n_steps, random_state=0)
    start = time.perf_counter()
    cross_val_score(encoder, X, cv=4, n_jobs=n_jobs)
    return time.perf_counter() - start


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--meta-steps", type=int, default=30, metavar="N")
    parser.add_argument("--validation-steps", type=int, default=100, metavar="N")
    parser.add_argument("--latent-dim", type=int, default=64, metavar="P")
    args = parser.parse_args()
    X = images()
    rows: list[dict[str, Any]] = []
    for n_processes in args.busy:
        with busy(n_processes):
            median, mean = meta_step(X, args.latent_dim, args.meta_steps)
        share = rows[0]["mean_s"] / mean if rows else 1.0
        rows.append({"busy": n_processes, "median_s": median, "mean_s": mean, "speed": share})
    print_table(rows)
    print()
    size = (X[:400], args.latent_dim, args.validation_steps)
    jobs = [{"n_jobs": n, "seconds": validation(*size, n)} for n in (1, 2)]
    print_table(jobs)


if __name__ == "__main__":
    main()
