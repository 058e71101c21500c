"""CAVIA with context reduction, as MedFuncta publishes it, and what its peers do otherwise."""

from __future__ import annotations

import math
from collections import defaultdict
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurfield._compat import Interval, StrOptions
from neurfield.fields import Field
from neurfield.learning.base import Learner, MetaBatch, MetaStep, Problem, Settings
from neurfield.learning.context import (
    Context,
    kept_points,
    random_subsets,
    sequential_subsets,
)
from neurfield.learning.footprint import Sizes
from neurfield.learning.solvers import MOST_STEPS, GradientDescent, InnerSolver, gradient_step
from neurfield.learning.store import ContextStore
from neurfield.learning.unrolled import unrolled_loss
from neurfield.learning.weighting import count_of
from neurfield.learning.workspace import Workspace
from neurfield.memory import at_once

_INNER_LR = 1e-2
# Of learnt step sizes, as Functa has them.
_LEARNT_START, _LEARNT_RANGE = (0.005, 0.1), (0.0, 1.0)


class CaviaStep(MetaStep):
    """G gradient steps on reduced contexts, then the loss on the full one.

    Parameters
    ----------
    field : Field
        Trained in place.
    inner_steps : int
        G, gradient steps from φ = 0.
    inner_lr : float
        α, their step size.
    recompute : bool, default=False
        Compute the activations of each inner step again on the way back, instead of keeping them.
    learn_inner_lr : bool, default=False
        Make α a parameter with one entry for each of the latents', all ``inner_lr`` at first.
    second_order : bool, default=True
        Let the gradient pass through the gradients that the inner steps follow.
    selected_ratio : float, optional
        Fraction of each signal's points, those with the largest gradients, that an inner step sees;
        None = the reduced contexts that the batch brings.
    """

    def __init__(
        self,
        field: Field,
        inner_steps: int,
        inner_lr: float,
        recompute: bool = False,
        learn_inner_lr: bool = False,
        second_order: bool = True,
        selected_ratio: float | None = None,
    ) -> None:
        super().__init__(field)
        self.inner_lr: float | nn.Parameter = inner_lr
        if learn_inner_lr:
            self.inner_lr = nn.Parameter(torch.full_like(field.zero_latents(1)[0], inner_lr))
        self.inner_steps, self.recompute = inner_steps, recompute
        self.second_order, self.selected_ratio = second_order, selected_ratio
        self._step, self._loss = gradient_step, _mean_loss
        self._workspaces: dict[int, Workspace] = defaultdict(Workspace)
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
        whole, subsets = batch.context, self._subsets(batch)
        context = whole.of_signals(self.world.share(len(whole)))
        latents, done = self.field.zero_latents(len(context)), 0
        if context.is_shared and self.selected_ratio is None:
            latents, done = self._inner_step(context, subsets[0], latents[:1]), 1
        by_hand = not self._is_compiled and self.field.has_sweeps
        if not by_hand or self.selected_ratio is not None:
            for subset in subsets[done:]:
                latents = self._inner_step(context, subset, latents)
            done = len(subsets)
        if not by_hand:
            loss = self._loss(self.field, context, latents)
        else:
            loss = unrolled_loss(
                self.field,
                context,
                subsets[done:],
                latents,
                self.inner_lr,
                self.recompute,
                self._workspaces,
                self.second_order,
            )
        if len(context) < len(whole):
            loss = self.world.total(loss * _count(context) / _count(whole))
        self.mse.copy_(loss.detach())
        return loss + self.field.penalty()

    def adapt(self, batch: MetaBatch) -> Tensor:
        """Return the latents after the inner loop, as a differentiable function of θ.

        Parameters
        ----------
        batch : MetaBatch
            Of B signals; the latents are of shape (B, P).
        """
        latents = self.field.zero_latents(len(batch.context))
        for subset in self._subsets(batch):
            latents = self._inner_step(batch.context, subset, latents)
        return latents

    @torch.no_grad()
    def project(self) -> None:
        if isinstance(self.inner_lr, nn.Parameter):
            self.inner_lr.clamp_(*_LEARNT_RANGE)

    @torch.no_grad()
    def adopt(self, solver: InnerSolver) -> None:
        if isinstance(self.inner_lr, nn.Parameter) and isinstance(solver, GradientDescent):
            self.inner_lr.copy_(torch.as_tensor(solver.inner_lr))

    @torch.no_grad()
    def draw_inner_lr(self, generator: torch.Generator) -> None:
        """Draw the initial step sizes, where they are learnt.

        Parameters
        ----------
        generator : torch.Generator
            On the CPU.
        """
        if isinstance(self.inner_lr, nn.Parameter):
            least, most = _LEARNT_START
            drawn = torch.rand(len(self.inner_lr), generator=generator, dtype=torch.float64)
            self.inner_lr.copy_(least + (most - least) * drawn)

    def _subsets(self, batch: MetaBatch) -> list[Tensor | None]:
        if batch.subsets is None:
            return [None] * self.inner_steps
        return list(batch.subsets[: self.inner_steps])

    def _inner_step(self, context: Context, subset: Tensor | None, latents: Tensor) -> Tensor:
        if self.selected_ratio is not None:
            reduced = hardest_points(self.field, context, latents, self.selected_ratio)
        else:
            reduced = context if subset is None else context.at_points(subset)
        return self._step(self.field, reduced, latents, self.inner_lr, self.second_order)


