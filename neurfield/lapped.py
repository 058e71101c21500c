"""Encoding and decoding of signals of any size by one lapped field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from neurfield.codec import Codec
from neurfield.fields import LappedField
from neurfield.fields.lapped import spline
from neurfield.learning import ContextStore
from neurfield.learning.filling import Filling, can_fill
from neurfield.learning.lanes import each_in_lanes
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.solvers import InnerSolver
from neurfield.memory import at_once
from neurfield.signals import SignalGroup, Signals
from neurfield.signals.base_grid import BaseGrid, ascending, joined

_SAME_PLACES = 3  # decimals, in steps, to which signals that are encoded together must agree


@dataclass
class LappedCodec(Codec):
    """A codec of signals of any size, of which each has the cells that its extent has room for.

    Cells keep their side in the caller's units. A signal that lies within the extent of fit and
    has as many cells as those of fit shares their cells; any other one has its own, from the middle
    of its extent outwards. Fields, solvers and scaling are the same for all.

    Parameters
    ----------
    field : LappedField
        The trained field, for signals of the size of fit.
    solver : InnerSolver
        Finds the latents of signals.
    units : Units
        Coordinates of signals of the size of fit, and scaling.
    posterior : LappedPosterior, optional
        How sure values of signals of any size are; None where fit could not tell.
    """

    any_size: ClassVar[bool] = True

    field: LappedField

    @property
    def base(self) -> BaseGrid:
        """The grid of the tables, over the extent of fit."""
        frame, shape = self.units.frame, self.field.shape
        middle = 0.5 * (frame.lower + frame.upper)
        half = np.where(np.array(shape) > 1, frame.half_width, 0.0)
        return BaseGrid(middle - half, middle + half, shape)

    @property
    def fitter(self) -> InnerSolver:
        return self._filling or self.solver

    @property
    def _filling(self) -> Filling | None:
        """What fits signals with gaps, where more is known of them than the solver takes."""
        if not can_fill(self.posterior, self.field):
            return None
        assert isinstance(self.posterior, LappedPosterior)
        return Filling(self.solver, self.posterior)

    @property
    def latent_size(self) -> int:
        return self.field.cell_latents if self.field.pool else self.field.latent_dim

    def latent_names(self, axis_names: Sequence[str]) -> list[str] | None:
        return None if self.field.pool else super().latent_names(axis_names)

    def values(self, codes: np.ndarray, points: np.ndarray) -> np.ndarray:
        # All points of a signal are read from one evaluation on the grid of the tables.
        field, device = self.field, self.device
        places = torch.as_tensor(self.units.coordinates(points), dtype=self.dtype, device=device)
        latents = torch.as_tensor(codes, dtype=self.dtype, device=device)
        on_grid = field.is_grid(places)
        most = max(1, at_once("signals", device) // (field.out_dim * 4**field.in_dim))
        decoded = np.empty((len(latents), len(places), field.out_dim), dtype=self.value_dtype)

        @torch.no_grad()
        def of_signal(i: int, lane: int) -> None:
            values = field.values_on_grid(latents[i : i + 1].clone())
            if on_grid:
                decoded[i] = self.units.invert_values(values.flatten(2)[0].T.cpu().double().numpy())
                return
            smooth = spline.coefficients(values, field.in_dim)
            for start in range(0, len(places), most):
                where = field.places(places[start : start + most])
                some = spline.read(smooth, where, field.shape)[0].T.cpu().double().numpy()
                decoded[i, start : start + most] = self.units.invert_values(some)

        if device.type == "cpu":
            each_in_lanes(of_signal, len(latents))
        else:
            for i in range(len(latents)):
                of_signal(i, 0)
        return decoded

    def latents_on(self, axes: Sequence[np.ndarray]) -> int:
        return self._of(axes).latent_size

    def codes(self, latents: np.ndarray) -> np.ndarray:
        if self.field.pool:
            raise ValueError(
                f"latents pooled over cells, by pool={self.field.pool!r}, cannot be decoded: fit "
                "with pool=None"
            )
        return super().codes(latents)

    def for_latents(self, length: int, axes: Sequence[np.ndarray] | None, what: str) -> Codec:
        own = self if axes is None else self._of(axes)
        if length == own.latent_size:
            return own
        if length == self.latent_size:  # a signal of fit, decoded at coordinates that it has not
            return self
        cells = own.field.cells
        counts = " × ".join(map(str, cells.counts))
        raise ValueError(
            f"X holds latents of {length} numbers, and {what} is for signals of {counts} cells of "
            f"{self.field.cell_latents} latents, {own.latent_size} in all: tell the size of the "
            "signals by coords=, or by grid= for arrays"
        )

    def encode(self, signals: Signals) -> Any:
        """Fit the latents of each signal.

        Parameters
        ----------
        signals : Signals
            Whole ones, in the caller's units, on grids of any size; NaN marks a value not observed.

        Returns
        -------
        float32 array of shape (n, P), or list of n arrays of shape (P_i,)
            The list where signals have unequally many cells; with ``pool``, always an array.
        """
        rows: list[np.ndarray] = [np.empty(0)] * len(signals)
        for codec, part, positions in self.parts(signals):
            found = super(LappedCodec, codec).encode(part)
            if self.field.pool:
                found = found.reshape(len(found), -1, self.field.cell_latents).mean(axis=1)
            if len(found) == len(signals):
                return found
            for position, row in zip(positions, found, strict=True):
                rows[position] = row
        return np.stack(rows) if len({len(row) for row in rows}) == 1 else rows

    def std(
        self,
        codes: np.ndarray,
        rows: np.ndarray,
        points: np.ndarray,
        observed: ContextStore | None,
    ) -> np.ndarray:
        filling = self._filling
        if filling is None or observed is None:
            return super().std(codes, rows, points, observed)
        batches = [observed.batch(rows[i : i + 1]) for i in range(len(rows))]
        contexts = [batch.alone(0, batch.n_points) for batch in batches]
        partial = [
            i for i, one in enumerate(contexts) if not bool(filling.is_whole(self.field, one))
        ]
        deviation = np.empty((len(rows), len(points), self.field.out_dim), self.value_dtype)
        whole = np.setdiff1d(np.arange(len(rows)), partial)
        if len(whole):
            deviation[whole] = super().std(codes, rows[whole], points, observed)
        if partial:
            coords, some = self.units.coordinates(points), [contexts[i] for i in partial]
            scaled = filling.std(self.field, coords, some)
            deviation[partial] = scaled * self.units.value_scale
        return deviation

    def reconstruction_psnr(self, signals: Signals) -> np.ndarray:
        psnr = np.empty(len(signals))
        for codec, part, positions in self.parts(signals):
            psnr[positions] = super(LappedCodec, codec).reconstruction_psnr(part)
        return psnr

    def stores(self, signals: Signals) -> list[tuple[Codec, ContextStore]]:
        return [(codec, codec.store(part)) for codec, part, _ in self.parts(signals)]

    def parts(self, signals: Signals) -> Iterator[tuple[Self, Signals, np.ndarray]]:
        """Divide signals into those that have the same cells.

        Parameters
        ----------
        signals : Signals
            On grids of any size.

        Yields
        ------
        codec : LappedCodec
            Of the size of this part, which shares the field's weights.
        part : Signals
            Its signals, with coordinates that ascend and, where the codec is another than this one,
            count from the first point of its grid.
        positions : int array
            Where they stand among all.
        """
        here: list[SignalGroup] = []
        others: dict[object, tuple[BaseGrid, list[SignalGroup]]] = {}
        for group in map(ascending, signals.groups):
            grid = None if group.is_scattered else self._grid(group.axes)
            if grid is None:
                here.append(group)
                continue
            axes = tuple(axis - first for axis, first in zip(group.axes, grid.lower, strict=True))
            steps = zip(axes, grid.step, strict=True)
            places = [np.round(axis / step, _SAME_PLACES).tobytes() for axis, step in steps]
            alike = others.setdefault((grid.shape, *places), (grid, []))
            alike[1].append(replace(group, axes=axes))
        if here:
            yield self, *_together(signals, here)
        for grid, groups in others.values():
            moved = replace(grid, lower=0.0 * grid.lower, upper=grid.upper - grid.lower)
            yield self._at(moved), *_together(signals, joined(groups))

    def _grid(self, axes: Sequence[np.ndarray]) -> BaseGrid | None:
        """Return the grid of a signal; None where that of fit has room for it and as many cells."""
        base, cells = self.base, self.field.cells
        own = base.over(axes, cells.side)
        fits = base.encloses(axes) and cells.resized(own.shape).counts == cells.counts
        return None if fits else own

    def _of(self, axes: Sequence[np.ndarray]) -> Self:
        """Return the codec of signals on a grid, which may reach half a sample beyond its cells."""
        grid = self._grid(axes)
        return self._at(self.base if grid is None else grid)

    def _at(self, grid: BaseGrid) -> Self:
        """Return the codec of signals with cells on another grid than that of fit, or on that."""
        frame, edge = grid.frame, 0.5 * grid.step
        frame = replace(frame, lower=frame.lower - edge, upper=frame.upper + edge)
        return replace(
            self,
            field=self.field.of_shape(grid.shape),
            units=replace(self.units, frame=frame),
        )


def with_sizes(codec: Codec) -> Codec:
    """Return a codec of signals of any size where the field can describe them; the same elsewhere.

    Parameters
    ----------
    codec : Codec
        Its field, solver, units and posterior are shared, not copied.
    """
    return LappedCodec(**vars(codec)) if isinstance(codec.field, LappedField) else codec


def _together(signals: Signals, groups: Sequence[SignalGroup]) -> tuple[Signals, np.ndarray]:
    """Return a data set of some groups, renumbered, and where its signals stand among all."""
    positions = np.sort(np.concatenate([group.positions for group in groups]))
    renumbered = tuple(
        replace(group, positions=np.searchsorted(positions, group.positions)) for group in groups
    )
    weight = signals.sample_weight
    weight = None if weight is None else weight[positions]
    return Signals(renumbered, signals.layout, weight), positions
