"""What is known of a signal before it is measured: Gaussians of its latent, and of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.lapped import LappedField
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.measured.grain import Correlated, Grain, Independent
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers.tangent import Tangent, cholesky
from neurfield.memory import at_once

_AT_ONCE_SPREAD = 2**12  # numbers whose variances are found at once


@dataclass(frozen=True)
class LatentGaussian:
    """Mean and precision of unknown numbers, of which one Gaussian of a mixture has some weight.

    Parameters
    ----------
    mean : float64 Tensor of shape (P,)
        μ.
    precision : float64 Tensor of shape (P, P)
        Inverse of the covariance.
    log_weight : float, default=0.0
        Logarithm of the weight.
    """

    mean: Tensor
    precision: Tensor
    log_weight: float = 0.0

    @cached_property
    def log_root(self) -> Tensor:
        """Logarithm of the root of the precision's determinant."""
        return cholesky(self.precision).diagonal().log().sum()

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray, weight: float = 1.0) -> Self:
        """Invert a covariance.

        Parameters
        ----------
        mean, covariance : arrays of shape (P,) and (P, P)
            Of the unknown numbers.
        weight : float, default=1.0
            Of the Gaussian.
        """
        precision = torch.cholesky_inverse(cholesky(torch.as_tensor(covariance).double()))
        return cls(torch.as_tensor(mean), precision, math.log(weight))

    def beside(self, mean: Tensor, std: Tensor) -> Self:
        """Return it with independent normal numbers after its own.

        Parameters
        ----------
        mean, std : float64 Tensor of shape (E,)
            Of these.
        """
        return replace(
            self,
            mean=torch.cat([self.mean, mean]),
            precision=torch.block_diag(self.precision, torch.diag(std**-2)),
        )


@dataclass(frozen=True)
class Known:
    """What is known of a signal: Gaussians of its latent, and how values are around the field.

    Parameters
    ----------
    whole : LatentGaussian
        Of all signals' latents, and of Q factors after each.
    parts : list of LatentGaussian
        Of each kind of signal; the same again where there is one kind.
    around : callable
        Takes normalised points, an array of shape (M, d); returns the directions, of shape
        (Q, M, c), that come with these factors, and the variance of a value beside them, of shape
        (M, c), in scaled units and their square.
    mixture : SignalMixture, optional
        Where all this is from; without one, values beside them are independent at each point.
    """

    whole: LatentGaussian
    parts: list[LatentGaussian]
    around: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    mixture: SignalMixture | None = None

    def grain(self, coords: np.ndarray, variance: np.ndarray) -> Grain:
        """Return values beside the directions, at points.

        Parameters
        ----------
        coords : array of shape (M, d)
            Normalised.
        variance : array of shape (M, c)
            Of each, as :attr:`around` has it.
        """
        if self.mixture is None:
            return Independent(coords, variance)
        return Correlated(coords, variance, self.mixture.beside)


def known_of(posterior: Any, field: Field) -> Known:
    """Return what a fit has learnt.

    Parameters
    ----------
    posterior : Posterior or LappedPosterior
        Of a fitted codec.
    field : Field
        Of signals of some size.
    """
    mixture: SignalMixture | None = posterior.mixture
    if mixture is not None and mixture.n_latents == field.latent_dim:
        several = zip(mixture.means, mixture.covariances, mixture.weights, strict=True)
        one = torch.ones(len(mixture.directions), dtype=torch.float64)
        parts = [LatentGaussian.of(*part).beside(0.0 * one, one) for part in several]
        whole = parts[0]
        if len(parts) > 1:
            whole = LatentGaussian.of(*mixture.moments()).beside(0.0 * one, one)
        return Known(whole, parts, mixture.at, mixture)
    whole, variance = _one_gaussian(posterior, field)

    def around(coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = variance(coords)
        return np.empty((0, *noise.shape)), noise

    return Known(whole, [whole], around)


def _one_gaussian(
    posterior: Any, field: Field
) -> tuple[LatentGaussian, Callable[[np.ndarray], np.ndarray]]:
    """Return the Gaussian of latents, and what tells the variance of values around the field."""
    if isinstance(posterior, LappedPosterior):
        assert isinstance(field, LappedField)
        prior, cells, variance = posterior.prior, field.cells, posterior.noise
        own = posterior.precision.double().cpu().repeat(cells.n_cells)
        matrix = prior.blocks(cells).dense().cpu() + torch.diag(own)
        mean = prior.mean.double().cpu().repeat(cells.n_cells)
        known = LatentGaussian(mean, 0.5 * (matrix + matrix.T) / prior.noise)
        return known, lambda coords: np.broadcast_to(variance, (len(coords), len(variance)))
    assert isinstance(posterior, Posterior)
    latents = posterior.prior
    known = LatentGaussian(torch.as_tensor(latents.mean), torch.as_tensor(latents.precision))
    return known, posterior.variance


def tangent_of(field: Field, coords: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the closed form takes a field for: f₀ and J₀, of shapes (M, c) and (P, M, c).

    Parameters
    ----------
    field : Field
        At φ = 0; of a lapped one, the linear part.
    coords : Tensor of shape (M, d)
        Normalised.
    """
    if isinstance(field, LappedField):
        eye = torch.eye(field.latent_dim, dtype=field.basis.dtype, device=field.basis.device)
        size = max(1, at_once("derivatives") // (len(coords) * field.out_dim))
        columns = [field.read(field.linear_part(e, field.cells), coords) for e in eye.split(size)]
        return field.mean.expand(len(coords), -1), torch.cat(columns)
    parts = [Tangent.at_origin(field, part) for part in coords.split(at_once("points"))]
    values = torch.cat([part.values[0] for part in parts])
    return values, torch.cat([part.jacobian[0] for part in parts]).movedim(-1, 0)


def spread_of(factor: Tensor, columns: Tensor) -> np.ndarray:
    """Return the variance of numbers that are linear in what is unknown, of shape (m,).

    Parameters
    ----------
    factor : float64 Tensor of shape (U, U)
        Of the precision of what is unknown, by Cholesky.
    columns : Tensor of shape (U, m)
        Their derivatives.
    """
    spread = []
    for some in columns.split(_AT_ONCE_SPREAD, dim=1):
        half = torch.linalg.solve_triangular(factor, some.double(), upper=False)
        spread.append(half.square().sum(dim=0))
    return torch.cat(spread).numpy()
