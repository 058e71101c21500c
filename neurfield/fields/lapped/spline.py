"""Cubic splines through samples: a signal on a grid, read at any point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


@cache
def _inverse(size: int) -> Tensor:
    """Return the matrix from samples to coefficients, reflected at both ends; float64."""
    matrix = torch.zeros(size, size, dtype=torch.float64)
    index = torch.arange(size)
    for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
        at = reflected(index + offset, size)
        matrix[index, at] += weight
    return torch.linalg.inv(matrix)


def reflected(index: Tensor, size: int) -> Tensor:
    """Return where samples beyond the ends are, when a signal is continued by its mirror image.

    Parameters
    ----------
    index : int Tensor
        Places, of which some may lie beyond 0 and `size` - 1.
    size : int
        Number of samples; the mirror stands half a sample beyond the last one.
    """
    index = index.remainder(2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


def coefficients(samples: Tensor, n_axes: int) -> Tensor:
    """Return the coefficients of the spline through samples.

    Parameters
    ----------
    samples : Tensor of shape (..., *shape)
        On a grid of as many axes.
    n_axes : int
        Number d of the last axes, along which the spline runs.
    """
    for axis in range(-n_axes, 0):
        inverse = _inverse(samples.shape[axis]).to(samples)
        samples = (samples.movedim(axis, -1) @ inverse.T).movedim(-1, axis)
    return samples


def taps(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return which coefficients along one axis a point depends on, and by how much.

    Parameters
    ----------
    places : Tensor of shape (M,)
        In samples from the first one on. Beyond the ends, the signal goes on as its mirror image.
    size : int
        Number of samples along the axis.

    Returns
    -------
    index : int Tensor of shape (M, 4)
        Places of the coefficients.
    weights : Tensor of shape (M, 4)
        Cubic B-splines, differentiable by `places`.
    """
    first = places.detach().floor()
    t = places - first
    weights = torch.stack(
        [
            (1 - t) ** 3 / 6,
            2 / 3 - t**2 + t**3 / 2,
            2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2,
            t**3 / 6,
        ],
        dim=-1,
    )
    index = first.long()[:, None] + torch.arange(-1, 3, device=places.device)
    return reflected(index, size), weights


def read(coefs: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Evaluate splines at points.

    Parameters
    ----------
    coefs : Tensor of shape (B, c, *shape)
        As :func:`coefficients` returns them.
    places : Tensor of shape (M, d)
        In samples along each axis.
    shape : sequence of d int
        Samples along each axis.

    Returns
    -------
    Tensor of shape (B, c, M)
        Differentiable by `coefs` and by `places`.
    """
    index, weights = _flat_taps(places, shape)
    found = coefs.flatten(2)[..., index.flatten()].unflatten(-1, index.shape)
    return (found * weights).sum(dim=-1)


def spread(values: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Take values at points back to coefficients: the transpose of :func:`read`.

    Parameters
    ----------
    values : Tensor of shape (B, c, M)
        One at each point.
    places : Tensor of shape (M, d)
        As in :func:`read`.
    shape : sequence of d int
        Samples along each axis.

    Returns
    -------
    Tensor of shape (B, c, *shape)
        What each coefficient takes from the values.
    """
    index, weights = _flat_taps(places, shape)
    size = 1
    for n in shape:
        size *= n
    found = values.new_zeros(*values.shape[:2], size)
    found.index_add_(2, index.flatten(), (values[..., None] * weights).flatten(2))
    return found.unflatten(2, tuple(shape))


def _flat_taps(places: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    index = places.new_zeros(len(places), 1, dtype=torch.long)
    weights = places.new_ones(len(places), 1)
    for axis, size in enumerate(shape):
        along, factor = taps(places[:, axis], size)
        index = (index[..., None] * size + along[:, None]).flatten(1)
        weights = (weights[..., None] * factor[:, None]).flatten(1)
    return index, weights
