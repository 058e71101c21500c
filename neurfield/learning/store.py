"""A data set from which batches of context sets are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.interpolate import griddata, interpn
from scipy.spatial import QhullError
from torch import Tensor

from neurfield.learning.context import Context, random_points
from neurfield.learning.weighting import sum_over_signals
from neurfield.learning.window import BlockWindow
from neurfield.signals import SignalGroup, Signals, Units
from neurfield.signals.lazy import LazyValues, count_observed
from neurfield.signals.mapped import let_go

_LARGE_GROUP = 8  # from this many signals on, sharing a grid beats padding


@dataclass(frozen=True)
class _Grid:
    """A group of signals with its normalised coordinates on the device."""

    coords: Tensor
    axes: tuple[np.ndarray, ...]  # normalised
    group: SignalGroup
    has_gaps: bool | None  # None where values are yet to be looked at

    @property
    def spacing(self) -> list[float]:
        """Mean distance of neighbouring points along each axis."""
        if self.group.is_scattered:  # as if the points stood on a grid
            gaps = max(len(self.coords) ** (1 / len(self.axes)) - 1, 1.0)
            return [float(np.ptp(axis)) / gaps for axis in self.axes]
        return [float(np.ptp(axis)) / max(len(axis) - 1, 1) for axis in self.axes]

    def read(self, rows: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
        """Return values of shape (n, N, c), in the caller's dtype and units."""
        values = self.group.values
        if points is not None:
            where = np.unravel_index(points, values.shape[1:-1])
            if isinstance(values, LazyValues):
                return values.at_points(rows, where)
            found = values[(rows[:, None], *where)]
            let_go(values)
            return found
        block = values[rows]
        let_go(values)
        if self.has_gaps is None:
            count_observed(block, self.group.positions[rows])
        return block.reshape(len(rows), len(self.coords), -1)


