"""The closed form of large signals as filters over cells, whose cost is linear in their number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells
from neurfield.learning.lapped.normal import NormalMatrix
from neurfield.learning.lapped.stencil import Stencil, one_of_each_kind, stencil_of

_REACHES = (1, 2, 3, 4, 6, 8)  # cells
_MOST_SOLVED = 4096  # latents of the grid whose solution the filter is taken from
_CONTRACTION = 0.5  # of the error by a pass over it, at most
_ERROR = 5e-4  # of latents, relative
_TRIED, _PASSES = 2, 6  # vectors, and passes after which their error shrinks as it will


@dataclass(frozen=True)
class InverseFilter:
    """An inverse of JᵀJ + Λ: a cell's latents from what lies a few cells around it.

    What cells further away add falls off with their distance, so it is left out, and made up for by
    applying the filter again to what is left of the right-hand side.

    Parameters
    ----------
    normal : Stencil
        JᵀJ + Λ.
    local : Stencil
        A local inverse of it.
    passes : int
        How often it is applied, once at least.
    """

    normal: Stencil
    local: Stencil
    passes: int

    def __call__(self, rhs: Tensor) -> Tensor:
        """Solve for rows of shape (B, P).

        Parameters
        ----------
        rhs : Tensor of shape (B, P)
            Right-hand sides.
        """
        found = self.local(rhs)
        for _ in range(self.passes - 1):
            found += self.local(rhs - self.normal(found))
        return found


@torch.no_grad()
def inverse_filter(problem: NormalMatrix, cells: Cells) -> InverseFilter | None:
    """Return the shortest filter that soon comes close to an inverse; None if there is none.

    A filter is taken from the inverse on a grid of as many cells as it reaches.

    Parameters
    ----------
    problem : NormalMatrix
        What is to be inverted.
    cells : Cells
        Of the signals.
    """
    generator, k = torch.Generator().manual_seed(0), problem.field.cell_latents
    for reach in _REACHES:
        small = one_of_each_kind(cells, 2 * reach + 1)
        if small.n_cells * k > _MOST_SOLVED:
            return None
        matrix = problem.inverse(small)
        within = [min(reach, n - 1) for n in small.counts]
        # On a grid of twice as many cells, whose middle is far from all borders.
        tried = one_of_each_kind(cells, 4 * reach + 5)
        local = stencil_of(matrix, small.counts, tried.counts, within)
        contraction = _contraction(problem.stencil(tried), local, tried.n_cells * k, generator)
        if contraction <= _CONTRACTION:
            passes = math.ceil(math.log(_ERROR) / math.log(max(contraction, _ERROR)))
            return InverseFilter(
                problem.stencil(cells),
                stencil_of(matrix, small.counts, cells.counts, within),
                max(1, passes),
            )
    return None


def _contraction(
    normal: Stencil, local: Stencil, n_latents: int, generator: torch.Generator
) -> float:
    """Return by which factor a pass makes the largest part of the error smaller."""
    error = torch.randn(_TRIED, n_latents, generator=generator).to(local.matrices)
    sizes = [error.norm()]
    for _ in range(_PASSES):
        error = error - local(normal(error))
        sizes.append(error.norm())
        if not float(sizes[-1]) < 1e3 * float(sizes[0]):
            return math.inf
    half = _PASSES // 2
    return float((sizes[-1] / sizes[half]) ** (1 / (_PASSES - half)))
