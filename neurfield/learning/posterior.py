"""How sure decoded values are: the Gauss–Newton posterior of the latents, through the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.prior import LatentPrior
from neurfield.learning.solvers import normal_equations
from neurfield.memory import at_once
from neurfield.signals import Units

Axes = tuple[np.ndarray, ...]


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
        μ, C and σ², of the training latents and of the values around the field.
    axes : tuple of d arrays
        Grid of fit in the caller's units, on which a signal counts as observed unless it is given.
    noise : array of shape (*nodes, c)
        v, in squared scaled units, on an even grid of nodes from `lower` to `upper`.
    lower, upper : arrays of shape (d,)
        Extent of the nodes in normalised coordinates.
    scale : float, default=1.0
        s, from calibration; 1 where nothing could be hidden.
    level_weight : float, default=100.0
        How many observed values the expectation ρ = 1 counts as.
    mixture : SignalMixture, optional
        What signals are like that are measured through operators, where it could be learnt.

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
    mixture: SignalMixture | None = None

    def variance(self, coords: np.ndarray) -> np.ndarray:
        """Return v, of shape (..., c), in squared scaled units.

        Parameters
        ----------
        coords : array of shape (..., d)
            Normalised; v is linear between nodes, and beyond their extent as at its edge.
        """
        sizes = np.array(self.noise.shape[:-1])
        width = np.where(self.upper > self.lower, self.upper - self.lower, 1.0)
        places = np.moveaxis((coords - self.lower) / width * (sizes - 1), -1, 0)
        channels = np.moveaxis(self.noise, -1, 0)
        return np.stack(
            [map_coordinates(v, places, order=1, mode="nearest") for v in channels], axis=-1
        )

    def total(self, spread: np.ndarray, coords: np.ndarray) -> np.ndarray:
        """Return the variance of values, s² (v + J* Σ J*ᵀ), of shape (M, c).

        Parameters
        ----------
        spread : array of shape (M, c)
            J* Σ J*ᵀ, in squared scaled units.
        coords : array of shape (M, d)
            Normalised.
        """
        return self.scale**2 * (self.variance(coords) + spread)

    def std(
        self,
        field: Field,
        units: Units,
        latents: np.ndarray,
        points: np.ndarray,
        contexts: Sequence[Context | None],
    ) -> np.ndarray:
        """Return the standard deviation of values at points, in scaled units.

        Parameters
        ----------
        field : Field
            With the weights that the posterior was calibrated for.
        units : Units
            Of what the field describes.
        latents : array of shape (n, P)
            One for each signal, as the fit's solver finds them.
        points : array of shape (M, d)
            In the caller's units.
        contexts : sequence of n Context or None
            What was observed of each latent's signal; None = all of the grid of fit, at the
            training signals' own level of noise.

        Returns
        -------
        float64 array of shape (n, M, c)
            Standard deviation s √(ρ (v + J* Σ J*ᵀ)), the noise included.
        """
        like = next(field.parameters())
        coords = units.coordinates(points)
        noise = self.variance(coords)
        result = np.empty((len(latents), len(points), noise.shape[-1]))
        for i, (latent, context) in enumerate(zip(latents, contexts, strict=True)):
            code = torch.as_tensor(latent[None], dtype=like.dtype, device=like.device)
            seen = self._whole(field, units) if context is None else _without_gaps(context)
            covariance, leverage = self._latent_covariance(field, seen, code)
            level = 1.0
            if context is not None:
                free = float(seen.counts()[0]) - leverage
                misfit = self._misfit(field, seen, code)
                level = (self.level_weight + misfit) / (self.level_weight + max(free, 0.0))
            root = torch.linalg.cholesky(covariance).to(like.dtype)
            for index in _chunks(len(coords), field):
                where = torch.as_tensor(coords[index], dtype=like.dtype, device=like.device)
                with torch.no_grad():
                    jacobian = field.linearize(where, code).jacobian()[0]
                    spread = (jacobian @ root).square().sum(dim=-1).double().cpu().numpy()
                result[i, index] = np.sqrt(self.scale**2 * level * (noise[index] + spread))
        return result

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers from which :meth:`from_state` rebuilds it."""
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
            **({} if self.mixture is None else self.mixture.state()),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Posterior:
        """Rebuild what :meth:`state` described.

        Parameters
        ----------
        state : dict
            As :meth:`state` returns it; others of its keys are passed over.
        """
        mixture = SignalMixture.from_state(state)
        prior = LatentPrior(state["mean"], state["covariance"], state["noise_level"])
        axes = tuple(state[f"axis_{i}"] for i in range(len(state["lower"])))
        rest = ("noise", "lower", "upper", "scale", "level_weight")
        return cls(prior, axes, **{name: state[name] for name in rest}, mixture=mixture)

    def _whole(self, field: Field, units: Units) -> Context:
        """Return the context of a signal that is observed on the whole grid of fit."""
        like = next(field.parameters())
        coords = torch.as_tensor(units.frame.grid(self.axes), dtype=like.dtype, device=like.device)
        return Context(coords, coords.new_zeros(1, len(coords), field.out_dim))

    def _misfit(self, network: Field, context: Context, latents: Tensor) -> float:
        """Return Σ r²/v over the observed values, r the residual."""
        noise = self.variance(context.coords.double().cpu().numpy())
        weight = torch.as_tensor(1.0 / noise).to(context.values)
        with torch.no_grad():
            residual = context.residual(network(context.coords, latents))
        return float((residual.square() * weight).sum())

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


def _without_gaps(context: Context) -> Context:
    """Return one signal's context without the points at which nothing was observed."""
    if context.weights is None:
        return context
    seen = (context.weights[0] > 0).any(dim=-1)
    return context.at_points(torch.nonzero(seen)[:, 0])


def _chunks(n_points: int, field: Field) -> Iterator[slice]:
    floats = field.out_dim * (field.modulation_size + 2 * field.latent_dim)
    size = max(1, at_once("derivatives") // floats)
    for start in range(0, n_points, size):
        yield slice(start, start + size)
