"""How sure decoded values are: the Gauss–Newton posterior of the latents, through the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.canonical import principal_axes
from neurfield.learning.context import Context
from neurfield.learning.prior import (
    LatentPrior,
    PriorSample,
    closed_form,
    draw_sample,
    estimate_prior,
    residuals,
)
from neurfield.learning.solvers import LevenbergMarquardt, Tangent, normal_equations
from neurfield.learning.store import ContextStore
from neurfield.signals import CoordinateFrame, Signals

if TYPE_CHECKING:
    from neurfield.codec import Codec

Axes = tuple[np.ndarray, ...]

_LEVEL = 0.9  # two-sided level at which the intervals are calibrated
_NODES = 8192  # of the map of the noise
_NODE_WEIGHT = 5.0  # signals that the mean noise counts as at each node
_KEPT = (0.25, 0.5)  # fractions of points kept in calibration, drawn at random
_HOLE = 0.3  # fraction of points hidden in one piece
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Observations:
    """Where the signals of one ``transform`` were observed.

    Parameters
    ----------
    places : dict of bytes to int
        Which signal each latent, by its float32 bytes, belongs to.
    axes : sequence of tuples of d arrays
        Grid of each group, in the caller's units.
    group : int array of shape (n,)
        Which group each signal stands on.
    masks : sequence of n uint8 arrays or None
        One bit per value: whether it was observed; None = all of them.
    misfit : array of shape (n,)
        Σ r²/v over the observed values, r the residual and v the noise's variance.
    """

    places: dict[bytes, int]
    axes: Sequence[Axes]
    group: np.ndarray
    masks: Sequence[np.ndarray | None]
    misfit: np.ndarray


@dataclass
class Posterior:
    """Gaussian of a signal's latent given its observed values, and of a value given both.

    With J = ∂f/∂φ at the latent, over the observed values alone, the latent's covariance is
    Σ = (JᵀJ/σ² + C⁻¹)⁻¹, and a value at another point has variance s²ρ (v + J* Σ J*ᵀ). The variance
    v of the noise depends on the position; ρ is the signal's own noise level relative to the
    training signals', estimated from its residual; s makes ±1.645 standard deviations hold 90 % of
    the values hidden from training signals.

    Parameters
    ----------
    prior : LatentPrior
        μ, C and σ².
    axes : tuple of d arrays
        Grid of fit in the caller's units, on which latents of unknown origin count as observed.
    noise : array of shape (*nodes, c)
        v, in scaled units, on an even grid of nodes from `lower` to `upper`.
    lower, upper : arrays of shape (d,)
        Extent of the nodes in normalised coordinates.
    scale : float
        s.
    level_weight : float
        How many observed values the expectation ρ = 1 counts as.

    References
    ----------
    MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 4,
    1992 (Gaussian posterior from the Gauss–Newton Hessian).
    """

    prior: LatentPrior
    axes: Axes
    noise: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    scale: float = 1.0
    level_weight: float = 100.0
    latest: Observations | None = field(default=None, repr=False, compare=False)

    def variance(self, coords: np.ndarray) -> np.ndarray:
        """Return v at normalised coordinates: (..., d) to (..., c)."""
        sizes = np.array(self.noise.shape[:-1])
        width = np.where(self.upper > self.lower, self.upper - self.lower, 1.0)
        places = np.moveaxis((coords - self.lower) / width * (sizes - 1), -1, 0)
        channels = np.moveaxis(self.noise, -1, 0)
        return np.stack(
            [map_coordinates(v, places, order=1, mode="nearest") for v in channels], axis=-1
        )

    def std(self, codec: Codec, latents: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the standard deviation of values at points.

        Parameters
        ----------
        codec : Codec
        latents : array of shape (n, P)
        points : array of shape (M, d)
            In the caller's units.

        Returns
        -------
        float32 array of shape (n, M, c), in the caller's units
        """
        latest = self.latest
        coords = codec.frame.normalise(points)
        noise = self.variance(coords)
        result = np.empty((len(latents), len(points), noise.shape[-1]), dtype=np.float32)
        for i, latent in enumerate(latents):
            code = torch.as_tensor(latent[None], dtype=codec.dtype, device=codec.device)
            context, misfit = self._observed(codec, latest, _key(latent))
            covariance, leverage = self._latent_covariance(codec.field, context, code)
            level = 1.0
            if misfit is not None:
                free = float(context.counts()[0]) - leverage
                level = (self.level_weight + misfit) / (self.level_weight + max(free, 0.0))
            root = torch.linalg.cholesky(covariance).to(codec.dtype)
            for index in _chunks(len(coords), codec):
                where = torch.as_tensor(coords[index], dtype=codec.dtype, device=codec.device)
                with torch.no_grad():
                    jacobian = codec.field.linearize(where, code).jacobian()[0]
                    spread = (jacobian @ root).square().sum(dim=-1).double().cpu().numpy()
                total = self.scale**2 * level * (noise[index] + spread)
                result[i, index] = np.sqrt(total) * codec.scaler.scale
        return result

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers from which :meth:`from_state` rebuilds it.

        Where the latest signals were observed is left out.
        """
        return {
            "mean": self.prior.mean,
            "covariance": self.prior.covariance,
            "noise_level": self.prior.noise,
            "noise": self.noise,
            "lower": self.lower,
            "upper": self.upper,
            "scale": self.scale,
            "level_weight": self.level_weight,
            **{f"axis_{i}": axis for i, axis in enumerate(self.axes)},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Posterior:
        """Rebuild what :meth:`state` described."""
        prior = LatentPrior(state["mean"], state["covariance"], state["noise_level"])
        axes = tuple(state[f"axis_{i}"] for i in range(len(state["lower"])))
        rest = ("noise", "lower", "upper", "scale", "level_weight")
        return cls(prior, axes, **{name: state[name] for name in rest})

    def _observed(
        self, codec: Codec, latest: Observations | None, key: bytes
    ) -> tuple[Context, float | None]:
        """Return where a latent's signal was observed, and its misfit if that is known."""
        place = None if latest is None else latest.places.get(key)
        if latest is None or place is None:
            coords = _grid(codec, self.axes)
            values = coords.new_zeros(1, len(coords), codec.field.out_dim)
            return Context(coords, values), None
        coords = _grid(codec, latest.axes[latest.group[place]])
        values = coords.new_zeros(1, len(coords), codec.field.out_dim)
        mask = latest.masks[place]
        if mask is None:
            return Context(coords, values), float(latest.misfit[place])
        bits = np.unpackbits(mask, count=values.numel()).reshape(values.shape)
        seen = bits[0].any(axis=-1)
        keep = torch.as_tensor(np.flatnonzero(seen), device=coords.device)
        weights = torch.as_tensor(bits[:, seen]).to(values)
        return Context(coords[keep], values[:, keep], weights), float(latest.misfit[place])

    def _latent_covariance(
        self, network: Field, context: Context, latents: Tensor
    ) -> tuple[Tensor, float]:
        """Return Σ, of shape (P, P), and how many observed values the latent takes up."""
        with torch.no_grad():
            gram, _ = normal_equations(network, context, latents)
        gram = gram[0].double() * (float(context.counts()[0]) / self.prior.noise)
        precision = torch.as_tensor(self.prior.precision, device=gram.device)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(gram + precision))
        return covariance, len(gram) - float((covariance * precision).sum())


