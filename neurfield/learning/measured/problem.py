"""Gauss–Newton steps for the latent of a signal that was measured through an operator.

What is unknown of a signal are its latent and the factors of directions in which signals lie around
the field: what is measured of these is linear in the factors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.autograd import AutogradProducts
from neurfield.learning.lanes import each_in_lanes
from neurfield.learning.measured.evidence import Weighed
from neurfield.learning.measured.gaussian import Known, LatentGaussian, tangent_of
from neurfield.learning.measured.map import Measured, real_rows
from neurfield.learning.measured.points import AtPoints
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.solvers.tangent import cholesky
from neurfield.likelihoods import Evaluated, Likelihood

_AT_ONCE = 256  # columns that an operator takes in one go
_PRODUCTS, _ENOUGH = 20, 0.3  # of conjugate gradients in a step
_SHORTENINGS, _SHORTEN = 6, 0.4
_LEAST_GAIN = 1e-3  # of the objective, for another step to be taken
_LEVELS, _SETTLED = 8, 0.02  # rounds in which an unknown level of noise settles, and when it has
_LEAST_LEVEL = 1e-10  # of the measurements' mean square


@dataclass(frozen=True)
class Shared:
    """What all signals have in common that were measured alike.

    Parameters
    ----------
    field : Field
        Of the signals' size.
    measured : Measured
        Their operator.
    coords : Tensor of shape (M, d)
        Normalised points at which the field is read.
    whole : LatentGaussian
        Of all unknown numbers of a signal: its latent and Q factors.
    parts : list of LatentGaussian
        The same of each kind of signal.
    columns : Tensor of shape (P + Q, m)
        A J₀, what is measured of the tangent model, and A ψ, of directions around the field.
    origin : Tensor of shape (m,)
        A f₀.
    at_zero : Tensor of shape (m,)
        What is measured where scaled values are zero.
    of_values : Tensor of shape (m,)
        Variance of measurements that comes from values beside all these.
    shape : tuple of int
        Of what is measured of one signal.
    is_complex : bool
        Whether that is complex.
    """

    field: Field
    measured: Measured | AtPoints
    coords: Tensor
    whole: LatentGaussian
    parts: list[LatentGaussian]
    columns: Tensor
    origin: Tensor
    at_zero: Tensor
    of_values: Tensor
    shape: tuple[int, ...]
    is_complex: bool
    _kept: dict[bytes, Weighed] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @cached_property
    def covariance(self) -> Tensor:
        """Of the unknown numbers, of shape (P + Q, P + Q)."""
        return torch.cholesky_inverse(cholesky(self.whole.precision))

    @classmethod
    @torch.no_grad()
    def of(cls, field: Field, measured: Measured | AtPoints, known: Known) -> Self:
        """Measure the tangent model and the directions around it.

        Parameters
        ----------
        field : Field
            Of the signals' size; not changed.
        measured : Measured
            Their operator.
        known : Known
            Of the signals.
        """
        field = field.twin()
        like = next(field.parameters())
        normalised = measured.coords()
        coords = torch.as_tensor(normalised).to(like)
        values, jacobian = tangent_of(field, coords)
        directions, noise = known.around(normalised)
        around = torch.as_tensor(directions).to(jacobian)
        of_zeros = measured.at_zero()
        zero = torch.as_tensor(real_rows(of_zeros)[0])
        linear = [*jacobian.split(_AT_ONCE), *(around.split(_AT_ONCE) if len(around) else ())]
        columns = [zero] * len(linear)

        def measure(number: int, lane: int) -> None:
            columns[number] = measured.apply(linear[number]).cpu().double()

        each_in_lanes(measure, len(linear))
        origin = measured.apply(values[None]).cpu().double()[0] + zero
        return cls(
            field,
            measured,
            coords,
            known.whole,
            known.parts,
            torch.cat(columns),
            origin,
            zero,
            torch.as_tensor(measured.variance(noise)),
            of_zeros.shape[1:],
            np.iscomplexobj(of_zeros),
        )

    def carried_back(self, rows: Tensor) -> Tensor:
        """Return the adjoint of the operator, of shape (n, M, c).

        Parameters
        ----------
        rows : Tensor of shape (n, m)
            Of all measurements.
        """
        return self.measured.adjoint(rows, self.shape, self.is_complex)

    def weighed(self, seen: Tensor, weight: Tensor) -> Weighed:
        """Return what signals have in common whose measurements count alike; the last is kept.

        Parameters
        ----------
        seen : int Tensor of shape (k,)
            Which measurements there are.
        weight : Tensor of shape (k,)
            Of each.
        """
        key = seen.numpy().tobytes() + weight.numpy().tobytes()
        if (found := self._kept.get(key)) is None:
            found = Weighed.of(self.columns[:, seen], weight, self.parts)
            self._kept.clear()
            self._kept[key] = found
        return found


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
    """

    unknown: Tensor
    factor: Tensor
    std: Tensor


@torch.no_grad()
def solved(
    shared: Shared, values: Tensor, likelihood: Likelihood, std: Tensor | None, steps: int
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
    """
    problem = Problem(shared, values, likelihood, std)
    unknown = descended(problem, *problem.start(), steps - 1, _LEAST_GAIN)[0]
    return Found(unknown, problem.informed(unknown), unknown.new_empty(0))


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


def _level(shared: Shared, values: Tensor, seen: Tensor, likelihood: Likelihood) -> float:
    """Return the variance of noise that goes with what the tangent model leaves.

    Rounds of re-estimation, as in evidence maximisation: what is left, beside what values around
    the field explain, is spread over the measurements that latents do not take up.
    """
    residual = values[seen] - shared.origin[seen] - shared.whole.mean @ shared.columns[:, seen]
    left_by = _left_by_measurements if len(seen) < len(shared.columns) else _left_by_unknowns
    left_with = left_by(shared, seen, residual)
    size = float(residual.square().mean())
    floor = _LEAST_LEVEL * size + 1e-300
    level = max(0.01 * size, floor)
    for _ in range(_LEVELS):
        variance, before = shared.of_values[seen] + level, level
        left, taken = left_with(variance)
        relative = likelihood.variance_of(left.square() / variance)
        level = max(level * relative * len(seen) / max(len(seen) - taken, 1.0), floor)
        if abs(level - before) < _SETTLED * before:
            break
    return level


Left = Callable[[Tensor], tuple[Tensor, float]]


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
                std += _level(shared, values, noisy, likelihood) ** 0.5
        self.shared, self.seen, self.values = shared, seen, values[seen]
        self.field = shared.field.twin()  # of this lane's own
        self.likelihood, self.std = likelihood, std[seen]
        variance = shared.of_values[seen]
        self.variance = variance.clamp_min(_LEAST_LEVEL * float(variance.mean()) + 1e-300)
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
        loss = self._evaluate(self._predicted(unknown)).loss.sum()
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

    def informed(self, unknown: Tensor) -> Tensor:
        """Return the factor of the precision of what is unknown, given what measurements say.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            The most probable one.
        """
        if not self.likelihood.is_bounded:
            return self.factor
        information = self._evaluate(self._predicted(unknown)).information
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
            whole = rows.new_zeros(len(rows), len(shared.origin))
            whole[:, self.seen] = rows
            of_latents = products.vjp(shared.carried_back(whole).to(coords)).double().cpu()
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
