"""Cells on a grid of samples: windows of a signal, and signals added up from windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells of equal side that cover a grid, each with a window of twice its side.

    Windows of neighbours overlap by half. At its borders the signal is continued by reflection, so
    that the windows of the outermost cells end there: :meth:`windows` reads the signal and its
    mirror image, :meth:`overlap` folds what was put beyond a border back, and the one is the
    transpose of the other. A window is the same everywhere, whatever the size of the signal.

    Parameters
    ----------
    shape : tuple of d int
        Samples of the signal along each axis.
    side : tuple of d int
        Samples of a cell along each axis, at most as many as the signal has. Where the shape is no
        multiple of it, cells are centred on the signal and the windows at the borders fold more.
    whole : tuple of d bool, default=()
        Along which axes one cell is all of the signal, whose window then is the signal itself; ()
        stands for none.

    Examples
    --------
    >>> cells = Cells((8,), (4,))
    >>> cells.counts
    (2,)
    >>> cells.windows(torch.arange(8.0).reshape(1, 1, 8))[0].tolist()
    [[1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.0, 6.0]]
    """

    shape: tuple[int, ...]
    side: tuple[int, ...]
    whole: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.whole:
            object.__setattr__(self, "whole", (False,) * len(self.shape))
        for size, side, whole in zip(self.shape, self.side, self.whole, strict=True):
            if whole and side != size:
                raise ValueError(
                    f"along an axis with one cell, signals must have its {side} samples, got {size}"
                )
            if not 1 <= side <= size:
                raise ValueError(
                    f"cells must have from one sample to as many as the signal, {self.shape}, "
                    f"got {self.side}"
                )

    @classmethod
    def covering(cls, shape: Sequence[int], side: Sequence[int]) -> Self:
        """Return cells of which one is all of the signal, along axes on which it is as long.

        Parameters
        ----------
        shape, side : sequence of d int
            Samples of the signal and of a cell along each axis.
        """
        whole = tuple(n == size for n, size in zip(side, shape, strict=True))
        return cls(tuple(map(int, shape)), tuple(map(int, side)), whole)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(-(-size // side) for size, side in zip(self.shape, self.side, strict=True))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return math.prod(self.counts)

    @property
    def window_size(self) -> int:
        """Samples of a window, of one channel."""
        return math.prod(self.spans)

    @cached_property
    def spans(self) -> tuple[int, ...]:
        """Samples of a window along each axis."""
        return tuple(
            side if whole else 2 * side for side, whole in zip(self.side, self.whole, strict=True)
        )

    @cached_property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Samples by which the windows reach beyond the signal, before and after each axis."""
        found = []
        for size, tiles, side in zip(self.shape, self.n_tiles, self.side, strict=True):
            beyond = tiles * side - size
            found.append((beyond // 2, beyond - beyond // 2))
        return tuple(found)

    @property
    def n_tiles(self) -> tuple[int, ...]:
        """Stretches of one side's length that all windows together cover, along each axis."""
        return tuple(
            n if whole else n + 1 for n, whole in zip(self.counts, self.whole, strict=True)
        )

    def windows(self, signals: Tensor) -> Tensor:
        """Read the windows of all cells.

        Parameters
        ----------
        signals : Tensor of shape (B, c, *shape)
            On the grid of the cells.

        Returns
        -------
        Tensor of shape (B, n_cells, c · window_size)
            Of each cell in C order, channel by channel.
        """
        return _Windows.apply(signals, self)

    def _windows(self, signals: Tensor) -> Tensor:
        d = len(self.shape)
        for axis, (before, after) in enumerate(self.margins, start=2):
            size = signals.shape[axis]
            parts = [
                signals.narrow(axis, 0, before).flip(axis),
                signals,
                signals.narrow(axis, size - after, after).flip(axis),
            ]
            signals = torch.cat(parts, dim=axis)
        for axis, (span, side) in enumerate(zip(self.spans, self.side, strict=True), start=2):
            signals = signals.unfold(axis, span, side)
        order = [0, *range(2, 2 + d), 1, *range(2 + d, 2 + 2 * d)]
        return signals.permute(order).reshape(len(signals), self.n_cells, -1)

    def overlap(self, windows: Tensor) -> Tensor:
        """Add windows up to signals: the transpose of :meth:`windows`.

        Parameters
        ----------
        windows : Tensor of shape (B, n_cells, c · window_size)
            As :meth:`windows` returns them.

        Returns
        -------
        Tensor of shape (B, c, *shape)
            On the grid of the cells.
        """
        return _Overlap.apply(windows, self)

    def _overlap(self, windows: Tensor) -> Tensor:
        d, n_signals = len(self.shape), len(windows)
        # One axis at a time: its two halves are added where windows meet. The counts are always
        # taken from the front, and stand in order again when all axes have been.
        signals = windows.reshape(n_signals, *self.counts, -1, *self.spans)
        for j, side in enumerate(self.side):
            within = 2 + d + j
            if self.whole[j]:
                signals = signals.movedim(1, d)
                continue
            sizes = list(signals.shape)
            n = sizes[1]
            sizes[1], sizes[within] = n + 1, side
            added = signals.new_zeros(sizes)
            added.narrow(1, 0, n).add_(signals.narrow(within, 0, side))
            added.narrow(1, 1, n).add_(signals.narrow(within, side, side))
            signals = added.movedim(1, d)
        order = [0, 1 + d]
        for j in range(d):
            order += [1 + j, 2 + d + j]
        padded = [n * side for n, side in zip(self.n_tiles, self.side, strict=True)]
        signals = signals.permute(order).reshape(n_signals, -1, *padded)
        for axis, (before, after) in enumerate(self.margins, start=2):
            size = self.shape[axis - 2]
            inside = signals.narrow(axis, before, size).clone()
            inside.narrow(axis, 0, before).add_(signals.narrow(axis, 0, before).flip(axis))
            beyond = signals.narrow(axis, before + size, after).flip(axis)
            inside.narrow(axis, size - after, after).add_(beyond)
            signals = inside
        return signals

    def resized(self, shape: Sequence[int]) -> Cells:
        """Return cells of the same side on a grid of another shape.

        Parameters
        ----------
        shape : sequence of d int
            Samples along each axis.
        """
        return Cells(tuple(shape), self.side, self.whole)


class _Linear(torch.autograd.Function):
    """A linear map whose transpose is known: quicker on the way back than slice by slice."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.cells = inputs[1]


class _Windows(_Linear):
    @staticmethod
    def forward(signals: Tensor, cells: Cells) -> Tensor:
        return cells._windows(signals)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.cells.overlap(gradient), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return ctx.cells.windows(tangent)


class _Overlap(_Linear):
    @staticmethod
    def forward(windows: Tensor, cells: Cells) -> Tensor:
        return cells._overlap(windows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.cells.windows(gradient), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return ctx.cells.overlap(tangent)


def partition_of_unity(cells: Cells) -> Tensor:
    """Return sin² windows, flat, of which neighbours that overlap by half sum to one.

    Parameters
    ----------
    cells : Cells
        Along axes with one cell that is the whole signal, the window is one.
    """
    window = torch.ones(1, dtype=torch.float64)
    for span, whole in zip(cells.spans, cells.whole, strict=True):
        phase = math.pi * (torch.arange(span, dtype=torch.float64) + 0.5) / span
        along = torch.ones_like(phase) if whole else phase.sin().square()
        window = (window[..., None] * along).flatten()
    return window
