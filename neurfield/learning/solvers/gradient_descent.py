"""The published inner loop: gradient descent from φ = 0."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.solvers.base import InnerSolver, check_numbers, most_together
from neurfield.learning.workspace import Workspace, blocks


def gradient_step(
    field: Field,
    context: Context,
    latents: Tensor,
    inner_lr: float | Tensor,
    second_order: bool = True,
) -> Tensor:
    """Take one step φ ← φ − α ⊙ ∇_φ MSE for each signal.

    The gradient is written as one backward sweep of ordinary tensor operations, so a meta-gradient
    passes through it without a nested differentiation.

    Parameters
    ----------
    field : Field
        The network f, whose θ the step depends on.
    context : Context
        Of B signals, over whose observed values the mean squared error is.
    latents : Tensor of shape (B, P) or (1, P)
        Where the step starts; one for all signals if they stand on the same coordinates.
    inner_lr : float or Tensor of shape (P,)
        Step size α, one for all or one for each entry of the latents.
    second_order : bool, default=True
        Let a meta-gradient pass through ∇_φ MSE; otherwise ∇_φ MSE counts as a constant.

    Returns
    -------
    Tensor of shape (B, P)
        The latents after the step.

    References
    ----------
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019, equation 4;
    Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv 1707.09835,
    equation 2 (one step size for each entry).
    """
    descent = _descent(field, context, latents)
    return latents + inner_lr * (descent if second_order else descent.detach())


def _descent(field: Field, context: Context, latents: Tensor) -> Tensor:
    """Return −∇_φ MSE of each signal, of shape (B, P)."""
    linearization = field.linearize(context.coords, latents)
    residual = context.residual(linearization.values)
    return linearization.vjp(2.0 * residual / context.counts()[:, None, None])


class LatentGradients:
    """Gradients ∇_φ MSE of signals, at one set of latents after another and without a graph.

    Parameters
    ----------
    field : Field
        The network f, its θ fixed.
    context : Context
        Of B signals, over whose observed values the mean squared error is.
    workspace : Workspace, optional
        Buffers that are kept from one call to the next, of one thread; None = fresh ones.
    """

    def __init__(self, field: Field, context: Context, workspace: Workspace | None = None) -> None:
        self._field, self._context = field, context
        if field.has_sweeps:
            self._workspace = Workspace() if workspace is None else workspace
            self._sweeps, self._rows = self._workspace.sweeps_over(field, context)
            self._tape, self._counts = self._workspace.tape("descent"), context.counts()

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Return the gradients, of shape (B, P).

        Parameters
        ----------
        latents : Tensor of shape (B, P)
            Where they are taken.
        """
        if not self._field.has_sweeps:
            return -_descent(self._field, self._context, latents)
        shifts = self._workspace.of_rows(self._sweeps.shifts, latents)
        slopes = torch.zeros_like(shifts)
        for signals, block in blocks(self._context, self._counts, self._rows):
            slopes[signals] += self._sweeps.descend(self._tape, block, shifts[signals])[1]
        return self._workspace.of_rows(self._sweeps.pull, slopes)


class GradientDescent(InnerSolver):
    """H steps of gradient descent on the full context, first order.

    Parameters
    ----------
    steps : int
        Number of steps H.
    inner_lr : float or Tensor of shape (P,)
        Step size α, one for all or one for each entry of the latents.
    """

    name: ClassVar[str] = "gradient_descent"

    def __init__(self, steps: int, inner_lr: float | Tensor) -> None:
        self.steps, self.inner_lr = steps, inner_lr

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        latents = field.zero_latents(len(context))
        gradients = LatentGradients(field, context, workspace)
        for _ in range(self.steps):
            latents = latents - self.inner_lr * gradients(latents)
        return latents

    def together(self, field: Field, context: Context, shared: Any) -> int:
        if not field.has_sweeps:
            return 1
        return most_together(context.n_points * field.out_dim, field.latent_dim)

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        return 2 * field.modulation_size

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        check_numbers("inner_lr", self.inner_lr, (n_latents,), least=0.0)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "inner_lr": self.inner_lr}
