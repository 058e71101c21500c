"""Closed form first, then damped Gauss–Newton steps that never make a signal worse."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.solvers.base import InnerSolver
from neurfield.learning.solvers.tangent import Tangent, solve_positive

_POINTS_AT_ONCE = 16_384  # points of a signal linearized at once; bounds memory on large grids
_FIRST_DAMPING = 1e-3  # relative to the mean diagonal of JᵀJ
_EASE, _STIFFEN = 0.2, 10.0
_SHORTENINGS, _SHORTEN = 6, 0.3
_PART = 0.25  # fraction missing from which on a learnt prior has its full weight, 1 + _WHOLE
_WHOLE = 0.5  # weight of a learnt prior on a signal observed as fully as the training signals


class LevenbergMarquardt(InnerSolver):
    """Minimise MSE(f(φ)) + κ (φ − μ)ᵀ Λ (φ − μ) for each signal.

    The first step is the closed-form fit of the tangent at φ = 0, shared by all signals on common
    coordinates; each further step solves the damped normal equations of one signal. A step that
    does not lower a signal's objective is taken back and tried again with more damping.
    κ, about reference count / observed count, keeps the prior's weight right when a signal has more
    or fewer observed values than the training signals had.

    Parameters
    ----------
    steps : int
        Number of steps; 1 is the closed form alone.
    precision : Tensor of shape (P, P)
        Prior precision Λ, in units of the mean squared error.
    reference_count : float
        Mean number of observed values in a training signal.
    mean : Tensor of shape (P,), optional
        Mean μ of the training latents, from whose covariance Λ is; None = 0, for a prior
        that only keeps the solve stable.

    References
    ----------
    Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963.
    """

    name: ClassVar[str] = "levenberg_marquardt"
    mean: Tensor | None = None  # also of solvers pickled before there was one

    def __init__(
        self, steps: int, precision: Tensor, reference_count: float, mean: Tensor | None = None
    ) -> None:
        self.steps, self.precision, self.reference_count = steps, precision, reference_count
        self.mean = mean

    def share(self, field: Field, context: Context) -> Tangent | None:
        if context.is_shared and context.n_points <= _POINTS_AT_ONCE:
            return Tangent.at_origin(field, context.coords)
        return None

    @torch.no_grad()
    def solve(self, field: Field, context: Context, shared: Tangent | None = None) -> Tensor:
        strength = self.strength(context)
        latents, best = self._closed_form(field, context, strength, shared)
        damping = torch.full_like(best, _FIRST_DAMPING)
        for _ in range(self.steps - 1):
            prior = strength[:, None, None] * self.precision
            trial = damped_step(field, context, latents, prior, damping, self.mean)
            objective = self._objective(field, context, trial, strength)
            better = objective < best
            latents = torch.where(better[:, None], trial, latents)
            best = torch.where(better, objective, best)
            damping = damping * torch.where(better, _EASE, _STIFFEN)
        return latents

    def strength(self, context: Context) -> Tensor:
        """Return κ for each signal, of shape (B,).

        What a field leaves of a signal is mostly what latents cannot express, and no independent
        noise. On a whole signal it is orthogonal to what they can express and misleads nothing, on
        a part of one it does: so a prior learnt from the training latents counts half on a whole
        signal, and one and a half where a quarter of it or more is missing.
        """
        observed = context.counts() / self.reference_count
        if self.mean is None:
            return 1.0 / observed
        missing = ((1.0 - observed) / _PART).clamp(0.0, 1.0)
        return (_WHOLE + missing) / observed

    def reparametrize(self, matrix: Tensor) -> None:
        """Follow a change of the latent's coordinates to ``matrix @ φ``."""
        double = matrix.double()
        half = torch.linalg.solve(double.T, self.precision.double())
        changed = torch.linalg.solve(double.T, half.T).T
        self.precision = ((changed + changed.T) / 2).to(self.precision.dtype)
        if self.mean is not None:
            self.mean = (double @ self.mean.double()).to(self.mean.dtype)

    def floats_per_point(self, field: Field) -> int:
        return field.out_dim * (field.modulation_size + 2 * field.latent_dim)

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "precision": self.precision,
            "reference_count": self.reference_count,
            "mean": self.mean,
        }

    def _closed_form(
        self, field: Field, context: Context, strength: Tensor, shared: Tangent | None
    ) -> tuple[Tensor, Tensor]:
        """Return the first latents and their objective; a step that overshoots is shortened."""
        origin = field.zero_latents(len(context))
        if shared is None:
            gram, rhs = normal_equations(field, context, origin)
            gram = gram + strength[:, None, None] * self.precision
            if self.mean is not None:
                rhs = rhs + strength[:, None] * (self.precision @ self.mean)
            latents = solve_positive(gram, rhs[..., None])[..., 0]
        else:
            same = context.weights is None
            latents = shared.solve(
                context, self.precision, float(strength[0]) if same else strength, self.mean
            )
        before = self._objective(field, context, origin, strength)
        after = self._objective(field, context, latents, strength)
        for _ in range(_SHORTENINGS):
            worse = torch.nonzero(~(after < before))[:, 0]
            if len(worse) == 0:
                break
            latents[worse] = _SHORTEN * latents[worse]
            part = context.of_signals(worse)
            after[worse] = self._objective(field, part, latents[worse], strength[worse])
        better = after < before
        return torch.where(better[:, None], latents, origin), torch.where(better, after, before)

    def _objective(
        self, field: Field, context: Context, latents: Tensor, strength: Tensor
    ) -> Tensor:
        away = latents if self.mean is None else latents - self.mean
        penalty = ((away @ self.precision) * away).sum(dim=1)
        error = torch.zeros_like(penalty)
        for index in _point_chunks(context):
            part = context if index is None else context.at_points(index)
            error = error + part.residual(field(part.coords, latents)).square().sum(dim=(1, 2))
        return error / context.counts() + strength * penalty


