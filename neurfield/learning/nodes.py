"""Values on a grid, read linearly between its nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.sparse import csr_array

_ON_NODES = 1e-6  # of the extent of an axis


def reader(axes: Sequence[np.ndarray], coords: np.ndarray) -> csr_array | None:
    """Return the matrix that reads values between nodes, linearly; None where points are nodes.

    Parameters
    ----------
    axes : sequence of d arrays
        Of the grid, in normalised coordinates.
    coords : array of shape (M, d)
        Normalised; beyond the grid, as at its edge.

    Returns
    -------
    sparse array of shape (M, N), or None
        Each row has weights of the nodes around a point.
    """
    shape = tuple(len(axis) for axis in axes)
    n_nodes = math.prod(shape)
    if len(coords) == n_nodes and _are_nodes(axes, coords):
        return None
    first, part = zip(
        *(_between(axis, along) for axis, along in zip(axes, coords.T, strict=True)), strict=True
    )
    rows, columns, weights = [], [], []
    for corner in product((0, 1), repeat=len(axes)):
        places = [start + side for start, side in zip(first, corner, strict=True)]
        columns.append(np.ravel_multi_index(places, shape))
        sides = [p if side else 1.0 - p for p, side in zip(part, corner, strict=True)]
        weights.append(np.prod(sides, axis=0))
        rows.append(np.arange(len(coords)))
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return csr_array(entries, shape=(len(coords), n_nodes))


def read(matrix: csr_array | None, values: np.ndarray) -> np.ndarray:
    """Return values at points, of shape (n, M, c), of those at nodes, of shape (n, N, c).

    Parameters
    ----------
    matrix : sparse array of shape (M, N), or None
        As :func:`reader` returns it, or its transpose; None leaves values as they are.
    values : array of shape (n, N, c)
        At the nodes.
    """
    if matrix is None:
        return values
    columns = values.transpose(1, 0, 2)
    found = matrix @ columns.reshape(len(columns), -1)
    return np.asarray(found.reshape(-1, *columns.shape[1:]).transpose(1, 0, 2))


def nodes_of(axes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the coordinates of the nodes, of shape (N, d), the last axis fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _are_nodes(axes: Sequence[np.ndarray], coords: np.ndarray) -> bool:
    extent = max(float(np.ptp(axis)) for axis in axes)
    return bool(np.abs(nodes_of(axes) - coords).max() < _ON_NODES * extent)


def _between(axis: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the node before each number, and which part of the way to the next one it lies."""
    way = np.arange(len(axis), dtype=np.float64)
    ordered = axis if axis[0] < axis[-1] else axis[::-1]
    place = np.interp(along, ordered, way if axis[0] < axis[-1] else way[::-1])
    first = np.minimum(place.astype(int), len(axis) - 2)
    return first, place - first
