"""Errors of a lapped field at closed-form latents, with the work of a batch divided into lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.lanes import in_lanes, lane_parts
from neurfield.learning.lapped.crops import Crops
from neurfield.learning.lapped.curvature import BasisCurvature
from neurfield.learning.lapped.start import linear_latents


def errors_at_closed_form(
    field: LappedField,
    encoder: LappedField,
    cells: Cells,
    crops: Crops,
    inverse: Tensor,
    curvature: BasisCurvature | None,
) -> Tensor:
    """Return each crop's mean squared error at the latents that an encoder finds.

    Parameters
    ----------
    field : LappedField
        By whose parameters, those that require gradients, the errors can be differentiated once;
        latents count as given.
    encoder : LappedField
        Whose linear part finds them.
    cells : Cells
        Of the crops.
    crops : Crops
        Signals.
    inverse : Tensor of shape (P, P)
        Inverse of the encoder's :class:`~neurfield.learning.lapped.normal.NormalMatrix`.
    curvature : BasisCurvature or None
        Gathers the curvature of the errors along B, where it wants to; None where B is not learnt.

    Returns
    -------
    Tensor of shape (B,)
        Over the observed values of each.
    """
    found: Tensor = _Errors.apply(
        (field, encoder, cells, crops, inverse, curvature), *_learnt(field)
    )
    return found


class _Errors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: tuple[LappedField, LappedField, Cells, Crops, Tensor, BasisCurvature | None],
        *parameters: Tensor,
    ) -> Tensor:
        field, encoder, cells, crops, inverse, curvature = problem
        parts = lane_parts(len(crops), inverse.device)

        twins = [field.twin(trains=True) for _ in parts]

        def work(lane: int) -> tuple[Tensor, Tensor]:
            part, own = crops.of_signals(parts[lane]), twins[lane]
            latents = linear_latents(encoder, cells, part, inverse)
            with torch.enable_grad():
                return part.mse(own.values_on_grid(latents, cells)), latents

        ctx.lanes, ctx.parts, ctx.curvature = in_lanes(work, len(parts)), parts, curvature
        ctx.n_values = crops.values[0].numel()
        ctx.parameters = [_learnt(twin) for twin in twins]
        return torch.cat([errors.detach() for errors, _ in ctx.lanes])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_errors: Tensor) -> tuple[Tensor | None, ...]:
        curvature = ctx.curvature
        gathers = curvature is not None and curvature.wants_more

        def work(lane: int) -> tuple[Tensor, ...]:
            (errors, latents), weights = ctx.lanes[lane], at_errors[ctx.parts[lane]]
            with torch.enable_grad():
                found = torch.autograd.grad(errors, ctx.parameters[lane], weights)
            if gathers:
                found += (curvature.of_signals(latents, weights, ctx.n_values),)
            return found

        done = zip(*in_lanes(work, len(ctx.lanes)), strict=True)
        summed = [torch.stack(each).sum(dim=0) for each in done]
        if gathers:
            curvature.gather(summed.pop())
        return (None, *summed)


def _learnt(field: LappedField) -> list[Tensor]:
    return [parameter for parameter in field.parameters() if parameter.requires_grad]