def damped_step(
    field: Field,
    context: Context,
    latents: Tensor,
    prior: Tensor,
    damping: Tensor | float,
    mean: Tensor | None = None,
) -> Tensor:
    """Take one damped Gauss–Newton step on MSE(f(φ)) + (φ − μ)ᵀ prior (φ − μ) for each signal.

    Ordinary tensor operations throughout, so a meta-gradient passes through it.

    Parameters
    ----------
    field : Field
    context : Context
    latents : Tensor of shape (B, P)
        Where the field is linearized.
    prior : Tensor of shape (P, P) or (B, P, P)
    damping : Tensor of shape (B,) or float
        Relative to the mean diagonal of each signal's JᵀWJ/n.
    mean : Tensor of shape (P,), optional
        Prior mean μ; None = 0.

    Returns
    -------
    Tensor of shape (B, P)
    """
    gram, descent = normal_equations(field, context, latents)
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    eye = torch.eye(field.latent_dim, dtype=latents.dtype, device=latents.device)
    matrix = gram + prior + (damping * scale)[:, None, None] * eye
    away = latents if mean is None else latents - mean
    rhs = descent - (prior @ away[..., None])[..., 0]
    return latents + solve_positive(matrix, rhs[..., None])[..., 0]


def normal_equations(field: Field, context: Context, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return JᵀWJ/n and JᵀW(y − f)/n, of shapes (B, P, P) and (B, P), at the given latents."""
    gram: Tensor | float = 0.0
    descent: Tensor | float = 0.0
    for index in _point_chunks(context):
        part = context if index is None else context.at_points(index)
        linearization = field.linearize(part.coords, latents)
        jacobian = linearization.jacobian().flatten(1, 2)
        residual = part.residual(linearization.values).flatten(1)
        weighted = jacobian
        if part.weights is not None:
            weighted = jacobian * part.weights.flatten(1)[..., None]
        gram = gram + weighted.transpose(1, 2) @ jacobian
        descent = descent + (residual[:, None] @ weighted)[:, 0]
    counts = context.counts()
    return gram / counts[:, None, None], descent / counts[:, None]


def _point_chunks(context: Context) -> list[Tensor] | list[None]:
    if context.n_points <= _POINTS_AT_ONCE:
        return [None]
    index = torch.arange(context.n_points, device=context.values.device)
    return list(index.split(_POINTS_AT_ONCE))
