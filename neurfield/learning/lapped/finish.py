"""What ends the fit of a lapped field: canonical latents of cells, and their prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.canonical import principal_axes
from neurfield.learning.lapped.crops import draw_crops
from neurfield.learning.lapped.normal import NormalMatrix
from neurfield.learning.lapped.prior import CellPrior, learn_prior
from neurfield.learning.lapped.start import damping, linear_latents
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import mean_over_signals

_MOST_VALUES = 2**23  # of all crops
_MOST_CROPS = 512
_VECTORS = 2  # of crops, for each latent of a cell, at the least
_FLOOR = 1e-4  # relative; directions that move the field less are not blown up to unit length
_LEAST_PRECISION = 0.1  # relative to the damping; single precision does not solve with less


@torch.no_grad()
def canonical_cells(
    field: LappedField,
    cells: Cells,
    store: ContextStore,
    generator: torch.Generator,
    effort: float = 1.0,
) -> tuple[Tensor, CellPrior]:
    """Rename the vector of a cell so that distances and axes mean something, in place.

    The squared length of a change of one cell's vector is its effect on the signal, squared and
    averaged over the values of a cell. Axes are the principal axes of the training latents, all
    cells together, by falling variance, each signed so that its strongest effect is positive.

    Parameters
    ----------
    field : LappedField
        Changed in place; it stays the same as a function.
    cells : Cells
        Of crops.
    store : ContextStore
        Training signals.
    generator : torch.Generator
        CPU generator, of the crops.
    effort : float in (0, 1], default=1.0
        Fraction of these crops that there is time for.

    Returns
    -------
    precision : Tensor of shape (k,)
        Of each latent, in units of the sum of squared errors: what rounding asks for.
    prior : CellPrior
        Of the vectors of cells as they now are.
    """
    n_values = field.out_dim * math.prod(cells.shape)
    n_crops = math.ceil(effort * min(_MOST_CROPS, max(8, _MOST_VALUES // n_values)))
    # As many vectors as tell all latents apart: the prior holds to zero what never varied.
    n_crops = max(n_crops, math.ceil(_VECTORS * field.cell_latents / cells.n_cells))
    crops = draw_crops(store, n_crops, cells.shape, generator)
    inverse = NormalMatrix(field, damping(field)).inverse(cells)
    latents = linear_latents(field, cells, crops, inverse)
    errors = crops.mse(field.level + field.linear_part(latents, cells))
    noise = float(mean_over_signals(errors, crops.sample_weight))
    vectors, seen = latents.unflatten(1, (cells.n_cells, -1)).double(), None
    if crops.weights is not None:  # cells that saw nothing say nothing of the latents' variance
        seen = (cells.windows(crops.weights) > 0).any(dim=2)
    counted = torch.ones_like(vectors[..., 0]) if seen is None else seen.double()
    if crops.sample_weight is not None:
        counted = counted * crops.sample_weight.double()[:, None]
    flat, weight = vectors.flatten(0, 1), counted.flatten()
    flat, weight = flat[weight > 0], weight[weight > 0]
    gram = field.basis.double() @ field.basis.double().T / (field.out_dim * math.prod(cells.side))
    eigenvalues, axes = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp_min(_FLOOR * float(eigenvalues.mean()) + 1e-30)
    root = axes * eigenvalues.sqrt() @ axes.T
    effects = torch.linalg.solve(root, field.basis.double()).T
    turned = principal_axes(flat @ root, effects, sample_weight=weight)
    block = turned.T @ root
    field.rename(block)
    prior = learn_prior(vectors @ block.T, cells, noise, counted)
    return _LEAST_PRECISION * damping(field), prior
