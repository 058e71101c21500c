"""How sure decoded values of lapped fields are, for signals of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.lapped import LappedField
from neurfield.learning.context import Context
from neurfield.learning.lapped.gaps import density_at
from neurfield.learning.lapped.prior import CellPrior
from neurfield.learning.lapped.solver import Sampling
from neurfield.learning.lapped.spread import Spread, spread_of
from neurfield.learning.mixture import SignalMixture
from neurfield.signals import Units


@dataclass
class LappedPosterior:
    """Gaussian of the vectors of all cells given observed values, and of a value given both.

    With J the linear part of the field, the latent's covariance is Σ = σ² (JᵀWJ + Λ + Q)⁻¹, with
    the weights and the prior of the solver, and a value has variance ρ (s² v + t² J* Σ J*ᵀ). The
    variance v of the noise is that of its channel; ρ is the signal's own noise level relative to
    the training signals', estimated from its residual; s and t make ±1.645 standard deviations hold
    90 % of the values, where all was observed and where values were hidden. t goes over into
    another factor where cells were not seen at all, and what fills them is the prior alone. Between
    the samples of the tables, variances are read linearly.

    Parameters
    ----------
    prior : CellPrior
        μ, Q and σ².
    precision : Tensor of shape (k,)
        Λ of the solver.
    noise : float64 array of shape (c,)
        v, in squared scaled units.
    scale, latent_scale, hole_scale : float, default=1.0
        s, t, and t in cells that were not seen, from calibration; 1 where nothing could be hidden.
    level_weight : float, default=100.0
        How many observed values the expectation ρ = 1 counts as.
    mixture : SignalMixture, optional
        What signals are like that are measured through operators, where it could be learnt.
    """

    prior: CellPrior
    precision: Tensor
    noise: np.ndarray
    scale: float = 1.0
    latent_scale: float = 1.0
    hole_scale: float = 1.0
    level_weight: float = 100.0
    mixture: SignalMixture | None = None

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
        field : LappedField
            With the weights that the posterior was calibrated for, of the signals' size.
        units : Units
            Of these signals.
        latents : array of shape (n, P)
            One for each signal, as the fit's solver finds them.
        points : array of shape (M, d)
            In the caller's units.
        contexts : sequence of n Context or None
            What was observed of each latent's signal; None = all of its grid, at the training
            signals' own level of noise.

        Returns
        -------
        float64 array of shape (n, M, c)
            Standard deviation √(ρ (s² v + t² J* Σ J*ᵀ)), the noise included.
        """
        assert isinstance(field, LappedField)
        coords = units.coordinates(points)
        known: dict[bytes, tuple[Spread, np.ndarray, np.ndarray]] = {}
        result = np.empty((len(latents), len(points), field.out_dim))
        for i, (latent, context) in enumerate(zip(latents, contexts, strict=True)):
            density = None if context is None else density_of(field, context)
            key = b"" if density is None else density.cpu().numpy().tobytes()
            if key not in known:  # signals with the same gaps have the same covariance
                spread = spread_of(field, self.prior, self.precision, density)
                there, unseen = (
                    _read(field, one, coords) for one in (spread.variance, spread.unseen)
                )
                known[key] = spread, there, unseen
            spread, there, unseen = known[key]
            level = np.ones(())
            if context is not None:
                code = torch.as_tensor(latent[None]).to(field.basis)
                level = self.level(*self.misfit(field, context, code, spread.taken))
            result[i] = np.sqrt(level * self.variance(there, unseen))
        return result

    def variance(self, spread: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Return s² v + t² J* Σ J*ᵀ, of shape (N, c).

        Parameters
        ----------
        spread, unseen : arrays of shape (N, c)
            Of the values, as :class:`Spread` has them.
        """
        factor = (1.0 - unseen) * self.latent_scale**2 + unseen * self.hole_scale**2
        return self.scale**2 * self.noise + factor * self.prior.noise * spread

    def total(self, spread: np.ndarray, coords: np.ndarray) -> np.ndarray:
        """Return the variance of values, s² v + t² J* Σ J*ᵀ, of shape (M, c).

        Parameters
        ----------
        spread : array of shape (M, c)
            J* Σ J*ᵀ, in squared scaled units.
        coords : ignored
            v is the same everywhere.
        """
        return self.variance(spread / self.prior.noise, np.zeros(()))

    def level(self, misfit: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return ρ.

        Parameters
        ----------
        misfit, free : arrays of shape (n,)
            As :meth:`misfit` returns them.
        """
        return (self.level_weight + misfit) / (self.level_weight + np.maximum(free, 0.0))

    def misfit(
        self, field: LappedField, context: Context, latents: Tensor, taken: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return Σ r²/v over the observed values of each signal, and what it should be.

        Parameters
        ----------
        field : LappedField
            Of the signals' size.
        context : Context
            Of n signals.
        latents : Tensor of shape (n, P)
            Their latents.
        taken : float
            How many observed values a latent takes up.
        """
        with torch.no_grad():
            residual = context.residual(field(context.coords, latents)).double().cpu().numpy()
        free = context.counts().double().cpu().numpy() - taken
        return (residual**2 / self.noise).sum(axis=(1, 2)), free

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers from which :meth:`from_state` rebuilds it beside a solver."""
        return {
            "noise": self.noise,
            "scale": self.scale,
            "latent_scale": self.latent_scale,
            "hole_scale": self.hole_scale,
            "level_weight": self.level_weight,
            **({} if self.mixture is None else self.mixture.state()),
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Any], prior: CellPrior, precision: Tensor
    ) -> LappedPosterior:
        """Rebuild what :meth:`state` described.

        Parameters
        ----------
        state : dict
            As :meth:`state` returns it.
        prior, precision
            Of the solver that it was saved with.
        """
        mixture = SignalMixture.from_state(state)
        return cls(prior, precision, **state, mixture=mixture)


def density_of(field: LappedField, context: Context) -> Tensor | None:
    """Return how many values of one signal were observed around each sample; None if one.

    Parameters
    ----------
    field : LappedField
        Of the signal's size.
    context : Context
        Of one signal.

    Returns
    -------
    Tensor of shape (c, *shape), or None
        On the grid of the tables.
    """
    coords = context.coords if context.coords.ndim == 2 else context.coords[0]
    places = Sampling.of(field, coords).places
    if context.weights is None and places is None:
        return None
    weights = context.weights
    if weights is None:
        weights = context.values.new_ones(1, len(coords), field.out_dim)
    return density_at(field, places, weights.mT)[0]


def _read(field: LappedField, variance: Tensor, coords: np.ndarray) -> np.ndarray:
    """Read a map of shape (c, *shape) at normalised coordinates: array of shape (M, c)."""
    places = 0.5 * (coords + 1.0) * (np.array(field.shape) - 1)
    read = [map_coordinates(v, places.T, order=1, mode="nearest") for v in variance.numpy()]
    return np.stack(read, axis=-1)
