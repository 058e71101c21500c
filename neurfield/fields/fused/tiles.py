"""What the compiled sweeps share: how they are compiled, and tiles of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from neurfield.fields.fused.sine import FASTMATH

ZERO = np.float32(0.0)
# Types of arguments: points of a signal, skip connections and ρ; arrays by their number of axes.
GEOMETRY = ("int64", "boolean", "float32")
MATRIX, STACK, TAPE = "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]"
CUTS = "int64[::1]"  # the rows at which pieces begin, and the number of rows

_TILE = 512  # numbers
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}

part_of_sweep = numba.njit(**_OPTIONS)


def sweep(*arguments: str) -> Callable[[Callable[..., None]], Any]:
    """Compile a function of arguments of these types, which then runs without Python's lock.

    Parameters
    ----------
    *arguments : str
        Numba's names of the types.
    """
    signature = f"void({', '.join(arguments)})"

    def compile(function: Callable[..., None]) -> Any:
        try:
            return numba.njit(signature, cache=True, **_OPTIONS)(function)
        except RuntimeError:  # there is no folder to keep the result in
            return numba.njit(signature, **_OPTIONS)(function)

    return compile


@part_of_sweep
def new_tile(width):  # type: ignore[no-untyped-def]
    """Return room for several rows: loops should be longer than the rows of a narrow field."""
    return np.empty(width * max(1, _TILE // width), np.float32)


@part_of_sweep
def fill_tile(row, tile):  # type: ignore[no-untyped-def]
    """Write a row into a tile, as often as it fits."""
    for start in range(0, tile.size, row.size):
        for j in range(row.size):
            tile[start + j] = row[j]


@part_of_sweep
def clear_tile(tile):  # type: ignore[no-untyped-def]
    """Write zeros into a tile."""
    for j in range(tile.size):
        tile[j] = ZERO


@part_of_sweep
def add_tile(tile, total):  # type: ignore[no-untyped-def]
    """Add the rows of a tile to a row."""
    for start in range(0, tile.size, total.size):
        for j in range(total.size):
            total[j] += tile[start + j]


@part_of_sweep
def add_matrix(total, matrix, sign):  # type: ignore[no-untyped-def]
    """Add a multiple of a matrix to another."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[i, j] += sign * matrix[i, j]
