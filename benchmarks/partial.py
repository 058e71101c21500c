"""Signals completed from a part of their values, beside interpolation of the same part.

    python benchmarks/partial.py DATA_FOLDER [--max-time 50] [--only ecg] [--csv out.csv]

Encoders are trained on whole signals; held-out signals are then observed in part and decoded
everywhere. What is observed:

- "every other point": strided samples, every second grid point along each axis from the first;
- "block means": means of 2×2(×2) blocks, passed on as if they were values at the blocks' centres
  (an odd last row is left out);
- "25 % at random": a quarter of the grid points, drawn for each signal;
- "30 % block missing": all but a contiguous 30 % of a beat, placed at random;
- "every other slice": every second slice along the last axis.

PSNR in dB, the mean over signals, for values clamped to [0, 1]; over the values that were not
observed (after "block means", over all). `interpolation` is the best of the methods in `method`,
each with nearest extrapolation at the edges, and `cubic` the cubic one, where there is one; `mean`
is the mean training signal. `gain` is over `interpolation`. `gaussian` is the best linear estimate
that knows the grid: the mean of the hidden values given the observed ones, for the mean and the
covariance (shrunk after Ledoit and Wolf) of the values of at most 4000 training signals. `covered`
is the fraction of hidden values within 1.645 standard deviations of the decoded value, in percent,
which should be 90.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import (
    CloughTocher2DInterpolator,
    CubicSpline,
    LinearNDInterpolator,
    NearestNDInterpolator,
    PchipInterpolator,
    RBFInterpolator,
)
from scipy.ndimage import map_coordinates
from signals import ecg, hippocampus_resampled, pneumonia
from sklearn.covariance import ledoit_wolf_shrinkage
from tables import report

from neurfield import FunctaEncoder

CASES: dict[str, tuple[Callable[[Path], Any], int]] = {
    "pneumonia": (pneumonia, 256),
    "ecg": (ecg, 64),
    "hippocampus 16x24x16": (hippocampus_resampled, 256),
}
BEATS, IMAGES, VOLUMES = "ecg", "pneumonia", "hippocampus 16x24x16"
LEVEL_90 = 1.645
RBF_NEIGHBOURS = 32
GAUSSIAN_SIGNALS = 4000


@dataclass(frozen=True)
class Part:
    """A part of some signals: what the encoder gets, what is hidden, and how to interpolate."""

    observed: xr.DataArray
    hidden: np.ndarray
    interpolations: dict[str, Callable[[int], np.ndarray]]


def strided(truth: xr.DataArray, rng: np.random.Generator) -> Part:
    """Observe every second grid point along each axis."""
    places = [np.arange(0, size, 2) for size in truth.shape[1:]]
    coarse = truth.isel(dict(zip(truth.dims[1:], places, strict=True)))
    hidden = np.ones(truth.shape[1:], dtype=bool)
    hidden[np.ix_(*places)] = False
    hidden = np.broadcast_to(hidden, truth.shape)
    return Part(coarse, hidden, on_grid(coarse.values, truth.shape[1:], offset=0.0))


def block_means(truth: xr.DataArray, rng: np.random.Generator) -> Part:
    """Observe means of blocks of two points along each axis, at the blocks' centres."""
    coarse = truth.coarsen({dim: 2 for dim in truth.dims[1:]}, boundary="trim").mean()
    whole = np.ones(truth.shape, dtype=bool)
    return Part(coarse, whole, on_grid(coarse.values, truth.shape[1:], offset=0.5))


