"""Small random deformations of the coordinates, for training sets that are small for the latent."""

from __future__ import annotations

import torch
from torch import Tensor

_STRETCH = 0.05  # standard deviation of each entry of the linear part
_SHIFT = 0.5  # standard deviation of the shift along each axis, in grid spacings


def deform(coords: Tensor, spacing: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Apply one random affine map to all coordinates.

    Values keep to their points, so nothing is interpolated; and because the whole batch sees the
    same map, whatever signals on common coordinates share stays shared.

    Parameters
    ----------
    coords : Tensor of shape (..., d)
        Normalised coordinates.
    spacing : Tensor of shape (d,)
        Distance of neighbouring grid points along each axis, in normalised coordinates.
    strength : float
        0 leaves the coordinates as they are; at 1 the map stretches, shears and turns by 5 % and
        shifts by half a grid spacing (standard deviations).
    generator : torch.Generator
        CPU generator.

    Returns
    -------
    Tensor of shape (..., d)
        Where the map takes the coordinates, with their dtype and device.
    """
    n_axes = coords.shape[-1]
    linear = torch.eye(n_axes, dtype=torch.float64)
    linear += strength * _STRETCH * torch.randn(n_axes, n_axes, generator=generator)
    shift = strength * _SHIFT * torch.randn(n_axes, generator=generator) * spacing.cpu()
    return coords @ linear.to(coords) + shift.to(coords)
