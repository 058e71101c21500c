"""How the loss bends along the table B of a lapped field, and steps that take it into account."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.distributed import World
from neurfield.learning.lapped.tables import joined, meeting, n_meeting, quarters

_RATE = 0.05  # at which what new batches say replaces what earlier ones said
_EARLY, _SPARSE = 50, 8  # meta-steps of which each is gathered; one in so many later
_EARLY_EVERY, _EVERY = 5, 40  # meta-steps that share an inverse, at first and later
_RIDGE, _LEAST = 1e-3, 1e-6  # relative to a latent's own second moment, and to the mean of all
_MOST_LATENTS = 768  # of cells that meet; a batch says too little of more
_FOLLOWED = 3.0  # signals for each latent of one cell, from which on B follows training less
_ROWS = 2.0  # sets of cells that meet for each latent, from which on the moments tell them apart


class BasisCurvature(nn.Module):
    """Second moments of the latents of cells that meet, weighed as the loss weighs signals.

    Between two cells, the linear part of a signal is linear in the parts of B that lie there; with
    latents as given, and but for the detail that goes with it, these moments are the second
    derivatives of the loss along them, the same for all points and channels.

    Parameters
    ----------
    field : LappedField
        Whose B is learnt.
    cells : Cells
        Of crops.

    Attributes
    ----------
    share : float
        Fraction of each step that B goes, see :meth:`heed`.
    """

    moments: Tensor
    inverse: Tensor
    rows: Tensor

    def __init__(self, field: LappedField, cells: Cells) -> None:
        super().__init__()
        self.cells = cells
        size = n_meeting(cells) * field.cell_latents
        self.register_buffer("moments", field.basis.new_zeros(size, size))
        self.register_buffer("inverse", field.basis.new_zeros(size, size))
        self.register_buffer("rows", field.basis.new_zeros((), dtype=torch.int64))
        self.wants_more, self._n_signals, self._world, self.share = True, 0, World(), 1.0

    @classmethod
    def of(cls, field: LappedField, cells: Cells) -> Self | None:
        """Return that of a field; None where latents are so many that B stays as it begins.

        Parameters
        ----------
        field : LappedField
            Whose B is learnt.
        cells : Cells
            Of crops.
        """
        return cls(field, cells) if n_learnt_together(field, cells) else None

    def heed(self, n_signals: int) -> None:
        """Let B go less far where one cell is all of a signal, and signals are many.

        The start has found such a table from as many signals, and what training makes of it suits
        these signals more than others.

        Parameters
        ----------
        n_signals : int
            Size of the training set.
        """
        if all(self.cells.whole):
            self.share = min(1.0, _FOLLOWED * len(self.moments) / n_signals)

    @torch.no_grad()
    def prepare(self, taken: int, n_signals: int, world: World) -> None:
        """Invert the moments where it is time for it, and tell whether the batch is to be gathered.

        Until enough cells were seen the inverse is zero, and B stays as it is.

        Parameters
        ----------
        taken : int
            Meta-steps so far.
        n_signals : int
            Signals of the batch.
        world : World
            The processes that share it.
        """
        self._n_signals, self._world = n_signals, world
        few = int(self.rows) < _ROWS * len(self.moments)
        self.wants_more = few or taken < _EARLY or taken % _SPARSE == 0
        if few or taken % (_EARLY_EVERY if taken < _EARLY else _EVERY):
            return
        matrix = self.moments.double()
        own = matrix.diagonal().clone()
        matrix.diagonal().add_(_RIDGE * own + _LEAST * own.mean() + 1e-300)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not int(failed):  # else the loss is no number, and training goes back
            self.inverse.copy_(torch.cholesky_inverse(factor))

    def of_signals(self, latents: Tensor, at_errors: Tensor, n_values: int) -> Tensor:
        """Return the moments of some signals.

        Parameters
        ----------
        latents : Tensor of shape (B, n_cells · k)
            Of all cells.
        at_errors : Tensor of shape (B,)
            Derivative of the loss with respect to each signal's mean squared error.
        n_values : int
            Values that this is a mean over.
        """
        vectors = latents.unflatten(1, (self.cells.n_cells, -1))
        around = meeting(vectors, self.cells)
        weighed = meeting(vectors * (2.0 * at_errors / n_values)[:, None, None], self.cells)
        return weighed.T @ around

    @torch.no_grad()
    def gather(self, moments: Tensor) -> None:
        """Take up the moments of a batch.

        Parameters
        ----------
        moments : Tensor of shape (s, s)
            Summed over the signals of this process.
        """
        # As gradients are: each process's derivatives count for all of them.
        moments = self._world.total(moments) / self._world.size
        if not bool(torch.isfinite(moments).all()):
            return
        rows = self._n_signals * math.prod(self.cells.n_tiles)
        self.rows += rows
        rate = min(_RATE, rows / len(moments))
        self.moments.lerp_(moments, max(rate, rows / int(self.rows)))


def n_learnt_together(field: LappedField, cells: Cells) -> int:
    """Return how many latents B is learnt from where cells meet; 0 where B stays as it begins.

    Parameters
    ----------
    field : LappedField
        Whose B it is.
    cells : Cells
        Of crops.
    """
    size = n_meeting(cells) * field.cell_latents
    return size if size <= _MOST_LATENTS else 0


class BasisDescent(Optimizer):
    """Momentum along B, each step solved for with the curvature of the loss.

    Parameters
    ----------
    field : LappedField
        Whose B is learnt.
    curvature : BasisCurvature
        Along it, gathered by the meta-step.
    lr : float
        Fraction of the way to the minimum that one step goes.
    momentum : float, default=0.9
        Of the gradients.
    """

    gathered: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self, field: LappedField, curvature: BasisCurvature, lr: float, momentum: float = 0.9
    ) -> None:
        super().__init__([field.basis], {"lr": lr, "momentum": momentum})
        self._curvature, self._out_dim = curvature, field.out_dim

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update B.

        Parameters
        ----------
        closure : ignored
            Not used, present for the interface of torch.
        """
        (group,) = self.param_groups
        (basis,) = group["params"]
        state = self.state[basis]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(basis)
        average = state["momentum_buffer"].lerp_(basis.grad, 1.0 - group["momentum"])
        cells, share = self._curvature.cells, self._curvature.share
        solved = self._curvature.inverse @ quarters(average, cells, self._out_dim)
        basis.add_(joined(solved, cells, self._out_dim, len(basis)), alpha=-share * group["lr"])
