"""The exact gradient of a loss after unrolled gradient descent, in little time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields import Field
from neurfield.fields.base import Block, Sweeps
from neurfield.learning.context import Context

# Numbers in one layer's activations of a block. On a CPU they should stay in the second-level
# cache; a GPU wants many at once.
_ACTIVATIONS = {"cpu": 2**17, "cuda": 2**24}


def unrolled_loss(
    field: Field,
    context: Context,
    subsets: list[Tensor | None],
    latents: Tensor,
    inner_lr: float | Tensor,
    checkpointing: bool,
    workspace: Workspace,
    second_order: bool = True,
) -> Tensor:
    """Return the mean loss after gradient descent on the latents, for a field with sweeps.

    Signals do not interact in CAVIA, so they are worked through a few at a time: inner steps, loss
    and the reverse of both, before the next few. Only latents and gradients outlive a chunk, and
    memory does not grow with the batch.

    Parameters
    ----------
    field : Field
        Whose :meth:`~neurfield.fields.Field.sweeps` is not None.
    context : Context
        Where the loss is taken.
    subsets : list of int Tensor or None
        Points that each inner step sees; None = all of them.
    latents : Tensor of shape (B, P)
        Where descent starts.
    inner_lr : float or Tensor of shape (P,)
        α, one for all or one for each entry of the latents.
    checkpointing : bool
        Keep the activations of one block of one step only, and compute them again on the way back.
    workspace : Workspace
        Where the activations are written; it serves one meta-step after another.
    second_order : bool, default=True
        Let the gradient pass through the gradients that the inner steps follow.

    Returns
    -------
    Tensor, scalar
        Differentiable once, in θ, in ``latents`` and in ``inner_lr``.

    References
    ----------
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019, equations 3 and 4.
    """
    problem = (field, context, subsets, checkpointing, workspace, second_order)
    return _UnrolledLoss.apply(problem, latents, inner_lr, *field.parameters())


class Workspace:
    """Tapes of one field, kept from one meta-step to the next.

    Memory fresh from the system is cleared page by page on its first use, which takes longer than
    what a meta-step then writes there.
    """

    def __init__(self) -> None:
        self._kind: tuple[Any, ...] = ()
        self._tapes: dict[Any, Any] = {}

    def fit(self, rows: int, like: Tensor) -> None:
        """Let go of tapes made for blocks of another size, precision or device."""
        kind = (rows, like.dtype, like.device)
        if kind != self._kind:
            self._kind, self._tapes = kind, {}

    def tape(self, sweeps: Sweeps, name: Any) -> Any:
        """Return the tape of that name; it holds what was last written there."""
        if name not in self._tapes:
            self._tapes[name] = sweeps.tape()
        return self._tapes[name]


class _UnrolledLoss(torch.autograd.Function):
    """Makes the gradient together with the loss; the way back only scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        problem: tuple[Any, ...],
        latents: Tensor,
        inner_lr: float | Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        field, context, subsets, checkpointing, workspace, second_order = problem
        wanted = any(ctx.needs_input_grad)
        rows = max(1, _ACTIVATIONS.get(latents.device.type, 2**24) // field.hidden_dim)
        workspace.fit(rows, latents)
        unrolled = _Unrolled(
            field.sweeps(rows),
            rows,
            subsets,
            inner_lr,
            wanted,
            checkpointing,
            workspace,
            second_order,
        )
        n_points = context.n_points if subsets[:1] in ([], [None]) else len(subsets[0])
        starts, loss = [], latents.new_zeros(())
        for chunk in torch.arange(len(context)).split(max(1, rows // n_points)):
            signals = slice(int(chunk[0]), int(chunk[-1]) + 1)
            part, gradient = unrolled.run(
                context.of_signals(signals), latents[signals], len(context)
            )
            loss += part
            starts.append(gradient)
        if wanted:
            found = unrolled.sweeps.gradients()
            ordered = [found[name] for name, _ in field.named_parameters()]
            ctx.save_for_backward(torch.cat(starts), *ordered)
            ctx.rate_gradient = unrolled.rate_gradient
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        at_rate = None if ctx.rate_gradient is None else scale * ctx.rate_gradient
        at_start, *at_weights = (scale * gradient for gradient in ctx.saved_tensors)
        return (None, at_start, at_rate, *at_weights)


class _Unrolled:
    """Inner steps, loss, and the reverse of both, for a few signals at a time."""

    def __init__(
        self,
        sweeps: Sweeps,
        rows: int,
        subsets: list[Tensor | None],
        inner_lr: float | Tensor,
        wanted: bool,
        checkpointing: bool,
        workspace: Workspace,
        second_order: bool,
    ) -> None:
        self.sweeps, self.rows, self.subsets, self.inner_lr = sweeps, rows, subsets, inner_lr
        self.wanted, self.bends = wanted, wanted and second_order
        self.keep = self.bends and not checkpointing
        self.rate_gradient = None
        if isinstance(inner_lr, Tensor):
            self.rate_gradient = torch.zeros_like(inner_lr)
        self._workspace = workspace
        self._scratch = workspace.tape(sweeps, "scratch")

    def run(self, context: Context, latents: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return these signals' part of the mean loss, and its gradient at their first latents."""
        sweeps, history = self.sweeps, []
        for step in range(len(self.subsets)):
            gradient = self._inner_gradient(context, step, latents)
            slope = sweeps.pull(gradient)
            history.append((latents, gradient, slope))
            latents = latents - self.inner_lr * slope
        shifts, adjoint = sweeps.shifts(latents), []
        loss = latents.new_zeros(())
        for signals, block in self._blocks(context, context.counts() * batch_size):
            losses, gradient = sweeps.descend(self._scratch, block, shifts[signals], False)
            loss += losses.sum()
            if self.wanted:
                sweeps.collect(self._scratch, block)
            adjoint.append((signals, gradient))
        if not self.wanted:
            return loss, latents
        return loss, self._reverse(context, history, latents, _summed(adjoint, shifts))

    def _inner_gradient(self, context: Context, step: int, latents: Tensor) -> Tensor:
        shifts, found = self.sweeps.shifts(latents), []
        reduced = self._reduced(context, step)
        for i, (signals, block) in enumerate(self._blocks(reduced, reduced.counts())):
            tape = self._tape(step, i)
            gradient = self.sweeps.descend(tape, block, shifts[signals], self.bends)[1]
            found.append((signals, gradient))
        return _summed(found, shifts)

    def _reverse(
        self, context: Context, history: list[Any], latents: Tensor, gradient: Tensor
    ) -> Tensor:
        """Carry the loss's gradient at the shifts of the last latents back to the first latents."""
        sweeps = self.sweeps
        sweeps.collect_shifts(gradient, latents, direct=True)
        adjoint = sweeps.pull(gradient)
        for step in reversed(range(len(history))):
            latents, gradient, slope = history.pop()
            if self.rate_gradient is not None:
                self.rate_gradient -= (adjoint * slope).sum(dim=0)
            if not self.bends:
                continue
            direction = -self.inner_lr * adjoint
            pushed, shifts, bent = sweeps.push(direction), sweeps.shifts(latents), []
            reduced = self._reduced(context, step)
            for i, (signals, block) in enumerate(self._blocks(reduced, reduced.counts())):
                tape = self._tape(step, i)
                if not self.keep:
                    sweeps.descend(tape, block, shifts[signals], True)
                bent.append((signals, sweeps.bend(tape, block, pushed[signals])))
            change = _summed(bent, shifts)
            sweeps.collect_shifts(gradient, direction, direct=False)
            sweeps.collect_shifts(change, latents, direct=True)
            adjoint = adjoint + sweeps.pull(change)
        return adjoint

    def _reduced(self, context: Context, step: int) -> Context:
        subset = self.subsets[step]
        return context if subset is None else context.at_points(subset)

    def _tape(self, step: int, index: int) -> Any:
        if not self.keep:
            return self._scratch
        return self._workspace.tape(self.sweeps, (step, index))

    def _blocks(self, context: Context, counts: Tensor) -> Iterator[tuple[slice, Block]]:
        n_signals = max(1, self.rows // context.n_points)
        for i in range(0, len(context), n_signals):
            signals = slice(i, i + n_signals)
            part = context.of_signals(signals)
            for j in range(0, context.n_points, self.rows):
                points = slice(j, j + self.rows)
                weights = None if part.weights is None else part.weights[:, points]
                coords, values = part.coords[..., points, :], part.values[:, points]
                yield signals, Block(coords, values, weights, counts[signals])


def _summed(parts: list[tuple[slice, Tensor]], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for signals, gradient in parts:
        total[signals] += gradient
    return total
