"""Operators that are matrices, or anything that multiplies like one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import aslinearoperator

from neurfield.operators.base import GridOperator


class Matrix(GridOperator):
    """A matrix that multiplies the values on a grid, the same for each channel.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    matrix : array or sparse matrix of shape (m, M), or linear operator
        Whatever SciPy takes for a linear operator; those of pylops are.
    measured_shape : tuple of int, optional
        Shape of the measurement of one signal; by default (m,).

    Examples
    --------
    >>> import numpy as np
    >>> differences = Matrix((3,), np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]))
    >>> differences.apply(np.array([[[1.0], [4.0], [9.0]]]))
    array([[3., 5.]])
    """

    def __init__(
        self, grid: Any, matrix: Any, measured_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(grid)
        self._is_array = issparse(matrix) or isinstance(matrix, np.ndarray)
        self.matrix = matrix if self._is_array else aslinearoperator(matrix)
        n_rows, n_columns = self.matrix.shape
        if n_columns != np.prod(self.shape):
            raise ValueError(
                f"matrix must have a column for each of the {np.prod(self.shape)} points of the "
                f"grid {self.shape}, got shape {self.matrix.shape}"
            )
        self.measured_shape = (n_rows,) if measured_shape is None else tuple(measured_shape)
        if np.prod(self.measured_shape) != n_rows:
            raise ValueError(
                f"measured_shape must have as many values as the matrix has rows, {n_rows}, got "
                f"{self.measured_shape}"
            )

    def apply(self, values: np.ndarray) -> np.ndarray:
        n, n_points, c = values.shape
        columns = values.transpose(1, 0, 2).reshape(n_points, n * c)
        found = self.matrix @ columns.astype(np.result_type(values.dtype, np.float32), copy=False)
        rows = np.asarray(found).reshape(-1, n, c).transpose(1, 0, 2)
        return rows.reshape(n, *self.measured_shape, *((c,) if c > 1 else ()))

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        n, n_rows = len(measured), self.matrix.shape[0]
        rows = measured.reshape(n, n_rows, -1)
        c = rows.shape[2]
        columns = rows.transpose(1, 0, 2).reshape(n_rows, n * c)
        transposed = self.matrix.conj().T if self._is_array else self.matrix.H
        found = np.asarray(transposed @ columns).real
        return np.ascontiguousarray(found.reshape(-1, n, c).transpose(1, 0, 2))