def scattered(truth: xr.DataArray, rng: np.random.Generator) -> Part:
    """Observe a quarter of the grid points."""
    hidden = rng.random(truth.shape) > 0.25
    gappy = truth.where(~hidden)
    points = np.argwhere(np.ones(truth.shape[1:], dtype=bool)).astype(float)

    def fitted(make: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[int], np.ndarray]:
        def interpolate(i: int) -> np.ndarray:
            seen = ~hidden[i].ravel()
            known, values = points[seen], truth.values[i].ravel()[seen].astype(float)
            nearest = NearestNDInterpolator(known, values)(points)
            found = np.asarray(make(known, values)(points)).ravel()
            return np.where(np.isfinite(found), found, nearest).reshape(truth.shape[1:])

        return interpolate

    def rbf(kernel: str) -> Callable[[int], np.ndarray]:
        return fitted(
            lambda x, y: RBFInterpolator(x, y, neighbors=RBF_NEIGHBOURS, kernel=kernel, degree=1)
        )

    methods = {"RBF thin plate": rbf("thin_plate_spline"), "RBF linear": rbf("linear")}
    if truth.ndim == 2:
        return Part(gappy, hidden, along_time(truth.values, hidden))
    methods["linear"] = fitted(LinearNDInterpolator)
    if truth.ndim == 3:
        methods["cubic"] = fitted(CloughTocher2DInterpolator)
    return Part(gappy, hidden, methods)


def missing_block(truth: xr.DataArray, rng: np.random.Generator) -> Part:
    """Hide a contiguous 30 % of each beat."""
    length = truth.shape[1]
    width = round(0.3 * length)
    first = rng.integers(0, length - width + 1, len(truth))[:, None]
    place = np.arange(length)[None]
    hidden = (place >= first) & (place < first + width)
    return Part(truth.where(~hidden), hidden, along_time(truth.values, hidden))


def every_other_slice(truth: xr.DataArray, rng: np.random.Generator) -> Part:
    """Observe every second slice along the last axis."""
    hidden = np.zeros(truth.shape, dtype=bool)
    hidden[..., 1::2] = True
    coarse = truth.values[..., ::2]
    methods = on_grid(coarse, truth.shape[1:], offset=0.0)
    return Part(truth.where(~hidden), hidden, methods)


TASKS: dict[str, tuple[list[str], Callable[[xr.DataArray, np.random.Generator], Part]]] = {
    "every other point": ([IMAGES, VOLUMES], strided),
    "block means": ([IMAGES, VOLUMES], block_means),
    "25 % at random": ([IMAGES, BEATS, VOLUMES], scattered),
    "30 % block missing": ([BEATS], missing_block),
    "every other slice": ([VOLUMES], every_other_slice),
}


def on_grid(
    coarse: np.ndarray, shape: tuple[int, ...], offset: float
) -> dict[str, Callable[[int], np.ndarray]]:
    """Interpolate coarse grids whose first point stands at `offset` of the fine one."""
    factors = [1 if c == f else 2 for c, f in zip(coarse.shape[1:], shape, strict=True)]
    axes = [(np.arange(f) - offset) / k for f, k in zip(shape, factors, strict=True)]
    ends = [size - 1 for size in coarse.shape[1:]]
    axes = [axis.clip(0, end) for axis, end in zip(axes, ends, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))

    def by(order: int) -> Callable[[int], np.ndarray]:
        return lambda i: map_coordinates(
            coarse[i].astype(float), places, order=order, mode="nearest"
        )

    return {"cubic": by(3), "linear": by(1)}


def along_time(truth: np.ndarray, hidden: np.ndarray) -> dict[str, Callable[[int], np.ndarray]]:
    """Interpolate beats from their observed samples."""
    time = np.arange(truth.shape[1], dtype=float)

    def by(make: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[int], np.ndarray]:
        def interpolate(i: int) -> np.ndarray:
            known = time[~hidden[i]]
            found = make(known, truth[i, ~hidden[i]].astype(float))
            return np.asarray(found(time.clip(known[0], known[-1])))

        return interpolate

    return {
        "linear": by(lambda t, y: lambda x: np.interp(x, t, y)),
        "PCHIP": by(PchipInterpolator),
        "cubic": by(CubicSpline),
    }


