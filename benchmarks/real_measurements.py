"""Real measurements, and thick slices made thin, beside classical methods.

    python benchmarks/real_measurements.py DATA_FOLDER [--rows tooth kspace hippocampus head]

"tooth": two slices of a tooth from every eighth of 181 projections. The reference is the filtered
back projection (FBP) of all. SART has the number of rounds, and TV the weight, that are best for
the reference. Ours knows nothing but the projections: a network for each slice, ``NeuralField``
with max_iter set, and as many layers as were best for the first slice.

"kspace": eight coils of an MRI of a head. The file has 12 % of all frequencies, of random places
and all in the middle, so that there is no picture to compare with. Half of those outside of the
middle are held out, and what methods say of them is compared with what was measured: the ratio of
the energy of that to the energy of the difference, in dB, where saying nothing has 0. Coils'
sensitivities come from the middle alone. The number of steps of conjugate gradients (CG) and the
weight of TV are the best for what is held out. Ours is a network of this one signal again, with
nothing set but max_iter.

"hippocampus", "head": means over five slices, from which these are found again. Ours is an encoder
fitted to pictures that have detail along both axes, with a latent for each thick voxel; planes
along either axis are found by the closed form, and the mean of both is taken. For the hippocampus
they are planes of other volumes, for the cube of 80 mm in the middle of the one head the thick
slices themselves. "cubic" are cubic splines through the means, at the middles of their slices.

PSNR in dB, for a peak of one, is the mean over signals; "s" the seconds for all of them, in which
fits of encoders are not counted. The folder holds ``measured/`` and ``hippocampus/``.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measurements import Problem
from netCDF4 import Dataset
from scale import mean_psnr
from scipy import fft
from scipy.ndimage import map_coordinates
from scipy.sparse.linalg import LinearOperator, cg
from signals import brain, hippocampus_resampled
from tables import report

from neurfield import FunctaEncoder, NeuralField
from neurfield.fields import Lapped
from neurfield.likelihoods import Gaussian
from neurfield.operators import Downsample, Fourier, Radon

_WEIGHTS = np.geomspace(1e-4, 1e-2, 9)
_THICK = 5  # slices
_NOISE = 3e-3  # of thick slices, whose values lie in [0, 1]
_CUBE, _PICTURES, _VOLUMES = 80, 4000, 10

Found = Iterator[tuple[str, float, float]]  # method, dB, seconds


def tooth_projections(folder: Path) -> np.ndarray:
    """Return line integrals of two slices, with the axis of rotation on the middle detector.

    Elements beyond it on the longer side are left out, and neighbours merged so that it passes
    through the middle of one, where scikit-image has it.
    """
    with Dataset(folder / "measured" / "tooth.h5") as file:
        parts = [
            np.asarray(file[f"exchange/data{end}"][:], float) for end in ("", "_dark", "_white")
        ]
    data, dark, white = parts[0], parts[1].mean(axis=0), parts[2].mean(axis=0)
    integrals = -np.log(np.clip((data - dark) / (white - dark), 1e-3, None)).transpose(1, 0, 2)
    # Half a turn later, a projection is the mirror image of the first one.
    first, mirrored = integrals[0, 0], integrals[0, -1, ::-1]
    shifts = range(-len(first) // 4, len(first) // 4)
    off = min(shifts, key=lambda k: float(np.square(first - np.roll(mirrored, k)).mean()))
    kept = integrals[..., max(off, 0) : integrals.shape[-1] + min(off, 0)][..., 1:-1]
    return kept.reshape(*kept.shape[:-1], -1, 2).mean(axis=-1)


def tooth(folder: Path, n_steps: int) -> Found:
    """Reconstruct a tooth from every eighth of its projections."""
    projections = tooth_projections(folder)
    _, n_angles, n_detectors = projections.shape
    angles = np.arange(n_angles) * 180.0 / n_angles
    shape = (176, 176)  # holds the tooth
    every = Problem(Radon(shape, angles, n_detectors=n_detectors), 0.0, shape)
    reference = every.plain(projections)
    peak = reference.max()
    reference, seen = reference / peak, projections[:, ::8] / peak
    radon = Radon(shape, angles[::8], n_detectors=n_detectors)
    problem = Problem(radon, 0.0, shape)

    def of_ours() -> np.ndarray:
        fields = [NeuralField(n_layers=4, max_iter=n_steps, random_state=0) for _ in seen]
        return np.stack(
            [f.fit(y, operator=radon).predict() for f, y in zip(fields, seen, strict=True)]
        )

    def score(found: np.ndarray) -> float:
        return mean_psnr(reference, found)

    yield timed("FBP", lambda: problem.plain(seen), score)
    yield best("SART", lambda n: np.asarray(problem.sart(seen, n)), (5, 10, 20, 40), score)
    yield best("TV", lambda w: problem.tv(seen, w), _WEIGHTS, score)
    yield timed("ours", of_ours, score)


def kspace(folder: Path, n_steps: int) -> Found:
    """Predict frequencies of a head that were measured and not given."""
    data = np.load(folder / "measured" / "brain_kspace.npy").astype(np.complex128)
    shape = data.shape[1:]
    middle = np.ix_(*[np.arange(n // 2 - 12, n // 2 + 12) for n in shape])
    is_middle, taper = np.zeros(shape, dtype=bool), np.zeros(shape)
    is_middle[middle] = True
    taper[middle] = np.outer(*[np.hanning(26)[1:-1]] * 2)
    measured = np.abs(data[0]) > 0
    given = measured & (is_middle | (np.random.default_rng(0).random(shape) < 0.5))
    held_out = measured & ~given
    low = _pictures(data * taper)
    size = np.sqrt(np.square(np.abs(low)).sum(axis=0))
    coils = low / size * (size > 0.05 * size.max())
    some, all_of_them = (
        Fourier(shape, mask=mask, sensitivities=coils, is_complex=True) for mask in (given, None)
    )
    seen = (data * given)[None]

    def score(values: np.ndarray) -> float:
        left = (all_of_them.apply(values.reshape(1, -1, 2))[0] - data)[:, held_out]
        return float(-10 * np.log10(np.square(np.abs(left)).sum() / energy))

    energy = np.square(np.abs(data[:, held_out])).sum()
    right = some.adjoint(seen).ravel()
    normal = LinearOperator(
        (right.size, right.size),
        matvec=lambda x: some.adjoint(some.apply(x.reshape(1, -1, 2))).ravel(),
        dtype=np.float64,
    )
    problem = Problem(some, 0.0, shape, n_channels=2)

    def of_ours() -> np.ndarray:
        return np.asarray(
            NeuralField(max_iter=n_steps, random_state=0).fit(seen[0], operator=some).predict()
        )

    yield timed("zero-filled", lambda: right, score)
    yield best("SENSE, CG", lambda n: cg(normal, right, maxiter=n)[0], (3, 5, 8, 12, 20), score)
    yield best("SENSE, TV", lambda w: problem.tv(seen, w)[0], _WEIGHTS, score)
    yield timed("ours", of_ours, score)


def _pictures(frequencies: np.ndarray) -> np.ndarray:
    moved = fft.ifftshift(frequencies, axes=(1, 2))
    return fft.fftshift(fft.ifftn(moved, axes=(1, 2), norm="ortho"), axes=(1, 2))


def hippocampus(folder: Path, n_steps: int) -> Found:
    """Make slices of held-out volumes thin, with what planes of other volumes have taught."""
    data = hippocampus_resampled(folder, (35, 50, 36))
    fine = np.asarray(data.held_out, dtype=np.float64)[:_VOLUMES]
    pictures = np.asarray(data.train).transpose(0, 3, 1, 2).reshape(-1, 35, 50)
    return thin(fine, pictures[np.random.default_rng(0).permutation(len(pictures))], n_steps)


def head(folder: Path, n_steps: int) -> Found:
    """Make slices of a head thin, with what its thick slices have taught."""
    volume = np.asarray(brain(folder)[0], dtype=np.float64).swapaxes(0, 1)
    volume = volume[: volume.shape[0] // _THICK * _THICK]
    slices = _means(volume[None])[0]
    draw = np.random.default_rng(0)
    crops: list[np.ndarray] = []
    while len(crops) < _PICTURES:
        whole = slices[draw.integers(len(slices))]
        i, j = (draw.integers(n - _CUBE + 1) for n in whole.shape)
        crop = whole[i : i + _CUBE, j : j + _CUBE]
        if crop.mean() > 0.1:  # more than air
            crops.append(crop if draw.random() < 0.5 else crop.T)
    box = [slice(n // 2 - _CUBE // 2, n // 2 + _CUBE // 2) for n in volume.shape]
    return thin(volume[tuple(box)][None], np.stack(crops), n_steps)


def thin(fine: np.ndarray, pictures: np.ndarray, n_steps: int) -> Found:
    """Find volumes of shape (n, z, y, x) again from means over slices along z."""
    thick = _means(fine)
    n_slices, shape = thick.shape[1], pictures.shape[1:]
    centres = (np.arange(n_slices) + 0.5) * _THICK - 0.5
    encoder = FunctaEncoder(
        n_slices * shape[1],
        field=Lapped(cell=(_THICK, 1)),
        transform_steps=1,
        max_iter=n_steps,
        random_state=0,
    ).fit(pictures[:_PICTURES].astype(np.float32))

    def of_cubic() -> np.ndarray:
        places = (np.arange(fine.shape[1]) - centres[0]) / _THICK
        along = [map_coordinates(one, [places], mode="nearest") for one in np.eye(n_slices)]
        return np.einsum("zs,nsyx->nzyx", np.stack(along, axis=1), thick)

    def of_planes(volumes: np.ndarray) -> np.ndarray:
        n, _, n_planes, width = volumes.shape
        axes = np.arange(float(shape[0])), np.arange(float(width))
        planes = volumes.swapaxes(1, 2).reshape(-1, n_slices, width)
        how: dict[str, Any] = {
            "operator": Downsample(axes, (centres, axes[1])),
            "likelihood": Gaussian(std=_NOISE),
        }
        found = encoder.inverse_transform(
            encoder.transform(planes, **how),
            coords=dict(zip("yx", axes, strict=True)),
            observed=planes,
            **how,
        )
        return np.asarray(found).reshape(n, n_planes, -1, width).swapaxes(1, 2)

    def of_ours() -> np.ndarray:
        return 0.5 * (of_planes(thick) + of_planes(thick.swapaxes(2, 3)).swapaxes(2, 3))

    def score(found: np.ndarray) -> float:
        return mean_psnr(fine, found)

    yield timed("cubic", of_cubic, score)
    yield timed(
        "ours, planes along y", lambda: of_planes(thick.swapaxes(2, 3)).swapaxes(2, 3), score
    )
    yield timed("ours", of_ours, score)


def _means(volumes: np.ndarray) -> np.ndarray:
    n, depth, *plane = volumes.shape
    return volumes.reshape(n, depth // _THICK, _THICK, *plane).mean(axis=2)


def timed(
    name: str, method: Callable[[], np.ndarray], score: Callable[[np.ndarray], float]
) -> tuple[str, float, float]:
    """Return a method's name, figure and seconds."""
    began = time.perf_counter()
    found = method()
    took = time.perf_counter() - began
    return name, score(found), took


def best(
    name: str,
    method: Callable[[Any], np.ndarray],
    options: Any,
    score: Callable[[np.ndarray], float],
) -> tuple[str, float, float]:
    """Return those of the option with the best figure."""
    found = [
        timed(f"{name} ({option:.2g})", functools.partial(method, option), score)
        for option in options
    ]
    return max(found, key=lambda one: one[1])


ROWS = {"tooth": tooth, "kspace": kspace, "hippocampus": hippocampus, "head": head}


def main() -> None:
    """Measure the rows asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=200, help="of each fit")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table = []
    for name in args.rows:
        for method, figure, took in ROWS[name](args.folder, args.steps):
            table.append(
                {"row": name, "method": method, "dB": round(figure, 2), "s": round(took, 1)}
            )
            print(table[-1], flush=True)
    report(table, args.csv)


if __name__ == "__main__":
    main()
