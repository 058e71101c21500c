"""The interface behind which every way of learning θ sits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.distributed import World
from neurfield.learning.footprint import Sizes
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.optimizers import Optimizers
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.spec import Spec


@dataclass(frozen=True)
class Problem:
    """What a learner may base its defaults on.

    Parameters
    ----------
    n_signals, n_grids : int
        Size of the training set, and how many grids its signals stand on.
    n_points : int
        Points N of the largest signal.
    n_axes, n_channels, latent_dim : int
        Coordinate axes d, channels c and numbers P of a latent.
    cell_points : int, optional
        Points of a cell, of fields of cells whose size is known beforehand.
    """

    n_signals: int
    n_grids: int
    n_points: int
    n_axes: int
    n_channels: int
    latent_dim: int
    cell_points: int | None = None


@dataclass(frozen=True)
class Settings:
    """What every learner has a default for, where the caller left it open.

    Parameters
    ----------
    n_layers : int, default=5
        K, the output layer included.
    residual_scale, output_scale : float, default=1.0
        Conditioning of the network; 1 is the published one. A learner that starts from the data
        takes ``output_scale`` as the norm of the output weights.
    transform_steps : int, default=20
        H, steps at test time.
    meta_lr : float, default=1e-3
        β, learning rate of the meta-steps.
    lr_schedule : {"constant", "cosine"}, default="constant"
        Course of the learning rate.
    batch_size : int, default=32
        B, signals per meta-step.
    max_iter : int, default=1000
        Meta-steps.
    weight_decay : float, default=0.0
        Of the meta-optimiser, decoupled as in AdamW.
    compile : bool, default=False
        Whether to compile the meta-step.
    """

    n_layers: int = 5
    residual_scale: float = 1.0
    output_scale: float = 1.0
    transform_steps: int = 20
    meta_lr: float = 1e-3
    lr_schedule: Literal["constant", "cosine"] = "constant"
    batch_size: int = 32
    max_iter: int = 1000
    weight_decay: float = 0.0
    compile: bool = False


class MetaStep(nn.Module, ABC):
    """One meta-step as a module: ``forward`` takes a batch, runs the inner loop, returns the loss.

    ``torch.compile`` and the wrappers of ``torch.distributed`` apply to it as to any model. Its
    parameters are what is learnt: those of the field, and what the inner loop has of its own.

    Parameters
    ----------
    field : Field
        Trained in place.

    Attributes
    ----------
    mse : Tensor, scalar
        Mean squared error of the field in the last step, in squared scaled units, for progress
        reports; 0 before the first.
    world : World
        The processes that take the step together, as a trainer sets it; one alone by default. The
        batch is the same in all. A step may divide it between them and return the loss of all of
        it; one that does not makes each of them do the same.
    """

    mse: torch.Tensor
    world: World = World()

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        place = next(field.parameters()).device
        self.register_buffer("mse", torch.zeros((), device=place), persistent=False)

    @abstractmethod
    def forward(self, batch: MetaBatch) -> torch.Tensor:
        """Return the meta-loss of a batch, the field's penalty included, a scalar.

        Parameters
        ----------
        batch : MetaBatch
            As :meth:`Learner.draw` returns it.
        """

    def draw(self, learner: Learner, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        """Draw what :meth:`forward` takes; by default, what the learner draws.

        Parameters
        ----------
        learner : Learner
            Whose batches they are.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device draws the same.
        """
        return learner.draw(store, generator)

    def project(self) -> None:
        """Bring parameters back into their range after an update; does nothing by default."""

    def adopt(self, solver: InnerSolver) -> None:
        """Take over what an earlier fit has learnt beside its field; does nothing by default.

        Parameters
        ----------
        solver : InnerSolver
            Of the earlier fit.
        """


@dataclass(frozen=True)
class MetaBatch:
    """What one meta-step sees; all randomness is in here.

    Parameters
    ----------
    context : Context
        Where the meta-loss is taken, of B signals.
    subsets : int Tensor of shape (G, M), optional
        Points of the reduced contexts, by their index: of each inner step, or of each loss of the
        full field. None = the whole context.
    positions : int array of shape (B,), optional
        Which signals of the store these are, for what is known of each of them beside its values;
        None where pieces of signals are drawn.
    """

    context: Context
    subsets: torch.Tensor | None = None
    positions: np.ndarray | None = None


@dataclass(frozen=True)
class Finished:
    """What a learner leaves of a fit besides the field.

    Parameters
    ----------
    solver : InnerSolver
        Finds latents at test time.
    posterior : Posterior or LappedPosterior, optional
        How sure decoded values are, where the learner can tell.
    """

    solver: InnerSolver
    posterior: Posterior | LappedPosterior | None = None


class Learner(Spec, ABC):
    """A way of learning θ: its options, its meta-step, its optimiser, its test-time solver.

    Its constructor's parameters are its options, those that it has for itself; ``None`` leaves one
    to :meth:`options`. A learner of one's own is a subclass with a ``name``, ``meta_step`` and
    ``solver``; all else has a default.

    Attributes
    ----------
    name : str
        What ``FunctaEncoder(learner=...)`` takes.
    settings : Settings
        What all learners have in common; there once the learner knows its problem.
    families : tuple of str or None
        Names of the fields that it trains, where it does not train all of them.
    """

    kind: ClassVar[str] = "learner"
    families: ClassVar[tuple[str, ...] | None] = None
    settings: Settings

    def defaults(self, problem: Problem) -> Settings:
        """Return the settings for what the caller left open.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.
        """
        return Settings()

    def options(self, problem: Problem) -> dict[str, Any]:
        """Return values, by name, for options that are None; none by default.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.
        """
        return {}

    def for_problem(
        self, problem: Problem, chosen: Mapping[str, Any], before: Learner | None = None
    ) -> Self:
        """Return this learner with all that was left open filled in.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.
        chosen : mapping
            Values for :class:`Settings` by name; None keeps the default.
        before : Learner, optional
            Of the training that is continued. What it was filled in with stays, where it is of the
            same kind: the problem may have changed since it began.
        """
        filled, settings = self.options(problem), self.defaults(problem)
        if type(before) is type(self):
            filled, settings = before.get_params(deep=False), before.settings
        own = {name: value for name, value in filled.items() if getattr(self, name) is None}
        learner = clone(self).set_params(**own)
        overrides = {name: value for name, value in chosen.items() if value is not None}
        learner.settings = replace(settings, **overrides)
        return learner

    def trains_like(self, other: Learner) -> bool:
        """Tell whether another learner would go on with this one's training.

        Parameters
        ----------
        other : Learner
            As :meth:`for_problem` returns it. Its ``transform_steps`` are not compared.
        """
        steps = other.settings.transform_steps  # has no part in training
        return (
            self.to_plain() == other.to_plain()
            and replace(self.settings, transform_steps=steps) == other.settings
        )

    @abstractmethod
    def meta_step(self, field: Field) -> MetaStep:
        """Return the module that computes the meta-loss.

        Parameters
        ----------
        field : Field
            Trained in place.
        """

    def optimizers(self, step: MetaStep) -> Optimizers:
        """Return what updates the parameters of the meta-step; AdamW by default.

        Parameters
        ----------
        step : MetaStep
            As :meth:`meta_step` returns it; all of its parameters are learnt.
        """
        rate, decay = self.settings.meta_lr, self.settings.weight_decay
        return Optimizers([torch.optim.AdamW(step.parameters(), lr=rate, weight_decay=decay)])

    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        """Draw the batch of one meta-step; by default whole signals.

        Parameters
        ----------
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device draws the same.
        """
        positions = store.drawn(self.settings.batch_size, generator)
        return MetaBatch(store.fresh(positions, None, generator), positions=positions)

    @abstractmethod
    def solver(self, step: MetaStep, store: ContextStore) -> InnerSolver:
        """Return what finds latents at test time, for θ as it stands.

        Parameters
        ----------
        step : MetaStep
            Whose field is fitted, and what it has learnt beside it, such as step sizes.
        store : ContextStore
            Training signals, for what a solver knows of them beforehand.
        """

    def initialise(self, step: MetaStep, store: ContextStore, generator: torch.Generator) -> None:
        """Adapt the initial parameters to the data; does nothing by default.

        Parameters
        ----------
        step : MetaStep
            Changed in place.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device starts alike.
        """

    def aside(self, field: Field, store: ContextStore, generator: torch.Generator) -> np.ndarray:
        """Choose signals that training does not see, to learn what fields leave of such; none.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        int array
            Positions in the store.
        """
        return np.empty(0, dtype=np.int64)

    def finish(
        self,
        step: MetaStep,
        store: ContextStore,
        generator: torch.Generator,
        effort: float = 1.0,
    ) -> Finished:
        """End a fit: make any last change to the field, and what is known with it.

        Parameters
        ----------
        step : MetaStep
            Its field may be changed in place, as long as it decodes the same signals.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU; the one that training drew from.
        effort : float in (0, 1], default=1.0
            Fraction of the usual work that there is time for.
        """
        return Finished(self.solver(step, store))

    def finishing_operations(self, field: Field, store: ContextStore) -> float:
        """Return about how many multiplications :meth:`finish` takes; 0 by default.

        Time is kept for them at the end of a fit that has a limit.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        store : ContextStore
            Training signals.
        """
        return 0.0

    def footprint(self, field: Field, store: ContextStore) -> float:
        """Return about how many bytes a fit has in use at its peak, beside the signals.

        By default, those of a whole batch that is differentiated step by step.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        store : ContextStore
            Training signals.
        """
        sizes = Sizes.of(field, store)
        n_points = min(self.settings.batch_size, sizes.n_signals) * sizes.n_points
        return sizes.batch(n_points * sizes.n_channels) + 2 * sizes.tape(n_points)

    def validation_solver(self, step: MetaStep, store: ContextStore) -> InnerSolver:
        """Return the solver that held-out signals are fitted with during training.

        Parameters
        ----------
        step : MetaStep
            Whose field is validated, in the middle of training.
        store : ContextStore
            Training signals, without those that are held out.
        """
        return self.solver(step, store)
