"""How latents are found in most code: gradient descent, one call of autograd a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def encode(
    forward: Callable[[Tensor, Tensor], Tensor],
    coords: Tensor,
    values: Tensor,
    latent_dim: int,
    steps: int,
    lr: float,
    batch_size: int,
) -> Tensor:
    """Take gradient steps from zero on each signal's mean squared error.

    Parameters
    ----------
    forward : callable
        Takes coordinates (N, d) and latents (B, P), returns values (B, N, c).
    coords : Tensor of shape (N, d)
    values : Tensor of shape (n, N, c)
    latent_dim, steps : int
    lr : float
    batch_size : int

    Returns
    -------
    Tensor of shape (n, P)
    """
    found = []
    for batch in values.split(batch_size):
        latents = torch.zeros(len(batch), latent_dim, device=values.device, dtype=values.dtype)
        for _ in range(steps):
            latents.requires_grad_()
            loss = (forward(coords, latents) - batch).square().mean(dim=(1, 2)).sum()
            (gradient,) = torch.autograd.grad(loss, latents)
            latents = (latents - lr * gradient).detach()
        found.append(latents)
    return torch.cat(found)
