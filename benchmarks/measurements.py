"""Signals from measurements: latents and their prior beside classical reconstruction.

    python benchmarks/measurements.py DATA_FOLDER [--rows xray-ct-8 slices-128-ct-32 ...]

Encoders are fitted to whole signals, with nothing but latent_dim and the most time set. Held-out
signals are measured through an operator: projections of parallel rays ("ct" and how many angles,
with noise of 1 % of the greatest one), or frequencies on every so many-th line and some in the
middle ("k-space" and how many times fewer, with noise of 1 % of their root mean square). Each
method knows the operator and the level of noise; "unknown noise" is ours without that.

"plain" is filtered back projection or the signal with zeros for frequencies that are missing,
"SART" five rounds of it, and "TV" total variation with the weight that is best for some training
signals. "PCA" is the most probable signal in the span of as many principal components as the latent
has numbers, "Gaussian" that of a normal distribution with all components that the training signals
have, and independent values beside them. Mean PSNR in dB for a peak of one; "s" are seconds a
signal, "covered" the percentage of values within 1.645 standard deviations, which should be 90.

The folder holds ``pneumoniamnist.npz`` and ``brain_slices.npz``. Peers need scikit-image.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scale import Row, mean_psnr
from scipy.ndimage import map_coordinates
from signals import Split, pneumonia, slices
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import iradon, iradon_sart
from sklearn.decomposition import PCA
from tables import report

from neurfield import FunctaEncoder
from neurfield.likelihoods import Gaussian
from neurfield.operators import Fourier, Operator, Radon

_NOISE = 0.01
_WEIGHTS = np.geomspace(1e-5, 1e-1, 9)  # of total variation, relative to the squared norm of A
_TUNED, _FISTA_STEPS, _POWER_STEPS, _SART_ROUNDS = 5, 150, 30, 5


def _halved(folder: Path) -> Split:
    whole = slices(folder)
    return Split(*(part.coarsen(y=2, x=2).mean() for part in (whole.train, whole.held_out)))


@dataclass(frozen=True)
class MeasuredRow(Row):
    """One line of the table, of signals and a length of their latents.

    Parameters
    ----------
    operator : callable
        Takes the shape of a signal, returns what measures it.
    """

    operator: Callable[[tuple[int, ...]], Operator]


def ct(n_angles: int) -> Callable[[tuple[int, ...]], Operator]:
    """Return what makes projections at so many angles over half a turn."""

    def of(shape: tuple[int, ...]) -> Operator:
        n_detectors = math.ceil(math.hypot(*shape)) | 1  # odd, as scikit-image has the axis then
        return Radon(shape, np.arange(n_angles) * 180.0 / n_angles, n_detectors=n_detectors)

    return of


def kspace(reduction: int, n_middle: int) -> Callable[[tuple[int, ...]], Operator]:
    """Return what measures every so many-th line, and all of so many in the middle."""

    def of(shape: tuple[int, ...]) -> Operator:
        lines = np.arange(shape[0])
        is_middle = np.abs(lines - shape[0] // 2) < (n_middle + 1) / 2
        return Fourier(shape, mask=((lines % reduction == 0) | is_middle)[:, None])

    return of


ROWS = {
    "xray-ct-4": MeasuredRow(pneumonia, 256, ct(4)),
    "xray-ct-8": MeasuredRow(pneumonia, 256, ct(8)),
    "xray-ct-16": MeasuredRow(pneumonia, 256, ct(16)),
    "xray-kspace-4": MeasuredRow(pneumonia, 256, kspace(7, 3)),
    "xray-kspace-7": MeasuredRow(pneumonia, 256, kspace(14, 2)),
    "slices-64-ct-16": MeasuredRow(_halved, 512, ct(16)),
    "slices-64-ct-32": MeasuredRow(_halved, 512, ct(32)),
    "slices-128-ct-16": MeasuredRow(slices, 1024, ct(16)),
    "slices-128-ct-32": MeasuredRow(slices, 1024, ct(32)),
    "slices-128-kspace-4": MeasuredRow(slices, 1024, kspace(6, 12)),
}


@dataclass(frozen=True)
class Problem:
    """Measurements of signals, as all methods have them.

    Parameters
    ----------
    operator : Operator
        What measured them.
    std : float
        Of the noise of a number.
    shape : tuple of int
        Of a signal.
    n_channels : int, default=1
        Of a signal; they stand last where there are several.
    """

    operator: Operator
    std: float
    shape: tuple[int, ...]
    n_channels: int = 1

    @classmethod
    def of(cls, operator: Operator, signals: np.ndarray) -> Problem:
        """Set the level of noise by some signals."""
        clean = operator.apply(signals.reshape(len(signals), -1, 1))
        is_complex = np.iscomplexobj(clean)
        size = np.sqrt(np.mean(np.abs(clean) ** 2) / 2) if is_complex else np.abs(clean).max()
        return cls(operator, _NOISE * float(size), signals.shape[1:])

    def measure(self, signals: np.ndarray, seed: int) -> np.ndarray:
        """Return noisy measurements."""
        clean = self.operator.apply(signals.reshape(len(signals), -1, 1))
        draw = np.random.default_rng(seed)
        noise = draw.standard_normal(clean.shape)
        if not np.iscomplexobj(clean):
            return clean + self.std * noise
        noise = noise + 1j * draw.standard_normal(clean.shape)
        assert isinstance(self.operator, Fourier)
        return clean + self.std * noise * self.operator.mask

    def plain(self, measured: np.ndarray) -> np.ndarray:
        """Return filtered back projections, or signals of the frequencies that there are."""
        if isinstance(self.operator, Radon):
            return np.stack([self._on_picture(iradon, one) for one in measured])
        return self.operator.adjoint(measured).reshape(len(measured), *self.shape)

    def sart(self, measured: np.ndarray, n_rounds: int = _SART_ROUNDS) -> np.ndarray | None:
        """Return some rounds of the simultaneous algebraic reconstruction technique."""
        if not isinstance(self.operator, Radon):
            return None

        def rounds(sinogram: np.ndarray, theta: np.ndarray) -> np.ndarray:
            found = None
            for _ in range(n_rounds):
                found = iradon_sart(sinogram, theta=theta, image=found)
            assert found is not None
            return found

        return np.stack([self._on_picture(rounds, one) for one in measured])

    def _on_picture(self, method: Callable[..., np.ndarray], sinogram: np.ndarray) -> np.ndarray:
        assert isinstance(self.operator, Radon)
        found = method(sinogram.T, theta=self.operator.angles)
        # The axis of rotation goes through a pixel there, and through the middle of the picture.
        along = [len(found) // 2 + np.arange(n) - 0.5 * (n - 1) for n in self.shape]
        return map_coordinates(found, np.meshgrid(*along, indexing="ij"), order=3)

    def tv(self, measured: np.ndarray, weight: float) -> np.ndarray:
        """Return signals of least total variation and misfit, by FISTA."""
        return np.stack([self._tv(one[None], weight) for one in measured])

    def _tv(self, measured: np.ndarray, weight: float) -> np.ndarray:
        bound, n_channels = self._norm(), self.n_channels
        found = ahead = np.zeros((*self.shape, n_channels))
        momentum = 1.0
        for _ in range(_FISTA_STEPS):
            left = self.operator.apply(ahead.reshape(1, -1, n_channels)) - measured
            moved = ahead - self.operator.adjoint(left).reshape(ahead.shape) / bound
            before, found = found, denoise_tv_chambolle(moved, weight=weight, channel_axis=-1)
            after = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2))
            ahead = found + (momentum - 1) / after * (found - before)
            momentum = after
        return found[..., 0] if n_channels == 1 else found

    def _norm(self) -> float:
        values = np.random.default_rng(0).standard_normal((1, np.prod(self.shape), self.n_channels))
        for _ in range(_POWER_STEPS):
            values = self.operator.adjoint(self.operator.apply(values))
            size = float(np.linalg.norm(values))
            values /= size
        return 1.05 * size

    def best_tv(self, train: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Return the same with the weight that is best for some training signals."""
        some = train[:: max(1, len(train) // _TUNED)][:_TUNED]
        of_some = self.measure(some, seed=1)
        weight = max(_WEIGHTS, key=lambda w: mean_psnr(some, self.tv(of_some, w)))
        return self.tv(measured, weight)

    def gaussian(self, train: np.ndarray, measured: np.ndarray, n: int | None) -> np.ndarray:
        """Return the most probable signals under a Gaussian of principal components.

        With all of them, what is left has a variance too, independent for each value.
        """
        flat = train.reshape(len(train), -1).astype(np.float64)
        most = min(flat.shape) - 1
        fitted = PCA(
            min(n or most, most), svd_solver="covariance_eigh" if flat.shape[1] < 1000 else "full"
        ).fit(flat)
        left = 0.0 if n is not None else 1e-3 * fitted.explained_variance_.mean()
        columns = _real(self.operator.apply(fitted.components_[..., None]))
        origin = _real(self.operator.apply(fitted.mean_.reshape(1, -1, 1)))
        probes = np.random.default_rng(0).choice([-1.0, 1.0], (128, flat.shape[1], 1))
        spread = np.square(_real(self.operator.apply(probes))).mean(axis=0)
        weight = 1.0 / (self.std**2 + left * spread)
        normal = (columns * weight) @ columns.T + np.diag(1.0 / fitted.explained_variance_)
        rhs = (columns * weight) @ (_real(measured) - origin).T
        found = np.linalg.solve(normal, rhs).T @ fitted.components_ + fitted.mean_
        return found.reshape(len(measured), *self.shape)


def _real(measured: np.ndarray) -> np.ndarray:
    flat = measured.reshape(len(measured), -1)
    return np.concatenate([flat.real, flat.imag], axis=1) if np.iscomplexobj(flat) else flat


def measure(
    row: MeasuredRow, data: Split, encoder: FunctaEncoder, n_signals: int
) -> dict[str, Any]:
    """Return what the table says of one row."""
    train, held_out = (np.asarray(p, dtype=np.float64) for p in (data.train, data.held_out))
    held_out = held_out[:n_signals]
    problem = Problem.of(row.operator(train.shape[1:]), train[:100])
    measured = problem.measure(held_out, seed=0)
    how = {"operator": problem.operator, "likelihood": Gaussian(std=problem.std)}
    found: dict[str, Any] = {}

    def entered(name: str, decoded: np.ndarray | None) -> None:
        found[name] = "" if decoded is None else round(mean_psnr(held_out, decoded), 2)

    began = time.perf_counter()
    encoder.transform(measured[:1], **how)
    found["s alone"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    latents = encoder.transform(measured, **how)
    found["s"] = round((time.perf_counter() - began) / len(measured), 3)
    values, std = encoder.inverse_transform(latents, observed=measured, return_std=True, **how)
    entered("neurfield", np.asarray(values))
    inside = np.abs(held_out - np.asarray(values)) < 1.645 * np.asarray(std)
    found["covered"] = round(100 * float(inside.mean()), 1)
    blind = {"operator": problem.operator}
    unknown = encoder.transform(measured, **blind)
    values = encoder.inverse_transform(unknown, observed=measured, **blind)
    entered("unknown noise", np.asarray(values))
    entered("PCA", problem.gaussian(train, measured, row.latent_dim))
    entered("Gaussian", problem.gaussian(train, measured, None))
    entered("plain", problem.plain(measured))
    entered("SART", problem.sart(measured))
    entered("TV", problem.best_tv(train, measured))
    return found


def main() -> None:
    """Measure the rows asked for; those of the same signals share an encoder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of each fit")
    parser.add_argument("--max-iter", type=int, default=1000, help="most meta-steps")
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table = []
    fitted: dict[tuple[Any, int], tuple[Split, FunctaEncoder]] = {}
    for name in args.rows:
        row = ROWS[name]
        if (key := (row.data, row.latent_dim)) not in fitted:
            data = row.data(args.folder)
            limits = {"max_time": args.seconds, "max_iter": args.max_iter}
            encoder = FunctaEncoder(row.latent_dim, random_state=0, **limits)
            fitted[key] = data, encoder.fit(data.train)
        table.append({"row": name, **measure(row, *fitted[key], args.signals)})
        print(table[-1], flush=True)
    report(table, args.csv)


if __name__ == "__main__":
    main()
