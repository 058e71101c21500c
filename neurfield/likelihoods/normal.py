"""Normal noise, and noise with outliers."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield._compat import Interval
from neurfield.likelihoods.base import Evaluated, Likelihood


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
