"""The normal equations of a lapped field's linear part: banded over cells, solved for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.lapped.stencil import Stencil, one_of_each_kind, stencil_of

_CHUNK = 64  # signals whose windows are in memory at once, where many are probed
_ALIKE = 5  # cells along an axis, from which on more of them are like the middle one


@dataclass(frozen=True)
class NormalBlocks:
    """The matrix JᵀJ of the linear part, as blocks between cells that touch.

    Parameters
    ----------
    cells : Cells
        Of the signals.
    blocks : dict of tuple of d int to Tensor of shape (n_cells, k, k)
        By how many cells further along each axis, from -1 to 1, the other cell is: the block of
        each cell's rows and that cell's columns. Zero where there is none.
    """

    cells: Cells
    blocks: dict[tuple[int, ...], Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, field: LappedField, cells: Cells) -> Self:
        """Compute the blocks.

        Cells that are not near a border are all alike, so a small grid with the same borders is
        enough; on it, cells that are three apart along each axis are probed together.

        Parameters
        ----------
        field : LappedField
            Whose B it is of.
        cells : Cells
            Of the signals.
        """
        small = one_of_each_kind(cells, _ALIKE)
        few = small.counts
        found = _probed(field, small)
        along = [_like(n, m) for n, m in zip(cells.counts, few, strict=True)]
        index = (torch.cartesian_prod(*along).reshape(cells.n_cells, -1) * _strides(few)).sum(dim=1)
        index = index.to(field.basis.device)
        return cls(cells, {offset: block[index] for offset, block in found.items()})

    def dense(self) -> Tensor:
        """Return the matrix itself, of shape (P, P)."""
        counts, n_cells = self.cells.counts, self.cells.n_cells
        some = next(iter(self.blocks.values()))
        k = some.shape[-1]
        matrix = some.new_zeros(n_cells, k, n_cells, k)
        places, strides = _places(counts), _strides(counts)
        for offset, blocks in self.blocks.items():
            step = torch.tensor(offset)
            other = places + step
            inside = ((other >= 0) & (other < torch.tensor(counts))).all(dim=-1)
            rows = torch.nonzero(inside)[:, 0]
            matrix[rows, :, rows + int((step * strides).sum())] = blocks[rows]
        return matrix.reshape(n_cells * k, n_cells * k)


def _places(counts: Sequence[int]) -> Tensor:
    """Return the index of each cell along each axis, of shape (n_cells, d), in C order."""
    return torch.cartesian_prod(*map(torch.arange, counts)).reshape(-1, len(counts))


def _strides(counts: Sequence[int]) -> Tensor:
    """Return how many cells further the next one along each axis is, of shape (d,)."""
    return torch.tensor([math.prod(counts[j + 1 :]) for j in range(len(counts))])


def _like(count: int, few: int) -> Tensor:
    """Return which of a few cells along an axis each of many is like."""
    places = torch.arange(count)
    if count == few:
        return places
    middle = few // 2
    return torch.where(
        places < middle,
        places,
        torch.where(places >= count - middle, places - count + few, middle),
    )


def _probed(field: LappedField, cells: Cells) -> dict[tuple[int, ...], Tensor]:
    """Compute the blocks of a small grid, float64, by applying JᵀJ to latents of single cells."""
    k, n_cells, counts = field.cell_latents, cells.n_cells, cells.counts
    where, strides = _places(counts), _strides(counts)
    offsets = list(product(*((-1, 0, 1) if n > 1 else (0,) for n in counts)))
    device = field.basis.device
    blocks = {
        offset: torch.zeros(n_cells, k, k, dtype=torch.float64, device=device) for offset in offsets
    }
    for colour in product(*(range(min(3, n)) for n in counts)):
        probed = torch.nonzero((where % 3 == torch.tensor(colour)).all(dim=-1))[:, 0]
        probes = field.basis.new_zeros(k, n_cells, k)
        eye = torch.eye(k, dtype=probes.dtype, device=device)
        probes[:, probed.to(device)] = eye[:, None]
        found = torch.cat(
            [
                field.adjoint(field.linear_part(part, cells), cells)
                for part in probes.flatten(1).split(_CHUNK)
            ]
        )
        found = found.unflatten(1, (n_cells, k)).double()  # by latent of the probed, cell, latent
        for offset, block in blocks.items():
            # Rows of the cells from which the probed ones are so many further.
            rows_at = where[probed] - torch.tensor(offset)
            inside = ((rows_at >= 0) & (rows_at < torch.tensor(counts))).all(dim=-1)
            rows = (rows_at[inside] * strides).sum(dim=-1).to(device)
            block[rows] = found[:, rows].permute(1, 2, 0)
    return blocks


@torch.no_grad()
def damped_matrix(field: LappedField, cells: Cells, precision: Tensor) -> Tensor:
    """Return JᵀJ + Λ, of shape (P, P), in double precision.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    cells : Cells
        Of the signals.
    precision : Tensor of shape (k,)
        Diagonal of Λ, the same for every cell, in units of the sum of squared errors.
    """
    matrix = NormalBlocks.of(field, cells).dense()
    matrix.diagonal().add_(precision.double().repeat(cells.n_cells))
    return 0.5 * (matrix + matrix.T)


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
    matrix = damped_matrix(field, cells, precision)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix)).to(field.basis.dtype)


@torch.no_grad()
def normal_stencil(field: LappedField, cells: Cells, precision: Tensor) -> Stencil:
    """Return JᵀJ + Λ as what multiplies latents, of the field's dtype.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    cells : Cells
        Of the signals.
    precision : Tensor of shape (k,)
        Diagonal of Λ, as in :func:`solution_matrix`.
    """
    small = one_of_each_kind(cells, _ALIKE)
    matrix = damped_matrix(field, small, precision).to(field.basis.dtype)
    reach = [min(1, n - 1) for n in small.counts]
    return stencil_of(matrix, small.counts, cells.counts, reach)


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
