"""What is known of a signal before it is measured: a Gaussian of its latent, and of the rest."""

from __future__ import annotations

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
    noise : float64 array of shape (M, c)
        Variance v of a value around the field at each point, in squared scaled units.
    """

    mean: Tensor
    precision: Tensor
    noise: np.ndarray


def gaussian_of(posterior: Any, field: Field, coords: np.ndarray) -> LatentGaussian:
    """Return the Gaussian that a fit has learnt, for points of signals of a field's size.

    Parameters
    ----------
    posterior : Posterior or LappedPosterior
        Of a fitted codec.
    field : Field
        Of signals of some size.
    coords : array of shape (M, d)
        Normalised.
    """
    if isinstance(posterior, LappedPosterior):
        assert isinstance(field, LappedField)
        prior, cells = posterior.prior, field.cells
        own = posterior.precision.double().repeat(cells.n_cells)
        matrix = prior.blocks(cells).dense() + torch.diag(own)
        mean = prior.mean.double().repeat(cells.n_cells)
        noise = np.broadcast_to(posterior.noise, (len(coords), field.out_dim))
        return LatentGaussian(mean, 0.5 * (matrix + matrix.T) / prior.noise, noise)
    assert isinstance(posterior, Posterior)
    known = posterior.prior
    return LatentGaussian(
        torch.as_tensor(known.mean), torch.as_tensor(known.precision), posterior.variance(coords)
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
