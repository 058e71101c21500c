"""How sure decoded values of lapped fields are, learnt from values hidden from training signals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.context import Context
from neurfield.learning.lapped.crops import Crops, draw_crops
from neurfield.learning.lapped.posterior import LappedPosterior, density_of
from neurfield.learning.lapped.solver import LappedSolver
from neurfield.learning.lapped.spread import Spread, spread_of
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import mean_over_signals, quantile

_LEVEL = 0.9  # two-sided level at which the intervals are calibrated
_MOST_VALUES, _MOST_CROPS = 2**17, 64  # of all crops
_KEPT = (0.25, 0.5)  # fractions of points kept, drawn at random
_HOLE = 3.0  # cells along each axis that are hidden in one piece, where there is room
_MOST_OF_AXIS = 0.5  # that a hole takes
_HOLES = 4  # places, one after the other: what lies in one is an event or none for each signal
_ROUNDS = 3
# Products with J and Jᵀ of a signal with gaps, and how much longer than multiplying they take.
_PRODUCTS, _READING = 110, 2
_FACTORS, _HALVINGS = (0.05, 20.0), 14  # that are tried, and how often their range is halved


@torch.no_grad()
def calibrated_posterior(
    field: LappedField,
    solver: LappedSolver,
    cells: Cells,
    store: ContextStore,
    generator: torch.Generator,
    effort: float = 1.0,
) -> LappedPosterior | None:
    """Return the posterior of a finished field.

    Parameters
    ----------
    field : LappedField
        With its latents' final names.
    solver : LappedSolver
        With the prior of the training latents.
    cells : Cells
        Of crops.
    store : ContextStore
        Training signals.
    generator : torch.Generator
        CPU generator, of the crops and of what is hidden.
    effort : float in (0, 1], default=1.0
        Fraction of these crops that there is time for.

    Returns
    -------
    LappedPosterior or None
        None where there are less than two signals.
    """
    if solver.prior is None or len(store) < 2:
        return None
    here = field.of_shape(cells.shape)
    n_crops = math.ceil(effort * _crops(field, cells))
    # Signals that the field has not seen tell best what it leaves of others.
    positions = store.aside if len(store.aside) > 1 else None
    crops = draw_crops(store, max(2, n_crops), cells.shape, generator, positions)
    everything = _context(here, crops)
    latents = solver.solve(here, everything, solver.share(here, everything))
    squared = everything.residual(here(everything.coords, latents)).square().double()
    counted = torch.ones_like(squared) if everything.weights is None else everything.weights
    total = mean_over_signals(squared.sum(dim=1), crops.sample_weight)
    count = mean_over_signals(counted.double().sum(dim=1), crops.sample_weight)
    least = 1e-6 * solver.prior.noise
    noise = (total / count.clamp_min(1e-30)).clamp_min(least).cpu().numpy()
    posterior = LappedPosterior(solver.prior, solver.precision, noise)
    whole = spread_of(here, solver.prior, solver.precision, None)
    _set_level_weight(posterior, here, everything, latents, whole)
    of_all = _Trial.of(posterior, here, everything, everything, latents, whole)
    trials: dict[str, list[_Trial]] = {"scale": [of_all], "latent_scale": [], "hole_scale": []}
    for name, hidden in _hidden(cells, generator):
        mask = latents.new_ones(len(everything.coords), 1)
        mask[hidden] = 0.0
        seen, aside = _divided(everything, mask)
        latents = solver.solve(here, seen)
        density = density_of(here, _one(everything, mask))
        spread = spread_of(here, solver.prior, solver.precision, density)
        trials[name].append(_Trial.of(posterior, here, seen, aside, latents, spread))
    posterior.latent_scale = 0.0
    for _ in range(_ROUNDS):  # each factor has a small part in what the other one is found from
        for name, some in trials.items():
            _set(posterior, name, some)
    return posterior


def operations_of_calibration(field: LappedField, cells: Cells, all_whole: bool) -> float:
    """Return about how many multiplications :func:`calibrated_posterior` takes.

    Parameters
    ----------
    field : LappedField
        Whose sizes count.
    cells : Cells
        Of crops.
    all_whole : bool
        Whether no training signal has gaps, and all crops have the same ones hidden.
    """
    product = 2 * cells.n_cells * field.basis.numel()  # with J and Jᵀ
    n_kinds = len(_KEPT) + _HOLES
    n_solved = _crops(field, cells) * n_kinds
    blocks = field.cell_latents * product  # of each cell, where gaps have made it unlike others
    spreads = 2 * (n_kinds + 1) * blocks
    n_unlike = n_kinds if all_whole else n_solved
    return n_solved * _READING * _PRODUCTS * product + n_unlike * blocks + spreads


def _crops(field: LappedField, cells: Cells) -> int:
    n_values = field.out_dim * math.prod(cells.shape)
    return min(_MOST_CROPS, max(4, _MOST_VALUES // n_values))


def _context(field: LappedField, crops: Crops) -> Context:
    """Return pieces of signals as contexts on the grid of the tables."""
    along = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in field.shape]
    coords = torch.cartesian_prod(*along).reshape(-1, field.in_dim).to(field.basis)
    weights = None if crops.weights is None else crops.weights.flatten(2).mT
    return Context(coords, crops.values.flatten(2).mT, weights, crops.sample_weight)


def _divided(context: Context, mask: Tensor) -> tuple[Context, Context]:
    """Divide what was observed into what is shown and what is hidden."""
    weights = torch.ones_like(context.values) if context.weights is None else context.weights
    return tuple(  # type: ignore[return-value]
        Context(context.coords, context.values * part, weights * part, context.sample_weight)
        for part in (mask, 1.0 - mask)
    )


def _one(context: Context, mask: Tensor) -> Context:
    """Return a signal that was observed where a mask says."""
    values = torch.zeros_like(context.values[:1])
    return Context(context.coords, values, (values + 1.0) * mask.to(values))


def _set_level_weight(
    posterior: LappedPosterior,
    field: LappedField,
    context: Context,
    latents: Tensor,
    spread: Spread,
) -> None:
    """Learn how far levels of noise differ from signal to signal."""
    misfit, free = posterior.misfit(field, context, latents, spread.taken)
    levels, weight = misfit / np.maximum(free, 1.0), context.sample_weight
    counts = None if weight is None else weight.double().cpu().numpy()
    varies = np.average(np.square(levels - np.average(levels, weights=counts)), weights=counts)
    posterior.level_weight = float(np.clip(2.0 / max(varies, 1e-3), 2.0, 1e3))


@dataclass(frozen=True)
class _Trial:
    """Errors at values of training signals, and what their variance is made of.

    Parameters
    ----------
    errors : array of shape (n, N, c)
        |error| / √ρ, NaN where unknown.
    spread, unseen : arrays of shape (N, c)
        As :meth:`LappedPosterior.variance` takes them.
    sample_weight : array of shape (n,), or None
        As how many signals each counts.
    """

    errors: np.ndarray
    spread: np.ndarray
    unseen: np.ndarray
    sample_weight: np.ndarray | None

    @classmethod
    def of(
        cls,
        posterior: LappedPosterior,
        field: LappedField,
        seen: Context,
        aside: Context,
        latents: Tensor,
        spread: Spread,
    ) -> _Trial:
        """Compare signals that were fitted to what was seen with what was not."""
        level = posterior.level(*posterior.misfit(field, seen, latents, spread.taken))
        errors = aside.residual(field(aside.coords, latents)).double().abs().cpu().numpy()
        if aside.weights is not None:
            errors = np.where(aside.weights.cpu().numpy() > 0, errors, np.nan)
        weight = aside.sample_weight
        return cls(
            errors / np.sqrt(level)[:, None, None],
            spread.variance.flatten(1).T.numpy(),
            spread.unseen.flatten(1).T.numpy(),
            None if weight is None else weight.cpu().numpy(),
        )


def _set(posterior: LappedPosterior, name: str, trials: list[_Trial]) -> None:
    """Choose a factor so that intervals hold as many values as they should."""
    wanted, found = NormalDist().inv_cdf((1 + _LEVEL) / 2), []
    for trial in trials:
        if not np.isfinite(trial.errors).any():
            continue  # nothing that was hidden had been observed
        low, high = (math.log(end) for end in _FACTORS)
        for _ in range(_HALVINGS):
            setattr(posterior, name, math.exp(0.5 * (low + high)))
            scores = trial.errors / np.sqrt(posterior.variance(trial.spread, trial.unseen))
            if quantile(scores, _LEVEL, trial.sample_weight) < wanted:
                high = 0.5 * (low + high)
            else:
                low = 0.5 * (low + high)
        found.append(getattr(posterior, name))
    setattr(posterior, name, float(np.mean(found)) if found else 1.0)


def _hidden(cells: Cells, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Yield points to hide, scattered and in holes of whole cells, and which factor they tell."""
    n_points = math.prod(cells.shape)
    if n_points < 2:
        return
    for kept in _KEPT:
        order = torch.randperm(n_points, generator=generator)
        yield "latent_scale", order[min(max(1, round(kept * n_points)), n_points - 1) :]
    everywhere = torch.arange(n_points).reshape(cells.shape)
    for _ in range(_HOLES):
        grid = everywhere
        for axis, (size, side) in enumerate(zip(cells.shape, cells.side, strict=True)):
            length = max(1, min(round(_HOLE * side), int(_MOST_OF_AXIS * size)))
            first = int(torch.randint(size - length + 1, (1,), generator=generator))
            grid = grid.narrow(axis, first, length)
        if grid.numel() < n_points:
            yield "hole_scale", grid.flatten()
