"""A data set from which batches of context sets are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import interpn
from torch import Tensor

from neurfield.learning.context import Context, random_points
from neurfield.signals import CoordinateFrame, SignalGroup, Signals, ValueScaler

_LARGE_GROUP = 8  # from this many signals on, sharing a grid beats padding


@dataclass(frozen=True)
class _Grid:
    """A group of signals with its normalised coordinates on the device."""

    coords: Tensor
    axes: tuple[np.ndarray, ...]  # normalised
    values: np.ndarray  # (n, N, c), the caller's dtype and units
    has_gaps: bool


class ContextStore:
    """Signals in normalised coordinates and scaled values, read in batches.

    Values stay in the caller's dtype and are scaled when a batch is drawn, so the store costs
    no copy of the data.

    Parameters
    ----------
    signals : Signals
    frame : CoordinateFrame
    scaler : ValueScaler
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(
        self,
        signals: Signals,
        frame: CoordinateFrame,
        scaler: ValueScaler,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.scaler, self.dtype, self.device = scaler, dtype, device
        self.grids: list[_Grid] = []
        self.group_of = np.empty(len(signals), dtype=np.int64)
        self.row_of = np.empty(len(signals), dtype=np.int64)
        for g, group in enumerate(signals.groups):
            coords = torch.as_tensor(frame.grid(group.axes), dtype=dtype, device=device)
            values = group.values.reshape(len(group.values), group.n_points, -1)
            axes = frame.normalise_axes(group.axes)
            self.grids.append(_Grid(coords, axes, values, _has_gaps(group)))
            self.group_of[group.positions] = g
            self.row_of[group.positions] = np.arange(len(group.positions))

    def __len__(self) -> int:
        return len(self.group_of)

    @cached_property
    def points_per_signal(self) -> np.ndarray:
        """Number of points of each signal, of shape (n,)."""
        sizes = np.array([len(grid.coords) for grid in self.grids])
        return sizes[self.group_of]

    @cached_property
    def observed_per_signal(self) -> float:
        """Mean number of values, over points and channels, observed in a signal."""
        observed = 0
        for grid in self.grids:
            missing = np.isnan(grid.values).sum() if grid.has_gaps else 0
            observed += grid.values.size - int(missing)
        return observed / len(self)

    @cached_property
    def buckets(self) -> list[np.ndarray]:
        """Positions that may share a batch: one bucket per large group, one for all the rest."""
        members = [np.flatnonzero(self.group_of == g) for g in range(len(self.grids))]
        large = [m for m in members if len(m) >= _LARGE_GROUP or len(members) == 1]
        small = [m for m in members if len(m) < _LARGE_GROUP and len(members) > 1]
        return large + ([np.concatenate(small)] if small else [])

    @cached_property
    def finest_spacing(self) -> Tensor:
        """Finest mean distance of neighbouring points along each axis, of shape (d,)."""
        spacings = [[np.ptp(a) / max(len(a) - 1, 1) for a in grid.axes] for grid in self.grids]
        table = np.array(spacings)
        finest = np.where(table > 0, table, np.inf).min(axis=0)
        return torch.as_tensor(np.where(np.isfinite(finest), finest, 2.0))

    def draw(self, n_signals: int, n_points: int | None, generator: torch.Generator) -> Context:
        """Draw a random batch.

        Parameters
        ----------
        n_signals : int
            Most signals to draw, all from one bucket.
        n_points : int or None
            Points of the reduced context, drawn anew: the same for the whole batch on a common
            grid, each signal's own otherwise. None takes the full context.
        generator : torch.Generator
            CPU generator.
        """
        sizes = torch.tensor([float(len(bucket)) for bucket in self.buckets])
        chosen = 0
        if len(sizes) > 1:
            chosen = int(torch.multinomial(sizes, 1, generator=generator))
        bucket = self.buckets[chosen]
        positions = bucket[random_points(len(bucket), n_signals, generator).numpy()]
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
        n_points : int, optional
            Points to draw from each signal; all by default.
        generator : torch.Generator, optional
            Source of the draw; needed with `n_points`.
        """
        groups = self.group_of[positions]
        if (groups == groups[0]).all():
            return self._common(int(groups[0]), self.row_of[positions], n_points, generator)
        return self._padded(positions, n_points, generator)

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
        positions : int array, optional
            Which signals to visit, each once, in an order of the store's choosing; None = all.
        n_points : int, optional
            Reduce each context to so many random points, drawn for each batch.
        generator : torch.Generator, optional
            Needed with ``n_points``.

        Yields
        ------
        positions : int array
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
        """
        positions = random_points(len(self), n_signals, generator).sort().values.numpy()
        widest = max(self.grids, key=lambda grid: len(grid.coords))
        index = random_points(len(widest.coords), n_points, generator).sort().values
        coords = widest.coords[index.to(self.device)]
        if len(self.grids) == 1:
            values = widest.values[np.ix_(positions, index.numpy())]
        else:
            points = coords.cpu().double().numpy()
            values = np.stack([self._interpolate(position, points) for position in positions])
        has_gaps = values.dtype.kind == "f" and bool(np.isnan(values).any())
        sample = self._context(coords, values, has_gaps)
        if sample.weights is None:
            return sample
        mean = sample.values.sum(dim=0) / sample.weights.sum(dim=0).clamp_min(1.0)
        return Context(coords, torch.where(sample.weights > 0, sample.values, mean))

    def _interpolate(self, position: int, points: np.ndarray) -> np.ndarray:
        """Read one signal at normalised points by linear interpolation; NaN outside its grid."""
        grid = self.grids[self.group_of[position]]
        shape = [len(axis) for axis in grid.axes]
        values = grid.values[self.row_of[position]].reshape(*shape, -1).astype(np.float64)
        wide = [j for j, size in enumerate(shape) if size > 1]
        values = values.reshape(*(shape[j] for j in wide), -1)
        for k, j in enumerate(wide):
            values = np.take(values, np.argsort(grid.axes[j]), axis=k)
        if not wide:
            return np.broadcast_to(values, (len(points), values.shape[-1]))
        axes = tuple(np.sort(grid.axes[j]) for j in wide)
        return interpn(axes, values, points[:, wide], bounds_error=False, fill_value=np.nan)

    def _common(
        self, group: int, rows: np.ndarray, n_points: int | None, generator: torch.Generator | None
    ) -> Context:
        grid = self.grids[group]
        if n_points is None or n_points >= len(grid.coords):
            return self._context(grid.coords, grid.values[rows], grid.has_gaps)
        assert generator is not None
        index = random_points(len(grid.coords), n_points, generator)
        values = grid.values[np.ix_(rows, index.numpy())]
        return self._context(grid.coords[index.to(self.device)], values, grid.has_gaps)

    def _padded(
        self, positions: np.ndarray, n_points: int | None, generator: torch.Generator | None
    ) -> Context:
        width = int(self.points_per_signal[positions].max())
        width = width if n_points is None else min(width, n_points)
        n_axes = self.grids[0].coords.shape[-1]
        coords = torch.zeros(len(positions), width, n_axes, dtype=self.dtype, device=self.device)
        values = np.full((len(positions), width, self.grids[0].values.shape[-1]), np.nan)
        for i, position in enumerate(positions):
            grid = self.grids[self.group_of[position]]
            row = grid.values[self.row_of[position]]
            if len(grid.coords) <= width:
                coords[i, : len(grid.coords)] = grid.coords
                values[i, : len(grid.coords)] = row
            else:
                assert generator is not None
                index = random_points(len(grid.coords), width, generator)
                coords[i] = grid.coords[index.to(self.device)]
                values[i] = row[index.numpy()]
        return self._context(coords, values, has_gaps=True)

    def _context(self, coords: Tensor, values: np.ndarray, has_gaps: bool) -> Context:
        scaled = torch.as_tensor(self.scaler.apply(values)).to(self.device, self.dtype)
        if not has_gaps:
            return Context(coords, scaled)
        weights = (~torch.isnan(scaled)).to(self.dtype)
        return Context(coords, torch.nan_to_num(scaled), weights)


def _has_gaps(group: SignalGroup) -> bool:
    if group.values.dtype.kind != "f":
        return False
    return any(bool(np.isnan(signal).any()) for signal in group.values)
