"""Gauss–Newton steps through products with the Jacobian alone, for long latents.

The matrix of one signal's step costs its Jacobian, a product of that with itself and a
factorisation, all over again at each step. A product of it with a vector is one sweep forwards and
one back. So each step is solved by conjugate gradients, preconditioned with the matrix at φ = 0
that all signals share, and only as far as is worth it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.solvers.damping import (
    EASE,
    FIRST_DAMPING,
    SHORTEN,
    SHORTENINGS,
    STIFFEN,
)
from neurfield.learning.solvers.tangent import Tangent, cholesky
from neurfield.learning.workspace import Workspace, blocks
from neurfield.memory import at_once

_LEAST_LATENTS = 256  # below, a matrix for each signal is no burden
_WORTH = 20  # products that a step may take, about
# Of conjugate gradients: at most how many, to which residual, and what part of all that is gained
# is worth another.
_IN_STEP, _IN_CLOSED_FORM = (20, 0.0, 0.3), (200, 0.0, 1e-4)


def needs_products(field: Field, n_points: int) -> bool:
    """Tell whether a matrix for each signal costs more than solving a step by products.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    n_points : int
        Points of a signal.
    """
    n_latents, n_values = field.latent_dim, n_points * field.out_dim
    if not _LEAST_LATENTS < n_latents <= n_values:
        return False
    matrix = n_values * n_latents * (n_latents + field.modulation_size) + n_latents**3
    product = 2 * n_points * field.modulation_size * field.hidden_dim
    return matrix > _WORTH * product


class Preconditioner(Protocol):
    """What all signals on the same coordinates share."""

    @property
    def scale(self) -> float:
        """Mean diagonal of J₀ᵀJ₀/n."""

    def precondition(self, rows: Tensor) -> Tensor:
        """Return (J₀ᵀJ₀/n + κ Λ)⁻¹ of each row, for κ of signals that are observed everywhere."""


@dataclass(frozen=True)
class SharedFactor:
    """What signals on the same coordinates share where their Jacobian at φ = 0 is too large to.

    Parameters
    ----------
    factor : Tensor of shape (P, P)
        Of J₀ᵀJ₀/n + κ Λ, by Cholesky.
    scale : float
        Mean diagonal of J₀ᵀJ₀/n.
    """

    factor: Tensor
    scale: float

    @classmethod
    def of(cls, field: Field, coords: Tensor, precision: Tensor, strength: float) -> SharedFactor:
        """Sum J₀ᵀJ₀ over the points, some at a time.

        Parameters
        ----------
        field : Field
            At φ = 0.
        coords : Tensor of shape (N, d)
            Normalised coordinates.
        precision : Tensor of shape (P, P)
            Λ.
        strength : float
            κ of signals that are observed everywhere.
        """
        gram = torch.zeros_like(precision)
        for part in coords.split(at_once("points")):
            jacobian = Tangent.at_origin(field, part).jacobian.flatten(0, 2)
            gram.addmm_(jacobian.T, jacobian)
        gram /= len(coords) * field.out_dim
        scale = float(gram.diagonal().mean())
        return cls(cholesky(gram + strength * precision), scale)

    def precondition(self, rows: Tensor) -> Tensor:
        """Return (J₀ᵀJ₀/n + κ Λ)⁻¹ of each row."""
        return torch.cholesky_solve(rows.T, self.factor).T


class Products:
    """A field around the latents of a batch, in products with its Jacobian.

    Parameters
    ----------
    field : Field
        Its θ fixed.
    context : Context
        Of B signals.
    workspace : Workspace
        Where activations are kept, of all points.

    Attributes
    ----------
    counts : Tensor of shape (B,)
        n, observed values of each signal.
    is_whole : bool
        Whether all values of all signals were observed.
    """

    def __init__(self, field: Field, context: Context, workspace: Workspace) -> None:
        self._sweeps, rows = workspace.sweeps_over(field, context)
        self.counts, self.is_whole = context.counts(), context.weights is None
        self._blocks = list(blocks(context, self.counts, rows))
        self._tapes = [workspace.tape(("products", i)) for i in range(len(self._blocks))]
        self._residuals: list[Tensor] = []

    def move(self, latents: Tensor) -> Tensor:
        """Evaluate the field at latents of shape (B, P) and return the mean squared errors."""
        shifts, errors = self._sweeps.shifts(latents), torch.zeros_like(self.counts)
        self._residuals = []
        for (signals, block), tape in zip(self._blocks, self._tapes, strict=True):
            residual = self._sweeps.evaluate(tape, block, shifts[signals])
            errors[signals] += residual.square().sum(dim=(1, 2))
            self._residuals.append(residual)
        return errors / self.counts

    def descent(self) -> Tensor:
        """Return JᵀW(y − f)/n, of shape (B, P)."""
        return -self._carried_back(self._residuals)

    def normal(self, directions: Tensor) -> Tensor:
        """Return JᵀWJ/n times one direction for each signal, of shape (B, P)."""
        pushed, changes = self._sweeps.push(directions), []
        for (signals, block), tape in zip(self._blocks, self._tapes, strict=True):
            change = self._sweeps.carry_forward(tape, block, pushed[signals])
            changes.append(change if block.weights is None else change * block.weights)
        return self._carried_back(changes)

    def _carried_back(self, cotangents: list[Tensor]) -> Tensor:
        total: Tensor | None = None
        parts = zip(self._blocks, self._tapes, cotangents, strict=True)
        for (signals, block), tape, cotangent in parts:
            found = self._sweeps.carry_back(tape, block, cotangent)
            if total is None:
                total = found.new_zeros(len(self.counts), found.shape[1])
            total[signals] += found
        assert total is not None
        return self._sweeps.pull(total) / self.counts[:, None]


@dataclass(frozen=True)
class Prior:
    """What adds κ (φ − μ)ᵀ Λ (φ − μ) to the mean squared error.

    Parameters
    ----------
    precision : Tensor of shape (P, P)
        Λ.
    mean : Tensor of shape (P,) or None
        μ; None = 0.
    strength : Tensor of shape (B,)
        κ of each signal.
    """

    precision: Tensor
    mean: Tensor | None
    strength: Tensor

    def multiply(self, rows: Tensor) -> Tensor:
        """Return κ Λ times each row."""
        return (rows @ self.precision) * self.strength[:, None]

    def pull(self, latents: Tensor) -> Tensor:
        """Return κ Λ (φ − μ)."""
        return self.multiply(self._away(latents))

    def penalty(self, latents: Tensor) -> Tensor:
        """Return κ (φ − μ)ᵀ Λ (φ − μ)."""
        return (self.pull(latents) * self._away(latents)).sum(dim=1)

    def _away(self, latents: Tensor) -> Tensor:
        return latents if self.mean is None else latents - self.mean


def fitted_by_products(
    products: Products, prior: Prior, shared: Preconditioner, origin: Tensor, steps: int
) -> Tensor:
    """Return latents after the closed form and damped steps that lower each signal's objective.

    Parameters
    ----------
    products : Products
        Of the signals.
    prior : Prior
        Of their latents.
    shared : Preconditioner
        Of their coordinates.
    origin : Tensor of shape (B, P)
        φ = 0.
    steps : int
        Steps, of which the first is the closed form.
    """

    def at(latents: Tensor) -> Tensor:
        return products.move(latents) + prior.penalty(latents)

    before = at(origin)
    latents = _closed_form(products, prior, shared, origin)
    if steps == 1:
        return latents
    best = at(latents)
    for _ in range(SHORTENINGS):
        worse = ~(best < before)
        if not bool(worse.any()):
            break
        latents = torch.where(worse[:, None], SHORTEN * latents, latents)
        best = at(latents)
    worse = ~(best < before)
    if bool(worse.any()):
        latents = torch.where(worse[:, None], 0.0, latents)
        best = at(latents)
    damping = torch.full_like(best, FIRST_DAMPING)
    for step in range(1, steps):
        trial = latents + _change(products, prior, shared, latents, damping)
        objective = at(trial)
        better = objective < best
        latents = torch.where(better[:, None], trial, latents)
        best = torch.where(better, objective, best)
        damping = damping * torch.where(better, EASE, STIFFEN)
        if step < steps - 1 and not bool(better.all()):
            products.move(latents)
    return latents


def _closed_form(
    products: Products, prior: Prior, shared: Preconditioner, origin: Tensor
) -> Tensor:
    rhs = products.descent() - prior.pull(origin)
    if products.is_whole:
        return shared.precondition(rhs)

    def multiply(rows: Tensor) -> Tensor:
        return products.normal(rows) + prior.multiply(rows)

    return conjugate_gradients(multiply, shared.precondition, rhs, *_IN_CLOSED_FORM)


def _change(
    products: Products, prior: Prior, shared: Preconditioner, latents: Tensor, damping: Tensor
) -> Tensor:
    """Return the inexact solution of one damped Gauss–Newton step for each signal."""
    rhs = products.descent() - prior.pull(latents)
    diagonal = (damping * shared.scale)[:, None]

    def multiply(rows: Tensor) -> Tensor:
        return products.normal(rows) + prior.multiply(rows) + diagonal * rows

    return conjugate_gradients(multiply, shared.precondition, rhs, *_IN_STEP)
