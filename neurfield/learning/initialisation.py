"""A start from the data: the initial field is close to the best linear model its features allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from neurfield.fields.shifted import ShiftedSiren
from neurfield.learning.augmentation import deform
from neurfield.learning.context import Context
from neurfield.learning.footprint import Sizes
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import count_of, second_moment

_MOST_SIGNALS = 3000
_MOST_POINTS = 2048
_BANDWIDTH = 6.0  # Nyquist frequency of the grid over the highest frequency of the first layer
_OUTPUT_DAMPING, _MEAN_DAMPING = 1e-2, 1e-1  # relative to the mean square of the hidden features
_MEAN_STEPS = 8
_RIDGE = 1e-3  # relative to the mean square of the sensitivities
_PRIOR_SIGNALS = 15  # how many signals the smoothness prior counts as
_MODULATION_RMS = 0.01
_DEFORMATIONS = 7


@torch.no_grad()
def start_from_data(
    field: ShiftedSiren,
    store: ContextStore,
    output_norm: float,
    augmentation: float,
    generator: torch.Generator,
) -> None:
    """Set the weights so that f(x; 0) is the mean signal and ∂f/∂φ spans the signals' variation.

    In four steps, each in closed form or a few Gauss–Newton steps over the shifts:

    1. the first layer is slowed down, axis by axis, where it would oscillate near the grid's
       Nyquist frequency;
    2. the output weights point where the hidden features are weak, so that a large sensitivity to
       the shifts does not come with a large f(x; 0), plus what brings f(x; 0) to the mean signal;
    3. the shift biases take up what is left of the mean signal;
    4. the modulation S is the reduced-rank regression of the training signals on the sensitivities
       to the shifts: the rank-P tangent model that the random features allow. Where the latent is a
       vector for each place, each place's share of a signal counts as a signal.

    Parameters
    ----------
    field : ShiftedSiren
        Freshly initialised; changed in place.
    store : ContextStore
        The training set, of which a sample on common points is used.
    output_norm : float
        Norm of each channel's output weights before the mean is fitted. The larger it is, the less
        the latents have to move the hidden layers, and the closer the field stays to its tangent.
    augmentation : float
        Strength of the random deformations under which S should span the signals' variation too.
    generator : torch.Generator
        Source of the sample and of the deformations; a CPU generator.
    """
    limit_bandwidth(field, store.finest_spacing)
    sample = store.aligned_sample(_MOST_SIGNALS, _MOST_POINTS, generator)
    mean = sample.average(sample.values)
    _aim_output(field, sample.coords, mean, output_norm)
    _fit_mean(field, sample.coords, mean)
    contexts = [sample]
    if augmentation:
        for _ in range(_DEFORMATIONS):
            coords = deform(sample.coords, store.finest_spacing, augmentation, generator)
            contexts.append(replace(sample, coords=coords))
    _regress_modulation(field, contexts, generator)


def footprint_of_start(field: ShiftedSiren, store: ContextStore, deforms: bool) -> float:
    """Return about how many bytes :func:`start_from_data` has in use at its peak.

    Parameters
    ----------
    field : ShiftedSiren
        Whose sizes count.
    store : ContextStore
        Training signals.
    deforms : bool
        Whether signals are deformed.
    """
    sizes, n_contexts = Sizes.of(field, store), 1 + (_DEFORMATIONS if deforms else 0)
    n_signals = min(sizes.n_signals, _MOST_SIGNALS)
    n_points = min(sizes.n_points, _MOST_POINTS)
    n_values = n_signals * n_points * sizes.n_channels
    sensitivities = 8 / sizes.n_bytes * n_contexts * sizes.sensitivity(n_points)
    # Beside those of all contexts: the next one's, layer by layer and joined, or its values and
    # what they are multiplied with, or the coefficients of all and once more joined.
    coefficients = 8 * n_contexts * n_signals * field.latent_parts * sizes.n_shifts
    next_one = 2 * sizes.sensitivity(n_points) + sizes.tape(n_points)
    product = (8 + 2 * sizes.n_bytes) * n_values + 8 / sizes.n_bytes * sizes.sensitivity(n_points)
    squares = 5 * 8 * sizes.n_shifts**2
    regression = sensitivities + squares + max(next_one, product + coefficients, 2 * coefficients)
    return max(sizes.batch(n_values), n_values * sizes.n_bytes + regression)


def limit_bandwidth(field: ShiftedSiren, spacing: Tensor) -> None:
    """Slow the first layer down where it is fast for the grid.

    Parameters
    ----------
    field : ShiftedSiren
        The weights of its first layer are scaled in place, axis by axis.
    spacing : Tensor of shape (d,)
        Finest distance of neighbouring grid points along each axis, in normalised coordinates.
    """
    highest = field.omegas[0] / field.in_dim
    allowed = math.pi / field.seen_spacing(spacing) / _BANDWIDTH
    factor = (allowed / highest).clamp_max(1.0).to(field.layers[0].weight)
    field.layers[0].weight.mul_(factor)


def _aim_output(field: ShiftedSiren, coords: Tensor, mean: Tensor, output_norm: float) -> None:
    hidden = field.hidden(coords, field.zero_latents(1))[0].double()
    features = torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)
    gram = features.T @ features / len(features)
    scale = float(gram.diagonal().mean())
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    random = torch.nn.functional.pad(field.output.weight.double(), (0, 1)).T
    weights = torch.linalg.solve(gram + _OUTPUT_DAMPING * scale * eye, random)
    weights = weights * (output_norm / weights[:-1].norm(dim=0))
    missing = mean.double() - 0.5 - features @ weights
    correction = features.T @ missing / len(features)
    weights = weights + torch.linalg.solve(gram + _MEAN_DAMPING * scale * eye, correction)
    field.output.weight.copy_(weights[:-1].T)
    field.output.bias.copy_(weights[-1])


def _fit_mean(field: ShiftedSiren, coords: Tensor, mean: Tensor) -> None:
    """Levenberg–Marquardt on the shift biases alone."""
    origin, damping = field.zero_latents(1), 1e-3
    bias = field.modulation.bias
    linearization = field.linearize(coords, origin)
    error = (mean - linearization.values[0]).square().mean()
    for _ in range(_MEAN_STEPS):
        residual = (mean - linearization.values[0]).flatten().double()
        sensitivity = linearization.sensitivity()[0].flatten(0, 1).double()
        gram = sensitivity.T @ sensitivity / len(residual)
        gram.diagonal().add_(damping * gram.diagonal().mean())
        step = torch.linalg.solve(gram, sensitivity.T @ residual / len(residual))
        before = bias.clone()
        bias.add_(step.to(bias.dtype))
        trial = field.linearize(coords, origin)
        trial_error = (mean - trial.values[0]).square().mean()
        if trial_error < error:
            linearization, error, damping = trial, trial_error, max(damping / 5, 1e-6)
        else:
            bias.copy_(before)
            damping *= 10


def _regress_modulation(
    field: ShiftedSiren, contexts: Sequence[Context], generator: torch.Generator
) -> None:
    """Set S to the ridged reduced-rank regression of the signals on the sensitivities.

    With few signals, a prior that favours what the features express easily stands in for the
    covariance that they cannot show.
    """
    sensitivities, origins = [], []
    n_signals = max(1, _MOST_SIGNALS // field.latent_parts)
    seen = [context.of_signals(slice(n_signals)) for context in contexts]
    for context in seen:
        linearization = field.linearize(context.coords, field.zero_latents(1))
        sensitivities.append(linearization.sensitivity()[0].flatten(0, 1).double())
        origins.append(linearization.values)
    n_values = sum(len(sensitivity) for sensitivity in sensitivities)
    power, axes = torch.linalg.eigh(sum(s.T @ s for s in sensitivities) / n_values)
    kept = power > power[-1] * 1e-9
    power, axes = power[kept], axes[:, kept]
    ridge = _RIDGE * power.mean()
    whitening = axes / (power + ridge).sqrt()
    coefficients = torch.cat(
        [
            field.shares(c.coords, c.values - f).flatten(1).double() @ (s @ whitening) / len(s)
            for c, f, s in zip(seen, origins, sensitivities, strict=True)
        ]
    )
    weight = seen[0].sample_weight
    if weight is not None:  # of each vector of each signal, under each deformation
        weight = weight.repeat_interleave(field.latent_parts).repeat(len(seen))
    covariance = second_moment(coefficients, weight)
    prior = power.square() / (power + ridge)
    prior = prior * (covariance.trace() / prior.sum())
    n_seen = count_of(len(contexts[0]), contexts[0].sample_weight)
    blend = min(0.5, _PRIOR_SIGNALS / n_seen)
    _, directions = torch.linalg.eigh((1 - blend) * covariance + blend * torch.diag(prior))
    length = field.latent_dim // field.latent_parts
    modulation = whitening @ directions.flip(1)[:, :length]
    missing = length - modulation.shape[1]
    if missing > 0:  # more latents than directions: the rest starts at random
        shape = (len(modulation), missing)
        random = torch.randn(*shape, dtype=modulation.dtype, generator=generator)
        random = random.to(modulation.device) * modulation.square().mean().sqrt()
        modulation = torch.cat([modulation, random], dim=1)
    modulation = modulation * (_MODULATION_RMS / modulation.square().mean().sqrt())
    field.set_shift_weight(modulation)
