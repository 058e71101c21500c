"""Gauss–Newton steps for the latent of a signal that was measured through an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.autograd import AutogradProducts
from neurfield.learning.measured.gaussian import LatentGaussian, tangent_of
from neurfield.learning.measured.map import Measured, real_rows
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.solvers.tangent import cholesky
from neurfield.likelihoods import Evaluated, Likelihood

_AT_ONCE = 256  # columns that an operator takes in one go
_PRODUCTS, _ENOUGH = 20, 0.3  # of conjugate gradients in a step
_SHORTENINGS, _SHORTEN = 6, 0.4
_LEAST_GAIN = 1e-3  # of the objective, for another step to be taken
_LEVELS = 8  # rounds in which an unknown level of noise settles
_LEAST_LEVEL = 1e-10  # of the measurements' mean square
_MEDIAN = 0.4549  # of the square of a standard normal number


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
    known : LatentGaussian
        Of their latents.
    columns : Tensor of shape (P, m)
        A J₀: what is measured of the tangent model.
    origin : Tensor of shape (m,)
        A f₀.
    at_zero : Tensor of shape (m,)
        What is measured where scaled values are zero.
    of_values : Tensor of shape (m,)
        Variance of measurements that comes from values around the field.
    shape : tuple of int
        Of what is measured of one signal.
    is_complex : bool
        Whether that is complex.
    """

    field: Field
    measured: Measured
    coords: Tensor
    known: LatentGaussian
    columns: Tensor
    origin: Tensor
    at_zero: Tensor
    of_values: Tensor
    shape: tuple[int, ...]
    is_complex: bool

    @classmethod
    @torch.no_grad()
    def of(cls, field: Field, measured: Measured, known: LatentGaussian) -> Self:
        """Measure the tangent model.

        Parameters
        ----------
        field : Field
            Of the signals' size; not changed.
        measured : Measured
            Their operator.
        known : LatentGaussian
            Of the latents.
        """
        field = field.twin()
        like = next(field.parameters())
        normalised = measured.coords()
        coords = torch.as_tensor(normalised).to(like)
        values, jacobian = tangent_of(field, coords)
        parts = [measured.apply(part).cpu().double() for part in jacobian.split(_AT_ONCE)]
        of_zeros = measured.at_zero()
        zero = torch.as_tensor(real_rows(of_zeros)[0])
        origin = measured.apply(values[None]).cpu().double()[0] + zero
        return cls(
            field,
            measured,
            coords,
            known,
            torch.cat(parts),
            origin,
            zero,
            torch.as_tensor(measured.variance(known.noise(normalised))),
            of_zeros.shape[1:],
            np.iscomplexobj(of_zeros),
        )


@dataclass(frozen=True)
class Found:
    """The latent of a signal that was measured, and what it was found with.

    Parameters
    ----------
    latent : float64 Tensor of shape (P,)
        Most probable one.
    factor : float64 Tensor of shape (P, P)
        Of the precision of latents in the tangent model, by Cholesky.
    """

    latent: Tensor
    factor: Tensor


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
    says_something = (shared.of_values > 0) | (shared.columns != 0).any(dim=0)
    seen = torch.nonzero(~torch.isnan(values) & says_something)[:, 0]
    if std is None:
        std = torch.zeros_like(values)
        if likelihood.has_std:
            std += _level(shared, values, seen, likelihood.is_robust) ** 0.5
    problem = _Problem(shared, values, seen, likelihood, std)
    latent = problem.closed_form()
    best, still = problem.objective(latent), problem.objective(shared.known.mean)
    if not best < still:
        latent, best = shared.known.mean, still
    for _ in range(steps - 1):
        step = problem.step(latent)
        length, trial = 1.0, best
        for _ in range(_SHORTENINGS):
            trial = problem.objective(latent + length * step)
            if trial < best:
                break
            length *= _SHORTEN
        if not trial < best:
            break
        latent, gain, best = latent + length * step, best - trial, trial
        if gain < _LEAST_GAIN * abs(best):
            break
    return Found(latent, problem.factor)


