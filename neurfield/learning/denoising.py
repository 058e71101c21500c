"""How much of white noise is left of signals, by what is known of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neurfield.learning.mixture import SignalMixture
from neurfield.learning.patch_prior import PatchPrior, places_of
from neurfield.learning.solvers.tangent import cholesky

_RIDGE = 1e-9  # of the mean squared effect of a latent
_STRIDE = 2


def left_by_mixture(mixture: SignalMixture, jacobian: Tensor, variance: float) -> float:
    """Return the mean squared error that the best linear estimate is expected to have.

    Values beside the field and its directions count as independent of each other.

    Parameters
    ----------
    mixture : SignalMixture
        What is known.
    jacobian : Tensor of shape (P, N c)
        Derivatives of values at its nodes by latents.
    variance : float
        Of the noise of a value.
    """
    effect = (jacobian @ jacobian.T).double().cpu()
    effect.diagonal().add_(_RIDGE * effect.diagonal().mean())
    root = cholesky(effect)
    eye = torch.eye(len(root), dtype=root.dtype)

    def of_kind(covariance: np.ndarray) -> float:
        seen = root.T @ torch.as_tensor(covariance).double() @ root + variance * eye
        return len(root) - variance * float(torch.cholesky_inverse(cholesky(seen)).trace())

    of_latents = float(mixture.weights @ [of_kind(one) for one in mixture.covariances])
    squares = np.square(mixture.directions.reshape(len(mixture.directions), -1)).sum(axis=1)
    free = of_latents + sum(float((v / (v + variance)).sum()) for v in (squares, mixture.noise))
    return variance * free / mixture.noise.size


def left_by_patches(
    patches: PatchPrior, values: Tensor, shape: tuple[int, ...], variance: float, seed: int
) -> float:
    """Return the mean squared error of signals with noise, once their patches were smoothed.

    Parameters
    ----------
    patches : PatchPrior
        What is known.
    values : float32 Tensor of shape (n, N, c)
        Of signals on a grid.
    shape : tuple of d int
        Of the grid.
    variance : float
        Of the noise of a value.
    seed : int
        Of the noise.
    """
    places = places_of(shape, patches.sides, _STRIDE, [0] * len(shape))
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    noisy = values + variance**0.5 * noise
    found = torch.stack([patches.smoothed(one, places, variance) for one in noisy])
    return float((found - values).square().mean())
