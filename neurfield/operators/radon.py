"""Line integrals through pictures and the slices of volumes: computed tomography."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack

from neurfield.operators.base import Axes, GridOperator, spacing_of
from neurfield.signals.coords import real_array


class Radon(GridOperator):
    """Integrals along rays, in the plane of the last two axes, for each slice of a volume.

    A ray reads the picture where it crosses the rows or the columns, whichever it meets at the
    steeper angle, linearly between neighbours, as Joseph proposed; outside, the picture is zero.
    At angle θ the detector lies along (-sin θ, cos θ) in terms of the last two axes, so that
    projections are those of ``skimage.transform.radon`` with ``circle=False``.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`; the last two axes must be evenly spaced.
    angles : array of shape (n_angles,)
        In degrees.
    n_detectors : int, optional
        Detector elements; by default as many as the diagonal of the picture has.
    spacing : float, optional
        Distance of neighbouring elements in the data's own units; by default that of the points.
    axis : float, default=0.0
        Where the axis of rotation is projected to, from the middle of the detector, in the data's
        own units. It goes through the middle of the picture.
    source : float, optional
        Distance of the source from the axis of rotation, for a fan beam; None = parallel rays. The
        detector's spacing is that of its shadow on the axis of rotation.

    References
    ----------
    Joseph, "An Improved Algorithm for Reprojecting Rays through Pixel Images", IEEE Transactions on
    Medical Imaging 1, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> picture = np.zeros((5, 5))
    >>> picture[2, 3] = 1.0
    >>> Radon((5, 5), angles=[0.0, 90.0], n_detectors=5).apply(picture.reshape(1, 25, 1))[0].round(
    ...     9
    ... )
    array([[0., 0., 0., 1., 0.],
           [0., 0., 1., 0., 0.]])
    """

    def __init__(
        self,
        grid: Any,
        angles: Any,
        *,
        n_detectors: int | None = None,
        spacing: float | None = None,
        axis: float = 0.0,
        source: float | None = None,
    ) -> None:
        super().__init__(grid)
        if len(self.axes) < 2:
            raise ValueError(f"grid must have two axes or more, got {len(self.axes)}")
        self.angles = np.atleast_1d(real_array(angles, "angles"))
        if self.angles.ndim != 1 or not len(self.angles) or not np.isfinite(self.angles).all():
            raise ValueError(
                f"angles must be finite and of shape (n_angles,), got {self.angles.shape}"
            )
        plane = self.axes[-2:]
        steps = [abs(spacing_of(a, f"grid[{i - 2}]")) for i, a in enumerate(plane)]
        extent = math.hypot(*(n * s for n, s in zip(self.shape[-2:], steps, strict=True)))
        self.spacing = min(steps) if spacing is None else float(spacing)
        if not self.spacing > 0:
            raise ValueError(f"spacing must be positive, got {spacing!r}")
        self.n_detectors = math.ceil(extent / self.spacing) if n_detectors is None else n_detectors
        if self.n_detectors < 1:
            raise ValueError(f"n_detectors must be positive, got {n_detectors!r}")
        if source is not None and not source > 0.5 * extent:
            raise ValueError(
                f"source must be outside of the picture, more than {0.5 * extent:g} from the axis "
                f"of rotation, got {source!r}"
            )
        self.axis, self.source = float(axis), source
        self.matrix = csr_array(vstack([self._of_angle(math.radians(a)) for a in self.angles]))

    def _of_angle(self, angle: float) -> csr_array:
        middle = np.array([0.5 * (a[0] + a[-1]) for a in self.axes[-2:]])
        places = (np.arange(self.n_detectors) - 0.5 * (self.n_detectors - 1)) * self.spacing
        across = np.array([-math.sin(angle), math.cos(angle)])
        along = np.array([math.cos(angle), math.sin(angle)])
        at_axis = middle + (places - self.axis)[:, None] * across
        if self.source is None:
            directions = np.broadcast_to(along, at_axis.shape)
        else:
            directions = at_axis - (middle - self.source * along)
            directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return _rays(self.axes[-2:], at_axis, directions)

    def apply(self, values: np.ndarray) -> np.ndarray:
        n, _, c = values.shape
        plane = self.matrix.shape[1]
        slices = values.reshape(-1, plane, c).transpose(1, 0, 2).reshape(plane, -1)
        rays = self._for(slices) @ slices
        rays = rays.reshape(-1, n * values.shape[1] // plane, c).transpose(1, 0, 2)
        shape = n, *self.shape[:-2], len(self.angles), self.n_detectors
        return rays.reshape(*shape, *((c,) if c > 1 else ()))

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        n, (n_rays, plane) = len(measured), self.matrix.shape
        n_slices = n * math.prod(self.shape[:-2])
        rays = measured.reshape(n_slices, n_rays, -1)
        c = rays.shape[2]
        columns = rays.transpose(1, 0, 2).reshape(n_rays, -1)
        found = self._for(columns).T @ columns
        return found.reshape(plane, n_slices, c).transpose(1, 0, 2).reshape(n, -1, c)

    def _for(self, values: np.ndarray) -> csr_array:
        """Return the matrix in the precision of values, integers counting as single precision."""
        dtype = np.result_type(values.dtype, np.float32)
        return self.matrix.astype(dtype) if dtype != self.matrix.dtype else self.matrix


def _rays(plane: Axes, origins: np.ndarray, directions: np.ndarray) -> csr_array:
    """Return the weights of the points of a plane in rays, of shape (n_rays, n_points)."""
    shape = tuple(len(a) for a in plane)
    first = np.array([a[0] for a in plane])
    steps = np.array([spacing_of(a, "grid") for a in plane])
    # In samples of the plane.
    start, slope = (origins - first) / steps, directions / steps
    rows, columns, weights = [], [], []
    over_rows = np.abs(slope[:, 0]) >= np.abs(slope[:, 1])
    for main, chosen in ((0, over_rows), (1, ~over_rows)):
        other, rays = 1 - main, np.flatnonzero(chosen)
        lines = np.arange(shape[main])
        ratio = slope[rays, other] / slope[rays, main]
        crossing = start[rays, other, None] + (lines - start[rays, main, None]) * ratio[:, None]
        length = np.broadcast_to(1.0 / np.abs(slope[rays, main, None]), crossing.shape)
        below = np.floor(crossing).astype(np.int64)
        for place, weight in ((below, below + 1 - crossing), (below + 1, crossing - below)):
            inside = (place >= 0) & (place < shape[other]) & (weight > 0)
            at = np.broadcast_to(lines, place.shape)[inside], place[inside]
            rows.append(np.broadcast_to(rays[:, None], place.shape)[inside])
            columns.append(at[main] * shape[1] + at[other])
            weights.append((weight * length)[inside])
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return csr_array(coo_array(entries, shape=(len(origins), shape[0] * shape[1])))