@torch.no_grad()
def hardest_points(field: Field, context: Context, latents: Tensor, ratio: float) -> Context:
    """Reduce each signal to the points at which the output layer's gradient is largest.

    The loss at one point has the gradient −2 r hᵀ at the output weights and −2 r at their biases,
    with r the residual and h the features before the output layer, so its norm is in proportion to
    ‖r‖ √(1 + ‖h‖²).

    Parameters
    ----------
    field : Field
        Whose errors count.
    context : Context
        Of B signals; points at which nothing was observed have no gradient.
    latents : Tensor of shape (B, P)
        Where the gradient is taken.
    ratio : float in (0, 1]
        Fraction of the points to keep, at least one of them.

    Returns
    -------
    Context
        With coordinates of each signal's own; the one that was given if all points are kept.

    References
    ----------
    Tack et al., "Learning Large-scale Neural Fields via Context Pruned Meta-Learning", NeurIPS
    2023, Section 3.
    """
    n_kept = kept_points(context.n_points, ratio)
    if n_kept == context.n_points:
        return context
    features = field.hidden(context.coords, latents)
    residual = context.residual(field(context.coords, latents))
    score = residual.square().sum(dim=-1) * (1.0 + features.square().sum(dim=-1))
    return context.at_own_points(score.topk(n_kept, dim=1, sorted=False).indices)


def _count(context: Context) -> float:
    return count_of(len(context), context.sample_weight)


def _mean_loss(field: Field, context: Context, latents: Tensor) -> Tensor:
    return context.average(context.mse(field(context.coords, latents)))


