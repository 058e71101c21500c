"""Buffers and blocks for sweeps through a field that are derived by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.sweeps import Block, Sweeps
from neurfield.learning.context import Context
from neurfield.memory import at_once


def most_rows(field: Field, context: Context) -> int:
    """Return how many points, over all signals, a block has at most.

    Parameters
    ----------
    field : Field
        With sweeps.
    context : Context
        What is to be divided into blocks.
    """
    activations = at_once("activations", context.values.device)
    return max(1, min(activations // field.hidden_dim, len(context) * context.n_points))


class Workspace:
    """Sweeps and tapes of one lane, kept from one use to the next.

    Memory fresh from the system is cleared page by page on its first use, which takes longer than
    what a meta-step then writes there.

    Parameters
    ----------
    one_by_one : bool, default=False
        Whether it is for signals that are solved as if each were alone, with one field whose
        weights stay as they are and need be taken over only once.
    """

    def __init__(self, one_by_one: bool = False) -> None:
        self.one_by_one = one_by_one
        self._kind: tuple[Any, ...] = ()
        self._sweeps: Sweeps | None = None
        self._tapes: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Copy and pickle as an empty one: what is in it need not go along."""
        return Workspace, ()

    def sweeps(self, field: Field, rows: int) -> Sweeps:
        """Return sweeps for the field's weights as they stand.

        Parameters
        ----------
        field : Field
            With sweeps.
        rows : int
            Most points of a block. Sweeps and tapes for fewer, for another precision or device, or
            for a field of another shape, are let go.
        """
        if self.one_by_one and self._sweeps is not None and self._sweeps.rows >= rows:
            return self._sweeps
        like = next(field.parameters())
        kind = (type(field), like.dtype, like.device, field.config())
        if kind != self._kind or self._sweeps is None or self._sweeps.rows < rows:
            self._kind, self._tapes = kind, {}
            self._sweeps = field.sweeps(rows)
        else:
            self._sweeps.refresh(field)
        return self._sweeps

    def sweeps_over(self, field: Field, context: Context) -> tuple[Sweeps, int]:
        """Return sweeps, and how many points, over all signals, their blocks have at most.

        Parameters
        ----------
        field : Field
            With sweeps.
        context : Context
            What is to be divided into blocks.
        """
        sweeps = self.sweeps(field, most_rows(field, context))
        return sweeps, self.rows_over(field, context)

    def rows_over(self, field: Field, context: Context) -> int:
        """Return how many points, over all signals, blocks of a context have at most.

        Parameters
        ----------
        field : Field
            Whose sweeps were asked for last.
        context : Context
            That they were asked for, or a part of it; one by one, blocks of sweeps that do not know
            how to keep signals apart are of one signal.
        """
        assert self._sweeps is not None
        rows = most_rows(field, context)
        if self.one_by_one and not self._sweeps.keep_apart():
            rows = min(rows, context.n_points)
        return rows

    def of_rows(self, operation: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return what an operation, such as a matrix product, makes of rows that are signals.

        Parameters
        ----------
        operation : callable
            Takes rows to as many rows; called with all of them, or one by one.
        rows : Tensor of shape (B, n)
            One per signal.
        """
        if not self.one_by_one:
            return operation(rows)
        return torch.cat([operation(row) for row in rows.split(1)])

    def add_products(self, total: Tensor, left: Tensor, right: Tensor) -> None:
        """Add a matrix product for each signal in place.

        Parameters
        ----------
        total, left, right : Tensor of shape (B, n, m), (B, n, k), (B, k, m)
            One matrix per signal.
        """
        if not self.one_by_one:
            total.baddbmm_(left, right)
            return
        for parts in zip(total.split(1), left.split(1), right.split(1), strict=True):
            torch.baddbmm(*parts, out=parts[0])

    def tape(self, name: Any) -> Any:
        """Return the tape of that name; it holds what was last written there.

        Parameters
        ----------
        name : hashable
            Chosen by the caller, for what is to be kept apart. :meth:`sweeps` comes first: a tape
            is for its blocks.
        """
        assert self._sweeps is not None
        if name not in self._tapes:
            self._tapes[name] = self._sweeps.tape()
        return self._tapes[name]


def blocks(context: Context, counts: Tensor, rows: int) -> Iterator[tuple[slice, Block]]:
    """Divide a context into blocks, signals first and then points.

    Parameters
    ----------
    context : Context
        B signals, with shared coordinates or their own.
    counts : Tensor of shape (B,)
        What each signal's sum of squares is divided by.
    rows : int
        Most points of a block.

    Yields
    ------
    (slice, Block)
        Which signals, and some points of theirs.
    """
    n_signals = max(1, rows // max(1, context.n_points))
    for i in range(0, len(context), n_signals):
        signals = slice(i, i + n_signals)
        part = context.of_signals(signals)
        for j in range(0, context.n_points, rows):
            points = slice(j, j + rows)
            weights = None if part.weights is None else part.weights[:, points]
            coords, values = part.coords[..., points, :], part.values[:, points]
            yield signals, Block(coords, values, weights, counts[signals])
