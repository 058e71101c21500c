"""Latents of lapped fields: all cells of a signal in one solve, then descent of the full field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield._compat import times_written
from neurfield.fields import Field
from neurfield.fields.lapped import LappedField, spline
from neurfield.learning.context import Context
from neurfield.learning.lanes import each_in_lanes
from neurfield.learning.lapped.filter import inverse_filter
from neurfield.learning.lapped.gaps import Seen, density_at
from neurfield.learning.lapped.normal import NormalMatrix, block_preconditioner
from neurfield.learning.lapped.prior import CellPrior, PriorOfSignal
from neurfield.learning.solvers.base import InnerSolver, check_numbers
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.workspace import Workspace

# Latents up to which one product with the inverse is quicker than a filter, and up to which it
# stands in for one.
_USUALLY_DENSE, _MOST_DENSE = 1024, 4096
_CG_STEPS, _CG_WITH_GAPS, _CG_DESCENT = 100, 60, 8  # the least, where gaps are
_TOGETHER = 8  # signals that are solved in one go, where they are small
_VALUES_TOGETHER = 2**18
_ROWS, _VALUES_OF_ROWS = 32, 2**20  # the same, where much else is read for each go
_LONGEST, _SHORTENINGS, _SHORTEN = 1.5, 4, 0.25  # of steps that descend
_AS_GOOD_AS_WHOLE = 0.25  # of a step, by which its length may differ from 1 and be left so
_LEAST_GAIN = 1e-2  # of the objective by a step, for another one to be taken


@dataclass(frozen=True)
class Sampling:
    """From values on the grid of the tables to values at points, and back.

    Parameters
    ----------
    field : LappedField
        Whose grid it is.
    places : Tensor of shape (N, d), or None
        Points in samples of that grid; None = the grid itself.
    """

    field: LappedField
    places: Tensor | None

    @classmethod
    def of(cls, field: LappedField, coords: Tensor) -> Sampling:
        """Return the sampling at points.

        Parameters
        ----------
        field : LappedField
            Whose grid it is.
        coords : Tensor of shape (N, d)
            Normalised coordinates.
        """
        return cls(field, None if field.is_grid(coords) else field.places(coords))

    def read(self, values: Tensor) -> Tensor:
        """Return values at the points, of shape (B, c, N), given those on the grid."""
        if self.places is None:
            return values.flatten(2)
        return self.field.at_places(values, self.places)

    def adjoint(self, residual: Tensor) -> Tensor:
        """Return what :meth:`read` takes back, of shape (B, c, *shape)."""
        shape = self.field.shape
        if self.places is None:
            return residual.unflatten(2, shape)
        return spline.coefficients(spline.spread(residual, self.places, shape), self.field.in_dim)


@dataclass(frozen=True)
class SharedCells:
    """What all signals on the same points have in common.

    Parameters
    ----------
    sampling : Sampling
        At those points.
    precision : Tensor of shape (k,)
        Diagonal of Λ, the same for every cell.
    prior : PriorOfSignal, optional
        What cells say of each other, on the grid of the tables.
    multiply : callable, optional
        Multiplies latents with JᵀJ + Λ of signals that are observed everywhere on the grid of the
        tables.
    inverse : callable, optional
        Solves with that matrix, where there is a quick way.
    """

    sampling: Sampling
    precision: Tensor
    prior: PriorOfSignal | None = None
    multiply: Callable[[Tensor], Tensor] | None = None
    inverse: Callable[[Tensor], Tensor] | None = None

    @property
    def on_grid(self) -> bool:
        """Whether signals that are observed everywhere have one matrix."""
        return self.inverse is not None or self.multiply is not None

    def solve(self, rhs: Tensor, steps: int) -> Tensor:
        """Solve with that matrix for rows of shape (B, P), in so many steps where it takes any."""
        if self.inverse is not None:
            return self.inverse(rhs)
        assert self.multiply is not None
        return conjugate_gradients(self.multiply, self.precondition, rhs, steps)

    @cached_property
    def precondition(self) -> Callable[[Tensor], Tensor]:
        """What solves with the block of one cell, where systems are solved step by step."""
        precision = torch.diag(self.precision.double())
        if self.prior is not None:
            precision = precision + self.prior.of_one_cell.to(precision)
        return block_preconditioner(self.sampling.field, precision)


class LappedSolver(InnerSolver):
    """Minimise Σ w (y - f(φ))² + φᵀ Λ φ + (φ - μ)ᵀ Q (φ - μ) for each signal, all cells together.

    The first step solves for the linear part of the field. All signals on the grid of the tables
    share one matrix for it where they are small, and a filter over cells where they are not. Where
    none is good enough, points lie elsewhere, or values are missing, it is solved by conjugate
    gradients with the block of one cell as preconditioner.
    Each further step follows the gradient of the full field, preconditioned the same way, as far
    as a parabola along it says, and is taken back where it does not help.

    μ and Q are those of a :class:`CellPrior`, where fit has learnt one. Λ, which then only keeps
    systems regular, counts in each cell as far as it was observed, and w is less than one around
    gaps, as :class:`Seen` has it.

    Parameters
    ----------
    steps : int
        Number of steps; 1 is the closed form alone.
    precision : Tensor of shape (k,)
        Diagonal of Λ, the same for every cell, in units of the sum of squared errors.
    mean, covariance, noise
        Of the :class:`CellPrior`; None = there is none.
    """

    name: ClassVar[str] = "lapped"

    def __init__(
        self,
        steps: int,
        precision: Tensor,
        mean: Tensor | None = None,
        covariance: Tensor | None = None,
        noise: float | None = None,
    ) -> None:
        self.steps, self.precision = steps, precision
        self._latest: dict[str, Any] = {}  # what signals shared last, of copies of this one too
        self.prior = None
        if mean is not None and covariance is not None and noise is not None:
            self.prior = CellPrior(mean, covariance, noise)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "_latest": {}})

    def __copy__(self) -> LappedSolver:
        found = object.__new__(type(self))
        found.__dict__.update(self.__dict__)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_latest"}

    @torch.no_grad()
    def share(self, field: Field, context: Context) -> SharedCells | None:
        assert isinstance(field, LappedField)
        if not context.is_shared:
            return None
        # As long as nothing has been written to them, the same weights give the same.
        weights = [field.basis, field.mean, self.precision]
        key = field.shape, id(self.prior), [(w.data_ptr(), times_written(w)) for w in weights]
        held = self._latest.get("held")
        if held is None or held[0] != key or not torch.equal(held[1], context.coords):
            held = key, context.coords, self._share(field, context)
            self._latest["held"] = held
        found: SharedCells = held[2]
        return found

    def _share(self, field: LappedField, context: Context) -> SharedCells:
        shared = self._shared(field, context)
        if shared.sampling.places is not None:
            return shared
        prior = None if self.prior is None else self.prior.blocks
        problem, cells = NormalMatrix(field, self.precision, prior), field.cells
        size, many = field.latent_dim, cells.n_cells > 1
        if size > _USUALLY_DENSE and many:
            found = inverse_filter(problem, cells)
            if found is not None:
                return replace(shared, inverse=found)
        if size <= _MOST_DENSE or not many:
            matrix = problem.inverse(cells)
            return replace(shared, inverse=lambda rows: rows @ matrix)
        return replace(shared, multiply=problem.stencil(cells))

    def _shared(self, field: LappedField, context: Context) -> SharedCells:
        prior = None if self.prior is None else PriorOfSignal.of(self.prior, field)
        return SharedCells(Sampling.of(field, context.coords), self.precision, prior)

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: SharedCells | None = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        assert isinstance(field, LappedField)
        field = field.twin()
        if not context.is_shared:
            return torch.cat([self._alone(field, context, i) for i in range(len(context))])
        if shared is None:
            shared = self._shared(field, context)
        if not shared.on_grid:
            return self._minimise(field, context, shared)
        if context.weights is None:
            if self.is_one_product:
                together = self.rows_together(field, context.n_points)
                return _in_equal_groups(field, context, shared, together)
            return self._minimise(field, _filled_up(context, field.mean), shared)[: len(context)]
        whole = context.whole()
        if not bool(whole.any()):
            return self._minimise(field, context, shared)
        found = context.values.new_empty(len(context), field.latent_dim)
        for kind in (whole, ~whole):  # those without gaps as if none had any
            index = torch.nonzero(kind)[:, 0]
            if len(index):
                found[index] = self.solve(field, context.together(index), shared)
        return found

    def _minimise(self, field: LappedField, context: Context, shared: SharedCells) -> Tensor:
        problem = _Problem(field, context, shared)
        latents = problem.closed_form()
        going = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
        for _ in range(self.steps - 1):
            latents, gained = problem.descend(latents, going)
            going = going & (gained > _LEAST_GAIN)
            if not bool(going.any()):
                break
        return latents

    def together(self, field: Field, context: Context, shared: Any) -> int:
        return _together(context) if shared.on_grid and context.weights is None else 1

    @property
    def is_one_product(self) -> bool:
        return self.steps == 1

    def rows_together(self, field: Field, n_points: int) -> int:
        if not self.is_one_product:
            return 1
        few = field.latent_dim <= _USUALLY_DENSE
        most, n_values = (_TOGETHER, _VALUES_TOGETHER) if few else (_ROWS, _VALUES_OF_ROWS)
        return _that_fit(most, n_values, n_points * field.out_dim)

    def _alone(self, field: LappedField, context: Context, i: int) -> Tensor:
        here = context.of_signals(slice(i, i + 1))
        return self.solve(field, Context(here.coords[0], here.values, here.weights))

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        assert isinstance(field, LappedField)
        if is_uniform and self.is_one_product:  # but for groups of 8, only values and latents
            return 4 * field.out_dim
        return 6 * field.out_dim * 2**field.in_dim

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        found: Any = self.precision  # as a file had it
        is_vector = isinstance(found, Tensor) and found.ndim == 1 and len(found) > 0
        if not is_vector or n_latents % len(found):
            raise ValueError("precision must be one number for each latent of a cell")
        check_numbers("precision", self.precision, self.precision.shape, least=0.0)
        if self.prior is not None:
            self.prior.check(len(found))

    def state(self) -> dict[str, Any]:
        prior = {} if self.prior is None else self.prior.state()
        return {"steps": self.steps, "precision": self.precision, **prior}


def _in_equal_groups(
    field: LappedField, context: Context, shared: SharedCells, together: int
) -> Tensor:
    """Return the closed form of signals without gaps, always as many at a time.

    Matrix products then round alike whatever the other signals are.
    """
    values = context.values
    found = values.new_empty(len(values), field.latent_dim)
    starts = range(0, len(values), together)

    def of_group(item: int, lane: int) -> None:
        rows = slice(starts[item], starts[item] + together)
        some = values[rows].mT
        group = values.new_zeros(together, *some.shape[1:])  # channels first, and in one piece
        torch.sub(some, field.mean[:, None], out=group[: len(some)])
        rhs = field.adjoint(group.unflatten(2, field.shape), field.cells)
        rhs = rhs if shared.prior is None else rhs + shared.prior.pull
        found[rows] = shared.solve(rhs, _CG_STEPS)[: len(some)]

    if values.device.type == "cpu":
        each_in_lanes(of_group, len(starts))
    else:
        for item in range(len(starts)):
            of_group(item, 0)
    return found


class _Problem:
    """The least-squares problems of a batch of signals on the same points."""

    def __init__(self, field: LappedField, context: Context, shared: SharedCells) -> None:
        self.field, self.cells, self.sampling = field, field.cells, shared.sampling
        self.values, self.prior = context.values.mT, shared.prior
        self.weights = None if context.weights is None else context.weights.mT
        is_whole = self.weights is None
        self.shared = shared if is_whole and shared.on_grid else None
        self.diagonal = shared.precision.to(self.values).repeat(self.cells.n_cells)
        places = self.sampling.places
        if self.prior is None or (is_whole and places is None):
            self.precondition = shared.precondition
        else:
            weights = torch.ones_like(self.values) if self.weights is None else self.weights
            if bool((weights == weights[:1]).all()):  # gaps that are alike are dealt with once
                weights = weights[:1]
            seen = Seen.of(self.cells, density_at(field, places, weights))
            self.diagonal = (seen.coverage[..., None] * shared.precision).flatten(1)
            self.weights = weights * self.sampling.read(seen.trust).clamp(0.0, 1.0)
            self.precondition = _by_own_blocks(seen, field, self.prior, shared.precision)

    def closed_form(self) -> Tensor:
        """Return the latents of the linear part, of shape (B, P)."""
        rhs = self._adjoint(self._weighted(self.values - self.field.mean[:, None]))
        if self.prior is not None:
            rhs = rhs + self.prior.pull
        steps = _CG_STEPS if self.weights is None else _CG_WITH_GAPS
        return self._solved(rhs, steps)

    def descend(self, latents: Tensor, going: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents after one step down the full field's objective, and by what part it fell.

        Parameters
        ----------
        latents : Tensor of shape (B, P)
            Where to begin.
        going : bool Tensor of shape (B,)
            Which signals take the step.
        """
        with torch.enable_grad():
            at = latents.detach().requires_grad_()
            before = self._objective(at)
            (slope,) = torch.autograd.grad(before.sum(), at)
        before = before.detach()
        step = self._solved(-0.5 * slope, _CG_DESCENT)
        along = (slope * step).sum(dim=1)
        after = self._objective(latents + step)
        # The parabola through both values and the slope at the first.
        bend = after - before - along
        length = torch.where(bend > 0, -along / (2 * bend).clamp_min(1e-30), _LONGEST)
        length = length.clamp(0.0, _LONGEST)
        best, lowest = _better(latents, before, latents + step, after, going)
        undone = going & ((length - 1.0).abs() >= _AS_GOOD_AS_WHOLE)
        for _ in range(_SHORTENINGS):
            if not bool(undone.any()):
                break
            there = latents + length[:, None] * step
            best, lowest = _better(best, lowest, there, self._objective(there), undone)
            undone = undone & ~(lowest < before)
            length = length * _SHORTEN
        return best, (before - lowest) / before.clamp_min(1e-30)

    def _objective(self, latents: Tensor) -> Tensor:
        predicted = self.sampling.read(self.field.values_on_grid(latents))
        squared = self._weighted((self.values - predicted).square()).sum(dim=(1, 2))
        damped = squared + (latents.square() * self.diagonal).sum(dim=1)
        if self.prior is None:
            return damped
        away = latents - self.prior.mean
        return damped + (away * self.prior.multiply(away)).sum(dim=1)

    def _solved(self, rhs: Tensor, steps: int) -> Tensor:
        if self.shared is not None:
            return self.shared.solve(rhs, steps)
        return conjugate_gradients(self._normal, self.precondition, rhs, steps)

    def _normal(self, latents: Tensor) -> Tensor:
        predicted = self.sampling.read(self.field.linear_part(latents, self.cells))
        found = self._adjoint(self._weighted(predicted)) + latents * self.diagonal
        return found if self.prior is None else found + self.prior.multiply(latents)

    def _adjoint(self, residual: Tensor) -> Tensor:
        return self.field.adjoint(self.sampling.adjoint(residual), self.cells)

    def _weighted(self, values: Tensor) -> Tensor:
        return values if self.weights is None else values * self.weights


