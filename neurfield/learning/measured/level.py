"""The level of noise of measurements, where nobody has said it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neurfield.learning.measured.shared import Shared
from neurfield.learning.solvers.tangent import cholesky
from neurfield.likelihoods import Likelihood

LEAST_LEVEL = 1e-10  # of the measurements' mean square
_LEVELS, _SETTLED = 8, 0.02  # rounds in which an unknown level of noise settles, and when it has

Left = Callable[[Tensor], tuple[Tensor, float]]


def noise_level(shared: Shared, values: Tensor, seen: Tensor, likelihood: Likelihood) -> float:
    """Return the variance of noise that goes with what the tangent model leaves.

    Rounds of re-estimation, as in evidence maximisation: what is left, beside what values around
    the field explain, is spread over the measurements that latents do not take up.

    Parameters
    ----------
    shared : Shared
        Of signals that were measured alike.
    values : float64 Tensor of shape (m,)
        What was measured of one of them.
    seen : int Tensor of shape (k,)
        Which of these have noise of that level.
    likelihood : Likelihood
        Of them.
    """
    residual = values[seen] - shared.origin[seen] - shared.whole.mean @ shared.columns[:, seen]
    left_by = _left_by_measurements if len(seen) < len(shared.columns) else _left_by_unknowns
    left_with = left_by(shared, seen, residual)
    size = float(residual.square().mean())
    floor = LEAST_LEVEL * size + 1e-300
    level = max(0.01 * size, floor)
    for _ in range(_LEVELS):
        variance, before = shared.of_values[seen] + level, level
        left, taken = left_with(variance)
        relative = likelihood.variance_of(left.square() / variance)
        level = max(level * relative * len(seen) / max(len(seen) - taken, 1.0), floor)
        if abs(level - before) < _SETTLED * before:
            break
    return level


def _left_by_unknowns(shared: Shared, seen: Tensor, residual: Tensor) -> Left:
    """Return what the tangent model leaves of measurements, and how many of these it takes up.

    That is for variances of their noise, by a matrix of the size of what is unknown.
    """
    columns = shared.columns[:, seen]

    def left(variance: Tensor) -> tuple[Tensor, float]:
        weighed = columns / variance
        gram = weighed @ columns.T
        factor = cholesky(gram + shared.whole.precision)
        latent = torch.cholesky_solve((weighed @ residual)[:, None], factor)[:, 0]
        taken = float(torch.cholesky_solve(gram, factor).diagonal().sum())
        return residual - latent @ columns, taken

    return left


def _left_by_measurements(shared: Shared, seen: Tensor, residual: Tensor) -> Left:
    """Return the same by a matrix of the size of what was measured."""
    columns = shared.columns[:, seen]
    spread = columns.T @ (shared.covariance @ columns)

    def left(variance: Tensor) -> tuple[Tensor, float]:
        factor = cholesky(spread + torch.diag(variance))
        left = variance * torch.cholesky_solve(residual[:, None], factor)[:, 0]
        free = float((variance * torch.cholesky_inverse(factor).diagonal()).sum())
        return left, len(seen) - free

    return left
