"""Heads made of ellipsoids, for examples and tests that need no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.utils import check_random_state

#: Ellipsoids of the head: intensity to add, half axes and centre along x, y and z as parts of half
#: the field of view, and rotation about z in degrees.
# fmt: off
_HEAD = np.array([
    [1.0, 0.6900, 0.920, 0.810, 0.00, 0.000, 0.000, 0.0],     # skull
    [-0.8, 0.6624, 0.874, 0.780, 0.00, -0.0184, 0.000, 0.0],  # brain
    [-0.2, 0.1100, 0.310, 0.220, 0.22, 0.000, 0.000, -18.0],  # right ventricle
    [-0.2, 0.1600, 0.410, 0.280, -0.22, 0.000, 0.000, 18.0],  # left ventricle
    [0.1, 0.2100, 0.250, 0.410, 0.00, 0.350, -0.150, 0.0],
    [0.1, 0.0460, 0.046, 0.050, 0.00, 0.100, 0.250, 0.0],
    [0.1, 0.0460, 0.046, 0.050, 0.00, -0.100, 0.250, 0.0],
    [0.1, 0.0460, 0.023, 0.050, -0.08, -0.605, 0.000, 0.0],
    [0.1, 0.0230, 0.023, 0.020, 0.00, -0.606, 0.000, 0.0],
    [0.1, 0.0230, 0.046, 0.020, 0.06, -0.605, 0.000, 0.0],
])
# fmt: on
_VENTRICLES = slice(2, 4)
_PHANTOM_NAMES = ("normal", "enlarged ventricles", "tumour")
_FIELD_OF_VIEW = 240.0  # mm


def phantoms(
    n_samples: int = 30,
    shape: Sequence[int] = (32, 32, 32),
    *,
    random_state: int | np.random.RandomState | None = None,
) -> xr.DataArray:
    """Return heads made of ellipsoids, each of its own anatomy, as volumes or as single slices.

    The head is the modified phantom of Shepp and Logan. Each one is larger or smaller, turned, its
    parts moved, stretched and of other intensities; a third have enlarged ventricles, a third a
    bright tumour somewhere in the brain.

    Parameters
    ----------
    n_samples : int, default=30
        Number of heads.
    shape : sequence of two or three int, default=(32, 32, 32)
        Voxels along z, y and x; or pixels along y and x of the slice half-way up the head.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers; pass an int for the same heads each time.

    Returns
    -------
    DataArray of shape (n_samples, [z,] y, x), float32
        Intensities from 0 to 1. Coordinates in millimetres from the middle of a field of view
        of 240 mm along each axis. ``label`` (0, 1, 2) and ``label_name`` (normal, enlarged
        ventricles, tumour) over ``sample``.

    Raises
    ------
    ValueError
        If `shape` has not two or three positive numbers, or `n_samples` is not positive.

    Notes
    -----
    A voxel is the mean of 2 points along each axis, so borders are not jagged.

    References
    ----------
    L. A. Shepp and B. F. Logan, "The Fourier Reconstruction of a Head Section", IEEE Trans. Nucl.
    Sci. 21(3), 1974. P. A. Toft, "The Radon Transform", PhD thesis, Technical University of
    Denmark, 1996 (intensities).

    Examples
    --------
    >>> heads = phantoms(3, shape=(16, 24, 24), random_state=0)
    >>> heads.dims, float(heads["x"][1] - heads["x"][0])
    (('sample', 'z', 'y', 'x'), 10.0)
    >>> phantoms(3, shape=(24, 24), random_state=0).dims
    ('sample', 'y', 'x')
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be positive, got {n_samples}")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"shape must be two or three positive numbers, got {tuple(shape)}")
    rng = check_random_state(random_state)
    labels = rng.randint(len(_PHANTOM_NAMES), size=n_samples)
    values = np.stack([_draw(_anatomy(int(label), rng), tuple(shape)) for label in labels])
    coords: dict[str, Any] = {
        axis: (axis, _FIELD_OF_VIEW / 2 * _centres(size), {"units": "mm"})
        for axis, size in zip("zyx"[-len(shape) :], shape, strict=True)
    }
    dims = ("sample", *coords)
    coords["sample"] = np.arange(n_samples)
    coords["label"] = ("sample", labels)
    coords["label_name"] = ("sample", np.array(_PHANTOM_NAMES)[labels])
    attrs = {"units": "1", "source": "neurfield, synthetic"}
    return xr.DataArray(values, dims=dims, coords=coords, name="intensity", attrs=attrs)


def _anatomy(label: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Return the table of ellipsoids of one head."""
    head = _HEAD.copy()
    n_parts = len(head)
    head[2:, 0] *= rng.lognormal(0, 0.1, n_parts - 2)
    # The brain fills the skull, so the two are stretched alike; what is inside moves freely.
    head[:2, 1:4] *= rng.lognormal(0, 0.04, 3)
    head[2:, 1:4] *= rng.lognormal(0, 0.08, (n_parts - 2, 3))
    head[2:, 4:7] += rng.normal(0, 0.015, (n_parts - 2, 3))
    if _PHANTOM_NAMES[label] == "enlarged ventricles":
        head[_VENTRICLES, 1:4] *= rng.uniform(1.25, 1.6)
    if _PHANTOM_NAMES[label] == "tumour":
        sizes = rng.uniform(0.07, 0.16, 3)
        # Within 0.45 of the middle and not far above or below it, so that a slice shows it too.
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.45)
        centre = distance * np.cos(angle), distance * np.sin(angle), rng.uniform(-0.05, 0.05)
        tumour = [rng.uniform(0.3, 0.5), *sizes, *centre, rng.uniform(0, 180)]
        head = np.vstack([head, tumour])
    head[:, 1:7] *= rng.uniform(0.9, 1.05)
    turn = rng.normal(0, 6)
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    head[:, 4:6] = head[:, 4:6] @ np.array([[cos, sin], [-sin, cos]])
    head[:, 7] += turn
    return head


def _draw(head: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the sum of the ellipsoids on a grid."""
    # Two points in each voxel, a quarter of its size to both sides of the centre.
    fine = [_centres(2 * size) for size in shape]
    z, y, x = np.meshgrid(
        *([np.zeros(1)] if len(shape) == 2 else []), *fine, indexing="ij", sparse=True
    )
    values = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), dtype=np.float32)
    for intensity, a, b, c, x0, y0, z0, degrees in head:
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        along = ((x - x0) * cos + (y - y0) * sin) / a
        across = ((y - y0) * cos - (x - x0) * sin) / b
        values[along**2 + across**2 + ((z - z0) / c) ** 2 <= 1] += intensity
    values = values.reshape(*(part for size in shape for part in (size, 2)))
    # Where large parts overlap, less than nothing would be left.
    return np.maximum(values.mean(axis=tuple(range(1, 2 * len(shape), 2))), 0)


def _centres(size: int) -> NDArray[np.float64]:
    """Return the centres of `size` cells that divide -1 to 1."""
    return np.asarray((2 * np.arange(size) + 1) / size - 1)
