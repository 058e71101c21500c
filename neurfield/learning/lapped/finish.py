"""What ends the fit of a lapped field: canonical latents of cells, and their prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.canonical import principal_axes
from neurfield.learning.lapped.crops import draw_crops
from neurfield.learning.lapped.normal import solution_matrix
from neurfield.learning.lapped.start import damping, linear_latents
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import mean_over_signals

_MOST_VALUES = 2**23  # of all crops
_MOST_CROPS = 512
_FLOOR = 1e-4  # relative; directions that move the field less are not blown up to unit length
_LEAST_VARIANCE = 1e-6  # of a latent, relative to the mean of all
_LEAST_PRECISION = 0.1  # relative to the damping; single precision does not solve with less


@torch.no_grad()
def canonical_cells(
    field: LappedField,
    cells: Cells,
    store: ContextStore,
    generator: torch.Generator,
    effort: float = 1.0,
) -> Tensor:
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
    Tensor of shape (k,)
        Precision of the prior of each latent, in units of the sum of squared errors: the mean
        squared error that its closed form leaves over the variance of the latent, as far as
        rounding allows.
    """
    n_values = field.out_dim * math.prod(cells.shape)
    n_crops = math.ceil(effort * min(_MOST_CROPS, max(8, _MOST_VALUES // n_values)))
    crops = draw_crops(store, n_crops, cells.shape, generator)
    inverse = solution_matrix(field, cells, damping(field))
    latents = linear_latents(field, cells, crops, inverse)
    errors = crops.mse(field.level + field.linear_part(latents, cells))
    noise = float(mean_over_signals(errors, crops.sample_weight))
    vectors = latents.reshape(-1, field.cell_latents).double()
    weight = crops.sample_weight
    if weight is not None:
        weight = weight.repeat_interleave(cells.n_cells)
    if crops.weights is not None:  # cells that saw nothing say nothing of the latents' variance
        seen = (cells.windows(crops.weights) > 0).any(dim=2).flatten()
        vectors, weight = vectors[seen], None if weight is None else weight[seen]
    gram = field.basis.double() @ field.basis.double().T / (field.out_dim * math.prod(cells.side))
    eigenvalues, axes = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp_min(_FLOOR * float(eigenvalues.mean()) + 1e-30)
    root = axes * eigenvalues.sqrt() @ axes.T
    effects = torch.linalg.solve(root, field.basis.double()).T
    turned = principal_axes(vectors @ root, effects, sample_weight=weight)
    block = turned.T @ root
    field.rename(block)
    variance = mean_over_signals((vectors @ block.T).square(), weight)
    variance = variance.clamp_min(_LEAST_VARIANCE * float(variance.mean()) + 1e-30)
    precision = (noise / variance).to(field.basis.dtype)
    return torch.maximum(precision, _LEAST_PRECISION * damping(field))
