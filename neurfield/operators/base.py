"""What an operator is, and the test that its adjoint is its adjoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from neurfield.signals import grid_points
from neurfield.signals.coords import real_array
from neurfield.signals.layout import CHANNEL, SAMPLE

Axes = tuple[np.ndarray, ...]

_MOST_DISCREPANCY = 1e-3
_SEED = 0
_EVEN = 1e-3  # of a spacing, by which spacings of an axis may differ


class Operator(ABC):
    """A linear map A from a field's values at points to what was measured of them.

    One of one's own has these three methods; nothing else is asked of it, so that it need not even
    inherit from this class. They may be called from several threads at a time.

    Examples
    --------
    The sums of neighbouring values of signals of four:

    >>> class Sums(Operator):
    ...     def points(self):
    ...         return np.arange(4.0)[:, None]
    ...
    ...     def apply(self, values):
    ...         return values[:, :-1, 0] + values[:, 1:, 0]
    ...
    ...     def adjoint(self, measured):
    ...         padded = np.pad(measured, [(0, 0), (1, 1)])
    ...         return (padded[:, :-1] + padded[:, 1:])[..., None]
    >>> Sums().apply(np.arange(4.0).reshape(1, 4, 1))
    array([[1., 3., 5.]])
    >>> check_adjoint(Sums(), n_channels=1)
    """

    @abstractmethod
    def points(self) -> np.ndarray:
        """Return where the field is read, in the data's own units, of shape (M, d)."""

    @abstractmethod
    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return A of the values of n signals.

        Parameters
        ----------
        values : array of shape (n, M, c)
            At the points, in the data's own units.

        Returns
        -------
        array of shape (n, ...), real or complex
            What is measured of each.
        """

    @abstractmethod
    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        """Return Aᵀ of the measurements of n signals, or the real part of Aᴴ where A is complex.

        Parameters
        ----------
        measured : array of shape (n, ...)
            As :meth:`apply` returns it.

        Returns
        -------
        array of shape (n, M, c)
            Real.
        """


class GridOperator(Operator):
    """An operator that reads the field on a grid.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        Number of points along each axis, for arrays, whose coordinates count from 0; or coordinates
        along each axis in the data's own units, also by name, or those of a DataArray.
    """

    def __init__(self, grid: Any) -> None:
        self.axes = axes_of(grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    def points(self) -> np.ndarray:
        return grid_points(self.axes)

    def on_grid(self, values: np.ndarray) -> np.ndarray:
        """Return values as they lie on the grid, of shape (n, *shape, c).

        Parameters
        ----------
        values : array of shape (n, M, c)
            At the points.
        """
        return values.reshape(len(values), *self.shape, -1)


def axes_of(grid: Any, name: str = "grid") -> Axes:
    """Return the coordinates along each axis of what was given as a grid.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As :class:`GridOperator` takes it.
    name : str, default="grid"
        What it was given as, for messages.

    Raises
    ------
    ValueError
        If it is nothing of the kind.

    Examples
    --------
    >>> axes_of((2, 3))
    (array([0., 1.]), array([0., 1., 2.]))
    """
    if isinstance(grid, xr.DataArray):
        grid = {d: grid[d].to_numpy() for d in grid.dims if d not in (SAMPLE, CHANNEL)}
    if isinstance(grid, Mapping):
        return tuple(_axis(axis, f'{name}["{along}"]') for along, axis in grid.items())
    if not isinstance(grid, Sequence) or isinstance(grid, str) or not len(grid):
        raise ValueError(
            f"{name} must be numbers of points, one for each axis, or coordinates along each axis, "
            f"got {grid!r}"
        )
    if all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in grid):
        if min(grid) < 1:
            raise ValueError(f"{name} must have one point or more along each axis, got {grid!r}")
        return tuple(np.arange(n, dtype=np.float64) for n in grid)
    return tuple(_axis(axis, f"{name}[{i}]") for i, axis in enumerate(grid))


def _axis(axis: Any, name: str) -> np.ndarray:
    found = np.atleast_1d(real_array(axis, name))
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError(
            f"{name} must be a non-empty 1-D array of finite numbers, got shape {found.shape}"
        )
    return found


def spacing_of(axis: np.ndarray, name: str) -> float:
    """Return the distance of neighbouring points of an evenly spaced axis; 1 for a single one.

    Parameters
    ----------
    axis : array of shape (n,)
        Coordinates.
    name : str
        Which axis, for the message.

    Raises
    ------
    ValueError
        If they are not evenly spaced.
    """
    if len(axis) < 2:
        return 1.0
    steps = np.diff(axis)
    mean = float(steps.mean())
    if mean == 0.0 or np.abs(steps - mean).max() > _EVEN * abs(mean):
        raise ValueError(
            f"{name} must be evenly spaced, got steps from {steps.min():g} to {steps.max():g}"
        )
    return mean


def check_adjoint(operator: Any, n_channels: int, name: str = "operator") -> None:
    """Refuse an operator whose adjoint is not one, by ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for random x and y.

    Parameters
    ----------
    operator : Operator
        Or anything with its three methods.
    n_channels : int
        c, of the values it takes.
    name : str, default="operator"
        What it was given as, for messages.

    Raises
    ------
    ValueError
        If methods are missing, shapes do not match, or the two sides differ by more than 1e-3 of
        ‖A x‖ ‖y‖.
    """
    methods = ("points", "apply", "adjoint")
    if missing := [m for m in methods if not callable(getattr(operator, m, None))]:
        raise ValueError(
            f"{name} must have the methods points, apply and adjoint, got "
            f"{type(operator).__name__} without {', '.join(missing)}"
        )
    points = np.asarray(operator.points())
    if points.ndim != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(
            f"{name}.points() must be finite and of shape (n_points, n_axes), got {points.shape}"
        )
    draw = np.random.default_rng(_SEED)
    values = draw.standard_normal((2, len(points), n_channels))
    measured = np.asarray(operator.apply(values))
    if measured.ndim < 1 or len(measured) != 2:
        raise ValueError(
            f"{name}.apply must return one measurement for each signal: for values of shape "
            f"{values.shape} it returned shape {measured.shape}"
        )
    other = draw.standard_normal(measured.shape)
    if np.iscomplexobj(measured):
        other = other + 1j * draw.standard_normal(measured.shape)
    # Random numbers alone are nearly orthogonal to what is measured, the more of them there are.
    other = other / np.linalg.norm(other) + measured / max(float(np.linalg.norm(measured)), 1e-300)
    back = np.asarray(operator.adjoint(other))
    if back.shape != values.shape or np.iscomplexobj(back):
        raise ValueError(
            f"{name}.adjoint must return real values of shape {values.shape} for measurements of "
            f"shape {measured.shape}, got {back.dtype} of shape {back.shape}"
        )
    forth = float(np.vdot(other, measured).real)
    size = float(np.linalg.norm(measured) * np.linalg.norm(other))
    discrepancy = abs(forth - float(np.vdot(back, values))) / max(size, 1e-300)
    if not discrepancy <= _MOST_DISCREPANCY:
        raise ValueError(
            f"{name}.adjoint is not the adjoint of {name}.apply: <A x, y> and <x, A^T y> differ by "
            f"{discrepancy:.1e} of |A x| |y|, which may be {_MOST_DISCREPANCY:g} at most"
        )
