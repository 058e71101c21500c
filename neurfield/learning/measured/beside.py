"""Values beside the field and its directions, as far as measurements tell of them.

They are ε = K z, with independent normal numbers z. Given all else, what is left of measurements is
A K z + noise, so that the most probable z are Kᵀ Aᵀ (A K Kᵀ Aᵀ + noise)⁻¹ of that: what was
measured is decoded, whether latents describe it or not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurfield.learning.measured.grain import Correlated, Grain
from neurfield.learning.measured.patchwise import Patchwise, patchwise
from neurfield.learning.measured.problem import Problem
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients

_PRODUCTS, _TOLERANCE = 50, 1e-3
_LEAST_NOISE = 1e-4  # of the variance that measurements have from such values
PROBES, _SEED = 4, 0  # of variances


class Beside(NamedTuple):
    """What measurements tell of values beside the field and its directions.

    Attributes
    ----------
    grain : Grain
        K at the points that an operator reads.
    numbers : float64 Tensor of shape (1 + n, N, c)
        The most probable z; then, for each of n moves, by which z would make up for it.
    left : float64 Tensor of shape (N, c)
        Which part of the variance of ε is left, at the nodes of z.
    moves : float64 Tensor of shape (n, U)
        Of what is unknown, as far as it may be from the most probable one.
    patchwise : Patchwise, optional
        What patches say of the signal, where it is known what they are like.
    """

    grain: Grain
    numbers: Tensor
    left: Tensor
    moves: Tensor
    patchwise: Patchwise | None = None

    def values(self, grain: Grain) -> Tensor:
        """Return ε at some points, of shape (M, c).

        Parameters
        ----------
        grain : Grain
            K at these points.
        """
        if self.patchwise is not None:
            assert isinstance(grain, Correlated)
            return self.patchwise.at(grain)
        return grain.told(self.grain, self.numbers[:1], self.left)[0][0]

    def narrowed(self, grain: Grain, variance: np.ndarray) -> np.ndarray:
        """Return the variance of values at some points, which patches make smaller.

        Parameters
        ----------
        grain : Grain
            K at these points.
        variance : array of shape (M, c)
            By all else.
        """
        if self.patchwise is None:
            return variance
        assert isinstance(grain, Correlated)
        return self.patchwise.left(grain, variance)

    def parts(self, grain: Grain, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return which parts of two variances are left at some points.

        Parameters
        ----------
        grain : Grain
            K at these points.
        columns : Tensor of shape (U, M c)
            Derivatives of values there by what is unknown.

        Returns
        -------
        left : float64 Tensor of shape (M, c)
            Of the variance of ε.
        of_unknown : float64 Tensor of shape (M, c)
            Of the variance that values have as something is unknown: where the field is too large,
            ε is too small by as much of that as was measured.
        """
        followed, left = grain.told(self.grain, self.numbers[1:], self.left)
        moved = (self.moves @ columns.double()).reshape(len(self.moves), *left.shape)
        size = moved.square().sum(dim=0)
        part = (moved - followed).square().sum() / size.sum()
        # More is left where more of ε is; the moves are too few to say it point by point.
        local = left.square()
        scale = part * size.sum() / (local * size).sum().clamp_min(torch.finfo(size.dtype).tiny)
        return left, (scale * local).clamp_max(1.0)


@torch.no_grad()
def values_beside(problem: Problem, unknown: Tensor, factor: Tensor, n_probes: int) -> Beside:
    """Return the most probable values beside what is known of a signal.

    Parameters
    ----------
    problem : Problem
        Of the signal.
    unknown : float64 Tensor of shape (U,)
        Its most probable latent and factors of directions.
    factor : float64 Tensor of shape (U, U)
        Of their precision, by Cholesky.
    n_probes : int
        Random numbers from which variances are estimated; 0 = they are not asked for.
    """
    shared, seen = problem.shared, problem.seen
    here = problem.evaluate(unknown)
    # As those of normal noise, where they are not.
    variance = problem.variance
    curvature = here.curvature.clamp_min(torch.finfo(here.curvature.dtype).tiny)
    noise = torch.maximum(1.0 / curvature - variance, _LEAST_NOISE * variance)
    grain = shared.grain

    def measured(numbers: Tensor) -> Tensor:
        return shared.measured.apply(grain.values(numbers)).cpu()[:, seen]

    def carried_back(rows: Tensor) -> Tensor:
        return grain.back(shared.carried_back(problem.among_all(rows)))

    generator = torch.Generator().manual_seed(_SEED)
    signs = torch.randint(2, (n_probes, *grain.shape), generator=generator) * 2.0 - 1.0
    signs = signs.double()
    normal = torch.randn(len(factor), n_probes, generator=generator, dtype=factor.dtype)
    moves = torch.linalg.solve_triangular(factor.T, normal, upper=True).T
    target = here.slope / curvature
    sides = [target[None], moves @ problem.columns]
    if n_probes:
        sides.append(measured(grain.relative_back(signs)))
    weights = conjugate_gradients(
        lambda rows: measured(carried_back(rows)) + noise * rows,
        lambda rows: rows / (variance + noise),
        torch.cat(sides),
        _PRODUCTS,
        _TOLERANCE,
    )
    found = carried_back(weights)
    numbers, of_signs = found[: 1 + n_probes], found[1 + n_probes :]
    left = numbers.new_ones(grain.shape)
    if n_probes:
        left = (1.0 - _told(signs * grain.relative(of_signs))).clamp(_LEAST_NOISE, 1.0)
    mixture, of_patches = shared.mixture, None
    if mixture is not None and mixture.patches is not None and not problem.likelihood.is_bounded:
        assert isinstance(grain, Correlated)
        start = grain.at_nodes(numbers[:1])[0]
        of_patches = patchwise(problem, unknown, target, noise, start)
    return Beside(grain, numbers, left, moves, of_patches)


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
