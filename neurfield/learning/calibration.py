"""The posterior of a finished field: its prior from the training latents, and its calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.canonical import principal_axes
from neurfield.learning.channels_alone import factorisations_of_weights, weights_alone
from neurfield.learning.footprint import Sizes
from neurfield.learning.posterior import Posterior
from neurfield.learning.prior import (
    MOST_POINTS,
    MOST_SIGNALS,
    PriorSample,
    closed_form,
    deformation_count,
    draw_sample,
    error_signals,
    estimate_prior,
    residuals,
)
from neurfield.learning.solvers import LevenbergMarquardt, Tangent
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import quantile
from neurfield.memory import at_once

# How often each kind of work is done on the way, in terms of multiplications.
_GRAMS, _COVARIANCES, _FACTORISATIONS, _READING, _EVALUATIONS = 12, 4, 60, 200, 8
_LEVEL = 0.9  # two-sided level at which the intervals are calibrated
_NODES = 8192  # of the map of the noise
_NODE_WEIGHT = 5.0  # signals that the mean noise counts as at each node
_KEPT = (0.25, 0.5)  # fractions of points kept in calibration, drawn at random
_HOLE = 0.3  # fraction of points hidden in one piece


def with_posterior(
    network: Field,
    solver: LevenbergMarquardt,
    store: ContextStore,
    augmentation: float,
    generator: torch.Generator,
    effort: float = 1.0,
) -> tuple[LevenbergMarquardt, Posterior | None]:
    """Give a solver the training latents as its prior, and calibrate the posterior that follows.

    Parameters
    ----------
    network : Field
        Its latents are turned to their principal axes, in place, where it can do that.
    solver : LevenbergMarquardt
        Without a prior of the training latents yet; not changed.
    store : ContextStore
        The training set, of which at most 4096 signals are used.
    augmentation : float
        Strength of the deformations that training saw; 0 = none.
    generator : torch.Generator
        Source of the signals, points and deformations of a sample, and of the points that
        calibration hides; a CPU generator.
    effort : float in (0, 1], default=1.0
        Fraction of these signals that there is time for.

    Returns
    -------
    solver : LevenbergMarquardt
        With the prior, for latents as they now are; the solver that was given where there are less
        than two signals, or all have one latent.
    posterior : Posterior or None
        Calibrated on points hidden from the training signals; None in these cases.
    """
    sample = draw_sample(network, solver, store, augmentation, generator, effort)
    prior = estimate_prior(network, sample)
    if prior is None:
        return solver, None
    solver = prior.regularise(solver)
    solver.alone = weights_alone(sample, prior.noise)
    latents = closed_form(sample.tangent, sample.context, solver).double()
    sample = replace(sample, latents=latents.to(sample.latents), deformed=None)
    if network.can_reparametrize:
        # The prior has changed what latents are found: their principal axes turned a little.
        jacobian = sample.tangent.jacobian
        turn = principal_axes(
            latents,
            jacobian.flatten(0, 2).double(),
            network.latent_parts,
            sample.context.sample_weight,
        )
        network.reparametrize(turn.T)
        solver.reparametrize(turn.T)
        prior = prior.rotated(turn.cpu().numpy())
        turn = turn.to(jacobian.dtype)
        tangent = Tangent(sample.tangent.values, jacobian @ turn)
        sample = replace(sample, tangent=tangent, latents=sample.latents @ turn)
    axes = store.usual_axes
    ends = [np.array([edge(axis) for axis in axes]) for edge in (np.min, np.max)]
    lower, upper = (store.units.coordinates(end) for end in ends)
    posterior = Posterior(prior, axes, np.zeros(()), lower, upper)
    _calibrate(posterior, network, solver, sample.few(), generator)
    return solver, posterior


def operations_of_posterior(network: Field, store: ContextStore) -> float:
    """Return about how many multiplications it takes to end a fit, canonical coordinates included.

    Products with a Jacobian in double precision, of all sampled points or of all sampled latents,
    factorisations, and evaluations of the full field. Reading a value counts as some of them.

    Parameters
    ----------
    network : Field
        Whose sizes count.
    store : ContextStore
        The training set.
    """
    n_signals = min(len(store), MOST_SIGNALS)
    n_points = min(int(store.points_per_signal.max()), MOST_POINTS)
    n_values = n_points * network.out_dim
    n_evaluated = min(n_signals, error_signals(n_points)) * n_points
    n_fits, n_latents = n_signals * (1 + deformation_count(n_signals)), network.latent_dim
    factorisations = _FACTORISATIONS + factorisations_of_weights(network.out_dim)
    return (
        _GRAMS * n_values * n_latents**2
        + _COVARIANCES * n_fits * n_latents**2
        + factorisations * n_latents**3
        + n_fits * n_values * (n_latents + _READING)
        + _EVALUATIONS * n_evaluated * network.modulation_size * network.hidden_dim
    )


def footprint_of_posterior(network: Field, store: ContextStore) -> float:
    """Return about how many bytes are in use at the peak of what ends a fit.

    Parameters
    ----------
    network : Field
        Whose sizes count.
    store : ContextStore
        The training set.
    """
    sizes = Sizes.of(network, store)
    n_signals, n_points = min(sizes.n_signals, MOST_SIGNALS), min(sizes.n_points, MOST_POINTS)
    n_values = n_signals * n_points * sizes.n_channels
    n_fits = n_signals * (1 + deformation_count(n_signals))
    # Canonical coordinates are of all points of the grids, up to twice as many as of the sample.
    canonical = sizes.tangent(min(sizes.n_points, 2 * MOST_POINTS))
    fits = sizes.tangent(n_points) + sizes.jacobian(n_points) + n_values * sizes.n_bytes
    if sizes.has_gaps:  # Jacobians and systems of a block of signals, each with its own gaps
        one = sizes.jacobian(n_points) + sizes.square(sizes.n_bytes)
        block = max(1, at_once("derivatives") // (sizes.n_latents * n_points))
        fits += 2 * min(block, n_signals) * one
    double = 8 / sizes.n_bytes
    turns = (1 + 2 * double) * sizes.jacobian(n_points)
    # Errors of the full field: a few arrays as large as a layer's activations.
    layers = 5 * sizes.width * max(at_once("derivatives") / sizes.n_shifts, n_points)
    errors = sizes.jacobian(n_points) + min(layers, 5 * sizes.width * n_signals * n_points) * (
        sizes.n_bytes
    )
    trials = (2 + 3 * double) * sizes.jacobian(n_points)
    of_latents = n_fits * sizes.n_latents * (2 * sizes.n_bytes + 16)
    kept = n_values * sizes.n_bytes * (2 if sizes.has_gaps else 1) + of_latents
    largest = max(canonical, fits, turns, errors, trials, 8 * n_values)
    return max(sizes.batch(n_values), kept + largest) + 8 * sizes.square()


def _calibrate(
    posterior: Posterior,
    network: Field,
    solver: LevenbergMarquardt,
    sample: PriorSample,
    generator: torch.Generator,
) -> None:
    posterior.noise = _noise_map(network, posterior, sample)
    trials = [_trial(network, solver, posterior, sample, m) for m in _hidden(sample, generator)]
    trials = [trial for trial in trials if np.isfinite(trial[2]).any()]
    if not trials:
        return  # a single point: nothing can be hidden while something is seen
    counts = sample.sample_weight
    levels = np.stack([misfit / np.maximum(free, 1.0) for misfit, free, _, _ in trials])
    every = None if counts is None else np.broadcast_to(counts, levels.shape)
    spread = np.average(np.square(levels - np.average(levels, weights=every)), weights=every)
    posterior.level_weight = float(np.clip(2.0 / max(spread, 1e-3), 2.0, 1e3))
    quantiles = []
    for misfit, free, error, variance in trials:
        believed = posterior.level_weight
        level = (believed + misfit) / (believed + np.maximum(free, 0.0))
        score = np.abs(error) / np.sqrt(level[:, None, None] * variance)
        quantiles.append(quantile(score, _LEVEL, counts))
    # Each way of hiding values counts the same, however many it hides.
    posterior.scale = float(np.mean(quantiles) / NormalDist().inv_cdf((1 + _LEVEL) / 2))


def _trial(
    network: Field,
    solver: LevenbergMarquardt,
    posterior: Posterior,
    sample: PriorSample,
    hidden: Tensor,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit signals to a part of their points: misfit and its expectation there, errors elsewhere."""
    everything = torch.ones(sample.context.n_points, dtype=torch.bool, device=hidden.device)
    everything[hidden] = False
    kept = torch.nonzero(everything)[:, 0]
    part = sample.context.at_points(kept)
    tangent = Tangent(sample.tangent.values[:, kept], sample.tangent.jacobian[:, kept])
    latents = closed_form(tangent, part, solver)
    left = residuals(network, part, latents).double().cpu().numpy()
    coords = sample.context.coords.double().cpu().numpy()
    noise = posterior.variance(coords)
    misfit = (left**2 / noise[kept.cpu().numpy()]).sum(axis=(1, 2))
    seen = tangent.jacobian[0].flatten(0, 1).double()
    gram = seen.T @ seen / posterior.prior.noise
    precision = torch.as_tensor(posterior.prior.precision, device=gram.device)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(gram + precision))
    taken = len(gram) - float((covariance * precision).sum())
    free = part.counts().double().cpu().numpy() - taken
    aside = sample.context.at_points(hidden)
    jacobian = sample.tangent.jacobian[0, hidden].double()
    spread = ((jacobian @ covariance) * jacobian).sum(dim=-1).cpu().numpy()
    error = residuals(network, aside, latents).double().cpu().numpy()
    if aside.weights is not None:
        error = np.where(aside.weights.cpu().numpy() > 0, error, np.nan)
    return misfit, free, error, (noise[hidden.cpu().numpy()] + spread)[None]


