"""The linear systems of Gauss–Newton steps, one for each signal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.sweeps import Block, Sweeps
from neurfield.learning.context import Context
from neurfield.learning.solvers.tangent import solve_positive
from neurfield.learning.workspace import Workspace, blocks
from neurfield.memory import at_once


def damped_step(
    field: Field,
    context: Context,
    latents: Tensor,
    prior: Tensor,
    damping: Tensor | float,
    workspace: Workspace | None = None,
) -> Tensor:
    """Take one damped Gauss–Newton step on MSE(f(φ)) + φᵀ prior φ for each signal.

    Ordinary tensor operations throughout, so a meta-gradient passes through it.

    Parameters
    ----------
    field : Field
        Whose weights stay.
    context : Context
        Of B signals.
    latents : Tensor of shape (B, P)
        Where the field is linearized.
    prior : Tensor of shape (P, P) or (B, P, P)
        Precision of the latents, in units of the mean squared error.
    damping : Tensor of shape (B,) or float
        Relative to the mean diagonal of each signal's JᵀWJ/n.
    workspace : Workspace, optional
        Kept from one step to the next.

    Returns
    -------
    Tensor of shape (B, P)
        The latents after the step.
    """
    workspace = Workspace() if workspace is None else workspace
    _, gram, descent = normal_system(field, context, latents, workspace)
    rhs = descent - (prior @ latents[..., None])[..., 0]
    return latents + damped_solution(gram, rhs, prior, damping)


def normal_equations(field: Field, context: Context, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return JᵀWJ/n and JᵀW(y − f)/n, of shapes (B, P, P) and (B, P), at the given latents."""
    return normal_system(field, context, latents, Workspace())[1:]


def normal_system(
    field: Field, context: Context, latents: Tensor, workspace: Workspace
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean squared errors too; latents of shape (1, P) are those of all signals."""
    if _by_hand(field) and len(latents) == len(context):
        return _swept(field, workspace, context, latents)
    error: Tensor | float = 0.0
    gram: Tensor | float = 0.0
    descent: Tensor | float = 0.0
    for index in point_chunks(context):
        part = context if index is None else context.at_points(index)
        linearization = field.linearize(part.coords, latents)
        jacobian = linearization.jacobian().flatten(1, 2)
        residual = part.residual(linearization.values).flatten(1)
        weighted = jacobian
        if part.weights is not None:
            weighted = jacobian * part.weights.flatten(1)[..., None]
        error = error + residual.square().sum(dim=1)
        gram = gram + weighted.transpose(1, 2) @ jacobian
        descent = descent + (residual[:, None] @ weighted)[:, 0]
    counts = context.counts()
    return error / counts, gram / counts[:, None, None], descent / counts[:, None]


def squared_errors(field: Field, context: Context, latents: Tensor, workspace: Workspace) -> Tensor:
    """Return the mean squared error of each signal, without gradients.

    Parameters
    ----------
    field : Field
        What the latents are decoded with.
    context : Context
        Of B signals.
    latents : Tensor of shape (B, P)
        One per signal.
    workspace : Workspace
        Where fields with sweeps write what they evaluate.
    """
    counts = context.counts()
    error = torch.zeros_like(counts)
    if _by_hand(field):
        for signals, residual, *_ in _residuals(field, workspace, context, latents, counts):
            error[signals] += residual.square().sum(dim=1)
        return error / counts
    for index in point_chunks(context):
        part = context if index is None else context.at_points(index)
        error = error + part.residual(field(part.coords, latents)).square().sum(dim=(1, 2))
    return error / counts


def _by_hand(field: Field) -> bool:
    return field.has_sweeps and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _residuals(
    field: Field, workspace: Workspace, context: Context, latents: Tensor, counts: Tensor
) -> Iterator[tuple[slice, Tensor, Block, Sweeps, Any]]:
    """Walk block by block: which signals, f − y as one row for each of them, what it came from."""
    sweeps, rows = workspace.sweeps_over(field, context)
    shifts, tape = workspace.of_rows(sweeps.shifts, latents), workspace.tape("linearized")
    for signals, block in blocks(context, counts, rows):
        residual = sweeps.evaluate(tape, block, shifts[signals]).flatten(1)
        yield signals, residual, block, sweeps, tape


def _swept(
    field: Field, workspace: Workspace, context: Context, latents: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same block by block, in the workspace's buffers."""
    counts = context.counts()
    error, ascent = torch.zeros_like(counts), torch.zeros_like(latents)
    gram = latents.new_zeros(*latents.shape, latents.shape[1])
    for signals, residual, block, sweeps, tape in _residuals(
        field, workspace, context, latents, counts
    ):
        jacobian = sweeps.jacobian(tape, block).flatten(1, 2)
        weighted = jacobian
        if block.weights is not None:
            weighted = jacobian * block.weights.flatten(1)[..., None]
        error[signals] += residual.square().sum(dim=1)
        workspace.add_products(gram[signals], weighted.transpose(1, 2), jacobian)
        workspace.add_products(ascent[signals, None], residual[:, None], weighted)
    return error / counts, gram.div_(counts[:, None, None]), -ascent / counts[:, None]


def damped_solution(gram: Tensor, rhs: Tensor, prior: Tensor, damping: Tensor | float) -> Tensor:
    """Return (JᵀWJ/n + prior + damping)⁻¹ (JᵀW(y − f)/n − prior φ), of shape (B, P).

    Nothing in it multiplies matrices of several signals at a time, which would round differently
    for other numbers of them.

    Parameters
    ----------
    gram : Tensor of shape (B, P, P)
        JᵀWJ/n.
    rhs : Tensor of shape (B, P)
        JᵀW(y − f)/n − prior φ.
    prior : Tensor of shape (P, P) or (B, P, P)
        Precision of the latents, in units of the mean squared error.
    damping : Tensor of shape (B,) or float
        Relative to the mean diagonal of each signal's JᵀWJ/n.
    """
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    matrix = gram + prior + (damping * scale)[:, None, None] * eye
    return solve_positive(matrix, rhs[..., None])[..., 0]


def point_chunks(context: Context) -> list[Tensor] | list[None]:
    """Return which points are linearized at a time; None stands for all of them."""
    if context.n_points <= at_once("points"):
        return [None]
    index = torch.arange(context.n_points, device=context.values.device)
    return list(index.split(at_once("points")))
