"""Small meta-learning problems, and their meta-loss by autograd through autograd."""

import numpy as np
import torch

from neurfield.fields import ModulatedSiren
from neurfield.learning import Context, MetaBatch


def problem(d, gamma, *, gaps=False, steps=3, seed=0, own_coords=False, channels=2, **network):
    """Make a field, a batch of three signals of 20 points, and its fixed reduced contexts."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    field = ModulatedSiren(d, channels, 4, 5, 4, (3.0, 6.0), generator=generator, **network)
    field = field.double()
    coords = torch.tensor(rng.uniform(-1, 1, (3, 20, d) if own_coords else (20, d)))
    values = torch.tensor(rng.uniform(0, 1, (3, 20, channels)))
    weights = torch.tensor((rng.random((3, 20, channels)) < 0.8).astype(float)) if gaps else None
    values = values if weights is None else values * weights
    subsets = None
    if gamma < 1:
        kept = int(gamma * 20)
        subsets = torch.stack(
            [torch.randperm(20, generator=generator)[:kept] for _ in range(steps)]
        )
    return field, MetaBatch(Context(coords, values, weights), subsets)


def cavia_by_autograd(field, batch, steps, inner_lr):
    """Compute the meta-loss as the paper defines it, differentiating through autograd itself."""
    context, total = batch.context, 0.0
    for i in range(len(context)):
        observed = torch.ones_like(context.values[i])
        if context.weights is not None:
            observed = context.weights[i]
        phi = torch.zeros(1, field.latent_dim, dtype=torch.float64, requires_grad=True)

        def mse(latent, rows, i=i, observed=observed):
            coords = context.coords if context.is_shared else context.coords[i]
            error = (field(coords[rows], latent)[0] - context.values[i, rows]).square()
            return (error * observed[rows]).sum() / observed[rows].sum()

        everything = torch.arange(context.n_points)
        for g in range(steps):
            rows = everything if batch.subsets is None else batch.subsets[g]
            (slope,) = torch.autograd.grad(mse(phi, rows), phi, create_graph=True)
            phi = phi - inner_lr * slope
        total = total + mse(phi, everything)
    return total / len(context)


VARIANTS = {
    "one channel": {"channels": 1},
    "no skip connections": {"skip_connections": False},
    "scaled residuals": {"residual_scale": 0.3},
    "scales": {"modulation": "shift_scale"},
    "own coordinates": {"own_coords": True},
    "own coordinates with gaps": {"own_coords": True, "gaps": True},
}


def assert_same_gradients(field, other, rtol=1e-9, atol=1e-12):
    for parameter, twin in zip(field.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, rtol=rtol, atol=atol)
