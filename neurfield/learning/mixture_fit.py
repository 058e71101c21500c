"""Learning a mixture of signals at the end of a fit."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from neurfield.fields import Field, LappedField
from neurfield.learning.context import Context
from neurfield.learning.denoising import left_by_mixture, left_by_patches
from neurfield.learning.gaussians import fit_gaussians
from neurfield.learning.lapped.crops import Crops
from neurfield.learning.lapped.deform import deformed
from neurfield.learning.measured import tangent_of
from neurfield.learning.mixture import SignalMixture, Spread, parted
from neurfield.learning.noise import spectrum_of
from neurfield.learning.patch_prior import PatchPrior
from neurfield.learning.patch_prior_fit import learn_patch_prior, operations_of_patch_prior
from neurfield.learning.solvers import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.memory import at_once

_MOST_SIGNALS, _LEAST_SIGNALS = 4096, 8
_MOST_VALUES, _MOST_MULTIPLICATIONS = 2**25, 2**37  # of the signals, and of fields at all values
_MOST_NUMBERS = 2**21  # of all directions together
_MOST_LATENTS, _MOST_DIRECTIONS = 1024, 512
_SCATTERS = 20  # sums of squares of all latents that Gaussians take, and matrices as large
# A few signals do not show all that others will be like: each is seen moved a little, too.
_LEAST_MOVES, _MOST_MOVES, _MOVED = 2, 16, 2048  # of each, and of all together about
_WEIGHT_OF_MOVED = 0.5
_MOST_OF_SPECTRUM = 2**22  # values of signals
_HELD_OUT, _LEAST_HELD_OUT = 5, 8  # of so many signals, one; from so many on
_LEAST_MOVE = 1e-6  # of the mean squared effect of a latent
_LEAST_NOISE = 1e-3  # of the mean variance that fields leave
# Noise with which patches are tried, as a part of their root mean square; and how much less of it
# they must leave, as signals that fields were trained with look simpler than others.
_TRIED_NOISE, _TRIED_SIGNALS, _BETTER = 0.5, 8, 0.8
_MOST_DECOMPOSED, _SVD_ROUNDS = 2048, 2  # values up to which all directions are found; beyond


@torch.no_grad()
def learn_mixture(
    field: Field,
    solver: InnerSolver,
    store: ContextStore,
    generator: torch.Generator,
    effort: float = 1.0,
) -> SignalMixture | None:
    """Learn what signals on one grid are like, from training signals and their latents.

    Parameters
    ----------
    field : Field
        Of whole signals, or of one cell that is all of a signal.
    solver : InnerSolver
        That finds latents; its first step, the closed form, is taken.
    store : ContextStore
        Training signals.
    generator : torch.Generator
        CPU generator, of a sample of the signals and their moves.
    effort : float in (0, 1], default=1.0
        Fraction of these signals that there is time for.

    Returns
    -------
    SignalMixture or None
        None where signals are few, have gaps or stand on grids of their own, or latents are those
        of cells or too many.
    """
    if not can_learn(field, store):
        return None
    n_signals = max(_LEAST_SIGNALS, math.ceil(effort * sample_size(field, store)))
    seen = store.not_aside
    drawn = torch.randperm(len(seen), generator=generator)[:n_signals]
    whole = store.batch(np.sort(seen[drawn.numpy()]))
    closed = copy.copy(solver)
    closed.steps = 1
    shared = closed.share(field, whole)
    versions = list(_versions(whole, store, _n_moves(field, store), generator))
    found = [_encoded(field, closed, version, shared) for version in versions]
    weight = _weight(whole)
    weights = [weight] + [_WEIGHT_OF_MOVED * weight] * (len(versions) - 1)
    of_rows = np.concatenate(weights)
    random = np.random.default_rng(int(torch.randint(2**31 - 1, (1,), generator=generator)))
    rest = torch.cat([residual for _, residual in found])
    if not isinstance(field, LappedField):  # whose detail changes with latents beside the tangent
        rest = _beside_tangent(rest, field, whole.coords)
    left = rest.cpu().numpy()
    directions, noise = _directions(left, of_rows, _n_directions(field, store), random)
    rows = [latents.double().cpu().numpy() for latents, _ in found]
    gaussians = fit_gaussians(rows, weights, random)
    if gaussians is None:
        return None
    axes = _axes(store)
    shape = (*map(len, axes), field.out_dim)
    # Signals as they are come first.
    some = slice(max(_LEAST_SIGNALS, _MOST_OF_SPECTRUM // left.shape[1]))
    beside = parted(left[some], directions)[1]
    spectrum = spectrum_of(beside, noise.reshape(shape), of_rows[some])
    mixture = SignalMixture(
        gaussians.weights,
        gaussians.means,
        gaussians.covariances.astype(np.float32),
        directions.reshape(-1, *shape),
        noise.reshape(shape),
        spectrum.astype(np.float32),
        axes,
    )
    shown = whole
    if len(store.aside):
        shown = store.batch(store.aside)
        latents, rest = _encoded(field, closed, shown, shared)
        mixture = mixture.widened(latents.cpu().numpy(), rest.cpu().numpy(), _weight(shown))
    elif len(whole) >= _LEAST_HELD_OUT and len(directions):
        mixture = mixture.stretched(_spread(left, weights, mixture, random))
    patches = learn_patch_prior(whole.values.cpu().numpy(), weight, shape[:-1], effort, random)
    if patches is None or not _is_better(patches, mixture, field, shown, random):
        return mixture
    return replace(mixture, patches=patches)


def can_learn(field: Field, store: ContextStore) -> bool:
    """Tell whether signals of a store have a mixture.

    Parameters
    ----------
    field : Field
        That describes them.
    store : ContextStore
        Training signals.
    """
    if isinstance(field, LappedField) and not all(field.cells.whole):
        return False
    if not store.is_uniform or store.grids[0].group.is_scattered:
        return False
    lengths = [len(axis) for axis in store.grids[0].group.axes]
    return (
        len(store) >= _LEAST_SIGNALS
        and field.latent_dim <= _MOST_LATENTS
        and min(lengths) > 1
        and math.prod(lengths) * field.out_dim <= _MOST_NUMBERS
    )


def sample_size(field: Field, store: ContextStore) -> int:
    """Return how many signals a mixture is learnt from.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    store : ContextStore
        Training signals.
    """
    n_points = int(store.points_per_signal.max())
    n_versions = 1 + _LEAST_MOVES
    by_values = _MOST_VALUES // (n_versions * n_points * field.out_dim)
    by_time = _MOST_MULTIPLICATIONS / (_multiplications(field) * n_points * n_versions)
    return max(_LEAST_SIGNALS, min(len(store), _MOST_SIGNALS, by_values, int(by_time)))


def operations_of_mixture(field: Field, store: ContextStore) -> float:
    """Return about how many multiplications :func:`learn_mixture` takes.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    store : ContextStore
        Training signals.
    """
    if not can_learn(field, store):
        return 0.0
    n_values, n_fits = _n_values(field, store), _n_fits(field, store)
    n_latents = field.latent_dim
    n_directions = _n_directions(field, store)
    times = 1 if len(store.aside) else 2  # without those that are held out, too
    of_directions = 2 * (2 + 2 * _SVD_ROUNDS) * n_directions * times
    of_values = n_fits * n_values * (n_latents + of_directions + _multiplications(field))
    shape = [len(axis) for axis in store.grids[0].group.axes]
    of_patches = operations_of_patch_prior(shape, field.out_dim)
    return of_values + _SCATTERS * n_latents**2 * n_fits + of_patches


def footprint_of_mixture(field: Field, store: ContextStore) -> float:
    """Return about how many bytes :func:`learn_mixture` takes at its peak.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    store : ContextStore
        Training signals.
    """
    if not can_learn(field, store):
        return 0.0
    n_values, n_fits = _n_values(field, store), _n_fits(field, store)
    n_latents, n_bytes = field.latent_dim, field.zero_latents(1).itemsize
    rows = n_fits * (5 * n_values * n_bytes + 32 * n_latents)
    return rows + 8 * _SCATTERS * n_latents**2 + 12 * _MOST_NUMBERS


def _n_moves(field: Field, store: ContextStore) -> int:
    """Return how often each signal is moved: more often where signals are few."""
    n_values = _n_values(field, store)
    n_signals = sample_size(field, store)
    most = min(_MOVED // n_signals, _MOST_VALUES // (n_signals * n_values) - 1, _MOST_MOVES)
    return max(_LEAST_MOVES, most)


def _n_values(field: Field, store: ContextStore) -> int:
    return int(store.points_per_signal.max()) * field.out_dim


def _n_fits(field: Field, store: ContextStore) -> int:
    """Return how many signals are encoded, moved ones included."""
    return (1 + _n_moves(field, store)) * sample_size(field, store)


def _multiplications(field: Field) -> int:
    """Return about how many multiplications a value of the full field takes."""
    if isinstance(field, LappedField):
        return field.modulation_size * 8
    return field.modulation_size * field.hidden_dim


def _versions(
    whole: Context, store: ContextStore, n_moves: int, generator: torch.Generator
) -> Iterator[Context]:
    """Yield signals as they are, and moved a little where there are axes enough for it."""
    yield whole
    shape = [len(axis) for axis in store.grids[0].group.axes]
    if len(shape) > 3:
        return
    values = whole.values.mT.unflatten(2, shape)
    for _ in range(n_moves):
        moved = deformed(Crops(values), 1.0, generator)
        yield Context(whole.coords, moved.values.flatten(2).mT.contiguous())


def _weight(context: Context) -> np.ndarray:
    """Return as how many signals each counts."""
    if context.sample_weight is None:
        return np.ones(len(context))
    return context.sample_weight.double().cpu().numpy()


def _encoded(
    field: Field, solver: InnerSolver, context: Context, shared: object
) -> tuple[Tensor, Tensor]:
    """Return latents, and what the field leaves of the values: rows of N c numbers."""
    size = max(1, at_once("derivatives") // (field.modulation_size * context.n_points))
    latents, left = [], []
    for start in range(0, len(context), size):
        block = context.of_signals(slice(start, start + size))
        latents.append(solver.solve(field, block, shared))
        left.append(block.residual(field(block.coords, latents[-1])).flatten(1))
    return torch.cat(latents), torch.cat(left)


def _n_directions(field: Field, store: ContextStore) -> int:
    n_values, n_fits = _n_values(field, store), _n_fits(field, store)
    return max(1, min(_MOST_DIRECTIONS, n_fits // 4, n_values - 1, _MOST_NUMBERS // n_values))


def _spread(
    left: np.ndarray, weights: list[np.ndarray], mixture: SignalMixture, random: np.random.Generator
) -> Spread:
    """Return how far signals lie around the field of which directions have not been learnt.

    Parameters
    ----------
    left : array of shape (k n, N c)
        What fields leave of n signals, and of their moved versions after them.
    weights : list of k arrays of shape (n,)
        As how many each counts.
    mixture : SignalMixture
        With directions from all of them.
    random : numpy.random.Generator
        Of the signals that are held out.
    """
    n_signals = len(weights[0])
    held_out = np.zeros(n_signals, dtype=bool)
    held_out[random.permutation(n_signals)[: n_signals // _HELD_OUT]] = True
    others = np.tile(~held_out, len(weights))
    rows = left[others], np.concatenate(weights)[others]
    directions, noise = _directions(*rows, len(mixture.directions), random)
    shape = mixture.noise.shape
    apart, weight = left[:n_signals][held_out], weights[0][held_out]
    return Spread.of(apart, weight, directions.reshape(-1, *shape), noise.reshape(shape))


def _is_better(
    patches: PatchPrior,
    mixture: SignalMixture,
    field: Field,
    shown: Context,
    random: np.random.Generator,
) -> bool:
    """Tell whether patches take more noise away than all that is known of whole signals."""
    variance = (_TRIED_NOISE * patches.rms) ** 2
    values = shown.values[:_TRIED_SIGNALS].float().cpu()
    shape, seed = mixture.noise.shape[:-1], int(random.integers(2**31))
    jacobian = tangent_of(field, shown.coords)[1].flatten(1)
    by_mixture = left_by_mixture(mixture, jacobian, variance)
    return left_by_patches(patches, values, shape, variance, seed) < _BETTER * by_mixture


def _beside_tangent(left: Tensor, field: Field, coords: Tensor) -> Tensor:
    """Return what is left of signals without what small changes of latents would explain.

    Otherwise factors would take up in the solve what latents are there for.
    """
    jacobian = tangent_of(field, coords)[1].flatten(1)
    gram = (jacobian @ jacobian.T).double()
    gram.diagonal().add_(_LEAST_MOVE * gram.diagonal().mean())
    moves = torch.linalg.solve(gram, (jacobian @ left.T).double()).T
    return left - moves.to(left) @ jacobian


def _directions(
    left: np.ndarray, weights: np.ndarray, n_directions: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return principal directions of what is left, and the variance beside them."""
    rows = left * np.sqrt(weights / weights.sum()).astype(left.dtype)[:, None]
    total = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
    least = _LEAST_NOISE * float(total.mean()) + 1e-12
    if rows.shape[1] <= _MOST_DECOMPOSED:
        squares, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        sizes, axes = np.sqrt(squares.clip(0.0))[::-1], axes.T[::-1]
    else:
        _, sizes, axes = randomized_svd(
            rows, n_directions, n_iter=_SVD_ROUNDS, random_state=int(random.integers(2**31))
        )
    kept = slice(min(n_directions, int(np.count_nonzero(np.square(sizes) > least))))
    directions = (sizes[kept, None] * axes[kept]).astype(np.float32)
    beside = total - np.square(directions, dtype=np.float64).sum(axis=0)
    return directions, np.maximum(beside, least).astype(np.float32)


def _axes(store: ContextStore) -> tuple[np.ndarray, ...]:
    """Return the axes of the grid of training signals, in normalised coordinates."""
    group = store.grids[0].group
    shape = tuple(len(axis) for axis in group.axes)
    coords = store.units.frame.grid(group.axes).reshape(*shape, len(shape))
    return tuple(
        np.ascontiguousarray(np.moveaxis(coords[..., i], i, 0).reshape(shape[i], -1)[:, 0])
        for i in range(len(shape))
    )
