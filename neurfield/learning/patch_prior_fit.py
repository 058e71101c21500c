"""Small patches of training signals, and the kinds that they are of."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from neurfield.learning.patch_prior import PatchPrior, nodes_from

_SIDES = {1: 16, 2: 6, 3: 4}  # nodes of a patch, by the axes of signals
_SIDE, _MOST_NUMBERS = 2, 128  # of more axes; of a patch
_PATCHES, _KINDS, _LEAST_OF_KIND = 2**14, 32, 2  # for each number of a patch
_LEAST_CONTRAST = 0.02  # of patches that count, as a part of the root mean square
_ROUNDS, _RIDGE = 10, 1e-3  # of expectation-maximisation; of the mean variance


def learn_patch_prior(
    values: np.ndarray,
    weights: np.ndarray,
    shape: Sequence[int],
    effort: float,
    random: np.random.Generator,
) -> PatchPrior | None:
    """Learn what patches of signals are like.

    Parameters
    ----------
    values : float32 array of shape (n, N, c)
        Of signals on a grid.
    weights : array of shape (n,)
        As how many signals each counts.
    shape : sequence of d int
        Of the grid.
    effort : float in (0, 1]
        Fraction of the patches that there is time for.
    random : numpy.random.Generator
        Of the patches that are looked at, and where kinds begin.

    Returns
    -------
    PatchPrior or None
        None where a grid has no room for any, or signals are too few or the same everywhere.
    """
    sides = sides_of(shape, values.shape[2])
    if sides is None:
        return None
    rows = _drawn(values, weights, shape, sides, math.ceil(effort * _PATCHES), random)
    squares = np.square(rows).mean(axis=1)
    rows = rows[squares > _LEAST_CONTRAST**2 * squares.mean()]
    n_kinds = min(_KINDS, len(rows) // (_LEAST_OF_KIND * rows.shape[1]))
    if not n_kinds:
        return None
    mixture = GaussianMixture(
        n_kinds,
        max_iter=_ROUNDS,
        reg_covar=_RIDGE * float(rows.var()),
        init_params="random_from_data",
        random_state=int(random.integers(2**31)),
    )
    with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(rows)
    return PatchPrior(
        mixture.weights_.astype(np.float32),
        mixture.means_.reshape(n_kinds, *sides, -1).astype(np.float32),
        mixture.covariances_.astype(np.float32),
    )


def sides_of(shape: Sequence[int], n_channels: int) -> tuple[int, ...] | None:
    """Return the sides of patches, or None where a grid is too small for them.

    Parameters
    ----------
    shape : sequence of d int
        Of the grid.
    n_channels : int
        c.
    """
    by_numbers = int((_MOST_NUMBERS / n_channels) ** (1.0 / len(shape)) + 1e-9)
    side = min(_SIDES.get(len(shape), _SIDE), by_numbers)
    return (side,) * len(shape) if 2 <= side <= min(shape) // 2 else None


def operations_of_patch_prior(shape: Sequence[int], n_channels: int) -> float:
    """Return about how many multiplications :func:`learn_patch_prior` takes.

    Parameters
    ----------
    shape, n_channels
        As :func:`sides_of` takes them.
    """
    sides = sides_of(shape, n_channels)
    return 0.0 if sides is None else 4.0 * _ROUNDS * _KINDS * _PATCHES * math.prod(sides) ** 2


def _drawn(
    values: np.ndarray,
    weights: np.ndarray,
    shape: Sequence[int],
    sides: tuple[int, ...],
    n_patches: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Return some patches less their means, of shape (n, D)."""
    n_places = math.prod(n - side + 1 for n, side in zip(shape, sides, strict=True))
    n_patches = min(n_patches, int(np.count_nonzero(weights)) * n_places)
    signals = random.choice(len(values), n_patches, p=weights / weights.sum())
    starts = [
        random.integers(n - side + 1, size=n_patches) for n, side in zip(shape, sides, strict=True)
    ]
    patches = values[signals[:, None], nodes_from(starts, shape, sides)]
    patches -= patches.mean(axis=1, keepdims=True)
    return patches.reshape(n_patches, -1)
