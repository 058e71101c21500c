"""How measurements scatter around what an operator makes of a field."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neurfield._compat import Interval, StrOptions
from neurfield.spec import Spec

__all__ = ["Evaluated", "Gaussian", "Huber", "Likelihood", "Poisson", "StudentT"]

_NEWTON_STEPS = 8
_MEDIAN = 0.4549  # of the square of a standard normal number
_MOST_EXPONENT, _TINY = 500.0, 1e-300


class Evaluated(NamedTuple):
    """Negative logarithm of a density and its derivatives by what is predicted, one a measurement.

    Attributes
    ----------
    loss : Tensor of shape (m,)
        But for a constant.
    slope : Tensor of shape (m,)
        Minus its derivative.
    curvature : Tensor of shape (m,)
        Its second derivative, or a positive number that stands for it in Gauss–Newton steps.
    """

    loss: Tensor
    slope: Tensor
    curvature: Tensor


class Likelihood(Spec):
    """Density of a measurement, given what an operator makes of the field's values."""

    kind: ClassVar[str] = "likelihood"
    is_robust: ClassVar[bool] = False
    std: Any = None

    @property
    def has_std(self) -> bool:
        """Whether measurements have a standard deviation, which may be to be found out."""
        return True

    def start(self, measured: Tensor) -> Tensor:
        """Return predictions that go with measurements: themselves, unless a link is between.

        Parameters
        ----------
        measured : Tensor of shape (m,)
            Real numbers.
        """
        return measured

    def variance_of(self, squares: Tensor) -> float:
        """Return the variance of noise, given what of it was found: outliers aside, if any.

        Parameters
        ----------
        squares : Tensor of shape (m,)
            Squares of such noise.
        """
        return float(squares.median()) / _MEDIAN if self.is_robust else float(squares.mean())

    @abstractmethod
    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        """Evaluate the density where predictions are themselves uncertain.

        Parameters
        ----------
        predicted, measured : Tensor of shape (m,)
            What the operator makes of the field, and what was measured.
        std : Tensor of shape (m,)
            Standard deviation of the measurements, where they have one.
        variance : Tensor of shape (m,)
            Of the predictions, from values around the field.
        """

    def check_measured(self, measured: Tensor) -> None:
        """Refuse measurements that have no density; by default, none.

        Parameters
        ----------
        measured : Tensor
            Real numbers; NaN where nothing was measured.

        Raises
        ------
        ValueError
            If one has none.
        """


class Gaussian(Likelihood):
    """Normal noise.

    Parameters
    ----------
    std : float or array that broadcasts to X, default=None
        Standard deviation of each measurement, in its unit; of a complex one, of either part. None
        = alike for all measurements of a signal, and found out for each.

    Examples
    --------
    >>> Gaussian(std=0.1)
    Gaussian(std=0.1)
    """

    name: ClassVar[str] = "gaussian"

    def __init__(self, std: Any = None) -> None:
        self.std = std

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        weight = 1.0 / (std.square() + variance)
        left = measured - predicted
        return Evaluated(0.5 * weight * left.square(), weight * left, weight)


class Huber(Likelihood):
    """Normal noise with outliers, which count by their distance and not by its square.

    Parameters
    ----------
    std : float or array that broadcasts to X, default=None
        As of :class:`Gaussian`; what is found out is that of most measurements.
    threshold : float, default=1.345
        Standard deviations from which on a measurement is an outlier.

    References
    ----------
    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.
    """

    name: ClassVar[str] = "huber"
    is_robust: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, std: Any = None, threshold: float = 1.345) -> None:
        self.std, self.threshold = std, threshold

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        total = (std.square() + variance).sqrt()
        scaled = (measured - predicted) / total
        size, most = scaled.abs(), self.threshold
        is_near = size <= most
        loss = torch.where(is_near, 0.5 * scaled.square(), most * (size - 0.5 * most))
        weight = torch.where(is_near, 1.0, most / size.clamp_min(most))
        return Evaluated(loss, weight * scaled / total, weight / total.square())


class StudentT(Likelihood):
    """Noise of heavy tails, to which far outliers are nothing.

    Parameters
    ----------
    std : float or array that broadcasts to X, default=None
        Scale, as the standard deviation of :class:`Gaussian`.
    degrees : float, default=4.0
        Degrees of freedom ν.

    References
    ----------
    Lange, Little and Taylor, "Robust Statistical Modeling Using the t Distribution", Journal of the
    American Statistical Association 84, 1989.
    """

    name: ClassVar[str] = "student-t"
    is_robust: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "degrees": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, std: Any = None, degrees: float = 4.0) -> None:
        self.std, self.degrees = std, degrees

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        total, nu = std.square() + variance, self.degrees
        left = measured - predicted
        weight = (nu + 1.0) / (nu * total + left.square())
        loss = 0.5 * (nu + 1.0) * torch.log1p(left.square() / (nu * total))
        return Evaluated(loss, weight * left, weight)


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

    def check_measured(self, measured: Tensor) -> None:
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
