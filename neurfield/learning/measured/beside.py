"""Values beside the field and its directions, as far as measurements tell of them.

They are independent normal numbers ε of known variances V at the points that an operator reads.
Given all else, what is left of the measurements is A ε + noise, so that the most probable ε are
V Aᵀ (A V Aᵀ + noise)⁻¹ of that: what was measured is decoded, whether latents describe it or not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neurfield.learning.measured.problem import Problem
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients

_PRODUCTS, _TOLERANCE = 50, 1e-3
_LEAST_NOISE = 1e-4  # of the variance that measurements have from such values
_PROBES, _SEED = 4, 0


class Beside(NamedTuple):
    """What measurements tell of values beside the field and its directions.

    Attributes
    ----------
    values : float64 Tensor of shape (M, c)
        The most probable ones, at the points that an operator reads.
    left : float64 Tensor of shape (M, c)
        Which part of their variance is left.
    """

    values: Tensor
    left: Tensor


@torch.no_grad()
def values_beside(problem: Problem, unknown: Tensor) -> Beside:
    """Return the most probable values beside what is known of a signal.

    Parameters
    ----------
    problem : Problem
        Of the signal.
    unknown : float64 Tensor of shape (U,)
        Its most probable latent and factors of directions.
    """
    shared, seen = problem.shared, problem.seen
    here = problem.evaluate(unknown)
    # As those of normal noise, where they are not.
    variance = problem.variance
    curvature = here.curvature.clamp_min(torch.finfo(here.curvature.dtype).tiny)
    noise = torch.maximum(1.0 / curvature - variance, _LEAST_NOISE * variance)
    root = shared.noise.sqrt()

    def measured(values: Tensor) -> Tensor:
        return shared.measured.apply(root * values).cpu()[:, seen]

    def carried_back(rows: Tensor) -> Tensor:
        whole = rows.new_zeros(len(rows), len(shared.origin))
        whole[:, seen] = rows
        return root * shared.carried_back(whole)

    generator = torch.Generator().manual_seed(_SEED)
    signs = torch.randint(2, (_PROBES, *root.shape), generator=generator) * 2.0 - 1.0
    signs = signs.double()
    weights = conjugate_gradients(
        lambda rows: measured(carried_back(rows)) + noise * rows,
        lambda rows: rows / (variance + noise),
        torch.cat([(here.slope / curvature)[None], measured(signs)]),
        _PRODUCTS,
        _TOLERANCE,
    )
    found = carried_back(weights)
    return Beside(root * found[0], 1.0 - _told(signs * found[1:]).clamp(0.0, 1.0))


def _told(products: Tensor) -> Tensor:
    """Return the diagonal of a matrix M, given z ∘ M z of several random signs z.

    Each is the diagonal with a noise of all that is beside it, so that a mean counts as much as it
    differs from place to place by more than this noise.
    """
    mean, noise = products.mean(dim=0), products.var(dim=0).mean() / len(products)
    middle = mean.mean()
    spread = mean.var(correction=0)
    kept = (1.0 - noise / spread.clamp_min(torch.finfo(spread.dtype).tiny)).clamp(0.0, 1.0)
    return middle + kept * (mean - middle)
