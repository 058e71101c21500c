"""How much a prior counts for signals of which only some channels were measured.

What the field leaves of one channel is mostly what latents cannot express, and no independent
noise. On its own it draws latents along, and with them the channels that were not measured. So the
weight of the prior is found by trial: latents of training signals are found from one channel, under
the Gaussian of the latents of other signals, and the weight is taken that predicts the rest best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from neurfield.learning.context import Context
from neurfield.learning.prior import PriorSample, gaussian_of_latents
from neurfield.learning.solvers import Tangent
from neurfield.learning.solvers.levenberg_marquardt import FULL
from neurfield.learning.solvers.tangent import solve_positive
from neurfield.learning.weighting import sum_over_signals

# None below the usual one: the field has seen all these signals, which makes them look easy.
_WEIGHTS = tuple(FULL * 2.0**power for power in range(7))
_FOLDS = 3
_LEAST_SIGNALS = 12  # with this channel and others, for a trial
_MOST_TRIED, _MOST_POINTS = 64, 1024  # signals of a fold, and points at which they are predicted
_MOST_CHANNELS = 16
_INVERSIONS = 60  # factorisations that a covariance and its inverse take as long as


def factorisations_of_weights(n_channels: int) -> int:
    """Return about how many matrices of all latents are factored on the way.

    Parameters
    ----------
    n_channels : int
        c.
    """
    if not 1 < n_channels <= _MOST_CHANNELS:
        return 0
    return _FOLDS * (_INVERSIONS + n_channels * len(_WEIGHTS))


@torch.no_grad()
def weights_alone(sample: PriorSample, noise: float) -> Tensor | None:
    """Return the weight of the prior where one channel alone is measured; None where none is found.

    Parameters
    ----------
    sample : PriorSample
        Training signals with their latents, those of deformed ones included.
    noise : float
        Variance σ² of a value around the field, in squared scaled units.

    Returns
    -------
    Tensor of shape (c,), or None
        Of one channel, of more than 16, and of few signals, nothing is found.
    """
    context = sample.context
    n_channels = context.values.shape[-1]
    if not 1 < n_channels <= _MOST_CHANNELS or len(context) < _LEAST_SIGNALS:
        return None
    priors = [_prior_without(sample, fold, noise) for fold in range(_FOLDS)]
    found = torch.full((n_channels,), FULL)
    for channel in range(n_channels):
        has = _has(context, channel)
        if int(has.sum()) < _LEAST_SIGNALS:
            continue
        model = _Alone.of(sample.tangent, channel)
        errors = torch.zeros(len(_WEIGHTS))
        for fold, (mean, precision) in enumerate(priors):
            rows = torch.nonzero(has)[:, 0]
            rows = rows[rows % _FOLDS == fold][:_MOST_TRIED].to(context.values.device)
            if len(rows):
                errors += model.errors(context.of_signals(rows), mean, precision).cpu()
        found[channel] = _WEIGHTS[int(errors.argmin())]
    return found


def _prior_without(sample: PriorSample, fold: int, noise: float) -> tuple[Tensor, Tensor]:
    """Return μ and σ² C⁻¹ of the signals that are not of a fold."""
    n_signals, deformed = len(sample.latents), sample.deformed
    rows = torch.arange(n_signals, device=sample.latents.device)
    rows = rows[rows % _FOLDS != fold]
    if deformed is not None:
        deformed = deformed.unflatten(0, (-1, n_signals))[:, rows].flatten(0, 1)
    context = sample.context.of_signals(rows)
    mean, covariance = gaussian_of_latents(
        replace(sample, context=context, latents=sample.latents[rows], deformed=deformed)
    )
    precision = noise * torch.linalg.pinv(torch.as_tensor(covariance), hermitian=True)
    return torch.as_tensor(mean).to(sample.latents), precision.to(sample.latents)


def _has(context: Context, channel: int) -> Tensor:
    """Return which signals were measured everywhere in a channel, and somewhere in another."""
    if context.weights is None:
        return torch.ones(len(context), dtype=torch.bool)
    seen = context.weights > 0
    elsewhere = seen.any(dim=1).sum(dim=1) > 1
    return (seen[..., channel].all(dim=1) & elsewhere).cpu()


@dataclass(frozen=True)
class _Alone:
    """The tangent model of one channel, and what it says of the others at some points."""

    channel: int
    seen: Tangent
    gram: Tensor
    there: Tangent

    @classmethod
    def of(cls, tangent: Tangent, channel: int) -> Self:
        only, some = slice(channel, channel + 1), slice(_MOST_POINTS)
        seen = Tangent(tangent.values[..., only], tangent.jacobian[:, :, only])
        jacobian = seen.jacobian[0, :, 0]
        there = Tangent(tangent.values[:, some], tangent.jacobian[:, some])
        return cls(channel, seen, jacobian.T @ jacobian, there)

    def errors(self, context: Context, mean: Tensor, precision: Tensor) -> Tensor:
        """Return the squared error of the other channels with each weight."""
        left = context.values[..., self.channel] - self.seen.predict(mean[None])[..., 0]
        rhs = left @ self.seen.jacobian[0, :, 0]
        asked = context.at_points(torch.arange(self.there.values.shape[1], device=rhs.device))
        found = []
        for weight in _WEIGHTS:
            latents = mean + solve_positive(self.gram + weight * precision, rhs.T).T
            squared = asked.residual(self.there.predict(latents)).square().sum(dim=1)
            squared[:, self.channel] = 0.0
            found.append(sum_over_signals(squared.sum(dim=1), context.sample_weight))
        return torch.stack(found)
