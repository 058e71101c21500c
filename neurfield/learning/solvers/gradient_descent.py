"""The published inner loop: gradient descent from φ = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.lanes import lane_count
from neurfield.learning.solvers.base import InnerSolver, check_numbers, most_together
from neurfield.learning.solvers.subsets import RandomSubsets
from neurfield.learning.workspace import Workspace, blocks
from neurfield.memory import at_once

if TYPE_CHECKING:
    from neurfield.learning.store import ContextStore

_LEAST_NORM = 1e-16  # added to what a norm is divided by, as published


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
    gradient = _gradient(field, context, latents)
    return latents - inner_lr * (gradient if second_order else gradient.detach())


def _gradient(field: Field, context: Context, latents: Tensor) -> Tensor:
    """Return ∇_φ MSE of each signal, of shape (B, P), by one backward sweep."""
    linearization = field.linearize(context.coords, latents)
    residual = context.residual(linearization.values)
    return linearization.vjp(-2.0 * residual / context.counts()[:, None, None])


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
            self._sweeps, _ = self._workspace.sweeps_over(field, context)
            self._tape = self._workspace.tape("descent")

    @torch.no_grad()
    def __call__(self, latents: Tensor, part: Context | None = None) -> Tensor:
        """Return the gradients, of shape (B, P).

        Parameters
        ----------
        latents : Tensor of shape (B, P)
            Where they are taken.
        part : Context, optional
            Some points of the signals, over which the error is in place of all.
        """
        context = self._context if part is None else part
        if not self._field.has_sweeps:
            return _gradient(self._field, context, latents)
        shifts = self._workspace.of_rows(self._sweeps.shifts, latents)
        slopes, rows = torch.zeros_like(shifts), self._workspace.rows_over(self._field, context)
        for signals, block in blocks(context, context.counts(), rows):
            slopes[signals] += self._sweeps.descend(self._tape, block, shifts[signals])[1]
        return self._workspace.of_rows(self._sweeps.pull, slopes)


class GradientDescent(InnerSolver):
    """H steps of gradient descent on the full context, first order.

    With γ < 1 steps have another length, φ ← φ − α (‖g_γ‖ / (‖g‖ + 1e-16)) g: that of the gradient
    g_γ on a random part of the signal, fresh at each step, as in training.

    Parameters
    ----------
    steps : int
        Number of steps H.
    inner_lr : float or Tensor of shape (P,)
        Step size α, one for all or one for each entry of the latents.
    scaling_ratio : float in (0, 1], default=1.0
        γ, fraction of a signal's points in that part; with 1, steps follow g as it is.

    References
    ----------
    Tack et al., "Learning Large-scale Neural Fields via Context Pruned Meta-Learning", NeurIPS
    2023 (gradient scaling).
    """

    name: ClassVar[str] = "gradient_descent"

    def __init__(self, steps: int, inner_lr: float | Tensor, scaling_ratio: float = 1.0) -> None:
        self.steps, self.inner_lr, self.scaling_ratio = steps, inner_lr, scaling_ratio

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        latents = field.zero_latents(len(context))
        workspace = Workspace() if workspace is None else workspace
        gradients = LatentGradients(field, context, workspace)
        subsets = RandomSubsets(context, self.scaling_ratio) if self._scales else None
        for _ in range(self.steps):
            slope = gradients(latents)
            if subsets is not None:
                of_part = workspace.of_rows(_norm, gradients(latents, subsets.draw()))
                slope = of_part / (workspace.of_rows(_norm, slope) + _LEAST_NORM) * slope
            latents = latents - self.inner_lr * slope
        return latents

    @property
    def _scales(self) -> bool:
        return self.scaling_ratio < 1.0

    def together(self, field: Field, context: Context, shared: Any) -> int:
        if not field.has_sweeps or (self._scales and context.weights is not None):
            return 1  # parts of signals with gaps are of different sizes
        return most_together(context.n_points * field.out_dim, field.latent_dim)

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        return 2 * field.modulation_size

    def footprint(self, field: Field, store: ContextStore) -> float:
        of_steps = super().footprint(field, store)
        if not self._scales:
            return of_steps
        n_points = int(store.points_per_signal.max())
        if store.device.type == "cpu":
            together = most_together(n_points * field.out_dim, field.latent_dim)
            at_a_time = lane_count(store.device) * together * n_points
        else:
            of_block = at_once("signals", store.device) // self.floats_per_point(field)
            at_a_time = max(n_points, of_block)
        # Coordinates, values and weights of the part, and two integers a point to draw it.
        of_part = self.scaling_ratio * (field.in_dim + 2 * field.out_dim) * store.dtype.itemsize
        return of_steps + at_a_time * (of_part + 16)

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        check_numbers("inner_lr", self.inner_lr, (n_latents,), least=0.0)
        if type(self.scaling_ratio) is not float or not 0.0 < self.scaling_ratio <= 1.0:
            raise ValueError(
                "scaling_ratio must be a number greater than 0 and up to 1, "
                f"got {self.scaling_ratio!r:.40}"
            )

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "inner_lr": self.inner_lr,
            "scaling_ratio": self.scaling_ratio,
        }


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True)
