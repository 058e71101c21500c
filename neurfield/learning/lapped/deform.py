"""Signals seen slightly turned, stretched and shifted, where one cell is all of a signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.lapped import Cells
from neurfield.learning.lapped.crops import Crops

_TURN, _STRETCH, _SHIFT = 0.1, 0.06, 0.05  # radians; of the size; of half the size
_AS_THEY_ARE = 0.25  # fraction of the signals
_MOVES = 8.0  # signals for each latent, from which on they are deformed less


def strength(cells: Cells, n_latents: int, n_signals: int) -> float:
    """Return how much signals are deformed in training: where they are few for their latents.

    Crops that are smaller than a signal are moved anyway.

    Parameters
    ----------
    cells : Cells
        Of the signals.
    n_latents : int
        Length of the vector of one cell.
    n_signals : int
        Size of the training set.
    """
    return min(1.0, _MOVES * n_latents / n_signals) if all(cells.whole) else 0.0


def deformed(crops: Crops, amount: float, generator: torch.Generator) -> Crops:
    """Turn, stretch and shift each signal at random, by cubic or linear interpolation.

    Parameters
    ----------
    crops : Crops
        Whole signals. Those with gaps are left as they are.
    amount : float
        At 1, turned by up to 0.1 radians, stretched by up to 6 % and shifted by up to 2.5 %.
    generator : torch.Generator
        CPU generator.
    """
    if not amount or crops.weights is not None:
        return crops
    values, d = crops.values, crops.values.ndim - 2
    matrix = _affine(len(values), d, amount, generator).to(values)
    if d == 1:  # as pictures of one row
        values = values.unsqueeze(2)
        flat = values.new_zeros(len(values), 2, 3)
        flat[:, 0, 0], flat[:, 0, 2], flat[:, 1, 1] = matrix[:, 0, 0], matrix[:, 0, 1], 1.0
        matrix = flat
    grid = _moved(matrix, values.shape[2:])
    mode = "bilinear" if d == 3 else "bicubic"
    found = functional.grid_sample(
        values, grid, mode=mode, padding_mode="reflection", align_corners=False
    )
    return replace(crops, values=found.reshape(crops.values.shape))


def _moved(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return where to read the samples of each signal: one product, unlike torch's affine_grid."""
    along = [(2.0 * torch.arange(n) + 1.0) / n - 1.0 for n in shape]
    places = torch.cartesian_prod(*along).flip(1)
    places = functional.pad(places, (0, 1), value=1.0).to(matrix)
    moved = (matrix.flatten(0, 1) @ places.T).unflatten(0, matrix.shape[:2])
    return moved.mT.unflatten(1, list(shape)).contiguous()


def _affine(n_signals: int, d: int, amount: float, generator: torch.Generator) -> Tensor:
    def uniform(*shape: int) -> Tensor:
        return 2.0 * torch.rand(n_signals, *shape, generator=generator) - 1.0

    amounts = amount * (torch.rand(n_signals, generator=generator) >= _AS_THEY_ARE)
    turn = _TURN * uniform(d, d)
    linear = amounts[:, None, None] * (turn - turn.mT) / 2**0.5
    linear = torch.matrix_exp(linear)
    linear = linear * (amounts[:, None, None] * _STRETCH * uniform(1, d)).exp()
    shift = amounts[:, None, None] * _SHIFT * uniform(d, 1)
    return torch.cat([linear, shift], dim=2)
