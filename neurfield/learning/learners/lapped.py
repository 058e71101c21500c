"""Variable projection over cells: how lapped fields are learnt."""

from __future__ import annotations

import math
from typing import ClassVar, cast

import numpy as np
import torch

from neurfield.fields import Field, LappedField
from neurfield.learning.base import Finished, Learner, MetaStep, Problem, Settings
from neurfield.learning.context import random_points
from neurfield.learning.lapped.calibration import (
    calibrated_posterior,
    operations_of_calibration,
)
from neurfield.learning.lapped.crops import crop_shape, most_samples
from neurfield.learning.lapped.curvature import BasisDescent, n_learnt_together
from neurfield.learning.lapped.finish import canonical_cells
from neurfield.learning.lapped.solver import LappedSolver
from neurfield.learning.lapped.start import damping, footprint_of_start, start_from_crops
from neurfield.learning.lapped.step import LappedStep
from neurfield.learning.mixture_fit import (
    can_learn,
    footprint_of_mixture,
    learn_mixture,
    operations_of_mixture,
)
from neurfield.learning.optimizers import Muon, Optimizers
from neurfield.learning.store import ContextStore

_VALUES = 2**18  # of a batch, about
_MOST_SIGNALS = 64
# Signals that are set aside where one cell, which learns signals by heart, has a mixture of them:
# one in so many, from a number on that says something.
_ONE_IN, _LEAST_ASIDE, _MOST_ASIDE = 32, 16, 128
# Learning rates beside that of Adam: of the matrices of ψ, whose steps are orthogonalised; of B, of
# which a step of 1 goes all the way to the minimum for a batch; and of B where a batch has few
# cells for their latents, times how many it has for each.
_MATRIX_RATE, _BASIS_RATE, _ROW_RATE = 25.0, 50.0, 100.0


class LappedVarPro(Learner):
    """Closed-form latents of all cells, and a field that learns what signals they stand for.

    What field="lapped" is trained with. The linear part of the field starts at the fit of the
    training signals by alternating least squares; from there on the whole field takes meta-steps.

    Examples
    --------
    >>> LappedVarPro().get_params()
    {}
    """

    name: ClassVar[str] = "lapped"
    families: ClassVar[tuple[str, ...] | None] = ("lapped",)

    def defaults(self, problem: Problem) -> Settings:
        most = most_samples(problem.n_axes) ** problem.n_axes
        if (problem.cell_points or 0) >= problem.n_points:
            most = problem.n_points  # one cell is all of a signal, which no crop is cut from
        n_values = min(problem.n_points, most) * problem.n_channels
        return Settings(
            transform_steps=4,
            lr_schedule="cosine",
            batch_size=max(4, min(_MOST_SIGNALS, _VALUES // n_values)),
        )

    def meta_step(self, field: Field) -> LappedStep:
        lapped = cast(LappedField, field)
        return LappedStep(lapped, crop_shape(lapped.cells))

    def optimizers(self, step: MetaStep) -> Optimizers:
        lapped, field = cast(LappedStep, step), cast(LappedField, step.field)
        rate, decay = self.settings.meta_lr, self.settings.weight_decay
        detail, curvature = field.detail, lapped.curvature
        matrices = [p for p in detail.net.parameters() if p.ndim > 1]
        rest = [p for p in detail.net.parameters() if p.ndim == 1]
        rest += [field.mean, detail.reader, detail.table]
        optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, _MATRIX_RATE * rate, decay),
            torch.optim.AdamW(rest, lr=rate, weight_decay=decay),
        ]
        if curvature is not None:
            rows = self.settings.batch_size * math.prod(lapped.cells.n_tiles)
            of_basis = min(_BASIS_RATE, _ROW_RATE * rows / len(curvature.moments))
            optimizers.append(BasisDescent(field, curvature, of_basis * rate))
        return Optimizers(optimizers)

    def initialise(self, step: MetaStep, store: ContextStore, generator: torch.Generator) -> None:
        lapped = cast(LappedStep, step)
        start_from_crops(cast(LappedField, step.field), store, lapped.cells.shape, generator)

    def solver(self, step: MetaStep, store: ContextStore) -> LappedSolver:
        field = cast(LappedField, step.field)
        return LappedSolver(self.settings.transform_steps, damping(field).clone())

    def aside(self, field: Field, store: ContextStore, generator: torch.Generator) -> np.ndarray:
        n_signals = min(len(store) // _ONE_IN, _MOST_ASIDE)
        if n_signals < _LEAST_ASIDE or not can_learn(field, store):
            return super().aside(field, store, generator)
        return np.sort(random_points(len(store), n_signals, generator).numpy())

    def footprint(self, field: Field, store: ContextStore) -> float:
        assert isinstance(field, LappedField)
        cells = field.cells.resized(crop_shape(field.cells))
        n_bytes, n_values = field.basis.itemsize, field.out_dim * math.prod(cells.shape)
        windows = field.out_dim * cells.n_cells * cells.window_size
        small = field.detail.cells(cells.shape).n_cells * 2**field.in_dim
        of_detail = small * field.out_dim * math.prod(field.detail.side)
        hidden = small * (2 * field.hidden_dim + field.features)
        batch = self.settings.batch_size * (6 * n_values + 2 * windows + 3 * (of_detail + hidden))
        size = cells.n_cells * field.cell_latents
        n_latents = n_learnt_together(field, cells)
        # In double precision, and what optimisers gather.
        shared = 6 * size**2 + 6 * n_latents**2 + 6 * field.n_parameters
        of_step = n_bytes * (batch + shared)
        finished = footprint_of_mixture(field, store)
        start = footprint_of_start(field, cells, len(store)) + n_bytes * shared
        return max(of_step, start, finished)

    def finishing_operations(self, field: Field, store: ContextStore) -> float:
        assert isinstance(field, LappedField)
        cells = field.cells.resized(crop_shape(field.cells))
        if len(store) < 2:
            return 0.0
        calibration = operations_of_calibration(field, cells, all_whole=store.is_uniform)
        return calibration + operations_of_mixture(field, store)

    def validation_solver(self, step: MetaStep, store: ContextStore) -> LappedSolver:
        solver = self.solver(step, store)
        solver.steps = 1
        return solver

    def finish(
        self,
        step: MetaStep,
        store: ContextStore,
        generator: torch.Generator,
        effort: float = 1.0,
    ) -> Finished:
        """Give the vectors of cells their canonical coordinates, and learn prior and posterior.

        Parameters
        ----------
        step : MetaStep
            Its field is turned in place.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU; draws the crops that all this is estimated from.
        effort : float in (0, 1], default=1.0
            Fraction of these crops that there is time for.
        """
        lapped = cast(LappedStep, step)
        field = cast(LappedField, step.field)
        precision, prior = canonical_cells(field, lapped.cells, store, generator, effort)
        solver = LappedSolver(self.settings.transform_steps, precision, **prior.state())
        posterior = calibrated_posterior(field, solver, lapped.cells, store, generator, effort)
        if posterior is not None:
            posterior.mixture = learn_mixture(field, solver, store, generator, effort)
        return Finished(solver, posterior)
