"""Signals cut into patches, and points of a signal found in its patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Self

import numpy as np

from neurfield.signals.frame import CoordinateFrame, grid_points
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.patch_values import PatchValues, source_of
from neurfield.sizes import along_axes

#: Evaluates some of many latents, by their rows, at points (M, d): arrays of shape (n, M, c).
Decoder = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]

_UNEVEN = 0.01  # grid spacings by which a point of an even axis may be off
_ON_GRID = 1e-3  # grid spacings by which the axes of the same grid may differ
_SLACK = 1e-6
_ON_A_GRID = "patch_size needs signals on a grid"


@dataclass(frozen=True)
class PatchGrid:
    """Patches of one shape that cover an evenly spaced grid, in C order.

    Where the shape of the grid is no multiple of the patch's, the patches overlap, by as much
    everywhere along an axis as whole points allow. A point belongs to the patch that reaches
    further beyond it: neighbours meet halfway between the last point of one and the first point of
    the next. A point on the border belongs to the later patch.

    Parameters
    ----------
    origin, step : array of shape (d,)
        First grid point and spacing along each axis, in the caller's units; a step may be negative.
    shape, size : tuple of d int
        Grid points of a signal and of a patch.

    Examples
    --------
    >>> patches = PatchGrid.from_axes((np.arange(7.0),), 3, ("x",))
    >>> patches.starts
    (array([0, 2, 4]),)
    >>> where, local = patches.locate(np.array([[0.0], [2.0], [6.0]]))
    >>> where.tolist(), local.ravel().tolist()
    ([0, 1, 2], [0.0, 0.0, 2.0])
    """

    origin: np.ndarray
    step: np.ndarray
    shape: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of_signals(cls, signals: Signals, patch_size: int | Sequence[int]) -> Self:
        """Cut up the grid that all signals stand on.

        Parameters
        ----------
        signals : Signals
            On one common grid.
        patch_size : int or sequence of d int
            Points of a patch along each axis; a single number holds for all axes.

        Raises
        ------
        ValueError
            If they stand on several grids or on scattered points, or as :meth:`from_axes`.
        """
        if any(group.is_scattered for group in signals.groups):
            raise ValueError(f"{_ON_A_GRID}, got scattered points")
        if len(signals.groups) > 1:
            shapes = sorted({group.values.shape[1:-1] for group in signals.groups})
            raise ValueError(
                "patch_size needs signals on a common grid, so that all have as many patches; "
                f"got {len(signals.groups)} grids, of the shapes {shapes[:3]}"
            )
        return cls.from_axes(signals.groups[0].axes, patch_size, signals.layout.axis_names)

    @classmethod
    def from_axes(
        cls,
        axes: Sequence[np.ndarray],
        patch_size: int | Sequence[int],
        names: Sequence[str],
    ) -> Self:
        """Cut up a grid.

        Parameters
        ----------
        axes : sequence of d arrays
            Grid coordinates, in the caller's units.
        patch_size : int or sequence of d int
            Grid points of a patch, along all axes or each.
        names : sequence of d str
            Names of the axes, for messages.

        Raises
        ------
        ValueError
            If the patch does not fit into the grid, or an axis is not evenly spaced.
        """
        shape = tuple(len(axis) for axis in axes)
        size: tuple[Any, ...] = along_axes(patch_size, len(shape))
        whole = all(isinstance(n, int | np.integer) and n > 0 for n in size)
        if len(size) != len(shape) or not whole:
            raise ValueError(
                f"patch_size must be a positive number of grid points or {len(shape)} of them, one "
                f"for each of the axes {tuple(names)}, got {patch_size!r}"
            )
        if any(n > length for n, length in zip(size, shape, strict=True)):
            raise ValueError(
                f"patch_size must not exceed the shape {shape} of the signals, got {patch_size!r}"
            )
        origin = np.array([axis[0] for axis in axes], dtype=np.float64)
        gaps = [max(length - 1, 1) for length in shape]
        step = np.array([(axis[-1] - axis[0]) / gap for axis, gap in zip(axes, gaps, strict=True)])
        step = np.where(step == 0, 1.0, step)
        for name, axis, first, gap in zip(names, axes, origin, step, strict=True):
            index = (axis - first) / gap
            if np.abs(index - np.arange(len(axis))).max() > _UNEVEN:
                raise ValueError(
                    "patch_size needs evenly spaced axes, so that all patches are alike; axis "
                    f'"{name}" has steps from {np.diff(axis).min():g} to {np.diff(axis).max():g}'
                )
        return cls(origin, step, shape, tuple(int(n) for n in size))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of patches along each axis."""
        return tuple(len(starts) for starts in self.starts)

    @property
    def n_patches(self) -> int:
        """Number of patches of a signal."""
        return int(np.prod(self.counts))

    @cached_property
    def starts(self) -> tuple[np.ndarray, ...]:
        """Index of the first point of the patches along each axis."""
        return tuple(
            np.rint(np.linspace(0, length - n, -(-length // n))).astype(np.int64)
            for length, n in zip(self.shape, self.size, strict=True)
        )

    @property
    def axes(self) -> tuple[np.ndarray, ...]:
        """Grid of one patch: coordinates from its first point on, in the caller's units."""
        return tuple(np.arange(n) * step for n, step in zip(self.size, self.step, strict=True))

    @property
    def whole_frame(self) -> CoordinateFrame:
        """Frame of the whole grid, of which a patch has its own."""
        last = self.origin + self.step * (np.array(self.shape) - 1)
        return CoordinateFrame.from_axes([tuple(np.stack([self.origin, last], axis=-1))])

    @property
    def labels(self) -> list[str]:
        """Name of each patch by its index along each axis: "p0_3"."""
        return ["p" + "_".join(map(str, index)) for index in np.ndindex(*self.counts)]

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the patch of each point, and where in it the point is.

        Parameters
        ----------
        points : array of shape (M, d)
            In the caller's units. Beyond the grid, the outermost patch is continued.

        Returns
        -------
        patch : int array of shape (M,)
            Number of the patch, in row-major order; two that overlap part in the middle.
        local : array of shape (M, d)
            Coordinates from the first point of the patch on, in the caller's units.
        """
        index = np.round((points - self.origin) / self.step, 9)
        along, local = [], np.empty_like(index)
        for j, (starts, n) in enumerate(zip(self.starts, self.size, strict=True)):
            borders = (starts[:-1] + n - 1 + starts[1:]) / 2
            along.append(np.searchsorted(borders, index[:, j], side="right"))
            local[:, j] = (index[:, j] - starts[along[j]]) * self.step[j]
        return np.ravel_multi_index(along, self.counts), local

    def across(self, decoder: Decoder) -> Decoder:
        """Return a decoder of whole signals, given one of patches.

        Parameters
        ----------
        decoder : callable
            Takes which patches, by their place among those of all signals, and points in a patch.
        """

        def decode_whole(rows: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
            patch, local = self.locate(points)
            inside = {int(k): np.flatnonzero(patch == k) for k in np.unique(patch)}
            # Patches that are asked at the same places are decoded together.
            alike: dict[bytes, list[int]] = {}
            for k, index in inside.items():
                alike.setdefault(local[index].tobytes(), []).append(k)
            whole: list[np.ndarray] = []
            for members in alike.values():
                index = np.stack([inside[k] for k in members])
                places = rows[:, None] * self.n_patches + np.array(members)
                found = decoder(places.ravel(), local[index[0]])
                if not whole:
                    shape = (len(rows), len(points), found[0].shape[-1])
                    whole = [np.empty(shape, part.dtype) for part in found]
                for result, part in zip(whole, found, strict=True):
                    result[:, index] = part.reshape(len(rows), *index.shape, -1)
            return whole

        return decode_whole

    def split(self, signals: Signals) -> Signals:
        """Cut signals into patches, without copying or reading their values.

        Patch k of signal i is at position i × n_patches + k.

        Parameters
        ----------
        signals : Signals
            On this grid, or on others of the same extent, whose points go to all patches that
            reach over them.

        Raises
        ------
        ValueError
            If signals stand on scattered points or reach beyond this grid, if a patch has no point,
            or if a signal has no observed value.
        """
        groups = [part for group in signals.groups for part in self._cut(group)]
        weight = signals.sample_weight
        if weight is not None:
            weight = np.repeat(weight, self.n_patches)
        return Signals(tuple(groups), replace(signals.layout, axes=self.axes), weight)

    def describes(self, axes: Sequence[np.ndarray]) -> bool:
        """Tell whether axes are those of this grid."""
        return tuple(len(axis) for axis in axes) == self.shape and all(
            np.abs((axis - first) / step - np.arange(len(axis))).max() < _ON_GRID
            for axis, first, step in zip(axes, self.origin, self.step, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values from which :meth:`from_dict` rebuilds the grid."""
        return {
            "origin": self.origin.tolist(),
            "step": self.step.tolist(),
            "shape": list(self.shape),
            "size": list(self.size),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a grid from :meth:`to_dict`."""
        return cls(
            np.asarray(plain["origin"], dtype=np.float64),
            np.asarray(plain["step"], dtype=np.float64),
            tuple(plain["shape"]),
            tuple(plain["size"]),
        )

    def _cut(self, group: SignalGroup) -> list[SignalGroup]:
        if group.is_scattered:
            raise ValueError(f"{_ON_A_GRID}, got scattered points")
        n_signals, n_values = len(group.positions), group.n_points * group.values.shape[-1]
        is_whole = bool((group.observed == n_values).all())  # checks the signals, too
        source, rows = source_of(group)
        if self.describes(group.axes):
            cells = [(grid_points(self.starts), [np.arange(n) for n in self.size], self.axes)]
        else:
            cells = self._cells(group.axes)
        groups, first = [], 0
        for starts, offsets, axes in cells:
            positions = group.positions[:, None] * self.n_patches + first + np.arange(len(starts))
            first += len(starts)
            size = int(np.prod([len(part) for part in offsets])) * group.values.shape[-1]
            values = PatchValues(
                source,
                np.repeat(rows, len(starts)),
                np.tile(starts, (n_signals, 1)),
                tuple(offsets),
                np.full(positions.size, size) if is_whole else None,
            )
            groups.append(SignalGroup(axes, values, positions.ravel()))
        return groups

    def _cells(
        self, axes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, list[np.ndarray], tuple[np.ndarray, ...]]]:
        """Return start, points and axes of each patch on another grid."""
        along = []
        for axis, first, step, length, n, starts in zip(
            axes, self.origin, self.step, self.shape, self.size, self.starts, strict=True
        ):
            index = (axis - first) / step
            edge = 0.5 + _SLACK
            if index.min() < -edge or index.max() > length - 1 + edge:
                raise ValueError(
                    "with patch_size, signals must lie on the extent seen in fit: "
                    f"{first:g} to {first + (length - 1) * step:g}, "
                    f"got {axis.min():g} to {axis.max():g}"
                )
            parts = []
            for start in starts:
                inside = np.flatnonzero((index >= start - edge) & (index <= start + n - 1 + edge))
                if len(inside) == 0:
                    raise ValueError(
                        "with patch_size, each patch of a signal needs points; there are none "
                        f"from {first + start * step:g} to {first + (start + n - 1) * step:g}"
                    )
                parts.append((inside, (index[inside] - start) * step))
            along.append(parts)
        return [
            (
                np.zeros((1, len(axes)), dtype=np.int64),
                [inside for inside, _ in cell],
                tuple(local for _, local in cell),
            )
            for cell in product(*along)
        ]
