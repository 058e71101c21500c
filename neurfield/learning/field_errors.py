"""Errors of the full field at given latents, with a gradient in little time."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.lanes import in_lanes, lane_parts
from neurfield.learning.workspace import Workspace, blocks, most_rows


class FieldErrors:
    """Mean squared error of each signal, by sweeps where the field has them.

    Lanes of signals work side by side on a CPU. Activations are kept from one call to the next, so
    each call has to be differentiated before there is another one.
    """

    def __init__(self) -> None:
        self.workspaces: dict[int, Workspace] = defaultdict(Workspace)

    def __call__(self, field: Field, context: Context, latents: Tensor) -> Tensor:
        """Return the errors, of shape (B,), differentiable once in θ and in the latents.

        Parameters
        ----------
        field : Field
        context : Context
        latents : Tensor of shape (B, P)
        """
        by_hand = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if not by_hand or not field.has_sweeps:
            return context.mse(field(context.coords, latents))
        found: Tensor = _Errors.apply((self, field, context), latents, *field.parameters())
        return found


class _Errors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: tuple[FieldErrors, Field, Context],
        latents: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        errors, field, context = problem
        parts = lane_parts(len(context), latents.device)
        rows = most_rows(field, context)
        rows = min(rows, context.n_points * max(part.stop - part.start for part in parts))

        def work(lane: int) -> tuple[Any, list[Any], Tensor]:
            workspace = errors.workspaces[lane]
            sweeps = workspace.sweeps(field, rows)
            part, start = context.of_signals(parts[lane]), latents[parts[lane]]
            found, left = torch.zeros_like(start[:, 0]), []
            shifts = sweeps.shifts(start)
            for i, (signals, block) in enumerate(blocks(part, part.counts(), rows)):
                tape = workspace.tape(i)
                residual = sweeps.evaluate(tape, block, shifts[signals])
                found[signals] += residual.square().sum(dim=(1, 2)) / block.counts
                left.append((signals, tape, block, residual))
            return sweeps, left, found

        done = in_lanes(work, len(parts))
        ctx.lanes = [
            (part, sweeps, left) for part, (sweeps, left, _) in zip(parts, done, strict=True)
        ]
        ctx.names = [name for name, _ in field.named_parameters()]
        ctx.save_for_backward(latents)
        return torch.cat([found for _, _, found in done])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_errors: Tensor) -> tuple[Tensor | None, ...]:
        (latents,) = ctx.saved_tensors

        def work(lane: int) -> tuple[Tensor, dict[str, Tensor]]:
            part, sweeps, left = ctx.lanes[lane]
            start, scale = latents[part], at_errors[part]
            at_shifts = torch.zeros_like(sweeps.shifts(start))
            for signals, tape, block, residual in left:
                factor = 2.0 * scale[signals] / block.counts
                residual.mul_(factor[:, None, None])
                at_shifts[signals] += sweeps.carry_back(tape, block, residual)
                sweeps.collect(tape, block)
            sweeps.collect_shifts(at_shifts, start, direct=True)
            return sweeps.pull(at_shifts), sweeps.gradients()

        done = in_lanes(work, len(ctx.lanes))
        found = [torch.stack([g[name] for _, g in done]).sum(dim=0) for name in ctx.names]
        return (None, torch.cat([at_start for at_start, _ in done]), *found)
