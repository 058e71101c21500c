"""How far a fit keeps to ``max_time``, and how soon it answers Ctrl-C.

    python benchmarks/time_limit.py [--max-time 30] [--latent-dims 256 1024] [--sizes 28 64]

Signals are random smooth colour images: only their number and size matter here. Each row is one
fit: seconds that it took, what share of ``max_time`` that is, seconds of a meta-step, and, of
another fit, seconds from Ctrl-C in its third meta-step to the fitted encoder.
"""

from __future__ import annotations

import argparse
import signal
import time
import warnings

import numpy as np
from scipy.ndimage import gaussian_filter
from tables import print_table

from neurfield import FunctaEncoder
from neurfield.learning import Progress

N_SIGNALS = 2000


def images(size: int, seed: int = 0) -> np.ndarray:
    """Return smooth random images of shape (n, size, size, 3), uint8."""
    noise = np.random.default_rng(seed).standard_normal((N_SIGNALS, size, size, 3))
    smooth = gaussian_filter(noise, (0, 2, 2, 0))
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


def fit(X: np.ndarray, latent_dim: int, max_time: float) -> dict[str, float]:
    """Fit for some time: seconds in all, and of a meta-step."""
    ends: list[float] = []

    def note(progress: Progress) -> None:
        ends.append(time.perf_counter())

    encoder = FunctaEncoder(
        latent_dim,
        channel_axis=-1,
        max_time=max_time,
        max_iter=10**6,
        callbacks=[note],
        random_state=0,
    )
    start = time.perf_counter()
    encoder.fit(X)
    seconds = time.perf_counter() - start
    step = float(np.median(np.diff(ends))) if len(ends) > 1 else float("nan")
    return {"seconds": seconds, "share": seconds / max_time, "meta_step": step}


def interrupt(X: np.ndarray, latent_dim: int) -> float:
    """Return the seconds from Ctrl-C to the fitted encoder."""
    pressed: list[float] = []

    def press(progress: Progress) -> None:
        if progress.iteration == 3:
            pressed.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

    encoder = FunctaEncoder(latent_dim, channel_axis=-1, callbacks=[press], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder.fit(X)
    return time.perf_counter() - pressed[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-time", type=float, default=30.0, metavar="S")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[256, 1024], metavar="P")
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 64], metavar="N")
    args = parser.parse_args()
    rows = []
    for size in args.sizes:
        X = images(size)
        for latent_dim in args.latent_dims:
            row = fit(X, latent_dim, args.max_time)
            answer = interrupt(X, latent_dim)
            rows.append({"size": size, "latent_dim": latent_dim, **row, "ctrl_c": answer})
    print_table(rows)


if __name__ == "__main__":
    main()
