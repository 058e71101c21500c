"""Second-order CAVIA with context reduction, as MedFuncta publishes it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.base import Learner, MetaBatch, MetaStep, Problem, Settings
from neurfield.learning.context import Context, random_subsets
from neurfield.learning.optimizers import Optimizers
from neurfield.learning.solvers import GradientDescent, gradient_step
from neurfield.learning.store import ContextStore
from neurfield.learning.unrolled import Workspace, unrolled_loss


class CaviaStep(MetaStep):
    """G gradient steps on reduced contexts, then the loss on the full one.

    Parameters
    ----------
    field : Field
    inner_steps : int
        G.
    inner_lr : float
        α.
    checkpointing : bool, default=False
        Compute the activations of each inner step again on the way back, instead of keeping them.
    """

    def __init__(
        self, field: Field, inner_steps: int, inner_lr: float, checkpointing: bool = False
    ) -> None:
        super().__init__(field)
        self.inner_steps, self.inner_lr = inner_steps, inner_lr
        self.checkpointing = checkpointing
        self._step, self._loss = gradient_step, _mean_loss
        self._workspace = Workspace()
        self._is_compiled = False

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile one inner step and the loss, which is quicker than all steps in one graph.

        Arguments are those of :func:`torch.compile`. The compiled step is differentiated by
        autograd, over the whole batch at once.
        """
        self._step = torch.compile(gradient_step, *args, **kwargs)
        self._loss = torch.compile(_mean_loss, *args, **kwargs)
        self._is_compiled = True

    def forward(self, batch: MetaBatch) -> Tensor:
        context, subsets = batch.context, self._subsets(batch)
        latents, done = self.field.zero_latents(len(context)), 0
        if context.is_shared:
            latents, done = self._inner_step(context, subsets[0], latents[:1]), 1
        if self._is_compiled or self.field.sweeps(1) is None:
            for subset in subsets[done:]:
                latents = self._inner_step(context, subset, latents)
            loss = self._loss(self.field, context, latents)
        else:
            loss = unrolled_loss(
                self.field,
                context,
                subsets[done:],
                latents,
                self.inner_lr,
                self.checkpointing,
                self._workspace,
            )
        self.mse.copy_(loss.detach())
        return loss + self.field.penalty()

    def adapt(self, batch: MetaBatch) -> Tensor:
        """Return the latents after the inner loop, as a differentiable function of θ."""
        latents = self.field.zero_latents(len(batch.context))
        for subset in self._subsets(batch):
            latents = self._inner_step(batch.context, subset, latents)
        return latents

    def _subsets(self, batch: MetaBatch) -> list[Tensor | None]:
        if batch.subsets is None:
            return [None] * self.inner_steps
        return list(batch.subsets[: self.inner_steps])

    def _inner_step(self, context: Context, subset: Tensor | None, latents: Tensor) -> Tensor:
        reduced = context if subset is None else context.at_points(subset)
        return self._step(self.field, reduced, latents, self.inner_lr)


def _mean_loss(field: Field, context: Context, latents: Tensor) -> Tensor:
    return context.mse(field(context.coords, latents)).mean()


class Cavia(Learner):
    """The published learner: exact second-order meta-gradients, AdamW.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 and Algorithm 1;
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019.
    """

    name: ClassVar[str] = "cavia"

    @classmethod
    def defaults(cls, problem: Problem) -> Settings:
        return Settings(
            n_layers=8 if problem.n_axes == 1 else 15,
            residual_scale=1.0,
            output_scale=1.0,
            inner_steps=10,
            inner_lr=1e-2,
            context_ratio=1.0 if problem.n_axes == 1 else 0.25,
            transform_steps=20,
            meta_lr=3e-6,
            lr_schedule="constant",
            batch_size=64 if problem.n_axes == 1 else 24,
            max_iter=1000,
            damping=0.0,
            augmentation=0.0,
        )

    def meta_step(self, field: Field) -> CaviaStep:
        settings = self.settings
        return CaviaStep(field, settings.inner_steps, settings.inner_lr, settings.checkpointing)

    def optimizers(self, field: Field) -> Optimizers:
        return Optimizers([torch.optim.AdamW(field.parameters(), lr=self.settings.meta_lr)])

    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        context = store.draw(self.settings.batch_size, None, generator)
        n_kept = max(1, int(self.settings.context_ratio * context.n_points))
        steps = self.settings.inner_steps
        return MetaBatch(context, random_subsets(context, n_kept, steps, generator))

    def solver(self, field: Field, store: ContextStore) -> GradientDescent:
        return GradientDescent(self.settings.transform_steps, self.settings.inner_lr)
