"""The exact gradient of a loss after unrolled gradient descent, in little time and memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields import Field
from neurfield.fields.sweeps import Sweeps
from neurfield.learning.context import Context
from neurfield.learning.lanes import chunks, in_lanes, lane_count
from neurfield.learning.weighting import count_of
from neurfield.learning.workspace import Workspace, blocks, most_rows


def unrolled_loss(
    field: Field,
    context: Context,
    subsets: list[Tensor | None],
    latents: Tensor,
    inner_lr: float | Tensor,
    checkpointing: bool,
    workspaces: dict[int, Workspace],
    second_order: bool = True,
) -> Tensor:
    """Return the mean loss after gradient descent on the latents, for a field with sweeps.

    Signals do not interact in CAVIA, so they are worked through a few at a time: inner steps, loss
    and the reverse of both, before the next few. Only latents and gradients outlive a chunk, and
    memory does not grow with the batch. On a CPU each of torch's threads has a chunk of its own.
    Sums are made in a fixed order, so that the same number of threads gives the same bits.

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
    workspaces : dict of Workspace
        By lane, made as they are needed: where the activations are written, one meta-step after
        another.
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
    problem = (field, context, subsets, checkpointing, workspaces, second_order)
    return _UnrolledLoss.apply(problem, latents, inner_lr, *field.parameters())


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
        field, context, subsets, checkpointing, workspaces, second_order = problem
        wanted = any(ctx.needs_input_grad)
        n_points = context.n_points if subsets[:1] in ([], [None]) else len(subsets[0])
        lanes, rows = lane_count(latents.device), most_rows(field, context)
        signal_chunks = chunks(len(context), max(1, rows // n_points), lanes)
        lanes = min(lanes, len(signal_chunks))
        rows = min(rows, n_points * max(chunk.stop - chunk.start for chunk in signal_chunks))

        def work(lane: int) -> tuple[list[Any], dict[str, Tensor], Tensor | None]:
            workspace = workspaces[lane]
            sweeps = workspace.sweeps(field, rows)
            unrolled = _Unrolled(
                sweeps,
                rows,
                subsets,
                inner_lr,
                wanted,
                checkpointing,
                workspace,
                second_order,
            )
            total = count_of(len(context), context.sample_weight)
            parts = [
                unrolled.run(context.of_signals(signals), latents[signals], total)
                for signals in signal_chunks[lane::lanes]
            ]
            return parts, sweeps.gradients() if wanted else {}, unrolled.rate_gradient

        done = in_lanes(work, lanes)
        parts = [done[i % lanes][0][i // lanes] for i in range(len(signal_chunks))]
        loss = torch.stack([part for part, _ in parts]).sum()
        if wanted:
            ordered = [
                torch.stack([found[name] for _, found, _ in done]).sum(dim=0)
                for name, _ in field.named_parameters()
            ]
            ctx.save_for_backward(torch.cat([start for _, start in parts]), *ordered)
            ctx.rate_gradient = None
            if isinstance(inner_lr, Tensor):
                rates = [rate for _, _, rate in done if rate is not None]
                ctx.rate_gradient = torch.stack(rates).sum(dim=0)
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
        self.rate_gradient = torch.zeros_like(inner_lr) if isinstance(inner_lr, Tensor) else None
        self._workspace, self._scratch = workspace, workspace.tape("scratch")

    def run(self, context: Context, latents: Tensor, total: float) -> tuple[Tensor, Tensor]:
        """Return these signals' part of the mean loss, and its gradient at their first latents.

        The batch counts as `total` signals.
        """
        sweeps, history = self.sweeps, []
        for step in range(len(self.subsets)):
            gradient = self._inner_gradient(context, step, latents)
            slope = sweeps.pull(gradient)
            history.append((latents, gradient, slope))
            latents = latents - self.inner_lr * slope
        shifts, adjoint = sweeps.shifts(latents), []
        loss = latents.new_zeros(())
        divisors = context.counts() * total
        if context.sample_weight is not None:
            divisors = divisors / context.sample_weight
        for signals, block in blocks(context, divisors, self.rows):
            losses, gradient = sweeps.descend(self._scratch, block, shifts[signals])
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
        for i, (signals, block) in enumerate(blocks(reduced, reduced.counts(), self.rows)):
            tape = self._tape(step, i)
            found.append((signals, self.sweeps.descend(tape, block, shifts[signals])[1]))
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
            for i, (signals, block) in enumerate(blocks(reduced, reduced.counts(), self.rows)):
                tape = self._tape(step, i)
                if not self.keep:
                    sweeps.descend(tape, block, shifts[signals])
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
        return self._workspace.tape((step, index))


def _summed(parts: list[tuple[slice, Tensor]], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for signals, gradient in parts:
        total[signals] += gradient
    return total
