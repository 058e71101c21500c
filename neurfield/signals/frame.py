"""From the caller's coordinates to [-1, 1]^d."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def grid_points(axes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the points of a grid, of shape (N, d), last axis fastest.

    Parameters
    ----------
    axes : sequence of d arrays
        Coordinates along each axis.

    Examples
    --------
    >>> grid_points([np.array([0, 1]), np.array([5, 7])]).tolist()
    [[0, 5], [0, 7], [1, 5], [1, 7]]
    """
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=-1)


@dataclass(frozen=True)
class CoordinateFrame:
    """Affine map, axis by axis, of the extent seen in fit onto [-1, 1].

    Parameters
    ----------
    lower, upper : array of shape (d,)
        Extent seen in fit, in the caller's units.
    half_width : array of shape (d,)
        Caller's units per normalised unit.
    """

    lower: np.ndarray
    upper: np.ndarray
    half_width: np.ndarray

    @classmethod
    def identity(cls, n_axes: int) -> CoordinateFrame:
        """Return the frame of data that lives in [-1, 1]^d already."""
        ones = np.ones(n_axes)
        return cls(-ones, ones, ones)

    @classmethod
    def from_axes(
        cls,
        grids: Sequence[tuple[np.ndarray, ...]],
        units: Sequence[str | None] = (),
        isotropic: bool = False,
    ) -> CoordinateFrame:
        """Measure the extent of all grids.

        Parameters
        ----------
        grids : sequence of tuples of d arrays
            Axes of each grid, in the caller's units; the frame encloses all of them.
        units : sequence of d str or None, default=()
            Unit of each axis; axes without a unit count as one unit (pixels).
        isotropic : bool, default=False
            Scale axes of one unit by the same number, that of the longest of them.

        Examples
        --------
        >>> frame = CoordinateFrame.from_axes([(np.arange(5.0), np.arange(3.0))], isotropic=True)
        >>> frame.normalise(np.array([[4.0, 2.0]]))
        array([[1. , 0.5]])
        """
        lower = np.array([min(axis.min() for axis in axes) for axes in zip(*grids, strict=True)])
        upper = np.array([max(axis.max() for axis in axes) for axes in zip(*grids, strict=True)])
        half_width = (upper - lower) / 2
        if isotropic:
            names = list(units) or [None] * len(half_width)
            half_width = np.array(
                [
                    max(w for w, other in zip(half_width, names, strict=True) if other == name)
                    for name in names
                ]
            )
        return cls(lower, upper, np.where(half_width > 0, half_width, 1.0))

    def normalise(self, points: np.ndarray) -> np.ndarray:
        """Map points of shape (..., d) from the caller's units."""
        center = (self.lower + self.upper) / 2
        # Ten digits are far beyond float32, and make grids that differ in unit only agree.
        return np.round((points - center) / self.half_width, 10)

    def invert(self, points: np.ndarray) -> np.ndarray:
        """Map normalised points of shape (..., d) back to the caller's units."""
        return points * self.half_width + (self.lower + self.upper) / 2

    def normalise_axes(self, axes: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Map the coordinates of each axis of a grid."""
        centers = (self.lower + self.upper) / 2
        return tuple(
            (axis - center) / width
            for axis, center, width in zip(axes, centers, self.half_width, strict=True)
        )

    def grid(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Return the normalised points of a grid, of shape (N, d), last axis fastest."""
        return self.normalise(grid_points(axes))

    def points(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Return normalised scattered points, of shape (N, d), from the coordinates of each."""
        return self.normalise(np.stack(axes, axis=-1))

    def share_inside(self, axes: Sequence[np.ndarray], is_scattered: bool = False) -> float:
        """Return the share of points that lie in the extent seen in fit.

        Parameters
        ----------
        axes : sequence of d arrays
            Coordinates along each axis of a grid, in the caller's units, or of scattered points.
        is_scattered : bool, default=False
            Which of them.
        """
        lower, upper = self.lower - self._slack, self.upper + self._slack
        inside = [
            (axis >= low) & (axis <= high)
            for axis, low, high in zip(axes, lower, upper, strict=True)
        ]
        if is_scattered:
            return float(np.logical_and.reduce(inside).mean())
        return float(np.prod([along.mean() for along in inside]))

    def warn_outside(
        self, points_lower: np.ndarray, points_upper: np.ndarray, work: str = "decoding"
    ) -> None:
        """Warn when coordinates leave the extent seen in fit."""
        below = points_lower < self.lower - self._slack
        if below.any() or (points_upper > self.upper + self._slack).any():
            warnings.warn(
                f"{work} at coordinates {points_lower.tolist()} to {points_upper.tolist()}, "
                f"outside the extent seen in fit, {self.lower.tolist()} to {self.upper.tolist()}: "
                "the field extrapolates there",
                UserWarning,
                stacklevel=4,
            )

    @property
    def _slack(self) -> np.ndarray:
        return 1e-6 * self.half_width
