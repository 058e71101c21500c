"""The most probable latent of a signal that was measured, by Gauss–Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurfield.learning.measured.beside import Beside, values_beside
from neurfield.learning.measured.problem import Problem
from neurfield.learning.measured.shared import Shared
from neurfield.likelihoods import Likelihood

_SHORTENINGS, _SHORTEN = 6, 0.4
_LEAST_GAIN = 1e-5  # of the objective, for another step to be taken


@dataclass(frozen=True)
class Found:
    """What is unknown of a signal that was measured, and what it was found with.

    Parameters
    ----------
    unknown : float64 Tensor of shape (P + Q + E,)
        Most probable latent, factors of directions around the field, and parameters of the
        measurement, where there are any.
    factor : float64 Tensor of shape (P + Q + E, P + Q + E)
        Of the precision of these in the linear model, by Cholesky.
    std : float64 Tensor of shape (E,)
        Standard errors of the parameters.
    beside : Beside, optional
        Values beside the field and the directions.
    """

    unknown: Tensor
    factor: Tensor
    std: Tensor
    beside: Beside | None = None


@torch.no_grad()
def solved(
    shared: Shared,
    values: Tensor,
    likelihood: Likelihood,
    std: Tensor | None,
    steps: int,
    n_probes: int | None = None,
) -> Found:
    """Find the most probable latent of one signal.

    Parameters
    ----------
    shared : Shared
        Of its operator.
    values : float64 Tensor of shape (m,)
        What was measured; NaN where nothing was.
    likelihood : Likelihood
        Of each measurement.
    std : float64 Tensor of shape (m,), or None
        Standard deviation of each measurement; None = alike in all, and to be found out, or there
        is none.
    steps : int
        Of which the first is the closed form.
    n_probes : int, optional
        Values beside the field are found, too, and their variances from so many random numbers.
    """
    problem = Problem(shared, values, likelihood, std)
    unknown = descended(problem, *problem.start(), steps - 1, _LEAST_GAIN)[0]
    factor = problem.informed(unknown)
    beside = None if n_probes is None else values_beside(problem, unknown, factor, n_probes)
    return Found(unknown, factor, unknown.new_empty(0), beside)


def descended(
    problem: Problem,
    unknown: Tensor,
    best: float,
    steps: int,
    relative: float,
    absolute: float = 0.0,
) -> tuple[Tensor, float]:
    """Take steps for as long as they bring something; return where they lead, and its objective.

    Parameters
    ----------
    problem : Problem
        Of one signal.
    unknown : float64 Tensor of shape (U,)
        Where to begin.
    best : float
        Its objective.
    steps : int
        Most steps.
    relative : float
        What a step must bring for another to be taken, as a part of the objective.
    absolute : float, default=0.0
        The same as it is.
    """
    for _ in range(steps):
        step = problem.step(unknown)
        length, trial = 1.0, best
        for _ in range(_SHORTENINGS):
            trial = problem.objective(unknown + length * step)
            if trial < best:
                break
            length *= _SHORTEN
        if not trial < best:
            break
        unknown, gain, best = unknown + length * step, best - trial, trial
        if gain < max(relative * abs(best), absolute):
            break
    return unknown, best