def _level(shared: Shared, values: Tensor, seen: Tensor, is_robust: bool) -> float:
    """Return the variance of noise that goes with what the tangent model leaves.

    Rounds of re-estimation, as in evidence maximisation: what is left, beside what values around
    the field explain, is spread over the measurements that latents do not take up.
    """
    columns, mean, precision = shared.columns[:, seen], shared.known.mean, shared.known.precision
    residual = values[seen] - shared.origin[seen] - mean @ columns
    size = float(residual.square().mean())
    floor = _LEAST_LEVEL * size + 1e-300
    of_values = shared.of_values[seen]
    level = max(0.01 * size, floor)
    for _ in range(_LEVELS):
        weight = 1.0 / (of_values + level)
        weighed = columns * weight
        gram = weighed @ columns.T
        factor = cholesky(gram + precision)
        latent = torch.cholesky_solve((weighed @ residual)[:, None], factor)[:, 0]
        taken = float(torch.cholesky_solve(gram, factor).diagonal().sum())
        squared = (residual - latent @ columns).square() * weight
        mean_square = float(squared.median()) / _MEDIAN if is_robust else float(squared.mean())
        level = max(level * mean_square * len(seen) / max(len(seen) - taken, 1.0), floor)
    return level


class _Problem:
    """The problem of one signal: how probable its measurements are, given a latent."""

    def __init__(
        self, shared: Shared, values: Tensor, seen: Tensor, likelihood: Likelihood, std: Tensor
    ) -> None:
        self.shared, self.seen, self.values = shared, seen, values[seen]
        self.field = shared.field.twin()  # of this lane's own
        self.likelihood, self.std = likelihood, std[seen]
        variance = shared.of_values[seen]
        self.variance = variance.clamp_min(_LEAST_LEVEL * float(variance.mean()) + 1e-300)
        self.columns = shared.columns[:, seen]
        self.start = likelihood.start(self.values)
        self._weigh(self._evaluate(self.start).curvature)

    def closed_form(self) -> Tensor:
        mean = self.shared.known.mean
        residual = self.start - self.shared.origin[self.seen] - mean @ self.columns
        return mean + self._precondition(((self.columns * self.weight) @ residual)[None])[0]

    def objective(self, latent: Tensor) -> float:
        loss = self._evaluate(self._measured(self._field_at(latent))).loss.sum()
        away = latent - self.shared.known.mean
        return float(loss + 0.5 * (away @ (self.shared.known.precision @ away)))

    def step(self, latent: Tensor) -> Tensor:
        """Return the inexact solution of the Gauss–Newton step."""
        shared, coords = self.shared, self.shared.coords
        precision = shared.known.precision
        with torch.enable_grad():
            at = latent.to(coords)[None].requires_grad_()
            linear = AutogradProducts(self.field(coords, at), at)
        here = self._evaluate(self._measured(linear.values.detach()))
        if not torch.equal(here.curvature, self.weight):
            self._weigh(here.curvature)

        def carried_back(rows: Tensor) -> Tensor:
            whole = rows.new_zeros(len(rows), len(shared.origin))
            whole[:, self.seen] = rows
            back = shared.measured.adjoint(whole, shared.shape, shared.is_complex)
            return linear.vjp(back.to(coords)).double().cpu()

        def multiply(rows: Tensor) -> Tensor:
            moved = linear.jvp(rows.to(coords))
            measured = shared.measured.apply(moved.double()).cpu()[:, self.seen]
            return carried_back(measured * self.weight) + rows @ precision

        slope = carried_back(here.slope[None])
        slope = slope - (precision @ (latent - shared.known.mean))[None]
        return conjugate_gradients(multiply, self._precondition, slope, _PRODUCTS, 1e-4, _ENOUGH)[0]

    def _evaluate(self, predicted: Tensor) -> Evaluated:
        return self.likelihood.evaluate(predicted, self.values, self.std, self.variance)

    def _weigh(self, weight: Tensor) -> None:
        self.weight = weight
        self.factor = cholesky(
            (self.columns * weight) @ self.columns.T + self.shared.known.precision
        )

    def _field_at(self, latent: Tensor) -> Tensor:
        return self.field(self.shared.coords, latent.to(self.shared.coords)[None])

    def _measured(self, values: Tensor) -> Tensor:
        measured = self.shared.measured.apply(values.double())[0].cpu() + self.shared.at_zero
        return measured[self.seen]

    def _precondition(self, rows: Tensor) -> Tensor:
        return torch.cholesky_solve(rows.T, self.factor).T
