"""Between the caller's units and the numbers a field works with, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from neurfield.signals.base_grid import BaseGrid
from neurfield.signals.frame import CoordinateFrame
from neurfield.signals.groups import Signals
from neurfield.signals.lazy import thinned
from neurfield.signals.patches import PatchGrid
from neurfield.signals.scaling import ValueScaler, thinning

# Beyond these, sums of values or their derivatives may leave single precision, or it resolves no
# more than a thousandth of the range.
_MOST_SINGLE, _MOST_WIDTHS = 1e30, 1e4


@dataclass(frozen=True)
class Units:
    """One step for coordinates and one for values, each with its inverse.

    Every container has become arrays of points and values before, so nothing here depends on which
    one it was.

    Parameters
    ----------
    frame : CoordinateFrame
        Step of the coordinates, onto [-1, 1] along each of d axes.
    scaler : ValueScaler
        Step of the values, onto about [0, 1] in each of c channels.

    Examples
    --------
    >>> from neurfield.signals import read_signals
    >>> signals = read_signals(np.array([[2.0, 4.0, 6.0]]))
    >>> units = Units.of(signals)
    >>> units.coordinates(np.array([[0.0], [2.0]])).tolist()
    [[-1.0], [1.0]]
    >>> units.invert_coordinates(np.array([[0.5]])).tolist()
    [[1.5]]
    """

    frame: CoordinateFrame
    scaler: ValueScaler

    @classmethod
    def of(
        cls,
        signals: Signals,
        isotropic: bool = False,
        grid: PatchGrid | BaseGrid | None = None,
    ) -> Self:
        """Measure extent and range of a data set; lazy values are read once, and checked.

        Parameters
        ----------
        signals : Signals
            Data set in the caller's units.
        isotropic : bool, default=False
            Whether axes of one unit are scaled alike.
        grid : PatchGrid or BaseGrid, optional
            Where the extent is to be that of a patch, or of the largest signal.

        Raises
        ------
        ValueError
            If a signal holds an infinity or nothing but NaN, or a channel has no value.
        """
        signals.check()
        grids = [group.axes for group in signals.groups] if grid is None else [grid.axes]
        frame = CoordinateFrame.from_axes(grids, signals.layout.units, isotropic)
        every = thinning(sum(len(group.positions) * group.n_points for group in signals.groups))
        return cls(
            frame, ValueScaler.from_values([thinned(g.values, every) for g in signals.groups])
        )

    @classmethod
    def identity(cls, in_dim: int, out_dim: int) -> Self:
        """Return the units of data that lives in [-1, 1]^d and [0, 1]^c already.

        Parameters
        ----------
        in_dim : int
            Number of axes d.
        out_dim : int
            Number of channels c.
        """
        return cls(CoordinateFrame.identity(in_dim), ValueScaler.identity(out_dim))

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Normalise points.

        Parameters
        ----------
        points : array of shape (..., d)
            In the caller's units.

        Returns
        -------
        array of shape (..., d)
            Rounded to ten decimals, so that grids that differ in unit only agree.
        """
        return self.frame.normalise(points)

    def invert_coordinates(self, points: np.ndarray) -> np.ndarray:
        """Bring normalised points of shape (..., d) back to the caller's units.

        Parameters
        ----------
        points : array of shape (..., d)
            As :meth:`coordinates` returns them.
        """
        return self.frame.invert(points)

    def values(self, values: np.ndarray) -> np.ndarray:
        """Scale values of shape (..., c); NaN stays NaN.

        Parameters
        ----------
        values : array of shape (..., c)
            In the caller's units; of NumPy, or of dask, which then stays lazy.
        """
        return self.scaler.apply(values)

    def invert_values(self, values: np.ndarray) -> np.ndarray:
        """Bring scaled values of shape (..., c) back to the caller's units.

        Parameters
        ----------
        values : array of shape (..., c)
            As :meth:`values` returns them.
        """
        return self.scaler.invert(values)

    @property
    def value_range(self) -> np.ndarray:
        """Greatest minus least value of each channel, of shape (c,), in the caller's units."""
        return self.scaler.data_range

    @property
    def value_scale(self) -> np.ndarray:
        """Caller's units per scaled unit of each channel, of shape (c,)."""
        return self.scaler.scale

    @property
    def scaled_range(self) -> np.ndarray:
        """The range of each channel, of shape (c,), in scaled units: the peak of a PSNR."""
        return self.value_range / self.value_scale

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too short or too narrow for values in the caller's units."""
        scale = self.value_scale
        magnitude = np.maximum(np.abs(self.scaler.lower), np.abs(self.scaler.upper))
        narrow = (magnitude > _MOST_SINGLE) | (scale < 1.0 / _MOST_SINGLE)
        return bool((narrow | (magnitude / _MOST_WIDTHS > scale)).any())

    def warn_outside(self, points_lower: np.ndarray, points_upper: np.ndarray) -> None:
        """Warn when coordinates leave the extent seen in fit.

        Parameters
        ----------
        points_lower, points_upper : array of shape (d,)
            Least and greatest coordinates along each axis, in the caller's units.
        """
        self.frame.warn_outside(points_lower, points_upper)

    def to_dict(self) -> dict[str, dict[str, list[float]]]:
        """Return plain Python values that describe the units, for JSON."""
        return {
            name: {key: value.tolist() for key, value in vars(step).items()}
            for name, step in vars(self).items()
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild units from :meth:`to_dict`.

        Parameters
        ----------
        plain : mapping
            With the keys "frame" and "scaler", as saved files have had them from the first version
            on; others are passed over.
        """
        frame, scaler = (
            {key: np.asarray(value, dtype=np.float64) for key, value in plain[name].items()}
            for name in ("frame", "scaler")
        )
        return cls(CoordinateFrame(**frame), ValueScaler(**scaler))
