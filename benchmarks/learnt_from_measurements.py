"""Encoders that have seen measurements alone, beside those of whole signals.

    python benchmarks/learnt_from_measurements.py DATA_FOLDER [--rows half angles-8 ...]

Chest X-rays of 28 × 28 pixels are measured each in its own way: at pixels drawn at random ("half",
"third"), along projections of parallel rays at 8 angles drawn at random ("angles-8"), or at the 3
middle lines of frequencies and 4 others drawn at random ("lines-7"), with noise of known level: of
1 % of the greatest intensity for pixels and 2 % for frequencies, and 0.2 for projections, whose
greatest is about 25. One encoder is fitted to whole signals and one to such measurements of them,
with the same settings, and both reconstruct held-out signals from measurements of the same kind.

"plain" is the nearest pixel measured, filtered back projection, or zeros for frequencies that are
missing; "TV" is total variation with the weight that is best for some training signals. Mean PSNR
in dB for a peak of one; "s" are seconds of each fit, "covered" the percentage of values within
1.645 standard deviations of the encoder of measurements, which should be 90.

The folder holds ``pneumoniamnist.npz``. Peers need scikit-image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measurements import Problem
from scale import mean_psnr
from scipy.ndimage import distance_transform_edt
from signals import pneumonia
from tables import report

from neurfield import FunctaEncoder
from neurfield.likelihoods import Gaussian
from neurfield.operators import Fourier, Mask, Operator, Radon

SHAPE = (28, 28)
_WEIGHTS, _TUNED = np.geomspace(1e-5, 1e-1, 9), 5


def pixels(part: float) -> Callable[[np.random.Generator], Operator]:
    """Return what measures such a part of the pixels."""

    def drawn(draw: np.random.Generator) -> Operator:
        ranks = draw.permutation(SHAPE[0] * SHAPE[1]).reshape(SHAPE)
        return Mask(SHAPE, ranks < part * ranks.size)

    return drawn


def angles(n: int) -> Callable[[np.random.Generator], Operator]:
    """Return what measures projections at so many angles."""

    def drawn(draw: np.random.Generator) -> Operator:
        return Radon(SHAPE, draw.uniform(0.0, 180.0, n), n_detectors=41)  # odd, as peers need it

    return drawn


def lines(n_middle: int, n_others: int) -> Callable[[np.random.Generator], Operator]:
    """Return what measures the middle lines of frequencies and some others."""

    def drawn(draw: np.random.Generator) -> Operator:
        is_seen = np.abs(np.arange(SHAPE[0]) - SHAPE[0] // 2) <= n_middle // 2
        is_seen[draw.choice(np.flatnonzero(~is_seen), n_others, replace=False)] = True
        return Fourier(SHAPE, mask=is_seen[:, None])

    return drawn


ROWS = {
    "half": (pixels(1 / 2), 0.01),
    "third": (pixels(1 / 3), 0.01),
    "angles-8": (angles(8), 0.2),
    "lines-7": (lines(3, 4), 0.02),
}


def problems_of(row: str, n: int, seed: int) -> list[Problem]:
    """Return what measures each of n signals."""
    drawn, std = ROWS[row]
    draw = np.random.default_rng(seed)
    return [Problem(drawn(draw), std, SHAPE) for _ in range(n)]


def measured_of(problems: list[Problem], signals: np.ndarray, seed: int) -> np.ndarray:
    """Return noisy measurements, one of each signal."""
    clean = [p.operator.apply(x.reshape(1, -1, 1)) for p, x in zip(problems, signals, strict=True)]
    found = np.concatenate(clean)
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal(found.shape)
    if np.iscomplexobj(found):
        noise = (noise + 1j * draw.standard_normal(found.shape)) * (found != 0)
    return found + problems[0].std * noise


def plain(problem: Problem, measured: np.ndarray) -> np.ndarray:
    """Return the signal that no knowledge of others is needed for."""
    if not isinstance(problem.operator, Mask):
        return problem.plain(measured[None])[0]
    signal = problem.operator.adjoint(measured[None]).reshape(SHAPE)
    _, nearest = distance_transform_edt(~problem.operator.mask, return_indices=True)
    return signal[tuple(nearest)]


def best_tv(
    tuned: tuple[list[Problem], np.ndarray, np.ndarray], problems: list[Problem], Y: np.ndarray
) -> np.ndarray:
    """Return signals of least total variation, of the weight that is best for those tuned on."""

    def found(problems: list[Problem], Y: np.ndarray, weight: float) -> np.ndarray:
        pairs = zip(problems, Y, strict=True)
        return np.concatenate([one.tv(y[None], weight) for one, y in pairs])

    ways, theirs, signals = tuned
    weight = max(_WEIGHTS, key=lambda w: mean_psnr(signals, found(ways, theirs, w)))
    return found(problems, Y, weight)


def main() -> None:
    """Measure the rows asked for, beside one encoder of whole signals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--train", type=int, help="signals to fit to; by default all")
    parser.add_argument("--signals", type=int, default=50, help="held out")
    parser.add_argument("--latent-dim", type=int, default=256)
    parser.add_argument("--max-iter", type=int, default=300, help="meta-steps of each fit")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = pneumonia(args.folder)
    train = np.asarray(data.train, dtype=np.float64)[: args.train]
    held_out = np.asarray(data.held_out, dtype=np.float64)[: args.signals]

    def fitted(X: np.ndarray, **how: object) -> tuple[FunctaEncoder, float]:
        encoder = FunctaEncoder(args.latent_dim, max_iter=args.max_iter, random_state=0)
        began = time.perf_counter()
        return encoder.fit(X, **how), round(time.perf_counter() - began, 1)

    whole, s_whole = fitted(train)
    table = []
    for row in args.rows:
        ways, others = problems_of(row, len(train), 0), problems_of(row, len(held_out), 1)
        Y, theirs = measured_of(ways, train, 2), measured_of(others, held_out, 3)
        likelihood = Gaussian(std=ways[0].std)
        alone, s_alone = fitted(Y, operator=[p.operator for p in ways], likelihood=likelihood)
        how = {"operator": [p.operator for p in others], "likelihood": likelihood}
        found: dict[str, object] = {"row": row, "s whole": s_whole, "s alone": s_alone}
        for name, encoder in (("whole", whole), ("alone", alone)):
            Z = encoder.transform(theirs, **how)
            values, std = encoder.inverse_transform(Z, observed=theirs, return_std=True, **how)
            found[name] = round(mean_psnr(held_out, np.asarray(values)), 2)
        inside = np.abs(held_out - np.asarray(values)) < 1.645 * np.asarray(std)
        found["covered"] = round(100 * float(inside.mean()), 1)
        nearest = np.stack([plain(p, y) for p, y in zip(others, theirs, strict=True)])
        found["plain"] = round(mean_psnr(held_out, nearest), 2)
        tuned = ways[:_TUNED], Y[:_TUNED], train[:_TUNED]
        found["TV"] = round(mean_psnr(held_out, best_tv(tuned, others, theirs)), 2)
        table.append(found)
        print(table[-1], flush=True)
    report(table, args.csv)


if __name__ == "__main__":
    main()
