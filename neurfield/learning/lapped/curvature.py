"""How the loss bends along the tables of a lapped field, and steps that take it into account."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neurfield.fields.lapped import Cells, LappedField
from neurfield.learning.distributed import World
from neurfield.learning.lapped.tables import joined, meeting, n_meeting, quarters

_RATE = 0.05  # at which what new batches say replaces what earlier ones said
_EARLY, _SPARSE = 50, 8  # meta-steps of which each is gathered; one in so many later
_EARLY_EVERY, _EVERY = 5, 40  # meta-steps that share an inverse, at first and later
_RIDGE, _LEAST = 1e-3, 1e-6  # relative to a factor's own second moment, and to the mean of all
MOST_FACTORS = 1024  # of cells that meet, more of which leave out φ, and B with it
_ROWS = 2.0  # sets of cells that meet for each factor, from which on the moments tell them apart


class TableCurvature(nn.Module):
    """Second moments of the factors [φ, ψ] of cells that meet, weighed as the loss weighs signals.

    Between two cells, a signal is linear in the parts of the tables that lie there; with latents
    and ψ as given, these moments are the second derivatives of the loss along them, the same for
    all points and channels. Where φ is long, B is left to other steps: a batch says little of so
    many factors.

    Parameters
    ----------
    field : LappedField
        Whose tables are learnt.
    cells : Cells
        Of crops.

    Attributes
    ----------
    tables : list of Parameter
        B and C, or C alone.
    leaves_basis : bool
        Whether it is C alone.
    """

    moments: Tensor
    inverse: Tensor
    rows: Tensor

    def __init__(self, field: LappedField, cells: Cells) -> None:
        super().__init__()
        self.cells = cells
        n_factors = n_meeting(cells) * (field.cell_latents + field.features)
        self.leaves_basis = n_factors > MOST_FACTORS
        self.tables = [field.detail] if self.leaves_basis else [field.basis, field.detail]
        self._n_factors = sum(map(len, self.tables))
        size = n_meeting(cells) * self._n_factors
        self.register_buffer("moments", field.basis.new_zeros(size, size))
        self.register_buffer("inverse", field.basis.new_zeros(size, size))
        self.register_buffer("rows", field.basis.new_zeros((), dtype=torch.int64))
        self.wants_more, self._n_signals, self._world = True, 0, World()

    @torch.no_grad()
    def prepare(self, taken: int, n_signals: int, world: World) -> None:
        """Invert the moments where it is time for it, and tell whether the batch is to be gathered.

        Until enough cells were seen the inverse is zero, and tables stay as they are.

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

    def of_signals(self, factors: Tensor, at_errors: Tensor, n_values: int) -> Tensor:
        """Return the moments of some signals.

        Parameters
        ----------
        factors : Tensor of shape (B, n_cells, k + features)
            Of each cell.
        at_errors : Tensor of shape (B,)
            Derivative of the loss with respect to each signal's mean squared error.
        n_values : int
            Values that this is a mean over.
        """
        factors = factors[..., -self._n_factors :]
        around = meeting(factors, self.cells)
        weighed = meeting(factors * (2.0 * at_errors / n_values)[:, None, None], self.cells)
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


class TableDescent(Optimizer):
    """Momentum along the tables, each step solved for with the curvature of the loss.

    Parameters
    ----------
    curvature : TableCurvature
        Along them, gathered by the meta-step.
    out_dim : int
        Number of channels.
    lr : float
        Fraction of the way to the minimum that one step goes.
    momentum : float, default=0.9
        Of the gradients.
    """

    gathered: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self,
        curvature: TableCurvature,
        out_dim: int,
        lr: float,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(curvature.tables, {"lr": lr, "momentum": momentum})
        self._curvature, self._out_dim = curvature, out_dim

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update both tables.

        Parameters
        ----------
        closure : ignored
            Not used, present for the interface of torch.
        """
        (group,) = self.param_groups
        tables = group["params"]
        averages = []
        for table in tables:
            state = self.state[table]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(table)
            averages.append(state["momentum_buffer"].lerp_(table.grad, 1.0 - group["momentum"]))
        cells = self._curvature.cells
        gradient = quarters(torch.cat(averages), cells, self._out_dim)
        solved = self._curvature.inverse @ gradient
        step = joined(solved, cells, self._out_dim, sum(map(len, tables)))
        for table, change in zip(tables, step.split([len(table) for table in tables]), strict=True):
            table.add_(change, alpha=-group["lr"])
