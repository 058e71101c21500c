"""Values on a grid that small patches make probable, too: half-quadratic splitting.

Values x of a signal are sought that go with its measurements, lie around the field and its
directions as noise with a spectrum does, and have patches as training signals have them. Patches
are averaged as their kinds have them most probably, and values drawn towards these averages by the
more the further the rounds have come.

References
----------
Zoran and Weiss, "From Learning Models of Natural Image Patches to Whole Image Restoration", ICCV
2011. Geman and Yang, "Nonlinear Image Recovery with Half-Quadratic Regularization", IEEE
Transactions on Image Processing 4, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurfield.learning.measured.grain import Correlated
from neurfield.learning.measured.problem import Problem
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.patch_prior import PatchPrior, places_of
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients

# Of the logarithms of densities, as neighbouring patches say the same again, and as what lies
# around the field is known from patches as well. The first is for deviations.
_COUNTED_OF_STD, _COUNTED, _NOISE_COUNTED = 0.1, 0.25, 0.15
_ROUNDS, _FIRST, _LAST = 16, 1.0, 0.2  # deviations from averages, of the root mean square
_PRODUCTS, _TOLERANCE = 10, 1e-2  # of conjugate gradients
_STRIDE, _SEED = 2, 0


@dataclass(frozen=True)
class Patchwise:
    """What patches make of a signal's values around the field and its directions.

    Parameters
    ----------
    patches : PatchPrior
        That say so.
    shape : tuple of d int
        Of the grid.
    values : float64 Tensor of shape (N, c)
        At its nodes, whole signals.
    around : float64 Tensor of shape (N, c)
        The same less the field and its directions.
    noise : array of shape (N, c)
        Variance around these, as long as nothing is measured.
    """

    patches: PatchPrior
    shape: tuple[int, ...]
    values: Tensor
    around: Tensor
    noise: np.ndarray

    def at(self, grain: Correlated) -> Tensor:
        """Return values around the field and its directions at some points, of shape (M, c)."""
        return grain.read(self.around[None])[0]

    def left(self, grain: Correlated, variance: np.ndarray) -> np.ndarray:
        """Return the variance of values at some points.

        Parameters
        ----------
        grain : Correlated
            At these points.
        variance : array of shape (M, c)
            If nothing was known of patches.
        """
        before = grain.gathered(torch.as_tensor(variance))
        places = places_of(self.shape, self.patches.sides, 1, [0] * len(self.shape))
        left = self.patches.left(
            self.values.float(), places, before.float(), _COUNTED_OF_STD
        ).double()
        # Patches move values by no more than the noise around the field lets them.
        free = torch.as_tensor(self.noise) / _NOISE_COUNTED
        part = 1.0 - (1.0 - left / before) * free / (free + before)
        return variance * grain.read(part[None])[0].numpy()


def patchwise(
    problem: Problem, unknown: Tensor, target: Tensor, noise: Tensor, start: Tensor
) -> Patchwise:
    """Return the values of one signal.

    Parameters
    ----------
    problem : Problem
        Of the signal, whose kind has patches.
    unknown : float64 Tensor of shape (U,)
        Its latent and factors of directions.
    target : float64 Tensor of shape (k,)
        What these leave of the measurements that there are.
    noise : float64 Tensor of shape (k,)
        Variance of each.
    start : float64 Tensor of shape (N, c)
        Values around the field and its directions to begin with.
    """
    shared, mixture = problem.shared, problem.shared.mixture
    assert mixture is not None
    assert mixture.patches is not None
    patches, grain = mixture.patches, shared.grain
    assert isinstance(grain, Correlated)
    of_field = _of_field(problem, mixture, unknown)
    shape, size = of_field.shape, of_field.numel()

    def measured(rows: Tensor) -> Tensor:
        values = grain.read(rows.reshape(-1, *shape))
        return shared.measured.apply(values).cpu()[:, problem.seen] / noise

    def carried_back(rows: Tensor) -> Tensor:
        back = grain.read_back(shared.carried_back(problem.among_all(rows)))
        return back.reshape(-1, size)

    def precise(rows: Tensor) -> Tensor:
        return _NOISE_COUNTED * grain.precise(rows.reshape(-1, *shape)).reshape(-1, size)

    sought = carried_back((target / noise)[None])
    grid, random = tuple(map(len, mixture.axes)), np.random.default_rng(_SEED)
    around = start.reshape(1, size)
    for level in patches.rms * np.geomspace(_FIRST, _LAST, _ROUNDS):
        first = random.integers(_STRIDE, size=len(grid)).tolist()
        places = places_of(grid, patches.sides, _STRIDE, first)
        whole = (of_field + around.reshape(shape)).float()
        averages = patches.smoothed(whole, places, _COUNTED * level**2).double() - of_field
        drawn = float(level**-2)

        def multiply(rows: Tensor, drawn: float = drawn) -> Tensor:
            return carried_back(measured(rows)) + precise(rows) + drawn * rows

        near = averages.reshape(1, size)
        around = near + conjugate_gradients(
            multiply,
            lambda rows: rows,
            sought - carried_back(measured(near)) - precise(near),
            _PRODUCTS,
            _TOLERANCE,
        )
    found = around.reshape(shape)
    return Patchwise(patches, grid, of_field + found, found, mixture.noise.reshape(shape))


def _of_field(problem: Problem, mixture: SignalMixture, unknown: Tensor) -> Tensor:
    """Return values of the field and its directions at the nodes, of shape (N, c)."""
    n_latents, coords = problem.field.latent_dim, problem.shared.coords
    nodes = torch.as_tensor(mixture.nodes).to(coords)
    values = problem.field(nodes, unknown[:n_latents].to(coords)[None])[0].double().cpu()
    directions = torch.as_tensor(mixture.directions).flatten(1).double()
    return values + (unknown[n_latents:] @ directions).reshape(values.shape)
