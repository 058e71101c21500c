"""What the training signals say about latents before a signal is seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.augmentation import deform
from neurfield.learning.context import Context
from neurfield.learning.solvers import LevenbergMarquardt, Tangent
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import shrunk_covariance, sum_over_signals
from neurfield.memory import at_once

MOST_SIGNALS, MOST_POINTS = 4096, 4096
_ERROR_POINTS = 2**16  # on which errors of the full field are measured
_LEAST_NOISE = 1e-6  # of the variance of the values: latents that fit the training set exactly
_LEAST_VARIANCE = 1e-6  # of the greatest variance of a latent
_MOST_DEFORMATIONS = 16
_WIDER = 2.0  # deformations than in training, which they would slow down there


@dataclass(frozen=True)
class LatentPrior:
    """Gaussian of the training latents, and how much the field leaves unexplained.

    Parameters
    ----------
    mean : float64 array of shape (P,)
        Mean latent μ.
    covariance : float64 array of shape (P, P)
        Shrunk towards a multiple of the identity as far as the number of signals asks for.
    noise : float
        Variance σ² of a value around the field, in scaled units: the training signals' mean squared
        error.

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88, 2004, equation 14.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    @cached_property
    def precision(self) -> np.ndarray:
        """C⁻¹, of shape (P, P)."""
        return np.linalg.inv(self.covariance)

    def rotated(self, axes: np.ndarray) -> LatentPrior:
        """Return the prior of latents in terms of orthogonal axes, one a column of (P, P)."""
        return LatentPrior(axes.T @ self.mean, axes.T @ self.covariance @ axes, self.noise)

    def regularise(self, solver: LevenbergMarquardt) -> LevenbergMarquardt:
        """Return the solver whose objective is the posterior's negative logarithm.

        Σ (y − f)² / 2σ² + ½ (φ − μ)ᵀ C⁻¹ (φ − μ), divided by n / 2σ², is the mean squared error
        plus (N / n) (φ − μ)ᵀ Λ (φ − μ) with Λ = σ² C⁻¹ / N, for n observed values of the N that a
        training signal has; the solver tempers N / n.
        """
        precision = self.precision * (self.noise / solver.reference_count)
        return LevenbergMarquardt(
            solver.steps,
            torch.as_tensor(precision).to(solver.precision),
            solver.reference_count,
            torch.as_tensor(self.mean).to(solver.precision),
            solver.whole_count,
            solver.alone,
        )


@dataclass(frozen=True)
class PriorSample:
    """Training signals on common coordinates, with the tangent and their latents.

    Parameters
    ----------
    context : Context
        The signals, at the same points each.
    tangent : Tangent
        The field linearised at latent zero, at these points.
    latents : Tensor of shape (n, P)
        Closed-form fits.
    deformed : Tensor of shape (m, P), optional
        Closed-form fits of the signals after small deformations.
    effort : float in (0, 1], default=1.0
        Fraction of the usual points that there is time to evaluate the full field at.
    """

    context: Context
    tangent: Tangent
    latents: Tensor
    deformed: Tensor | None = None
    effort: float = 1.0

    @property
    def sample_weight(self) -> np.ndarray | None:
        """As how many signals each counts, in double precision; None = all once."""
        weight = self.context.sample_weight
        return None if weight is None else weight.double().cpu().numpy()

    def few(self) -> PriorSample:
        """Return as many of the signals as it takes to measure errors of the full field."""
        few = slice(error_signals(self.context.n_points, self.effort))
        return replace(self, context=self.context.of_signals(few), latents=self.latents[few])


@torch.no_grad()
def draw_sample(
    field: Field,
    solver: LevenbergMarquardt,
    store: ContextStore,
    augmentation: float,
    generator: torch.Generator,
    effort: float = 1.0,
) -> PriorSample:
    """Draw at most 4096 training signals at 4096 common points, and fit their tangent models.

    Where training saw deformed signals, so does the sample: a few signals do not show all the
    directions in which others will differ. 4096 signals in all do.

    Parameters
    ----------
    field : Field
        Trained; not changed.
    solver : LevenbergMarquardt
        Whose prior the fits have.
    store : ContextStore
        The training set.
    augmentation : float
        Strength of the deformations that training saw.
    generator : torch.Generator
        Source of the signals, points and deformations; a CPU generator.
    effort : float in (0, 1], default=1.0
        Fraction of these signals that there is time for.
    """
    most = max(2, math.ceil(effort * MOST_SIGNALS))
    if len(store.grids) == 1:  # gaps stay gaps
        positions = torch.randperm(len(store), generator=generator)[:most].numpy()
        context = store.batch(positions, MOST_POINTS, generator)
    else:
        context = store.aligned_sample(most, MOST_POINTS, generator)
    found = [
        _at_coords(field, solver, context, coords)
        for coords in _deformations(context, store, augmentation, most, generator)
    ]
    tangent = Tangent.at_origin(field, context.coords)
    return PriorSample(
        context,
        tangent,
        closed_form(tangent, context, solver),
        torch.cat(found) if found else None,
        effort,
    )