def _hidden(sample: PriorSample, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield points to hide: scattered, and in one piece."""
    coords = sample.context.coords
    n_points = len(coords)
    if n_points < 2:
        return
    for kept in _KEPT:
        order = torch.randperm(n_points, generator=generator).to(coords.device)
        yield order[min(max(1, round(kept * n_points)), n_points - 1) :]
    for _ in range(2):
        centre = coords[int(torch.randint(n_points, (1,), generator=generator))]
        distance = (coords - centre).square().sum(dim=-1)
        yield distance.argsort()[: max(1, round(_HOLE * n_points))]


def _noise_map(network: Field, posterior: Posterior, sample: PriorSample) -> np.ndarray:
    """Average squared residuals around the nodes of an even grid, of shape (*sizes, c)."""
    lower, upper, prior = posterior.lower, posterior.upper, posterior.prior
    lengths = [len(axis) for axis in posterior.axes]
    shrink = min(1.0, (_NODES / np.prod(lengths)) ** (1 / len(lengths)))
    sizes = np.array([max(1, int(length * shrink)) for length in lengths])
    coords = sample.context.coords.double().cpu().numpy()
    width = np.where(upper > lower, upper - lower, 1.0)
    nearest = np.rint((coords - lower) / width * (sizes - 1)).astype(int).clip(0, sizes - 1)
    node = np.ravel_multi_index(tuple(nearest.T), tuple(sizes))
    squared = residuals(network, sample.context, sample.latents).double().square()
    weights = sample.context.weights
    seen = torch.ones_like(squared) if weights is None else weights.double()
    if (weight := sample.context.sample_weight) is not None:
        squared, seen = (numbers * weight[:, None, None] for numbers in (squared, seen))
    total, count = squared.sum(dim=0).cpu().numpy(), seen.sum(dim=0).cpu().numpy()
    # So that the mean over all values is σ².
    total *= prior.noise * count.sum() / max(total.sum(), 1e-300)
    noise = np.empty((int(np.prod(sizes)), total.shape[-1]))
    for channel in range(total.shape[-1]):
        sums = np.bincount(node, total[:, channel], minlength=len(noise))
        counts = np.bincount(node, count[:, channel], minlength=len(noise))
        noise[:, channel] = (sums + _NODE_WEIGHT * prior.noise) / (counts + _NODE_WEIGHT)
    return noise.reshape(*sizes, -1)
