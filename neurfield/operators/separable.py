"""Operators that are a matrix along each axis: blur, and voxels that are larger than points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from neurfield.operators.base import GridOperator, axes_of, spacing_of

_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # of a Gaussian, in standard deviations
_PROFILES = ("box", "gaussian")


class _Separable(GridOperator):
    """A matrix along each axis of a grid.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    matrices : sequence of d arrays of shape (m_j, n_j)
        Along each axis.
    """

    def __init__(self, grid: Any, matrices: Sequence[np.ndarray]) -> None:
        super().__init__(grid)
        self.matrices = list(matrices)

    def apply(self, values: np.ndarray) -> np.ndarray:
        found = self.on_grid(values)
        for axis, matrix in enumerate(self.matrices, start=1):
            found = _along(matrix, found, axis)
        return found[..., 0] if found.shape[-1] == 1 else found

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        found = measured if measured.ndim > 1 + len(self.axes) else measured[..., None]
        for axis, matrix in enumerate(self.matrices, start=1):
            found = _along(matrix.T, found, axis)
        return found.reshape(len(found), -1, found.shape[-1])


class Blur(_Separable):
    """Values blurred by a Gaussian, as by the point-spread function of a scanner.

    At the borders the weights of what is inside are scaled to a sum of one.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    fwhm : float or sequence of d float
        Full width at half maximum along all axes or each, in the data's own units; 0 leaves an axis
        as it is.

    Examples
    --------
    >>> import numpy as np
    >>> Blur((5,), fwhm=2.0).apply(np.eye(5)[:1, :, None]).round(2)
    array([[0.61, 0.25, 0.04, 0.  , 0.  ]])
    """

    def __init__(self, grid: Any, fwhm: float | Sequence[float]) -> None:
        GridOperator.__init__(self, grid)
        widths = _for_each_axis(fwhm, len(self.axes), "fwhm", least=0.0)
        self.fwhm = widths
        super().__init__(
            self.axes, [_gaussian(a, a, w) for a, w in zip(self.axes, widths, strict=True)]
        )


class Downsample(_Separable):
    """Means over voxels that are larger than the distance of the points, such as thick slices.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        Fine grid that the field is read on, as in :class:`GridOperator`.
    coarse : sequence of d arrays, mapping, or DataArray
        Centres of the voxels along each axis, in the data's own units. Where they are those of the
        fine grid, an axis stays as it is.
    thickness : float or sequence of d float, optional
        Extent of a voxel along all axes or each; by default the distance of the centres.
    profile : {"box", "gaussian"} or sequence of them, default="box"
        Sensitivity along the extent: constant, or a Gaussian of that full width at half maximum, as
        through the plane of slices.

    Examples
    --------
    >>> import numpy as np
    >>> thick = Downsample((6,), coarse=[[0.5, 2.5, 4.5]])
    >>> thick.apply(np.arange(6.0).reshape(1, 6, 1))
    array([[0.5, 2.5, 4.5]])
    """

    def __init__(
        self,
        grid: Any,
        coarse: Any,
        thickness: float | Sequence[float] | None = None,
        profile: str | Sequence[str] = "box",
    ) -> None:
        GridOperator.__init__(self, grid)
        self.coarse = axes_of(coarse, "coarse")
        n_axes = len(self.axes)
        if len(self.coarse) != n_axes:
            raise ValueError(
                f"coarse must have the {n_axes} axes of the grid, got {len(self.coarse)}"
            )
        extents = [abs(spacing_of(axis, f"coarse[{i}]")) for i, axis in enumerate(self.coarse)]
        if thickness is not None:
            extents = _for_each_axis(thickness, n_axes, "thickness", least=1e-300)
        profiles = [profile] * n_axes if isinstance(profile, str) else list(profile)
        if len(profiles) != n_axes or any(one not in _PROFILES for one in profiles):
            raise ValueError(
                f"profile must be one of {_PROFILES}, or one for each axis, got {profile!r}"
            )
        self.thickness, self.profile = extents, profiles
        along = zip(self.axes, self.coarse, extents, profiles, strict=True)
        matrices = [
            _means(fine, centres, extent, of_slice, i)
            for i, (fine, centres, extent, of_slice) in enumerate(along)
        ]
        super().__init__(self.axes, matrices)


def _along(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    dtype = np.result_type(values.dtype, np.float32)  # integers are not to make weights so
    return np.moveaxis(np.tensordot(matrix.astype(dtype), values, (1, axis)), 0, axis)


def _means(
    fine: np.ndarray, centres: np.ndarray, extent: float, profile: str, axis: int
) -> np.ndarray:
    """Return the weights of points in voxels, of shape (n_voxels, n_points), each row of sum 1."""
    if len(fine) == len(centres) and np.allclose(fine, centres):
        return np.eye(len(fine))
    if profile == "gaussian":
        return _gaussian(centres, fine, extent)
    half = 0.5 * abs(spacing_of(fine, f"grid[{axis}]"))
    # How much of each point's own interval lies within the voxel.
    upper = np.minimum(fine + half, centres[:, None] + 0.5 * extent)
    lower = np.maximum(fine - half, centres[:, None] - 0.5 * extent)
    return _of_sum_one(np.maximum(upper - lower, 0.0), axis)


def _gaussian(centres: np.ndarray, points: np.ndarray, fwhm: float) -> np.ndarray:
    """Return the weights of points around centres: a Gaussian's mass on each point's interval."""
    if fwhm == 0.0:
        return np.eye(len(points))
    sigma, half = fwhm / _FWHM, 0.5 * abs(spacing_of(points, "grid"))
    away = points - centres[:, None]
    mass = ndtr((away + half) / sigma) - ndtr((away - half) / sigma)
    return _of_sum_one(mass, None)


def _of_sum_one(weights: np.ndarray, axis: int | None) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ValueError(
            f"coarse[{axis}] must lie within the grid: {int((total <= 0).sum())} of "
            f"{len(total)} voxels hold none of its points"
        )
    return weights / total


def _for_each_axis(
    value: float | Sequence[float], n_axes: int, name: str, least: float
) -> list[float]:
    widths = [float(w) for w in np.atleast_1d(np.asarray(value, dtype=np.float64))]
    widths = widths * n_axes if len(widths) == 1 else widths
    if len(widths) != n_axes or not all(math.isfinite(w) and w >= least for w in widths):
        raise ValueError(
            f"{name} must be a number of at least {least:g}, or one for each of {n_axes} axes, "
            f"got {value!r}"
        )
    return widths
