"""Counts."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield._compat import Interval, StrOptions
from neurfield.likelihoods.base import Evaluated, Likelihood

_NEWTON_STEPS = 8
_MOST_EXPONENT, _TINY = 500.0, 1e-300


class Poisson(Likelihood):
    """Counts, as of emitted photons, or of those that pass through what absorbs them.

    Parameters
    ----------
    scale : float, default=1.0
        Counts for each unit of what is predicted; with link="transmission", counts where nothing
        absorbs.
    link : {"identity", "transmission"}, default="identity"
        Whether scale · A f counts are expected, as in emission tomography, or
        scale · exp(-A f), as in transmission tomography.

    Examples
    --------
    >>> Poisson(scale=1e4, link="transmission")
    Poisson(link='transmission', scale=10000.0)
    """

    name: ClassVar[str] = "poisson"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scale": [Interval(Real, 0, None, closed="neither")],
        "link": [StrOptions({"identity", "transmission"})],
    }

    def __init__(self, scale: float = 1.0, link: str = "identity") -> None:
        self.scale, self.link = scale, link

    @property
    def has_std(self) -> bool:
        return False

    def check_measured(self, measured: Tensor, shape: tuple[int, ...], n_channels: int) -> None:
        if bool((measured < 0).any()):
            raise ValueError(
                f"X must hold counts, of at least 0, got {float(measured.nan_to_num().min()):g}"
            )

    def start(self, measured: Tensor) -> Tensor:
        if self.link == "identity":
            return measured / self.scale
        return -((measured + 0.5) / self.scale).log()

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        # At the most probable one of the predictions that are possible, a Moreau envelope.
        if self.link == "identity":
            at = self._emitted(predicted, measured, variance)
            rate = self.scale * at
            # Where nothing was counted and a rate below zero is held at it, its distance counts.
            is_held = (measured == 0) & (at == 0)
            curvature = self.scale**2 / rate.clamp_min(0.5)
            curvature = torch.where(is_held, 1.0 / variance, curvature / (1 + variance * curvature))
        else:
            at = self._transmitted(predicted, measured, variance)
            rate = self.scale * torch.exp(-at.clamp(-_MOST_EXPONENT, _MOST_EXPONENT))
            curvature = rate / (1.0 + variance * rate)
        moved = at - predicted
        # Beside that of the rate that is most probable for the counts alone.
        beside = torch.xlogy(measured, measured) - measured
        loss = rate - torch.xlogy(measured, rate) + beside + 0.5 * moved.square() / variance
        return Evaluated(loss, moved / variance, curvature)

    def _emitted(self, predicted: Tensor, measured: Tensor, variance: Tensor) -> Tensor:
        middle = 0.5 * (predicted - variance * self.scale)
        root = (middle.square() + variance * measured).sqrt()
        # Whichever form does not subtract numbers of one size.
        return torch.where(
            middle >= 0, middle + root, variance * measured / (root - middle).clamp_min(1e-300)
        )

    def _transmitted(self, predicted: Tensor, measured: Tensor, variance: Tensor) -> Tensor:
        # at - predicted = variance · (rate - measured): with W that of Lambert.
        moved = predicted - variance * measured
        logarithm = (variance * self.scale).log() - moved
        return moved + _lambert_of_exponential(logarithm)


def _lambert_of_exponential(logarithm: Tensor) -> Tensor:
    """Return W(exp(x)), the w with w + log w = x, by Newton's method on its logarithm."""
    w = torch.where(logarithm > 1.0, logarithm, logarithm.clamp_max(1.0).exp())
    for _ in range(_NEWTON_STEPS):
        w = w * (1.0 + logarithm - w.clamp_min(_TINY).log()) / (1.0 + w)
    return w
