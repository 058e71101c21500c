"""What a likelihood says of measurements, given what an operator makes of a field."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
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
    information : Tensor of shape (m,), optional
        What a measurement says of its prediction, where that is not this curvature.
    """

    loss: Tensor
    slope: Tensor
    curvature: Tensor
    information: Tensor | None = None


class Likelihood(Spec):
    """Density of a measurement, given what an operator makes of the field's values."""

    kind: ClassVar[str] = "likelihood"
    is_robust: ClassVar[bool] = False
    is_bounded: ClassVar[bool] = False  # whether curvatures bound what measurements say

    @property
    def has_std(self) -> bool:
        """Whether measurements have a standard deviation, which may be to be found out."""
        return True

    def given_std(self) -> Any:
        """Return the standard deviation that a caller has given; None = it is to be found out."""
        return getattr(self, "std", None)

    def among(self, seen: Tensor, n_channels: int) -> Likelihood:
        """Return the likelihood of some of a signal's measurements.

        Parameters
        ----------
        seen : int Tensor of shape (k,)
            Their places among all.
        n_channels : int
            Of the field; where it has several, measurements have these last if they have them.
        """
        return self

    def in_fit(self) -> Likelihood:
        """Return the likelihood with which ``fit`` takes such measurements.

        Raises
        ------
        ValueError
            If there is none.
        """
        return self

    def with_level(self, n: int) -> Tensor:
        """Return which of n measurements have noise of a level that may be to be found out.

        Parameters
        ----------
        n : int
            All that there are.
        """
        return torch.full((n,), self.has_std)

    def start(self, measured: Tensor) -> Tensor:
        """Return predictions that go with measurements: themselves, unless a link is between.

        Parameters
        ----------
        measured : Tensor of shape (m,)
            Real numbers.
        """
        return measured

    def in_closed_form(
        self, measured: Tensor, std: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return predictions that go with measurements, and how much each counts.

        Parameters
        ----------
        measured, std, variance : Tensor of shape (m,)
            As in :meth:`evaluate`.
        """
        start = self.start(measured)
        return start, self.evaluate(start, measured, std, variance).curvature

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

    def check_measured(self, measured: Tensor, shape: tuple[int, ...], n_channels: int) -> None:
        """Refuse measurements that have no density; by default, none.

        Parameters
        ----------
        measured : Tensor of shape (n, m)
            Real numbers; NaN where nothing was measured.
        shape : tuple of int
            Of what was measured of one signal.
        n_channels : int
            Of the field.

        Raises
        ------
        ValueError
            If one has none.
        """
