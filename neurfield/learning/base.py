"""The interface behind which every way of learning θ sits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.optimizers import Optimizers
from neurfield.learning.solvers import InnerSolver
from neurfield.learning.store import ContextStore


@dataclass(frozen=True)
class Problem:
    """What a learner may base its defaults on.

    Parameters
    ----------
    n_signals, n_grids : int
        Size of the training set, and how many grids its signals stand on.
    n_points, n_axes, n_channels, latent_dim : int
        Points of the largest signal, d, c and P.
    """

    n_signals: int
    n_grids: int
    n_points: int
    n_axes: int
    n_channels: int
    latent_dim: int


@dataclass(frozen=True)
class Settings:
    """Everything about a fit that a learner has a default for.

    What came later has a default here too, which is what files that lack it were fitted with.

    Parameters
    ----------
    n_layers : int
        K, the output layer included.
    residual_scale, output_scale : float
        Conditioning of the network; 1 is the published one. A learner that starts from the data
        takes ``output_scale`` as the norm of the output weights.
    inner_steps : int
        G, steps of the inner loop in training.
    inner_lr : float
        α, step size of the inner loop, where it takes gradient steps.
    context_ratio : float
        γ, fraction of the points that the reduced context keeps.
    transform_steps : int
        H, steps at test time.
    meta_lr : float
        β.
    lr_schedule : {"constant", "cosine"}
    batch_size : int
        B, signals per meta-step.
    max_iter : int
        Meta-steps.
    damping : float
        λ, precision of the latents' prior relative to the field's sensitivity to them, where the
        inner loop solves linear systems.
    augmentation : float
        Strength of the random deformations that training sees; 0 = none.
    weight_decay : float
        Of the meta-optimiser, decoupled as in AdamW.
    learn_inner_lr : bool
        Whether α is one learnt number for each entry of the latents.
    second_order : bool
        Whether the meta-gradient passes through the gradients of the inner loop.
    context_selection : {"random", "gradient"}
        How the points of a reduced context are chosen.
    checkpointing : bool
        Whether to compute activations of the inner loop again instead of keeping them.
    compile : bool
        Whether to compile the meta-step.
    """

    n_layers: int
    residual_scale: float
    output_scale: float
    inner_steps: int
    inner_lr: float
    context_ratio: float
    transform_steps: int
    meta_lr: float
    lr_schedule: Literal["constant", "cosine"]
    batch_size: int
    max_iter: int
    damping: float = 0.0
    augmentation: float = 0.0
    weight_decay: float = 0.0
    learn_inner_lr: bool = False
    second_order: bool = True
    context_selection: Literal["random", "gradient"] = "random"
    checkpointing: bool = False
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
        Mean squared error of the field in the last step, for progress reports.
    """

    mse: torch.Tensor

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.register_buffer("mse", torch.zeros(()), persistent=False)

    @abstractmethod
    def forward(self, batch: MetaBatch) -> torch.Tensor:
        """Return the meta-loss of a batch, the field's penalty included, a scalar.

        Parameters
        ----------
        batch : MetaBatch
        """

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
        Where the meta-loss is taken.
    subsets : Tensor of shape (G, M), optional
        Points of the reduced context of each inner step; None = the whole context.
    """

    context: Context
    subsets: torch.Tensor | None = None


class Learner(ABC):
    """A way of learning θ: its defaults, its meta-step, its optimiser, its test-time solver.

    A new learner is one new file in ``neurfield/learning/learners``; its ``name`` is what
    ``FunctaEncoder(learner=...)`` takes.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    name : str
    without : tuple of str
        Settings that this learner has no use for, and that are refused unless at their defaults.
    """

    name: ClassVar[str]
    without: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    @abstractmethod
    def defaults(cls, problem: Problem) -> Settings:
        """Return the settings for what the caller left open.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.
        """

    @abstractmethod
    def meta_step(self, field: Field) -> MetaStep:
        """Return the module that computes the meta-loss.

        Parameters
        ----------
        field : Field
            Trained in place.
        """

    @abstractmethod
    def optimizers(self, step: MetaStep) -> Optimizers:
        """Return what updates the parameters of the meta-step.

        Parameters
        ----------
        step : MetaStep
        """

    @abstractmethod
    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        """Draw the batch of one meta-step.

        Parameters
        ----------
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device draws the same.
        """

    @abstractmethod
    def solver(self, step: MetaStep, store: ContextStore) -> InnerSolver:
        """Return what finds latents at test time, for θ as it stands.

        Parameters
        ----------
        step : MetaStep
        store : ContextStore
            Training signals, for what a solver knows of them beforehand.
        """

    def initialise(  # noqa: B027
        self, step: MetaStep, store: ContextStore, generator: torch.Generator
    ) -> None:
        """Adapt the initial parameters to the data; does nothing by default.

        Parameters
        ----------
        step : MetaStep
            Changed in place.
        store : ContextStore
            Training signals.
        generator : torch.Generator
        """

    def finish(
        self, step: MetaStep, store: ContextStore, generator: torch.Generator
    ) -> InnerSolver:
        """Return the solver for the finished field, after any last change to it.

        Parameters
        ----------
        step : MetaStep
            Its field may be changed in place, as long as it decodes the same signals.
        store : ContextStore
            Training signals.
        generator : torch.Generator
        """
        return self.solver(step, store)

    def validation_solver(self, step: MetaStep, store: ContextStore) -> InnerSolver:
        """Return the solver that held-out signals are fitted with during training.

        Parameters
        ----------
        step : MetaStep
        store : ContextStore
            Training signals.
        """
        return self.solver(step, store)
