"""Latents of signals that were observed in part, with all that a fit has learnt of signals."""

from __future__ import annotations

import math
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.lapped import LappedField
from neurfield.learning.context import Context
from neurfield.learning.lanes import each_in_lanes, lane_count
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.measured import (
    AtPoints,
    Found,
    Known,
    Shared,
    known_of,
    solved,
    spread_of,
    tangent_of,
)
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers.base import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.learning.workspace import Workspace
from neurfield.likelihoods import Gaussian

# Of a product of what is unknown of a signal with itself, for one that was observed in part to be
# solved in about a second.
_MOST_MULTIPLICATIONS = 2**34


def can_fill(posterior: Posterior | LappedPosterior | None, field: LappedField) -> bool:
    """Tell whether signals of some size have one cell and a mixture, and are small.

    Parameters
    ----------
    posterior : Posterior, LappedPosterior or None
        What fit has learnt of signals.
    field : LappedField
        Of their size.
    """
    if posterior is None or posterior.mixture is None or not all(field.cells.whole):
        return False
    mixture, n_values = posterior.mixture, math.prod(field.shape) * field.out_dim
    n_unknown = field.latent_dim + len(mixture.directions)
    is_small = n_unknown**2 * n_values <= _MOST_MULTIPLICATIONS
    return mixture.n_latents == field.latent_dim and is_small


class Filling(InnerSolver):
    """Fit signals that were observed in part with all that is known of signals; whole ones as ever.

    What is known are Gaussians of latents, and directions in which signals lie around the field:
    where values are missing, latents that leave room for these are more probable than those with
    which the field alone comes nearest. The noise of a signal is found out with it.

    Parameters
    ----------
    solver : InnerSolver
        For signals that were observed everywhere on the grid of fit.
    posterior : LappedPosterior
        With a mixture.
    """

    def __init__(self, solver: InnerSolver, posterior: LappedPosterior) -> None:
        self.solver, self.posterior, self.steps = solver, posterior, solver.steps

    def share(self, field: Field, context: Context) -> _SharedByAll:
        assert isinstance(field, LappedField)
        return _SharedByAll(self, field, context.coords, self.solver.share(field, context))

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        if not context.is_shared:
            each = (context.alone(i, context.n_points) for i in range(len(context)))
            return torch.cat([self.solve(field, one) for one in each])
        shared = self.share(field, context) if shared is None else shared
        found = context.values.new_empty(len(context), field.latent_dim)
        whole = self.is_whole(field, context)
        index = torch.nonzero(whole)[:, 0]
        if len(index):
            part = context.together(index)
            found[index] = self.solver.solve(field, part, shared.by_solver, workspace)
        for i in torch.nonzero(~whole)[:, 0].cpu().tolist():
            one = self.found(context.of_signals(slice(i, i + 1)), shared.measured)
            found[i] = one.unknown[: field.latent_dim].to(found)
        return found

    def is_whole(self, field: Field, context: Context) -> Tensor:
        """Return which signals were observed everywhere on the grid of fit, of shape (B,).

        Parameters
        ----------
        field : LappedField
            Of their size.
        context : Context
            Of B signals, on shared points.
        """
        assert isinstance(field, LappedField)
        whole = context.whole()
        return whole if field.is_grid(context.coords) else torch.zeros_like(whole)

    def found(self, context: Context, shared: Shared) -> Found:
        """Return what is unknown of one signal, as its observed values tell.

        Parameters
        ----------
        context : Context
            Of the signal.
        shared : Shared
            Of signals at its points.
        """
        values = context.values[0].double().cpu()
        if context.weights is not None:
            values = values.where(context.weights[0].cpu() > 0, torch.nan)
        return solved(shared, values.flatten(), Gaussian(), None, self.steps)

    def std(self, field: LappedField, coords: np.ndarray, contexts: list[Context]) -> np.ndarray:
        """Return the deviations of signals that were observed in part, of shape (n, M, c).

        Parameters
        ----------
        field : LappedField
            Of their size.
        coords : array of shape (M, d)
            Normalised points at which they are asked for.
        contexts : list of n Context
            Of one signal each, on its own points.
        """
        known, like = known_of(self.posterior, field), field.basis
        directions, noise = known.around(coords)
        with torch.no_grad():
            tangent = tangent_of(field.twin(), torch.as_tensor(coords).to(like))[1]
        columns = torch.cat([tangent.cpu().double(), torch.as_tensor(directions)]).flatten(1)
        shared: list[Shared] = []
        for context in contexts:
            if not shared or not torch.equal(shared[-1].coords, context.coords):
                shared.append(self.measured(field, context.coords, known))
            else:
                shared.append(shared[-1])
        deviations = np.empty((len(contexts), *noise.shape))

        def of_signal(i: int, lane: int) -> None:
            factor = self.found(contexts[i], shared[i]).factor
            deviations[i] = np.sqrt(spread_of(factor, columns).reshape(noise.shape) + noise)

        each_in_lanes(of_signal, len(contexts))
        return deviations

    def measured(self, field: LappedField, coords: Tensor, known: Known | None = None) -> Shared:
        """Return what signals have in common that are observed at the same points.

        Parameters
        ----------
        field : LappedField
            Of their size.
        coords : Tensor of shape (N, d)
            Normalised points.
        known : Known, optional
            What is known of them, where it is at hand.
        """
        known = known_of(self.posterior, field) if known is None else known
        return Shared.of(field, AtPoints(coords, field.out_dim), known)

    def rows_together(self, field: Field, n_points: int) -> int:
        return self.solver.rows_together(field, n_points)

    @property
    def is_one_product(self) -> bool:
        return False

    def together(self, field: Field, context: Context, shared: Any) -> int:
        if bool(self.is_whole(field, context).all()):
            return self.solver.together(field, context, shared.by_solver)
        return 1

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        return self.solver.floats_per_point(field, is_uniform)

    def footprint(self, field: Field, store: ContextStore) -> float:
        of_solver = self.solver.footprint(field, store)
        assert self.posterior.mixture is not None
        n_unknown = field.latent_dim + len(self.posterior.mixture.directions)
        n_values = int(store.points_per_signal.max()) * field.out_dim
        n_parts = len(self.posterior.mixture.weights)
        of_lane = 3 * n_unknown * n_values + (n_parts + 4) * n_unknown**2
        return of_solver + 8 * (lane_count(store.device) * of_lane + n_parts * n_unknown**2)

    def state(self) -> dict[str, Any]:
        raise NotImplementedError("what it is made of is saved: a solver, and a posterior")


class _SharedByAll:
    """What signals on the same points have in common; of those with gaps, once it is needed."""

    def __init__(
        self, filling: Filling, field: LappedField, coords: Tensor, by_solver: Any
    ) -> None:
        self.by_solver = by_solver
        self._make, self._lock = (filling, field, coords), Lock()
        self._measured: Shared | None = None

    @property
    def measured(self) -> Shared:
        with self._lock:
            if self._measured is None:
                filling, field, coords = self._make
                self._measured = filling.measured(field, coords)
            return self._measured