class Recorder:
    """Notes, block by block, where signals are observed and how well they are fitted.

    Parameters
    ----------
    posterior : Posterior
    codec : Codec
    signals : Signals
        What is being encoded.
    """

    def __init__(self, posterior: Posterior, codec: Codec, signals: Signals) -> None:
        self.posterior, self.codec = posterior, codec
        self.axes = [group.axes for group in signals.groups]
        self.group = np.empty(len(signals), dtype=np.int64)
        for g, group in enumerate(signals.groups):
            self.group[group.positions] = g
        self.masks: dict[int, np.ndarray | None] = {}
        self.misfit = np.full(len(signals), np.nan)

    def visit(self, positions: np.ndarray, context: Context, latents: Tensor) -> None:
        """Take note of one block of signals and the latents found for them."""
        if context.weights is None and self._is_whole(int(self.group[positions[0]])):
            return  # what is not noted counts as observed on the whole grid of fit
        noise = self.posterior.variance(context.coords.double().cpu().numpy())
        weight = torch.as_tensor(1.0 / noise).to(context.values)
        with torch.no_grad():
            residual = context.residual(self.codec.field(context.coords, latents))
        self.misfit[positions] = (residual.square() * weight).sum(dim=(1, 2)).cpu().numpy()
        for row, position in enumerate(positions):
            self.masks[int(position)] = None
            if context.weights is not None:
                n_points = int(np.prod([len(axis) for axis in self.axes[self.group[position]]]))
                seen = context.weights[row, :n_points].cpu().numpy() > 0  # the rest is padding
                self.masks[int(position)] = None if seen.all() else np.packbits(seen)

    def finish(self, latents: np.ndarray) -> None:
        """Hand over what was noted, under the latents as they are handed out."""
        noted = sorted(self.masks)
        self.posterior.latest = Observations(
            places={_key(latents[position]): i for i, position in enumerate(noted)},
            axes=self.axes,
            group=self.group[noted],
            masks=[self.masks[position] for position in noted],
            misfit=self.misfit[noted],
        )

    def _is_whole(self, group: int) -> bool:
        pairs = zip(self.axes[group], self.posterior.axes, strict=True)
        return all(len(a) == len(b) and np.allclose(a, b) for a, b in pairs)


