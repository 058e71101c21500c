"""What neighbouring cells say of each other: a Gauss–Markov prior across cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Self

import torch
from torch import Tensor

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.lapped.normal import (
    NormalBlocks,
    cell_places,
    cell_strides,
    offsets_that_touch,
)
from neurfield.learning.solvers.base import check_numbers
from neurfield.learning.weighting import mean_over_signals, second_moment

_MOST_DENSE = 2048  # latents up to which Q is multiplied with as one matrix
_LEAST_VARIANCE = 1e-6  # of a latent, relative to the mean of all, given its neighbours
_LEAST_NOISE = 1e-8  # relative to the mean variance of latents

Place = tuple[int, ...]


@dataclass(frozen=True)
class CellPrior:
    """A Gaussian of the vectors of all cells of a signal, the same wherever the signal lies.

    Walk through the cells from one corner of the signal to the opposite one. Each vector is then
    predicted from those of the cells that it touches and that came before,

        φ_c = μ + Σ_o A_o (φ_{c+o} - μ) + ε,   ε ~ N(0, D),

    with A and D the least-squares prediction by the training vectors' covariance, of their own for
    cells at a border, where fewer came before. The product of these densities is a Gauss–Markov
    field whose precision has blocks between cells that touch, and none else. It is positive
    definite whatever the covariance. The prior is the geometric mean over all corners that one may
    start from, so that no direction is preferred.

    Parameters
    ----------
    mean : float64 Tensor of shape (k,)
        μ, of the vector of a cell.
    covariance : float64 Tensor of shape (2^m · k, 2^m · k)
        Of the vectors of the 2^m cells that meet at a corner, in C order, along the m axes on which
        there is more than one cell.
    noise : float
        Variance σ² of the values around the field, in squared scaled units.

    References
    ----------
    Rue and Held, "Gaussian Markov Random Fields", 2005. Vecchia, "Estimation and Model
    Identification for Continuous Spatial Processes", JRSS B 50, 1988 (product of conditionals).
    """

    mean: Tensor
    covariance: Tensor
    noise: float

    def __getstate__(self) -> dict[str, Any]:
        return self.state()  # without what can be computed again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def state(self) -> dict[str, Any]:
        """Return the tensors and the number that it is made of, by the names of parameters."""
        return {"mean": self.mean, "covariance": self.covariance, "noise": self.noise}

    def check(self, k: int) -> None:
        """Refuse a state that no fit leaves.

        Parameters
        ----------
        k : int
            Latents of a cell.

        Raises
        ------
        ValueError
            If numbers are not finite, or not as many as belong together.
        """
        found: Any = self.covariance  # as a file had it
        size = len(found) if isinstance(found, Tensor) and found.ndim == 2 else 0
        if size not in (k, 2 * k, 4 * k, 8 * k):
            raise ValueError(f"covariance must be of up to eight cells of {k} latents, got {size}")
        check_numbers("mean", self.mean, (k,))
        check_numbers("covariance", self.covariance, (size, size))
        noise: Any = self.noise
        if not isinstance(noise, float) or not 0 <= noise < math.inf:
            raise ValueError(f"noise must be a number of at least 0, got {noise!r:.40}")
        if bool((torch.linalg.eigvalsh(self.covariance) <= 0).any()):
            raise ValueError("covariance must be positive definite")

    @property
    def cell_latents(self) -> int:
        """Length k of the vector of a cell."""
        return len(self.mean)

    @cached_property
    def predictions(self) -> dict[tuple[Place, Place], tuple[list[Place], Tensor]]:
        """Precision of a cell and of those that came before it, by corner and by which there are.

        The keys are the direction, ±1, in which cells came before along each of the m axes, and
        whether there is one. The values are the offsets of all cells that the prediction is about,
        the cell itself first, and (I, -A)ᵀ D⁻¹ (I, -A), of shape (n·k, n·k).
        """
        k = self.cell_latents
        m = round(math.log2(len(self.covariance) / k))
        corners = list(product((0, 1), repeat=m))
        found = {}
        for direction in product((-1, 1), repeat=m):
            # Where this cell stands among those that meet.
            own = tuple(int(step < 0) for step in direction)
            for there in product((0, 1), repeat=m):
                members = [
                    corner
                    for corner in corners
                    if all(f or e == o for e, o, f in zip(corner, own, there, strict=True))
                ]
                members.sort(key=lambda corner: corner != own)
                rows = torch.cat(
                    [torch.arange(k) + k * corners.index(corner) for corner in members]
                )
                offsets = [
                    tuple(e - o for e, o in zip(corner, own, strict=True)) for corner in members
                ]
                found[direction, there] = offsets, _prediction(self.covariance[rows][:, rows], k)
        return found

    def blocks(self, cells: Cells) -> NormalBlocks:
        """Return the precision, in units of the sum of squared errors, of shape as in JᵀJ.

        Parameters
        ----------
        cells : Cells
            Of a signal of any shape.
        """
        counts, k = cells.counts, self.cell_latents
        open_axes = [j for j, whole in enumerate(cells.whole) if not whole]
        where = cell_places(counts)
        zeros = torch.zeros(cells.n_cells, k, k, dtype=torch.float64)
        blocks = {offset: zeros.clone() for offset in offsets_that_touch(counts)}
        share = self.noise / 2 ** len(open_axes)

        def along_all(place: Sequence[int]) -> Tensor:
            whole = torch.zeros(len(counts), dtype=torch.long)
            whole[open_axes] = torch.tensor(list(place), dtype=torch.long)
            return whole

        for (direction, there), (members, precision) in self.predictions.items():
            step = along_all(direction)
            before = where + step
            inside = ((before >= 0) & (before < torch.tensor(counts)))[:, open_axes]
            rows = torch.nonzero((inside == torch.tensor(there, dtype=torch.bool)).all(dim=1))[:, 0]
            if not len(rows):
                continue
            parts = share * precision.unflatten(0, (-1, k)).unflatten(2, (-1, k))
            moved = [along_all(member) for member in members]
            for i, one in enumerate(moved):
                at = rows + int((one * cell_strides(counts)).sum())
                for j, other in enumerate(moved):
                    blocks[tuple((other - one).tolist())][at] += parts[i, :, j]
        return NormalBlocks(cells, blocks)


def _prediction(covariance: Tensor, k: int) -> Tensor:
    """Return (I, -A)ᵀ D⁻¹ (I, -A), for the first k of some numbers given the others."""
    own, across, others = covariance[:k, :k], covariance[:k, k:], covariance[k:, k:]
    weights = torch.linalg.solve(others, across.T).T
    left = own - weights @ across.T
    left = 0.5 * (left + left.T)
    least = _LEAST_VARIANCE * float(own.diagonal().mean()) + 1e-30
    variance, axes = torch.linalg.eigh(left)
    whitened = (axes / variance.clamp_min(least).sqrt()).T
    rows = torch.cat([whitened, -whitened @ weights], dim=1)
    return rows.T @ rows


@dataclass(frozen=True)
class PriorOfSignal:
    """A prior for all cells of a signal, of the type and on the device of a field.

    Parameters
    ----------
    mean : Tensor of shape (P,)
        μ, once for each cell.
    pull : Tensor of shape (P,)
        Q μ.
    of_each_cell : Tensor of shape (n_cells, k, k)
        Diagonal blocks of Q.
    multiply : callable
        Multiplies rows of shape (B, P) with Q.
    """

    mean: Tensor
    pull: Tensor
    of_each_cell: Tensor
    multiply: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, prior: CellPrior, field: LappedField) -> Self:
        """Write the prior down for the cells of a field.

        Parameters
        ----------
        prior : CellPrior
            Of its latents.
        field : LappedField
            Of signals of any size.
        """
        blocks = prior.blocks(field.cells)
        mean = prior.mean.repeat(field.cells.n_cells)
        pull = blocks.multiplier()(mean[None])[0]
        here = blocks.to(field.basis.dtype, field.basis.device)
        middle = here.blocks[(0,) * len(field.cells.counts)]
        multiply = here.multiplier()
        if field.latent_dim <= _MOST_DENSE:
            matrix = here.dense()
            multiply = matrix.__rmatmul__
        return cls(mean.to(field.basis), pull.to(field.basis), middle, multiply)

    @property
    def of_one_cell(self) -> Tensor:
        """The block of a cell in the middle of the signal."""
        return self.of_each_cell[len(self.of_each_cell) // 2]


@torch.no_grad()
def learn_prior(vectors: Tensor, cells: Cells, noise: float, weight: Tensor) -> CellPrior:
    """Estimate the prior from the vectors of training signals.

    Parameters
    ----------
    vectors : float64 Tensor of shape (B, n_cells, k)
        Closed form of signals or of pieces of them.
    cells : Cells
        Theirs.
    noise : float
        σ², in squared scaled units.
    weight : float64 Tensor of shape (B, n_cells)
        As how many each vector counts; zero where nothing was observed of a cell.
    """
    k = vectors.shape[2]
    n_open = sum(not whole for whole in cells.whole)
    mean = mean_over_signals(vectors.flatten(0, 1), weight.flatten())
    around, of_all = _meeting(vectors - mean, weight, cells)
    met = len(of_all) and float(of_all.sum()) > 0
    pairs = [not whole and n > 1 for n, whole in zip(cells.counts, cells.whole, strict=True)]
    m = sum(pairs)
    if not met:  # no cells that touch were seen together
        around, of_all, m = (vectors - mean).flatten(0, 1), weight.flatten(), 0
        pairs = [False] * len(pairs)
    moments = second_moment(around, of_all)
    moments = _shrunk(moments, float(of_all.sum().square() / of_all.square().sum()))
    if m < n_open:  # along some axes pieces have one cell, and say nothing of the next
        moments = _apart(moments, pairs, cells, k)
    # Gaps must be filled by something, even where the field leaves nothing of any signal.
    least = _LEAST_NOISE * float(moments.diagonal().mean()) + 1e-12
    return CellPrior(mean.cpu(), moments.cpu(), max(noise, least))


def _meeting(vectors: Tensor, weight: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
    """Return the vectors of cells that meet at a corner side by side, and as how many they count.

    Of shapes (n, 2^m · k) and (n,).
    """
    d = len(cells.counts)
    grid, counted = vectors.unflatten(1, cells.counts), weight.unflatten(1, cells.counts)
    for axis, (count, whole) in enumerate(zip(cells.counts, cells.whole, strict=True), start=1):
        size = 1 if whole or count == 1 else 2
        grid, counted = grid.unfold(axis, size, 1), counted.unfold(axis, size, 1)
    grid = grid.movedim(d + 1, -1).flatten(d + 1).flatten(0, d)
    return grid, counted.flatten(d + 1).amin(dim=-1).flatten()


def _shrunk(moments: Tensor, n: float) -> Tensor:
    """Shrink correlations as far as they are uncertain, after Schäfer and Strimmer (2005)."""
    spread = moments.diagonal().clamp_min(1e-30).sqrt()
    least = math.sqrt(_LEAST_VARIANCE) * float(spread.square().mean().sqrt()) + 1e-6
    correlation = moments / torch.outer(spread, spread)
    correlation.fill_diagonal_(0.0)
    spread = spread.clamp_min(least)
    squared = correlation.square()
    uncertain = (1.0 - squared.clamp_max(1.0)).square().sum() - len(moments)
    amount = float((uncertain / n / squared.sum().clamp_min(1e-30)).clamp(1e-6, 1.0))
    correlation *= 1.0 - amount
    correlation.fill_diagonal_(1.0)
    return correlation * torch.outer(spread, spread)


def _apart(moments: Tensor, pairs: Sequence[bool], cells: Cells, k: int) -> Tensor:
    """Return the covariance of cells of which only those along some axes say of each other."""
    axes = [pair for pair, whole in zip(pairs, cells.whole, strict=True) if not whole]
    corners = list(product((0, 1), repeat=len(axes)))
    found = moments.new_zeros(len(corners), k, len(corners), k)
    known = list(product(*((0, 1) if pair else (0,) for pair in axes)))
    of_known = moments.unflatten(0, (len(known), k)).unflatten(2, (len(known), k))
    for i, one in enumerate(corners):
        for j, other in enumerate(corners):
            if any(a != b and not pair for a, b, pair in zip(one, other, axes, strict=True)):
                continue
            at = [
                known.index(tuple(e if pair else 0 for e, pair in zip(corner, axes, strict=True)))
                for corner in (one, other)
            ]
            found[i, :, j] = of_known[at[0], :, at[1]]
    size = len(corners) * k
    return found.reshape(size, size)