def conditional_mean(train: np.ndarray, truth: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Estimate hidden values from the observed ones by the covariance of training signals."""
    order = np.random.default_rng(0).permutation(len(train))[:GAUSSIAN_SIGNALS]
    sample = train[order].reshape(len(order), -1).astype(float)
    mean = sample.mean(axis=0)
    shrinkage = ledoit_wolf_shrinkage(sample)
    away = (sample - mean) / np.sqrt(len(sample))
    diagonal = shrinkage * (away**2).sum() / away.shape[1]
    away *= np.sqrt(1.0 - shrinkage)
    estimates = []
    for signal, unseen in zip(truth, hidden, strict=True):
        seen = ~unseen.ravel()
        matrix = away[:, seen].T @ away[:, seen] + diagonal * np.eye(seen.sum())
        weights = np.linalg.solve(matrix, signal.ravel()[seen] - mean[seen])
        estimates.append(mean + away.T @ (away[:, seen] @ weights))
    return np.reshape(estimates, truth.shape)


def psnr(truth: np.ndarray, found: np.ndarray, hidden: np.ndarray) -> float:
    """Return the mean over signals of the PSNR over hidden values."""
    squared = (truth.astype(float) - np.clip(found, 0.0, 1.0)) ** 2
    mse = [error[where].mean() for error, where in zip(squared, hidden, strict=True)]
    return float(np.mean(-10.0 * np.log10(mse)))


def measure(
    name: str, task: str, encoder: FunctaEncoder, train: xr.DataArray, truth: xr.DataArray
) -> dict[str, Any]:
    """Return one row of the table."""
    part = TASKS[task][1](truth, np.random.default_rng(0))
    latents = encoder.transform(part.observed)
    decoded, std = encoder.inverse_transform(latents, observed=part.observed, return_std=True)
    values = truth.values
    inside = np.abs(decoded.values - values) < LEVEL_90 * std.values
    scores = {
        method: psnr(values, np.stack([make(i) for i in range(len(values))]), part.hidden)
        for method, make in part.interpolations.items()
    }
    best = max(scores, key=lambda method: scores[method])
    mean = np.broadcast_to(train.mean("sample").values, values.shape)
    gaussian: float | str = ""
    if not part.hidden.all():
        estimates = conditional_mean(train.values, values, part.hidden)
        gaussian = round(psnr(values, estimates, part.hidden), 2)
    ours = psnr(values, decoded.values, part.hidden)
    return {
        "data": name,
        "P": encoder.latent_dim,
        "observed": task,
        "n": len(values),
        "neurfield": round(ours, 2),
        "interpolation": round(scores[best], 2),
        "method": best,
        "cubic": round(scores["cubic"], 2) if "cubic" in scores else "",
        "mean": round(psnr(values, mean, part.hidden), 2),
        "gaussian": gaussian,
        "gain": round(ours - scores[best], 2),
        "covered": round(100 * float(inside[part.hidden].mean()), 1),
    }


def fitted(name: str, args: argparse.Namespace, train: xr.DataArray) -> FunctaEncoder:
    """Fit an encoder, or read the one that an earlier run has left."""
    path = None if args.cache is None else args.cache / f"{name.replace(' ', '_')}.field"
    if path is not None and path.exists():
        return FunctaEncoder.load(path)
    latent_dim = args.latent_dim or CASES[name][1]
    encoder = FunctaEncoder(
        latent_dim,
        max_iter=args.max_iter,
        max_time=args.max_time if args.max_iter is None else None,
        random_state=args.seed,
    ).fit(train)
    print(f"{name}: {encoder.n_iter_} meta-steps", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder.save(path)
    return encoder


def main() -> None:
    """Run the tasks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--only", choices=sorted(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--max-time", type=float, default=50.0, help="seconds of training")
    parser.add_argument("--max-iter", type=int, help="meta-steps, instead of --max-time")
    parser.add_argument("--latent-dim", type=int, help="instead of each case's own")
    parser.add_argument("--n-held-out", type=int, default=200, help="signals to complete")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder to keep fitted encoders in")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    for name in args.only:
        split = CASES[name][0](args.data)
        order = np.random.default_rng(0).permutation(len(split.held_out))
        truth = split.held_out[np.sort(order[: args.n_held_out])]
        encoder = fitted(name, args, split.train)
        for task, (cases, _) in TASKS.items():
            if name in cases:
                rows.append(measure(name, task, encoder, split.train, truth))
                print(rows[-1], flush=True)
    report(rows, args.csv)


if __name__ == "__main__":
    main()
