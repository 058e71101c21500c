"""Operators that measure values themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurfield.operators.base import GridOperator, Operator
from neurfield.signals.coords import real_array


class Identity(Operator):
    """The values at some points, each by itself.

    Parameters
    ----------
    points : array of shape (M, d)
        In the data's own units.

    Examples
    --------
    >>> import numpy as np
    >>> Identity([[0.0], [0.5]]).apply(np.array([[[3.0], [4.0]]]))
    array([[3., 4.]])
    """

    def __init__(self, points: Any) -> None:
        self._points = real_array(points, "points")

    def points(self) -> np.ndarray:
        return self._points

    def apply(self, values: np.ndarray) -> np.ndarray:
        return _without_channel(values)

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        return measured.real.reshape(*measured.shape[:2], -1)


class Mask(GridOperator):
    """The values on a part of a grid.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    mask : bool array of the grid's shape
        Where values are measured.

    Examples
    --------
    >>> import numpy as np
    >>> Mask((3,), [True, False, True]).apply(np.array([[[3.0], [4.0], [5.0]]]))
    array([[3., 5.]])
    """

    def __init__(self, grid: Any, mask: Any) -> None:
        super().__init__(grid)
        self.mask = np.asarray(mask)
        if self.mask.dtype != bool or self.mask.shape != self.shape or not self.mask.any():
            raise ValueError(
                f"mask must be a bool array of the grid's shape, {self.shape}, that is true "
                f"somewhere, got {self.mask.dtype} of shape {self.mask.shape}"
            )

    def apply(self, values: np.ndarray) -> np.ndarray:
        return _without_channel(values[:, self.mask.ravel()])

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        seen = measured.real.reshape(*measured.shape[:2], -1)
        found = np.zeros((len(seen), self.mask.size, seen.shape[2]), dtype=seen.dtype)
        found[:, self.mask.ravel()] = seen
        return found


def _without_channel(values: np.ndarray) -> np.ndarray:
    return values[..., 0] if values.shape[-1] == 1 else values
