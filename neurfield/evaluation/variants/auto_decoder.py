"""The auto-decoder: one latent of each training signal is learnt like a weight, together with θ.

The loss of a batch is the mean over its signals of MSE_i + ‖φ_i‖² / σ², and Adam updates θ and all
φ_i. There is no inner loop to differentiate. With θ fixed, a new signal's latent is what Adam makes
of zero in H steps on the same loss.

It is no learner of :mod:`neurfield.learning`. Theirs have θ and at most what all signals share, so
that each batch may be of other signals; this one has a latent for each signal of one fit, which
``partial_fit`` has no place for.

References
----------
Park et al., "DeepSDF: Learning Continuous Signed Distance Functions for Shape Representation", CVPR
2019, equations 9 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from neurfield._compat import Interval
from neurfield.evaluation.variants.by_autograd import FAMILIES
from neurfield.fields import Field
from neurfield.learning import (
    Context,
    ContextStore,
    Learner,
    MetaBatch,
    MetaStep,
    Problem,
    Settings,
)
from neurfield.learning.footprint import Sizes
from neurfield.learning.optimizers import Optimizers
from neurfield.learning.solvers import InnerSolver, LatentGradients
from neurfield.learning.solvers.base import check_numbers, most_together
from neurfield.learning.workspace import Workspace

_COPIES = 5  # of the latents: their gradient, two moments of Adam, and those of the best weights


class AutoDecoderStep(MetaStep):
    """One joint step on θ and on the latents of a batch.

    Parameters
    ----------
    field : Field
        Trained in place.
    n_signals : int
        Of the training set.
    prior_weight : float
        1/σ².

    Attributes
    ----------
    latents : Parameter of shape (n, P)
        Of the training signals, zero at first.
    """

    def __init__(self, field: Field, n_signals: int, prior_weight: float) -> None:
        super().__init__(field)
        self.latents = nn.Parameter(field.zero_latents(n_signals))
        self.prior_weight = prior_weight

    def forward(self, batch: MetaBatch) -> Tensor:
        context = batch.context
        positions = torch.as_tensor(batch.positions, device=self.latents.device)
        latents = self.latents[positions]
        errors = context.mse(self.field(context.coords, latents))
        self.mse.copy_(context.average(errors.detach()))
        prior = self.prior_weight * latents.square().sum(dim=1)
        return context.average(errors + prior) + self.field.penalty()


class AdamDescent(InnerSolver):
    """H steps of Adam from zero on MSE + ‖φ‖² / σ² of each signal.

    Parameters
    ----------
    steps : int
        Number of steps H.
    latent_lr : float
        Size of the steps.
    prior_weight : float
        1/σ².

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.
    """

    name: ClassVar[str] = "adam_descent"

    def __init__(self, steps: int, latent_lr: float, prior_weight: float) -> None:
        self.steps, self.latent_lr, self.prior_weight = steps, latent_lr, prior_weight

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        gradients = LatentGradients(field, context, workspace)
        latents = field.zero_latents(len(context))
        # Adam treats entries apart, so that no signal's latents depend on the others.
        adam = torch.optim.Adam([latents], lr=self.latent_lr)
        for _ in range(self.steps):
            latents.grad = gradients(latents) + 2.0 * self.prior_weight * latents
            adam.step()
        return latents

    def together(self, field: Field, context: Context, shared: Any) -> int:
        if not field.has_sweeps:
            return 1
        return most_together(context.n_points * field.out_dim, field.latent_dim)

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        return 2 * field.modulation_size

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        check_numbers("latent_lr", self.latent_lr, (), least=0.0)
        check_numbers("prior_weight", self.prior_weight, ())

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "latent_lr": self.latent_lr,
            "prior_weight": self.prior_weight,
        }


class AutoDecoder(Learner):
    """A learner without an inner loop: latents of training signals are free parameters.

    ``fit`` learns the latents of all its signals together; ``partial_fit`` goes on with others and
    is refused. Signals that ``early_stopping`` holds out are encoded like new ones.

    Parameters
    ----------
    latent_lr : float, default=1e-3
        Learning rate of the latents, in training and at ``transform``.
    prior_weight : float, default=1e-4
        1/σ², how much the squared norm of a latent counts beside the mean squared error.

    References
    ----------
    Park et al., "DeepSDF", CVPR 2019, equations 9 and 10.

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> FunctaEncoder(learner=AutoDecoder()).get_params()["learner__prior_weight"]
    0.0001
    """

    name: ClassVar[str] = "auto-decoder"
    families: ClassVar[tuple[str, ...] | None] = FAMILIES
    n_signals: int = 0  # of the problem; 0 before it is known

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "latent_lr": [Interval(Real, 0, None, closed="neither")],
        "prior_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, latent_lr: float = 1e-3, prior_weight: float = 1e-4) -> None:
        self.latent_lr = latent_lr
        self.prior_weight = prior_weight

    def defaults(self, problem: Problem) -> Settings:
        return Settings(transform_steps=100, meta_lr=5e-4)

    def for_problem(
        self, problem: Problem, chosen: Mapping[str, Any], before: Learner | None = None
    ) -> Self:
        """Return this learner with all that was left open filled in.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.
        chosen : mapping
            Values for :class:`~neurfield.learning.Settings` by name; None keeps the default.
        before : Learner, optional
            Of the training that is continued.

        Raises
        ------
        ValueError
            If a training of this kind is continued with other signals.
        """
        if isinstance(before, AutoDecoder):
            raise ValueError(
                f"learner={self.name!r} has a latent for each signal of one fit: call fit with all "
                "signals in place of partial_fit"
            )
        learner = super().for_problem(problem, chosen, before)
        learner.n_signals = problem.n_signals
        return learner

    def meta_step(self, field: Field) -> AutoDecoderStep:
        return AutoDecoderStep(field, self.n_signals, self.prior_weight)

    def optimizers(self, step: MetaStep) -> Optimizers:
        assert isinstance(step, AutoDecoderStep)
        rate, decay = self.settings.meta_lr, self.settings.weight_decay
        return Optimizers(
            [
                torch.optim.AdamW(step.field.parameters(), lr=rate, weight_decay=decay),
                torch.optim.AdamW([step.latents], lr=self.latent_lr, weight_decay=0.0),
            ]
        )

    def footprint(self, field: Field, store: ContextStore) -> float:
        sizes = Sizes.of(field, store)
        of_latents = _COPIES * self.n_signals * sizes.n_latents * sizes.n_bytes
        return of_latents + super().footprint(field, store)

    def solver(self, step: MetaStep, store: ContextStore) -> AdamDescent:
        return AdamDescent(self.settings.transform_steps, self.latent_lr, self.prior_weight)