class Cavia(Learner):
    """The published learner: exact second-order meta-gradients, AdamW.

    Parameters
    ----------
    inner_steps : int, default=10
        G, gradient steps of the inner loop in training.
    inner_lr : float, default=None
        α, their step size; None is 1e-2, or step sizes that are learnt.
    learn_inner_lr : bool, default=False
        Learn α together with θ, one step size for each entry of the latent, as Meta-SGD does. They
        start at random in [0.005, 0.1], or where a fit that is continued has left them, and stay in
        [0, 1]; ``inner_lr`` must be None then.
    second_order : bool, default=True
        Take the meta-gradient through the gradients of the inner loop. False, its first-order
        approximation, takes less time and memory; the authors of MedFuncta found it unstable.
    context_ratio : float in (0, 1], default=None
        γ, fraction of a signal's points that a reduced context keeps; None is 1 for signals along
        one axis and 0.25 for others, as published.
    context_selection : {"random", "sequential", "gradient"}, default="random"
        Which points a reduced context keeps: random ones, the same for the whole batch and fresh at
        each inner step; successive portions of one random order, so that the inner steps of a
        meta-step see a point again only when all have been seen; or those of each signal at which
        the output layer's gradient is largest, as GradNCP does. The last sees all points before
        each inner step; the authors of MedFuncta found it no better.
    gradient_scaling : bool, default=False
        At test time, make each step as long as the gradient on a random γ of the points would,
        γ being ``context_ratio``, as MedFuncta's evaluation does and GradNCP before it. The points
        are the same in every call; with γ = 1 it changes nothing.
    recompute : bool, default=False
        Compute activations of the inner loop again on the way back instead of keeping them, which
        takes less memory and more time.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 and Algorithm 1;
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019; Dupont et al., "From
    data to functa", ICML 2022 (learnt step sizes).

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> FunctaEncoder(learner=Cavia(inner_steps=3)).get_params()["learner__inner_steps"]
    3
    """

    name: ClassVar[str] = "cavia"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [Interval(Integral, 1, MOST_STEPS, closed="both")],
        "inner_lr": [Interval(Real, 0, None, closed="neither"), None],
        "learn_inner_lr": ["boolean"],
        "second_order": ["boolean"],
        "context_ratio": [Interval(Real, 0, 1, closed="right"), None],
        "context_selection": [StrOptions({"random", "sequential", "gradient"})],
        "gradient_scaling": ["boolean"],
        "recompute": ["boolean"],
    }

    def __init__(
        self,
        inner_steps: int = 10,
        inner_lr: float | None = None,
        learn_inner_lr: bool = False,
        second_order: bool = True,
        context_ratio: float | None = None,
        context_selection: str = "random",
        gradient_scaling: bool = False,
        recompute: bool = False,
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.learn_inner_lr = learn_inner_lr
        self.second_order = second_order
        self.context_ratio = context_ratio
        self.context_selection = context_selection
        self.gradient_scaling = gradient_scaling
        self.recompute = recompute

    def check(self) -> None:
        super().check()
        if self.learn_inner_lr and self.inner_lr is not None:
            raise ValueError(
                f"inner_lr={self.inner_lr!r} changes nothing with learn_inner_lr=True, which draws "
                "the step sizes that it starts from; leave it at None"
            )

    def defaults(self, problem: Problem) -> Settings:
        return Settings(
            n_layers=8 if problem.n_axes == 1 else 15,
            transform_steps=20,
            meta_lr=3e-6,
            batch_size=64 if problem.n_axes == 1 else 24,
            weight_decay=1e-2,
        )

    def options(self, problem: Problem) -> dict[str, Any]:
        step_size = None if self.learn_inner_lr else _INNER_LR
        return {"inner_lr": step_size, "context_ratio": 1.0 if problem.n_axes == 1 else 0.25}

    def meta_step(self, field: Field) -> CaviaStep:
        return CaviaStep(field, **self.step_options())

    def step_options(self) -> dict[str, Any]:
        """Return what the meta-step is made with beside the field, for learners derived from it."""
        selects = self.context_selection == "gradient"
        return {
            "inner_steps": self.inner_steps,
            "inner_lr": _INNER_LR if self.inner_lr is None else self.inner_lr,
            "recompute": self.recompute,
            "learn_inner_lr": self.learn_inner_lr,
            "second_order": self.second_order,
            "selected_ratio": self.context_ratio if selects else None,
        }

    def initialise(self, step: MetaStep, store: ContextStore, generator: torch.Generator) -> None:
        assert isinstance(step, CaviaStep)
        step.draw_inner_lr(generator)

    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        positions = store.drawn(self.settings.batch_size, generator)
        context = store.fresh(positions, None, generator)
        if self.context_selection == "gradient":
            return MetaBatch(context, positions=positions)  # the meta-step selects
        assert self.context_ratio is not None
        n_kept = kept_points(context.n_points, self.context_ratio)
        drawn = sequential_subsets if self.context_selection == "sequential" else random_subsets
        subsets = drawn(context, n_kept, self.inner_steps, generator)
        return MetaBatch(context, subsets, positions)

    def footprint(self, field: Field, store: ContextStore) -> float:
        by_hand = field.has_sweeps and not self.settings.compile
        if not by_hand or self.context_selection == "gradient":
            n_steps = 1 if self.recompute else self.inner_steps
            return (1 + n_steps) * super().footprint(field, store)
        assert self.context_ratio is not None
        sizes = Sizes.of(field, store)
        n_signals = min(self.settings.batch_size, sizes.n_signals)
        n_kept = kept_points(sizes.n_points, self.context_ratio)
        rows = max(1, at_once("activations", store.device) // sizes.width)
        # A lane has some signals at a time, and a tape for each block of each inner step.
        n_together = min(max(1, rows // n_kept), math.ceil(n_signals / sizes.n_lanes))
        block = min(rows, n_together * n_kept)
        n_tapes = 1.0
        if self.second_order and not self.recompute:
            n_tapes += self.inner_steps * math.ceil(n_together * n_kept / block)
        of_lane = n_tapes * sizes.tape(block) + 4 * block * sizes.width * sizes.n_bytes
        # The whole batch, and its reduced contexts one at a time.
        values = sizes.batch(n_signals * sizes.n_points * sizes.n_channels)
        # The gradient: of each lane and stacked, beside its map to the phases; summed, and scaled.
        of_weights = (3 * sizes.n_lanes + 2) * sizes.weights()
        return values + of_weights + sizes.n_lanes * of_lane

    def solver(self, step: MetaStep, store: ContextStore) -> GradientDescent:
        assert isinstance(step, CaviaStep)
        inner_lr = step.inner_lr
        learnt = inner_lr.detach().clone() if isinstance(inner_lr, nn.Parameter) else inner_lr
        ratio = 1.0
        if self.gradient_scaling:
            assert self.context_ratio is not None
            ratio = float(self.context_ratio)
        return GradientDescent(self.settings.transform_steps, learnt, ratio)
