"""The normal equations of a lapped field's linear part: banded over cells, solved for all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField

_CHUNK = 64  # signals whose windows are in memory at once, where many are probed


@torch.no_grad()
def normal_matrix(field: LappedField, cells: Cells) -> Tensor:
    """Return the matrix JᵀJ of the linear part, of shape (P, P), float64.

    Only cells that touch have a block: so cells that are three apart along each axis are probed
    together, which takes 3^d · k products whatever the number of cells.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    cells : Cells
        Of the signals.
    """
    k, n_cells = field.cell_latents, cells.n_cells
    where = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in cells.counts), indexing="ij"), dim=-1
    ).reshape(n_cells, -1)
    near = ((where[:, None] - where).abs() <= 1).all(dim=-1)
    matrix = torch.zeros(n_cells, k, n_cells, k, dtype=torch.float64)
    for colour in product(*(range(min(3, n)) for n in cells.counts)):
        members = torch.nonzero((where % 3 == torch.tensor(colour)).all(dim=-1))[:, 0]
        probes = field.basis.new_zeros(k, n_cells, k)
        probes[:, members] = torch.eye(k, dtype=probes.dtype, device=probes.device)[:, None]
        found = torch.cat(
            [
                field.adjoint(field.linear_part(part, cells), cells)
                for part in probes.flatten(1).split(_CHUNK)
            ]
        )
        rows = found.reshape(k, n_cells, k).double().cpu()  # by latent of a member, cell, latent
        for member in members.tolist():
            touching = torch.nonzero(near[member])[:, 0]
            matrix[member][:, touching] = rows[:, touching]
    matrix = matrix.reshape(n_cells * k, n_cells * k)
    return (0.5 * (matrix + matrix.T)).to(field.basis.device)


@torch.no_grad()
def solution_matrix(field: LappedField, cells: Cells, precision: Tensor) -> Tensor:
    """Return (JᵀJ + Λ)⁻¹, of shape (P, P), of the field's dtype.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    cells : Cells
        Of the signals.
    precision : Tensor of shape (k,)
        Diagonal of Λ, the same for every cell, in units of the sum of squared errors.
    """
    matrix = normal_matrix(field, cells)
    matrix.diagonal().add_(precision.double().repeat(cells.n_cells))
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix)).to(field.basis.dtype)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    rhs: Tensor,
    steps: int,
    tolerance: float = 1e-6,
) -> Tensor:
    """Solve one positive system per row.

    Parameters
    ----------
    normal : callable
        Multiplies rows of shape (B, P) with their matrices.
    precondition : callable
        Solves with a matrix that is close to these.
    rhs : Tensor of shape (B, P)
        Right-hand sides.
    steps : int
        Most products.
    tolerance : float, default=1e-6
        Of the residual, in the norm of the preconditioner and relative to the first one, at which
        all is done.

    Returns
    -------
    Tensor of shape (B, P)
        From zero.
    """
    found, residual = torch.zeros_like(rhs), rhs
    search = close = precondition(residual)
    size = (residual * close).sum(dim=1, keepdim=True)
    least = tolerance**2 * size + torch.finfo(rhs.dtype).tiny
    for _ in range(steps):
        if bool((size <= least).all()):
            break
        image = normal(search)
        length = size / (search * image).sum(dim=1, keepdim=True).clamp_min(1e-30)
        length = torch.where(size > least, length, 0.0)
        found = found + length * search
        residual = residual - length * image
        close = precondition(residual)
        before, size = size, (residual * close).sum(dim=1, keepdim=True)
        search = close + size / before.clamp_min(1e-30) * search
    return found


def block_preconditioner(field: LappedField, precision: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what solves with the block of one cell for all cells.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    precision : Tensor of shape (k,)
        Diagonal of Λ, as in :func:`solution_matrix`.
    """
    basis = field.basis.detach().double()
    inverse = torch.linalg.inv(basis @ basis.T + torch.diag(precision.double()))
    inverse = inverse.to(field.basis.dtype)
    k = len(inverse)

    def precondition(rows: Tensor) -> Tensor:
        return (rows.reshape(len(rows), -1, k) @ inverse).flatten(1)

    return precondition
