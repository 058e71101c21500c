"""The normal equations of a lapped field's linear part: banded over cells, solved for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

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
    def of(
        cls,
        field: LappedField,
        cells: Cells,
        prior: Callable[[Cells], NormalBlocks] | None = None,
    ) -> Self:
        """Compute the blocks.

        Cells that are not near a border are all alike, so a small grid with the same borders is
        enough; on it, cells that are three apart along each axis are probed together.

        Parameters
        ----------
        field : LappedField
            Whose B it is of.
        cells : Cells
            Of the signals.
        prior : callable, optional
            Returns the precision of a prior to add, for cells of any number.
        """
        small = one_of_each_kind(cells, _ALIKE)
        few = small.counts
        found = probed(field, small)
        if prior is not None:
            added = prior(small).blocks
            found = {offset: block + added[offset].to(block) for offset, block in found.items()}
        along = [_like(n, m) for n, m in zip(cells.counts, few, strict=True)]
        index = (torch.cartesian_prod(*along).reshape(cells.n_cells, -1) * cell_strides(few)).sum(
            dim=1
        )
        index = index.to(field.basis.device)
        return cls(cells, {offset: block[index] for offset, block in found.items()})

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> NormalBlocks:
        """Return the same matrix in another precision.

        Parameters
        ----------
        dtype : torch.dtype
            Of all blocks.
        device : torch.device, optional
            Where they are to be; by default where they are.
        """
        blocks = {o: block.to(device=device, dtype=dtype) for o, block in self.blocks.items()}
        return NormalBlocks(self.cells, blocks)

    def multiplier(self) -> Callable[[Tensor], Tensor]:
        """Return what multiplies rows of shape (B, P) with the matrix."""
        counts, d = self.cells.counts, len(self.cells.counts)
        together = torch.cat(list(self.blocks.values()), dim=2)  # of shape (n_cells, k, 3^d k)
        k = together.shape[1]
        beside = [n for count in reversed(counts) for n in ((1, 1) if count > 1 else (0, 0))]

        def multiply(latents: Tensor) -> Tensor:
            around = functional.pad(latents.unflatten(1, (*counts, k)), (0, 0, *beside))
            for axis, count in enumerate(counts, start=1):
                around = around.unfold(axis, 3 if count > 1 else 1, 1)
            order = [*range(1, 1 + d), *range(2 + d, 2 + 2 * d), 1 + d, 0]
            around = around.permute(order).reshape(len(together), -1, len(latents))
            return (together @ around).permute(2, 0, 1).flatten(1)

        return multiply

    def dense(self) -> Tensor:
        """Return the matrix itself, of shape (P, P)."""
        counts, n_cells = self.cells.counts, self.cells.n_cells
        some = next(iter(self.blocks.values()))
        k = some.shape[-1]
        matrix = some.new_zeros(n_cells, k, n_cells, k)
        for offset, blocks in self.blocks.items():
            rows, columns = _beside(counts, offset)
            matrix[rows, :, columns] = blocks[rows]
        return matrix.reshape(n_cells * k, n_cells * k)

    @classmethod
    def of_matrix(cls, matrix: Tensor, cells: Cells) -> Self:
        """Return the blocks of a matrix between cells that touch, whatever else it holds.

        Parameters
        ----------
        matrix : Tensor of shape (P, P)
            Between the latents of all cells.
        cells : Cells
            Of the signals.
        """
        counts, n_cells = cells.counts, cells.n_cells
        k = len(matrix) // n_cells
        parts, found = matrix.reshape(n_cells, k, n_cells, k), {}
        for offset in offsets_that_touch(counts):
            rows, columns = _beside(counts, offset)
            found[offset] = matrix.new_zeros(n_cells, k, k)
            found[offset][rows] = parts[rows, :, columns]
        return cls(cells, found)


def cell_places(counts: Sequence[int]) -> Tensor:
    """Return the index of each cell along each axis, of shape (n_cells, d), in C order.

    Parameters
    ----------
    counts : sequence of d int
        Cells along each axis.
    """
    return torch.cartesian_prod(*map(torch.arange, counts)).reshape(-1, len(counts))


def cell_strides(counts: Sequence[int]) -> Tensor:
    """Return how many cells further the next one along each axis is, of shape (d,).

    Parameters
    ----------
    counts : sequence of d int
        Cells along each axis.
    """
    return torch.tensor([math.prod(counts[j + 1 :]) for j in range(len(counts))])


def offsets_that_touch(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return by how many cells along each axis those that touch a cell are further.

    Parameters
    ----------
    counts : sequence of d int
        Cells along each axis.
    """
    return list(product(*((-1, 0, 1) if n > 1 else (0,) for n in counts)))


