"""Unknown gains, drifts, poses and coil phases of held-out signals, found with their latents.

    python benchmarks/nuisances.py DATA_FOLDER [--rows gain-offset drift affine phase]

Chest X-rays are seen through eight projections with a gain and an offset, or blurred by two pixels
in another pose; heartbeats have a drift; and four coils with a constant phase each measure every
second line of X-rays' frequencies. Parameters are drawn from the default priors, poses without
scales, and noise is 1 % of the greatest number. "error" is the root mean square of what was found
beside the truth, "before" that of the prior mean, "z" of errors over standard errors, which should
be one, and "z median" that of most, the median over 0.6745; "latents" is the mean square by which
latents differ from those of the same signals without such unknowns, and "ignored" that of latents
for which nothing was unknown, both as parts of the variance of latents.

The folder holds ``pneumoniamnist.npz`` and ``mitbih``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform
from signals import ecg, pneumonia
from tables import report

from neurfield import FunctaEncoder
from neurfield.likelihoods import Gaussian
from neurfield.nuisances import Affine
from neurfield.operators import Blur, Fourier, Identity, Operator, Radon

_NOISE = 0.01
ROWS = ("gain-offset", "drift", "affine", "phase")


def _columns(signals: np.ndarray) -> np.ndarray:
    return signals.reshape(len(signals), -1, 1)


def _moved(image: np.ndarray, degrees: float, shift: np.ndarray) -> np.ndarray:
    """Return an image that shows at x what it was at R (x - m) + m + t."""
    angle, middle = np.deg2rad(degrees), 0.5 * (np.array(image.shape) - 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return affine_transform(image, turn, middle + shift - turn @ middle, order=3, mode="nearest")


def _coils(shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, n) for n in shape], indexing="ij")
    middles = [(-1, -1), (1, -1), (-1, 1), (1, 1)]
    return np.stack([np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2)) for a, b in middles])


def problem(
    name: str, encoder: FunctaEncoder, signals: np.ndarray
) -> tuple[Operator, Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return operator, what is unknown, its truth, and what is measured with and without it."""
    draw, n, shape = np.random.default_rng(0), len(signals), signals.shape[1:]
    peak = float(encoder.codec_.units.value_range[0])
    operator: Operator
    if name == "gain-offset":
        operator = Radon(shape, np.arange(8) * 22.5)
        truth = np.array([1.0, 0.0]) + draw.normal(0.0, 0.2, (n, 2)) * [1.0, peak]
        changed = truth[:, :1] * _columns(signals)[..., 0] + truth[:, 1:]
        clean = operator.apply(changed[..., None])
        return operator, ("gain", "offset"), truth, clean, operator.apply(_columns(signals))
    if name == "drift":
        operator = Identity(np.asarray(encoder.layout_.axes[0])[:, None])
        truth = draw.normal(0.0, 0.1 * peak, (n, 3))
        t = np.linspace(0.0, 1.0, shape[0])
        course = truth @ np.cos(np.pi * np.arange(1, 4)[:, None] * t)
        return operator, "drift", truth, signals + course, signals
    if name == "affine":
        operator = Blur(shape, fwhm=2.0)
        extent = np.array(shape) - 1.0
        truth = np.column_stack([draw.normal(0.0, 5.0, n), draw.normal(0.0, 0.05, (n, 2)) * extent])
        moved = [_moved(image, row[0], row[1:]) for image, row in zip(signals, truth, strict=True)]
        clean = operator.apply(_columns(np.stack(moved)))
        return operator, Affine(scale=0.0), truth, clean, operator.apply(_columns(signals))
    operator = Fourier(
        shape, mask=(np.arange(shape[0]) % 2 == 0)[:, None], sensitivities=_coils(shape)
    )
    truth, clean = draw.standard_normal((n, 4)), operator.apply(_columns(signals))
    return operator, "phase", truth, clean * np.exp(1j * truth)[..., None, None], clean


def measure(name: str, encoder: FunctaEncoder, signals: np.ndarray) -> dict[str, Any]:
    """Return what the table says of one row."""
    operator, solve_for, truth, changed, plain = problem(name, encoder, signals)
    draw, std = np.random.default_rng(1), _NOISE * float(np.abs(plain).max())
    noise = std * draw.standard_normal(plain.shape)
    if np.iscomplexobj(plain):
        noise = noise + 1j * std * draw.standard_normal(plain.shape)
    how: dict[str, Any] = {"operator": operator, "likelihood": Gaussian(std=std)}
    began = time.perf_counter()
    details = encoder.encode_details(changed + noise, **how, solve_for=solve_for)
    seconds = (time.perf_counter() - began) / len(signals)
    wanted = encoder.transform(plain + noise, **how)
    ignored = encoder.transform(changed + noise, **how)
    error, size = details.parameters - truth, wanted.var(axis=0).sum()
    z = error / details.std
    start = np.where(np.array(details.names) == "gain", 1.0, 0.0)

    def rms(values: np.ndarray) -> list[float]:
        return np.sqrt(np.square(values).mean(axis=0)).round(4).tolist()

    return {
        "error": rms(error),
        "before": rms(truth - start),
        "z": rms(z),
        "z median": (np.median(np.abs(z), axis=0) / 0.6745).round(2).tolist(),
        "latents": round(float(np.square(details.latents - wanted).sum(axis=1).mean() / size), 3),
        "ignored": round(float(np.square(ignored - wanted).sum(axis=1).mean() / size), 3),
        "s": round(seconds, 2),
    }


def main() -> None:
    """Measure the rows asked for; those of the same signals share an encoder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=1000, help="of each fit")
    parser.add_argument("--signals", type=int, default=30)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table, fitted = [], {}
    for name in args.rows:
        data, latent_dim = (ecg, 32) if name == "drift" else (pneumonia, 64)
        if data not in fitted:
            split = data(args.folder)
            encoder = FunctaEncoder(
                latent_dim, field="siren", hidden_dim=64, max_iter=args.steps, random_state=0
            )
            held_out = np.asarray(split.held_out, dtype=np.float64)
            chosen = held_out[:: max(1, len(held_out) // args.signals)][: args.signals]
            fitted[data] = encoder.fit(split.train), chosen
        table.append({"row": name, **measure(name, *fitted[data])})
        print(table[-1], flush=True)
    report(table, args.csv)


if __name__ == "__main__":
    main()