def with_posterior(
    network: Field,
    solver: LevenbergMarquardt,
    store: ContextStore,
    frame: CoordinateFrame,
    axes: Axes,
    augmentation: float,
    generator: torch.Generator,
) -> tuple[LevenbergMarquardt, Posterior | None]:
    """Give a solver the training latents as its prior, and calibrate the posterior that follows.

    Parameters
    ----------
    network : Field
        Its latents are turned to their principal axes, in place.
    solver : LevenbergMarquardt
    store : ContextStore
        The training set, of which at most 4096 signals are used.
    frame : CoordinateFrame
    axes : tuple of d arrays
        Grid of fit, in the caller's units.
    augmentation : float
        Strength of the deformations that training saw.
    generator : torch.Generator

    Returns
    -------
    LevenbergMarquardt, Posterior or None
        The solver as it was and None, where there are too few signals to tell.
    """
    sample = draw_sample(network, solver, store, augmentation, generator)
    prior = estimate_prior(network, sample)
    if prior is None:
        return solver, None
    solver = prior.regularise(solver)
    # The prior has changed what latents are found, so their principal axes have turned a little.
    latents = closed_form(sample.tangent, sample.context, solver).double()
    jacobian = sample.tangent.jacobian
    effects = jacobian.flatten(0, 2).double()
    axes_of_latents = principal_axes(latents, effects, network.latent_parts)
    network.reparametrize(axes_of_latents.T)
    solver.reparametrize(axes_of_latents.T)
    prior = prior.rotated(axes_of_latents.cpu().numpy())
    turn = axes_of_latents.to(jacobian.dtype)
    sample = PriorSample(
        sample.context, Tangent(sample.tangent.values, jacobian @ turn), latents.to(turn) @ turn
    )
    ends = [np.array([edge(axis) for axis in axes]) for edge in (np.min, np.max)]
    lower, upper = (frame.normalise(end) for end in ends)
    posterior = Posterior(prior, axes, np.zeros(()), lower, upper)
    _calibrate(posterior, network, solver, sample.few(), generator)
    return solver, posterior


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
    levels = np.concatenate([misfit / np.maximum(free, 1.0) for misfit, free, _, _ in trials])
    posterior.level_weight = float(np.clip(2.0 / max(levels.var(), 1e-3), 2.0, 1e3))
    quantiles = []
    for misfit, free, error, variance in trials:
        weight = posterior.level_weight
        level = (weight + misfit) / (weight + np.maximum(free, 0.0))
        score = np.abs(error) / np.sqrt(level[:, None, None] * variance)
        quantiles.append(np.nanquantile(score, _LEVEL))
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
    total, count = squared.sum(dim=0).cpu().numpy(), seen.sum(dim=0).cpu().numpy()
    # So that the mean over all values is σ².
    total *= prior.noise * count.sum() / max(total.sum(), 1e-300)
    noise = np.empty((int(np.prod(sizes)), total.shape[-1]))
    for channel in range(total.shape[-1]):
        sums = np.bincount(node, total[:, channel], minlength=len(noise))
        counts = np.bincount(node, count[:, channel], minlength=len(noise))
        noise[:, channel] = (sums + _NODE_WEIGHT * prior.noise) / (counts + _NODE_WEIGHT)
    return noise.reshape(*sizes, -1)


def _key(latent: np.ndarray) -> bytes:
    return np.asarray(latent, dtype=np.float32).tobytes()


def _grid(codec: Codec, axes: Axes) -> Tensor:
    return torch.as_tensor(codec.frame.grid(axes), dtype=codec.dtype, device=codec.device)


def _chunks(n_points: int, codec: Codec) -> Iterator[slice]:
    floats = codec.field.out_dim * (codec.field.modulation_size + 2 * codec.field.latent_dim)
    size = max(1, _NUMBERS_AT_ONCE // floats)
    for start in range(0, n_points, size):
        yield slice(start, start + size)