def _beside(counts: Sequence[int], offset: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the cells that have one so many further, and that one of each."""
    step = torch.tensor(offset)
    other = cell_places(counts) + step
    inside = ((other >= 0) & (other < torch.tensor(counts))).all(dim=-1)
    rows = torch.nonzero(inside)[:, 0]
    return rows, rows + int((step * cell_strides(counts)).sum())


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


def probes_of_colours(cells: Cells, k: int, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Divide cells into colours, of which no two of one touch or have a neighbour in common.

    Parameters
    ----------
    cells : Cells
        Of the signals.
    k : int
        Latents of a cell.
    like : Tensor
        Of whose type and on whose device probes are.

    Yields
    ------
    members : int Tensor of shape (m,)
        Cells of a colour, on the CPU.
    probes : Tensor of shape (k, P)
        The i-th has a one at the i-th latent of each of them.
    """
    where = cell_places(cells.counts)
    for colour in product(*(range(min(3, n)) for n in cells.counts)):
        members = torch.nonzero((where % 3 == torch.tensor(colour)).all(dim=-1))[:, 0]
        probes = like.new_zeros(k, cells.n_cells, k)
        eye = torch.eye(k, dtype=probes.dtype, device=probes.device)
        probes[:, members.to(probes.device)] = eye[:, None]
        yield members, probes.flatten(1)


def probed(
    field: LappedField, cells: Cells, weights: Tensor | None = None
) -> dict[tuple[int, ...], Tensor]:
    """Compute the blocks of a small grid, float64, by applying JᵀJ to latents of single cells.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    cells : Cells
        Of the signals.
    weights : Tensor of shape (c, *shape), optional
        Diagonal of W in JᵀWJ, which is computed instead.
    """
    if all(cells.whole):  # nothing overlaps, and nothing is folded
        weighed = field.basis if weights is None else field.basis * weights.flatten()
        return {(0,) * len(cells.counts): (weighed @ field.basis.T).double()[None]}
    k, n_cells, counts = field.cell_latents, cells.n_cells, cells.counts
    where, strides = cell_places(counts), cell_strides(counts)
    device = field.basis.device
    blocks = {
        offset: torch.zeros(n_cells, k, k, dtype=torch.float64, device=device)
        for offset in offsets_that_touch(counts)
    }
    for members, probes in probes_of_colours(cells, k, field.basis):
        parts = []
        for part in probes.split(_CHUNK):
            values = field.linear_part(part, cells)
            parts.append(field.adjoint(values if weights is None else values * weights, cells))
        found = torch.cat(parts)
        found = found.unflatten(1, (n_cells, k)).double()  # by latent of the probed, cell, latent
        for offset, block in blocks.items():
            # Rows of the cells from which the probed ones are so many further.
            rows_at = where[members] - torch.tensor(offset)
            inside = ((rows_at >= 0) & (rows_at < torch.tensor(counts))).all(dim=-1)
            rows = (rows_at[inside] * strides).sum(dim=-1).to(device)
            block[rows] = found[:, rows].permute(1, 2, 0)
    return blocks


@dataclass(frozen=True)
class NormalMatrix:
    """The matrix JᵀJ + Λ + Q of the closed form, for cells of any number.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    precision : Tensor of shape (k,)
        Diagonal of Λ, the same for every cell, in units of the sum of squared errors.
    prior : callable, optional
        Returns Q, for cells of any number; None = there is none.
    """

    field: LappedField
    precision: Tensor
    prior: Callable[[Cells], NormalBlocks] | None = None

    @torch.no_grad()
    def dense(self, cells: Cells) -> Tensor:
        """Return the matrix itself, of shape (P, P), in double precision.

        Parameters
        ----------
        cells : Cells
            Of the signals.
        """
        matrix = NormalBlocks.of(self.field, cells, self.prior).dense()
        matrix.diagonal().add_(self.precision.double().repeat(cells.n_cells))
        return 0.5 * (matrix + matrix.T)

    def inverse(self, cells: Cells) -> Tensor:
        """Return its inverse, of shape (P, P), of the field's dtype.

        Parameters
        ----------
        cells : Cells
            Of the signals.
        """
        factor = torch.linalg.cholesky(self.dense(cells))
        return torch.cholesky_inverse(factor).to(self.field.basis.dtype)

    def stencil(self, cells: Cells) -> Stencil:
        """Return it as what multiplies latents, of the field's dtype.

        Parameters
        ----------
        cells : Cells
            Of the signals.
        """
        small = one_of_each_kind(cells, _ALIKE)
        matrix = self.dense(small).to(self.field.basis.dtype)
        reach = [min(1, n - 1) for n in small.counts]
        return stencil_of(matrix, small.counts, cells.counts, reach)


def block_preconditioner(field: LappedField, precision: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what solves with the block of one cell for all cells.

    Parameters
    ----------
    field : LappedField
        Whose B it is of.
    precision : Tensor of shape (k, k)
        Block of Λ.
    """
    basis = field.basis.detach()
    inverse = torch.linalg.inv((basis @ basis.T).double() + precision.double())
    inverse = inverse.to(field.basis.dtype)
    k = len(inverse)

    def precondition(rows: Tensor) -> Tensor:
        return (rows.reshape(len(rows), -1, k) @ inverse).flatten(1)

    return precondition