def _deformations(
    context: Context,
    store: ContextStore,
    augmentation: float,
    most: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    if not augmentation:
        return
    strength = min(1.0, _WIDER * augmentation)
    for _ in range(deformation_count(len(context), most)):
        yield deform(context.coords, store.finest_spacing, strength, generator)


def error_signals(n_points: int, effort: float = 1.0) -> int:
    """Return on how many signals errors of the full field are measured.

    Parameters
    ----------
    n_points : int
        Of each signal.
    effort : float in (0, 1], default=1.0
        Fraction of the usual points that there is time for.
    """
    return max(16, int(effort * _ERROR_POINTS) // n_points)


def deformation_count(n_signals: int, most: int = MOST_SIGNALS) -> int:
    """Return under how many deformations each signal of a sample is seen.

    Parameters
    ----------
    n_signals : int
        Signals of the sample, at least one.
    most : int, default=4096
        Signals in all.
    """
    return max(0, min(_MOST_DEFORMATIONS, most // n_signals - 1))


def _at_coords(
    field: Field, solver: LevenbergMarquardt, context: Context, coords: Tensor
) -> Tensor:
    moved = replace(context, coords=coords)
    return closed_form(Tangent.at_origin(field, coords), moved, solver)


def closed_form(tangent: Tangent, context: Context, solver: LevenbergMarquardt) -> Tensor:
    """Fit the tangent model to all signals, in blocks where each has gaps of its own."""
    if context.weights is None:
        strength = float(solver.strength(context.of_signals(slice(1))))
        return tangent.solve(context, solver.precision, strength, solver.mean)
    if (patterns := _channels_seen(context)) is not None:
        return _by_channels(tangent, context, solver, patterns)
    parts = [
        tangent.solve(part, solver.precision, solver.strength(part), solver.mean)
        for part in _blocks(context, len(solver.precision))
    ]
    return torch.cat(parts)


def _channels_seen(context: Context) -> Tensor | None:
    """Return the channels observed, of shape (n, c); None where one was in part, or none was."""
    assert context.weights is not None
    first = context.weights[:, :1]
    patterns = first[:, 0] > 0
    is_whole = bool((context.weights == first).all()) and bool(patterns.any(dim=1).all())
    return patterns if is_whole else None


def _by_channels(
    tangent: Tangent, context: Context, solver: LevenbergMarquardt, patterns: Tensor
) -> Tensor:
    """Fit signals with whole channels missing: those of the same ones share a system."""
    latents = context.values.new_empty(len(context), len(solver.precision))
    for pattern in patterns.unique(dim=0):
        rows = torch.nonzero((patterns == pattern).all(dim=1))[:, 0]
        strength = float(solver.strength(context.of_signals(rows[:1])))
        seen = Tangent(tangent.values[..., pattern], tangent.jacobian[:, :, pattern])
        part = Context(context.coords, context.values[rows][..., pattern])
        latents[rows] = seen.solve(part, solver.precision, strength, solver.mean)
    return latents


@torch.no_grad()
def estimate_prior(field: Field, sample: PriorSample) -> LatentPrior | None:
    """Estimate mean and covariance of the latents and the noise; None for less than two signals.

    Parameters
    ----------
    field : Field
        With which the latents of the sample were fitted.
    sample : PriorSample
        Training signals with their latents, as :func:`draw_sample` returns them.
    """
    if len(sample.latents) < 2:
        return None
    mean, covariance = gaussian_of_latents(sample)
    if not covariance.any():
        return None
    values = sample.context.values
    observed = values if sample.context.weights is None else values[sample.context.weights > 0]
    floor = _LEAST_NOISE * float(observed.double().var()) + 1e-12
    part = sample.few()
    left = residuals(field, part.context, part.latents)
    # No degrees of freedom are taken off: what latents cannot express is no noise that they fit,
    # and together they have the variance of the values.
    squares, counts = left.double().square().sum(dim=(1, 2)), part.context.counts().double()
    few = part.context.sample_weight
    mse = float(sum_over_signals(squares, few)) / float(sum_over_signals(counts, few))
    return LatentPrior(mean, covariance, max(mse, floor))


def gaussian_of_latents(sample: PriorSample) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of latents, those of deformed signals included.

    Parameters
    ----------
    sample : PriorSample
        Two signals or more, with their latents.

    Returns
    -------
    mean : float64 array of shape (P,)
        Mean latent μ.
    covariance : float64 array of shape (P, P)
        Covariance C, shrunk, and with a least variance in each direction; zero where latents agree.
    """
    known = [sample.latents] if sample.deformed is None else [sample.latents, sample.deformed]
    latents = torch.cat(known).double().cpu().numpy()
    weight = sample.sample_weight
    mean, shrunk = shrunk_covariance(
        latents, None if weight is None else np.tile(weight, len(latents) // len(weight))
    )
    variances, axes = np.linalg.eigh(shrunk)
    variances = np.maximum(variances, max(_LEAST_VARIANCE * variances[-1], 0.0))
    return mean, (axes * variances) @ axes.T


@torch.no_grad()
def residuals(field: Field, context: Context, latents: Tensor) -> Tensor:
    """Return what the full field leaves of the signals, of shape (n, N, c), block by block."""
    left, start = [], 0
    for part in _blocks(context, field.modulation_size):
        left.append(part.residual(field(part.coords, latents[start : start + len(part)])))
        start += len(part)
    return torch.cat(left)


def _blocks(context: Context, floats_per_point: int) -> Iterator[Context]:
    size = max(1, at_once("derivatives") // (floats_per_point * context.n_points))
    for start in range(0, len(context), size):
        yield context.of_signals(slice(start, start + size))
