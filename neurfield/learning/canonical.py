"""A canonical choice of the latent's coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.solvers import Tangent
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import mean_over_signals, second_moment

_MOST_POINTS = 4096
_MOST_SIGNALS = 2048
_FLOOR = 1e-4  # relative; directions that move the field less are not blown up to unit length


@torch.no_grad()
def sensitivity_matrix(field: Field, store: ContextStore) -> Tensor:
    """Return M = J₀ᵀJ₀/(N c), of shape (P, P), over an even sample of the training coordinates."""
    return _gram(_tangent(field, store))


@torch.no_grad()
def canonicalise(
    field: Field,
    precision: Tensor,
    store: ContextStore,
    generator: torch.Generator,
    effort: float = 1.0,
) -> Tensor:
    """Give the latents coordinates in which distances and axes mean something.

    The field is unchanged as a function; only its latent is renamed to z = Rᵀ M^(1/2) φ, in place.
    With M^(1/2), the Euclidean distance of two latents is the RMS distance of the (tangent)
    signals; with the rotation R, the axes are the principal axes of the training latents, by
    falling variance, each signed so that its strongest effect on the signal is positive.

    Where the latent falls into vectors of equal meaning, one for each place, all of them get the
    same coordinates: M is averaged over places and the axes are those of all vectors together.

    Parameters
    ----------
    field : Field
        Changed in place.
    precision : Tensor of shape (P, P)
        Prior with which the tangent is fitted to the training signals.
    store : ContextStore
        The training set, of which at most 2048 signals are used.
    generator : torch.Generator
        Source of the sample; a CPU generator.
    effort : float in (0, 1], default=1.0
        Fraction of these signals that there is time for.

    Returns
    -------
    Tensor of shape (P, P), float64
        The matrix that was applied to the latents.
    """
    tangent, parts = _tangent(field, store), field.latent_parts
    gram = _gram(tangent).unflatten(0, (parts, -1)).unflatten(2, (parts, -1))
    gram = gram.diagonal(dim1=0, dim2=2).mean(dim=-1)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp_min(_FLOOR * float(eigenvalues.mean()) + 1e-30)
    root = _in_each_part(vectors * eigenvalues.sqrt() @ vectors.T, parts)
    sample = store.aligned_sample(math.ceil(effort * _MOST_SIGNALS), _MOST_POINTS, generator)
    latents = Tangent.at_origin(field, sample.coords).solve(sample, precision).double() @ root
    effects = torch.linalg.solve(root, tangent.jacobian.flatten(0, 2).double(), left=False)
    matrix = principal_axes(latents, effects, parts, sample.sample_weight).T @ root
    field.reparametrize(matrix)
    return matrix


def principal_axes(
    latents: Tensor, effects: Tensor, parts: int = 1, sample_weight: Tensor | None = None
) -> Tensor:
    """Return the axes of latents by falling variance, each with a sign that its effect decides.

    Parameters
    ----------
    latents : Tensor of shape (n, P)
        One latent a row.
    effects : Tensor of shape (N c, P)
        Sensitivity of values to latents. Along its axis, the strongest one is positive.
    parts : int, default=1
        In how many vectors of equal meaning a latent falls, which share their axes.
    sample_weight : Tensor of shape (n,), optional
        As how many signals each latent counts; None = all once.

    Returns
    -------
    Tensor of shape (P, P), orthogonal, one axis a column
        Axes by falling variance of the latents; block-diagonal, with equal blocks, for several
        parts.
    """
    latents, effects = (
        table.unflatten(1, (parts, -1)).flatten(0, 1) for table in (latents, effects)
    )
    if sample_weight is not None:
        sample_weight = sample_weight.repeat_interleave(parts)
    centred = latents - mean_over_signals(latents, sample_weight)
    _, axes = torch.linalg.eigh(second_moment(centred, sample_weight))
    return _in_each_part(signed(axes.flip(1), effects @ axes.flip(1)), parts)


def signed(axes: Tensor, along: Tensor) -> Tensor:
    """Return axes with signs that do not depend on rounding.

    Parameters
    ----------
    axes : Tensor of shape (P, k)
        One axis a column.
    along : Tensor of shape (n, k)
        What each has an effect on; the strongest one becomes positive.
    """
    strongest = along.gather(0, along.abs().argmax(dim=0, keepdim=True))[0]
    return axes * torch.where(strongest < 0, -1.0, 1.0)


def _in_each_part(block: Tensor, parts: int) -> Tensor:
    eye = torch.eye(parts, dtype=block.dtype, device=block.device)
    return torch.kron(eye, block.contiguous())


def _tangent(field: Field, store: ContextStore) -> Tangent:
    step = max(1, sum(len(grid.coords) for grid in store.grids) // _MOST_POINTS)
    coords = torch.cat([grid.coords[::step] for grid in store.grids])
    return Tangent.at_origin(field, coords)


def _gram(tangent: Tangent) -> Tensor:
    jacobian = tangent.jacobian.flatten(0, 2).double()
    return jacobian.T @ jacobian / len(jacobian)
