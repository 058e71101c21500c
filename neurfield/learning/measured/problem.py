"""Gauss–Newton steps for the latent of a signal that was measured through an operator.

What is unknown of a signal are its latent and the factors of directions in which signals lie around
the field: what is measured of these is linear in the factors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from neurfield.fields.autograd import AutogradProducts
from neurfield.learning.measured.level import LEAST_LEVEL, noise_level
from neurfield.learning.measured.shared import Shared
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.solvers.tangent import cholesky
from neurfield.likelihoods import Evaluated, Likelihood

_PRODUCTS, _ENOUGH = 20, 0.3  # of conjugate gradients in a step


class Linear(NamedTuple):
    """What is predicted of the measurements that there are, and its derivative by the unknowns.

    Attributes
    ----------
    predicted : Tensor of shape (k,)
        Of each.
    forward, back : callable
        Products with the derivative, (n, U) to (n, k), and with its transpose.
    """

    predicted: Tensor
    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


class Problem:
    """The problem of one signal: how probable its measurements are, given what is unknown.

    Steps of Gauss–Newton begin at what the tangent model says, and have one Gaussian of what is
    unknown: that which the signal is of, or what several that it could be of come to.

    Parameters
    ----------
    shared, values, likelihood, std
        As :func:`solved` takes them.
    """

    def __init__(
        self, shared: Shared, values: Tensor, likelihood: Likelihood, std: Tensor | None
    ) -> None:
        says_something = (shared.of_values > 0) | (shared.columns != 0).any(dim=0)
        seen = torch.nonzero(~torch.isnan(values) & says_something)[:, 0]
        likelihood = likelihood.among(seen, shared.field.out_dim)
        if std is None:
            std, noisy = torch.zeros_like(values), seen[likelihood.with_level(len(seen))]
            if len(noisy):
                std += noise_level(shared, values, noisy, likelihood) ** 0.5
        self.shared, self.seen, self.values = shared, seen, values[seen]
        self.field = shared.field.twin()  # of this lane's own
        self.likelihood, self.std = likelihood, std[seen]
        variance = shared.of_values[seen]
        self.variance = variance.clamp_min(LEAST_LEVEL * float(variance.mean()) + 1e-300)
        self.columns = shared.columns[:, seen]
        start, self.weight = likelihood.in_closed_form(self.values, self.std, self.variance)
        given = shared.weighed(seen, self.weight).given(start - shared.origin[seen])
        self.known, self.closed_form, self.factor = given.known, given.mean, given.factor

    def start(self) -> tuple[Tensor, float]:
        """Return the closed form, or what is known where that is more probable, and how much."""
        best, still = self.objective(self.closed_form), self.objective(self.known.mean)
        return (self.closed_form, best) if best < still else (self.known.mean, still)

    def objective(self, unknown: Tensor) -> float:
        """Return minus the logarithm of how probable it is, but for a constant.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            What is unknown.
        """
        loss = self.evaluate(unknown).loss.sum()
        away = unknown - self.known.mean
        return float(loss + 0.5 * (away @ (self.known.precision @ away)))

    def step(self, unknown: Tensor) -> Tensor:
        """Return the inexact solution of the Gauss–Newton step.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            Where it begins.
        """
        linear = self._linear(unknown)
        slope = self._slope(linear, unknown)
        multiply = partial(self._multiply, linear)
        return conjugate_gradients(multiply, self._precondition, slope, _PRODUCTS, 1e-4, _ENOUGH)[0]

    def evaluate(self, unknown: Tensor) -> Evaluated:
        """Return how probable the measurements are, with derivatives by what is predicted of them.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            What is unknown.
        """
        return self._evaluate(self._predicted(unknown))

    def among_all(self, rows: Tensor) -> Tensor:
        """Return rows of all measurements, zero where there are none.

        Parameters
        ----------
        rows : Tensor of shape (n, k)
            Of those that there are.
        """
        whole = rows.new_zeros(len(rows), len(self.shared.origin))
        whole[:, self.seen] = rows
        return whole

    def informed(self, unknown: Tensor) -> Tensor:
        """Return the factor of the precision of what is unknown, given what measurements say.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            The most probable one.
        """
        if not self.likelihood.is_bounded:
            return self.factor
        information = self.evaluate(unknown).information
        assert information is not None
        return self._factor(information)

    def _linear(self, unknown: Tensor) -> Linear:
        shared, coords, P = self.shared, self.shared.coords, self.field.latent_dim
        around = self.columns[P:]
        with torch.enable_grad():
            at = unknown[:P].to(coords)[None].requires_grad_()
            products = AutogradProducts(self.field(coords, at), at)

        def forward(rows: Tensor) -> Tensor:
            moved = products.jvp(rows[:, :P].to(coords))
            measured = shared.measured.apply(moved.double()).cpu()[:, self.seen]
            return measured + rows[:, P:] @ around

        def back(rows: Tensor) -> Tensor:
            carried = shared.carried_back(self.among_all(rows))
            of_latents = products.vjp(carried.to(coords)).double().cpu()
            return torch.cat([of_latents, rows @ around.T], dim=1)

        return Linear(self._measured(products.values.detach(), unknown), forward, back)

    def _slope(self, linear: Linear, unknown: Tensor) -> Tensor:
        """Return minus the derivative of the objective, of shape (1, U)."""
        slope = linear.back(self._weighed(linear).slope[None])
        return slope - (self.known.precision @ (unknown - self.known.mean))[None]

    def _weighed(self, linear: Linear) -> Evaluated:
        """Evaluate the density, and let measurements count as they do there."""
        here = self._evaluate(linear.predicted)
        if not torch.equal(here.curvature, self.weight):
            self.weight, self.factor = here.curvature, self._factor(here.curvature)
        return here

    def _factor(self, weight: Tensor) -> Tensor:
        return cholesky((self.columns * weight) @ self.columns.T + self.known.precision)

    def _evaluate(self, predicted: Tensor) -> Evaluated:
        return self.likelihood.evaluate(predicted, self.values, self.std, self.variance)

    def _predicted(self, unknown: Tensor) -> Tensor:
        latent = unknown[: self.field.latent_dim].to(self.shared.coords)
        return self._measured(self.field(self.shared.coords, latent[None]), unknown)

    def _measured(self, values: Tensor, unknown: Tensor) -> Tensor:
        measured = self.shared.measured.apply(values.double())[0].cpu() + self.shared.at_zero
        around = unknown[self.field.latent_dim :] @ self.columns[self.field.latent_dim :]
        return measured[self.seen] + around

    def _multiply(self, linear: Linear, rows: Tensor) -> Tensor:
        return linear.back(linear.forward(rows) * self.weight) + rows @ self.known.precision

    def _precondition(self, rows: Tensor) -> Tensor:
        return torch.cholesky_solve(rows.T, self.factor).T
