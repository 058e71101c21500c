"""The exact gradient of a loss after unrolled gradient descent, in little time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields import Field
from neurfield.fields.base import Block, Sweeps
from neurfield.learning.context import Context

# Numbers in one layer's activations of a block: on a CPU few enough for its caches and enough to
# outweigh the start of an operation; a GPU wants many at once.
_ACTIVATIONS = {"cpu": 2**18, "cuda": 2**24}

# Most chunks at a time on a CPU. Their threads take turns at starting operations.
_LANES = 8


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
    """Tapes and threads of one field's meta-steps, kept from one to the next.

    Memory fresh from the system is cleared page by page on its first use, which takes longer than
    what a meta-step then writes there.
    """

    def __init__(self) -> None:
        self._kind: tuple[Any, ...] = ()
        self._tapes: dict[Any, Any] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Copy and pickle as an empty one: threads cannot go along, and tapes need not."""
        return Workspace, ()

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

    def in_lanes(self, work: Callable[[int], Any], lanes: int) -> list[Any]:
        """Return what ``work`` makes of each lane's number, in order; lanes run side by side.

        A processor then has its own chunk in its own cache, and no operation waits for the others'
        part of it, as it does when torch divides each one between the processors.
        """
        if lanes == 1:
            return [work(0)]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(initializer=_divide_no_operation)
        threads = torch.get_num_threads()
        try:
            return list(self._pool.map(torch.no_grad()(work), range(lanes)))
        finally:  # Threads still to come would take over a lane's setting.
            torch.set_num_threads(threads)


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
        n_points = context.n_points if subsets[:1] in ([], [None]) else len(subsets[0])
        lanes = min(_LANES, torch.get_num_threads()) if latents.device.type == "cpu" else 1
        rows = max(1, _ACTIVATIONS.get(latents.device.type, 2**24) // field.hidden_dim)
        chunks = _chunks(len(context), max(1, rows // n_points), lanes)
        lanes = min(lanes, len(chunks))
        rows = min(rows, n_points * max(chunk.stop - chunk.start for chunk in chunks))
        workspace.fit(rows, latents)

        def work(lane: int) -> tuple[list[Any], dict[str, Tensor], Tensor | None]:
            sweeps = field.sweeps(rows)
            unrolled = _Unrolled(
                sweeps,
                rows,
                subsets,
                inner_lr,
                wanted,
                checkpointing,
                workspace,
                second_order,
                lane,
            )
            parts = [
                unrolled.run(context.of_signals(signals), latents[signals], len(context))
                for signals in chunks[lane::lanes]
            ]
            return parts, sweeps.gradients() if wanted else {}, unrolled.rate_gradient

        done = workspace.in_lanes(work, lanes)
        parts = [done[i % lanes][0][i // lanes] for i in range(len(chunks))]
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
        lane: int,
    ) -> None:
        self.sweeps, self.rows, self.subsets, self.inner_lr = sweeps, rows, subsets, inner_lr
        self.wanted, self.bends = wanted, wanted and second_order
        self.keep = self.bends and not checkpointing
        self.rate_gradient = torch.zeros_like(inner_lr) if isinstance(inner_lr, Tensor) else None
        self._workspace, self._lane = workspace, lane
        self._scratch = workspace.tape(sweeps, (lane, "scratch"))

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
        for i, (signals, block) in enumerate(self._blocks(reduced, reduced.counts())):
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
            for i, (signals, block) in enumerate(self._blocks(reduced, reduced.counts())):
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
        return self._workspace.tape(self.sweeps, (self._lane, step, index))

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


def _chunks(n_signals: int, most: int, lanes: int) -> list[slice]:
    """Divide signals into chunks of one size, as many for each lane: none waits for the others."""
    n_chunks = -(-n_signals // most)
    n_chunks = min(n_signals, -(-n_chunks // lanes) * lanes)
    bounds = [n_signals * i // n_chunks for i in range(n_chunks + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _divide_no_operation() -> None:
    torch.get_num_threads()  # The first call in a thread takes over the setting of the process.
    torch.set_num_threads(1)


def _summed(parts: list[tuple[slice, Tensor]], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for signals, gradient in parts:
        total[signals] += gradient
    return total
