"""Errors of a lapped field at closed-form latents, with the work of a batch divided into lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.lanes import in_lanes, lane_parts
from neurfield.learning.lapped.crops import Crops
from neurfield.learning.lapped.start import linear_latents


def errors_at_closed_form(
    field: LappedField, cells: Cells, crops: Crops, inverse: Tensor
) -> Tensor:
    """Return each crop's mean squared error at the latents of the field's linear part.

    Parameters
    ----------
    field : LappedField
        By whose parameters the errors can be differentiated once; latents count as given.
    cells : Cells
        Of the crops.
    crops : Crops
        Signals.
    inverse : Tensor of shape (P, P)
        As :func:`~neurfield.learning.lapped.normal.solution_matrix` returns it.

    Returns
    -------
    Tensor of shape (B,)
        Over the observed values of each.
    """
    found: Tensor = _Errors.apply((field, cells, crops, inverse), *field.parameters())
    return found


class _Errors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, problem: tuple[LappedField, Cells, Crops, Tensor], *parameters: Tensor
    ) -> Tensor:
        field, cells, crops, inverse = problem
        parts = lane_parts(len(crops), inverse.device)

        twins = [field.twin(trains=True) for _ in parts]

        def work(lane: int) -> Tensor:
            part, own = crops.of_signals(parts[lane]), twins[lane]
            latents = linear_latents(own, cells, part, inverse)
            with torch.enable_grad():
                return part.mse(own.values_on_grid(latents, cells))

        ctx.lanes, ctx.parts = in_lanes(work, len(parts)), parts
        ctx.parameters = [list(twin.parameters()) for twin in twins]
        return torch.cat([errors.detach() for errors in ctx.lanes])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_errors: Tensor) -> tuple[Tensor | None, ...]:
        def work(lane: int) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                return torch.autograd.grad(
                    ctx.lanes[lane], ctx.parameters[lane], at_errors[ctx.parts[lane]]
                )

        done = in_lanes(work, len(ctx.lanes))
        return (None, *(torch.stack(each).sum(dim=0) for each in zip(*done, strict=True)))
