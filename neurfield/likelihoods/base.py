"""What a likelihood says of measurements, given what an operator makes of a field."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from neurfield.spec import Spec

_MEDIAN = 0.4549  # of the square of a standard normal number


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