class ContextStore:
    """Signals in normalised coordinates and scaled values, read in batches.

    Values stay where they are, in the caller's dtype, and are read and scaled when a batch is
    drawn, so the store costs no copy of the data.

    Parameters
    ----------
    signals : Signals
        On one grid, on several or at scattered points.
    units : Units
        Of what the field describes.
    dtype : torch.dtype
        Floating-point type of the coordinates and values that a batch holds.
    device : torch.device
        Where batches are put; the signals themselves stay where they are.

    Attributes
    ----------
    usual_axes : tuple of d arrays
        Grid of the signals, in the caller's units; of scattered points, one that is as dense.
    sample_weight : array of shape (n,) or None
        As how many signals each counts; None = all once.
    aside : int array
        Positions of signals that are in no draw and in no block; set before the first one.
    """

    def __init__(
        self,
        signals: Signals,
        units: Units,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.units, self.dtype, self.device = units, dtype, device
        self.usual_axes = _usual_axes(signals)
        self.sample_weight = signals.sample_weight
        self.aside = np.empty(0, dtype=np.int64)
        self.grids: list[_Grid] = []
        self.group_of = np.empty(len(signals), dtype=np.int64)
        self.row_of = np.empty(len(signals), dtype=np.int64)
        for g, group in enumerate(signals.groups):
            points = (
                units.frame.points(group.axes)
                if group.is_scattered
                else units.frame.grid(group.axes)
            )
            coords = torch.as_tensor(points, dtype=dtype, device=device)
            self.grids.append(
                _Grid(coords, units.frame.normalise_axes(group.axes), group, _has_gaps(group))
            )
            self.group_of[group.positions] = g
            self.row_of[group.positions] = np.arange(len(group.positions))

    def __len__(self) -> int:
        return len(self.group_of)

    @property
    def not_aside(self) -> np.ndarray:
        """Positions of all other signals."""
        return np.delete(np.arange(len(self)), self.aside)

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples of the largest signal along each axis."""
        sizes = [grid.group.values.shape[1:-1] for grid in self.grids]
        return tuple(int(n) for n in np.array(sizes).max(axis=0))

    @cached_property
    def points_per_signal(self) -> np.ndarray:
        """Number of points of each signal, of shape (n,)."""
        sizes = np.array([len(grid.coords) for grid in self.grids])
        return sizes[self.group_of]

    @property
    def is_uniform(self) -> bool:
        """Whether all signals stand on one grid and are known to be observed everywhere."""
        return len(self.grids) == 1 and self.grids[0].has_gaps is False

    @cached_property
    def observed_per_signal(self) -> float:
        """Mean number of values, over points and channels, observed in a signal."""
        counts = np.empty(len(self))
        for grid in self.grids:
            counts[grid.group.positions] = grid.group.observed
        return float(np.average(counts, weights=self.sample_weight))

    @cached_property
    def whole_count(self) -> float:
        """Number of values that nearly all signals (19 of 20) have observed at least."""
        counts = np.concatenate([grid.group.observed for grid in self.grids])
        return float(np.quantile(counts, 0.05))

    @cached_property
    def buckets(self) -> list[np.ndarray]:
        """Positions that may share a batch: one bucket per large group, one for all the rest."""
        there = self.not_aside
        members = [there[self.group_of[there] == g] for g in range(len(self.grids))]
        large = [m for m in members if len(m) >= _LARGE_GROUP or len(members) == 1]
        small = [m for m in members if len(m) < _LARGE_GROUP and len(members) > 1]
        return large + ([np.concatenate(small)] if small else [])

    @cached_property
    def windows(self) -> list[BlockWindow | None]:
        """Where each bucket is drawn from, None where its values are all in memory."""
        return [self._window(bucket) for bucket in self.buckets]

    @property
    def draw_state(self) -> list[dict[str, Any] | None]:
        """Plain numbers on which :meth:`drawn` depends besides its generator; may be set."""
        return [None if window is None else window.state for window in self.windows]

    @draw_state.setter
    def draw_state(self, states: list[dict[str, Any] | None]) -> None:
        for window, state in zip(self.windows, states, strict=True):
            if window is not None and state is not None:
                window.state = state

    @cached_property
    def finest_spacing(self) -> Tensor:
        """Finest mean distance of neighbouring points along each axis, of shape (d,)."""
        table = np.array([grid.spacing for grid in self.grids])
        finest = np.where(table > 0, table, np.inf).min(axis=0)
        return torch.as_tensor(np.where(np.isfinite(finest), finest, 2.0))

    def fresh(
        self, positions: np.ndarray, n_points: int | None, generator: torch.Generator
    ) -> Context:
        """Return the contexts at the given positions as a meta-step sees them.

        Parameters
        ----------
        positions : int array of shape (B,)
            What :meth:`drawn` returned.
        n_points : int or None
            Points of the reduced context, drawn anew: the same for the whole batch on a common
            grid, each signal's own otherwise. None takes the full context.
        generator : torch.Generator
            CPU generator.
        """
        return self.batch(positions, n_points, generator)

    def batch(
        self,
        positions: np.ndarray,
        n_points: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Context:
        """Return the contexts at the given positions, padded where grids differ.

        Parameters
        ----------
        positions : int array of shape (B,)
            Which signals, by their place among those of the store; at least one.
        n_points : int, optional
            Points to draw from each signal; all by default.
        generator : torch.Generator, optional
            Source of the draw; needed with `n_points`.
        """
        groups = self.group_of[positions]
        if (groups == groups[0]).all():
            rows = self.row_of[positions]
            context = self._common(self.grids[groups[0]], rows, n_points, generator)
        else:
            context = self._padded(positions, n_points, generator)
        return self._weighed(context, positions)

    def blocks(
        self,
        most_points: int,
        positions: np.ndarray | None = None,
        n_points: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[np.ndarray, Context]]:
        """Walk over signals in batches of at most so many points (one signal at least).

        Parameters
        ----------
        most_points : int
            Most points of a batch, over all its signals and with padding.
        positions : int array, optional
            Which signals to visit, each once, in an order of the store's choosing; None = all.
        n_points : int, optional
            Reduce each context to so many random points, drawn for each batch.
        generator : torch.Generator, optional
            Needed with ``n_points``.

        Yields
        ------
        positions : int array
            The signals of the batch, by their place among those of the store.
        context : Context
            Full contexts on one grid share one coordinate tensor, the same object each time.
        """
        wanted = np.zeros(len(self), dtype=bool)
        wanted[slice(None) if positions is None else positions] = True
        for bucket in self.buckets:
            members = bucket[wanted[bucket]]
            order = members[np.argsort(self.points_per_signal[members], kind="stable")]
            sizes = self.points_per_signal[order]
            if n_points is not None:
                sizes = np.minimum(sizes, n_points)
            start = 0
            while start < len(order):
                # Sizes ascend, so the last signal of a block decides how wide its padding is.
                stop = start + 1
                while stop < len(order) and (stop + 1 - start) * sizes[stop] <= most_points:
                    stop += 1
                yield order[start:stop], self.batch(order[start:stop], n_points, generator)
                start = stop

    def aligned_sample(self, n_signals: int, n_points: int, generator: torch.Generator) -> Context:
        """Return some signals on common points, with gaps filled by the mean of the others.

        Signals on grids of their own are interpolated linearly; beyond its grid, a signal has gaps.

        Parameters
        ----------
        n_signals, n_points : int
            Most signals and points to return.
        generator : torch.Generator
            Source of the signals and points; a CPU generator.
        """
        window = self._window(np.arange(len(self)))
        if window is None:
            drawn = random_points(len(self), n_signals, generator).numpy()
        else:
            drawn = window.sample(n_signals, generator)
        positions = np.sort(drawn)
        widest = max(self.grids, key=lambda grid: len(grid.coords))
        pool = widest.coords
        if any(grid.group.is_scattered for grid in self.grids):
            pool = torch.cat([grid.coords for grid in self.grids])
        index = random_points(len(pool), n_points, generator).sort().values
        coords = pool[index.to(self.device)]
        if len(self.grids) == 1:
            values = widest.read(self.row_of[positions], index.numpy())
        else:
            points = coords.cpu().double().numpy()
            values = np.stack([self._interpolate(position, points) for position in positions])
        has_gaps = values.dtype.kind == "f" and bool(np.isnan(values).any())
        sample = self._weighed(self._context(coords, values, has_gaps), positions)
        if sample.weights is None:
            return sample
        count = sum_over_signals(sample.weights, sample.sample_weight)
        total = sum_over_signals(sample.values, sample.sample_weight)
        mean = total / torch.where(count > 0, count, 1.0)
        filled = torch.where(sample.weights > 0, sample.values, mean)
        return Context(coords, filled, sample_weight=sample.sample_weight)

    def _interpolate(self, position: int, points: np.ndarray) -> np.ndarray:
        """Read one signal at normalised points by linear interpolation; NaN outside its grid."""
        grid = self.grids[self.group_of[position]]
        values = grid.read(self.row_of[position : position + 1])[0].astype(np.float64)
        if grid.group.is_scattered:
            return _from_scattered(np.stack(grid.axes, axis=-1), values, points)
        shape = [len(axis) for axis in grid.axes]
        values = values.reshape(*shape, -1)
        wide = [j for j, size in enumerate(shape) if size > 1]
        values = values.reshape(*(shape[j] for j in wide), -1)
        for k, j in enumerate(wide):
            values = np.take(values, np.argsort(grid.axes[j]), axis=k)
        if not wide:
            return np.broadcast_to(values, (len(points), values.shape[-1]))
        axes = tuple(np.sort(grid.axes[j]) for j in wide)
        return interpn(axes, values, points[:, wide], bounds_error=False, fill_value=np.nan)

    def drawn(self, n_signals: int, generator: torch.Generator) -> np.ndarray:
        """Return the positions of a random batch.

        Parameters
        ----------
        n_signals : int
            Most signals to draw, all from one bucket.
        generator : torch.Generator
            CPU generator.
        """
        sizes = torch.tensor([float(len(bucket)) for bucket in self.buckets])
        chosen = 0
        if len(sizes) > 1:
            chosen = int(torch.multinomial(sizes, 1, generator=generator))
        bucket, window = self.buckets[chosen], self.windows[chosen]
        if window is None:
            drawn = random_points(len(bucket), n_signals, generator).numpy()
        else:
            drawn = window.draw(n_signals, generator)
        return bucket[drawn]

    def _common(
        self, grid: _Grid, rows: np.ndarray, n_points: int | None, generator: torch.Generator | None
    ) -> Context:
        if n_points is None or n_points >= len(grid.coords):
            return self._context(grid.coords, grid.read(rows), grid.has_gaps)
        assert generator is not None
        index = random_points(len(grid.coords), n_points, generator)
        values = grid.read(rows, index.numpy())
        return self._context(grid.coords[index.to(self.device)], values, grid.has_gaps)

    def _padded(
        self, positions: np.ndarray, n_points: int | None, generator: torch.Generator | None
    ) -> Context:
        width = int(self.points_per_signal[positions].max())
        width = width if n_points is None else min(width, n_points)
        n_axes = self.grids[0].coords.shape[-1]
        coords = torch.zeros(len(positions), width, n_axes, dtype=self.dtype, device=self.device)
        n_channels = self.grids[0].group.values.shape[-1]
        values = np.full((len(positions), width, n_channels), np.nan)
        for i, position in enumerate(positions):
            grid = self.grids[self.group_of[position]]
            row = self.row_of[position : position + 1]
            if len(grid.coords) <= width:
                coords[i, : len(grid.coords)] = grid.coords
                values[i, : len(grid.coords)] = grid.read(row)[0]
            else:
                assert generator is not None
                index = random_points(len(grid.coords), width, generator)
                coords[i] = grid.coords[index.to(self.device)]
                values[i] = grid.read(row, index.numpy())[0]
        return self._context(coords, values, has_gaps=True)

    def _window(self, positions: np.ndarray) -> BlockWindow | None:
        """Return a window on the blocks of some signals; those in memory are one more block."""
        lazy = [isinstance(grid.group.values, LazyValues) for grid in self.grids]
        if not any(lazy):
            return None
        block_of = np.empty(len(positions), dtype=np.int64)
        sizes: list[int] = []
        capacity = 0
        for g, grid in enumerate(self.grids):
            members = np.flatnonzero(self.group_of[positions] == g)
            values = grid.group.values
            if isinstance(values, LazyValues):
                rows = self.row_of[positions[members]]
                block_of[members] = len(sizes) + values.block_of[rows]
                source = values.source
                capacity = source.cache.capacity
                sizes += [source.block_bytes(block) for block in range(source.n_blocks)]
            else:
                block_of[members] = len(sizes)
                sizes.append(0)
        return BlockWindow(block_of, np.array(sizes), capacity)

    def _weighed(self, context: Context, positions: np.ndarray) -> Context:
        """Return the context of these signals with their weights."""
        if self.sample_weight is None:
            return context
        weight = torch.as_tensor(self.sample_weight[positions])
        return replace(context, sample_weight=weight.to(self.device, self.dtype))

    def _context(self, coords: Tensor, values: np.ndarray, has_gaps: bool | None) -> Context:
        scaled = torch.as_tensor(self.units.values(values)).to(self.device, self.dtype)
        if has_gaps is None:
            has_gaps = bool(torch.isnan(scaled).any())
        if not has_gaps:
            return Context(coords, scaled)
        weights = (~torch.isnan(scaled)).to(self.dtype)
        return Context(coords, torch.nan_to_num(scaled), weights)


def _from_scattered(where: np.ndarray, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate linearly between scattered points; by the nearest where they span no volume."""
    known = ~np.isnan(values).any(axis=-1)
    if not known.any():
        return np.full((len(points), values.shape[-1]), np.nan)
    try:
        return griddata(where[known], values[known], points, method="linear")
    except (QhullError, ValueError):
        return griddata(where[known], values[known], points, method="nearest")


def _usual_axes(signals: Signals) -> tuple[np.ndarray, ...]:
    """Return the grid of the signals; of scattered points, one that is as dense."""
    layout = signals.layout
    if layout.axes is not None:
        return layout.axes
    n_points = float(np.mean([group.n_points for group in signals.groups]))
    return layout.resized([max(2, round(n_points ** (1 / layout.n_axes)))] * layout.n_axes)


def _has_gaps(group: SignalGroup) -> bool | None:
    if not group.is_checked:
        return None
    return bool((group.observed < group.n_points * group.values.shape[-1]).any())