def _by_own_blocks(
    seen: Seen, field: LappedField, prior: PriorOfSignal, precision: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return what solves with the block of each cell, which gaps have made unlike the others'."""
    diagonal = torch.diag_embed(seen.coverage[..., None] * precision)
    inverses = seen.block_inverses(field, diagonal + prior.of_each_cell)

    def precondition(rows: Tensor) -> Tensor:
        parts = rows.unflatten(1, (inverses.shape[1], 1, -1))
        return (parts @ inverses).flatten(1)

    return precondition


def _better(
    best: Tensor, lowest: Tensor, there: Tensor, value: Tensor, allowed: Tensor
) -> tuple[Tensor, Tensor]:
    lower = (value < lowest) & allowed
    return torch.where(lower[:, None], there, best), torch.where(lower, value, lowest)


def _together(context: Context) -> int:
    """Return how many signals are solved in one go, always: products then round alike."""
    return _that_fit(_TOGETHER, _VALUES_TOGETHER, context.values[0].numel())


def _that_fit(most: int, n_values: int, of_signal: int) -> int:
    return max(1, min(most, n_values // of_signal))


def _filled_up(context: Context, value: Tensor) -> Context:
    """Return as many signals as are solved in one go; those that are added are constant."""
    missing = _together(context) - len(context)
    if missing <= 0:
        return context
    added = value.expand(missing, *context.values.shape[1:])
    return Context(context.coords, torch.cat([context.values, added]))
