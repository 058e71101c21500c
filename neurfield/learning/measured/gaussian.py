"""What is known of a signal before it is measured: a Gaussian of its latent, and of the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.lapped import LappedField
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers.tangent import Tangent
from neurfield.memory import at_once


@dataclass(frozen=True)
class LatentGaussian:
    """Mean and precision of a latent, and the variance of values around the field.

    Parameters
    ----------
    mean : float64 Tensor of shape (P,)
        μ of the training latents.
    precision : float64 Tensor of shape (P, P)
        Inverse of their covariance.
    noise : callable
        Takes normalised points, an array of shape (M, d); returns the variance v of a value around
        the field at each, of shape (M, c), in squared scaled units.
    """

    mean: Tensor
    precision: Tensor
    noise: Callable[[np.ndarray], np.ndarray]


def gaussian_of(posterior: Any, field: Field) -> LatentGaussian:
    """Return the Gaussian that a fit has learnt.

    Parameters
    ----------
    posterior : Posterior or LappedPosterior
        Of a fitted codec.
    field : Field
        Of signals of some size.
    """
    if isinstance(posterior, LappedPosterior):
        assert isinstance(field, LappedField)
        prior, cells, variance = posterior.prior, field.cells, posterior.noise
        own = posterior.precision.double().cpu().repeat(cells.n_cells)
        matrix = prior.blocks(cells).dense().cpu() + torch.diag(own)
        mean = prior.mean.double().cpu().repeat(cells.n_cells)
        return LatentGaussian(
            mean,
            0.5 * (matrix + matrix.T) / prior.noise,
            lambda coords: np.broadcast_to(variance, (len(coords), len(variance))),
        )
    assert isinstance(posterior, Posterior)
    known = posterior.prior
    return LatentGaussian(
        torch.as_tensor(known.mean), torch.as_tensor(known.precision), posterior.variance
    )


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
