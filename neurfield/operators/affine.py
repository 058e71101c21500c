"""What several shots measure of a signal that has moved between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurfield.operators.base import Operator
from neurfield.signals.coords import real_array


class Affine(Operator):
    """Measurements of a signal in several poses, as of a patient who has moved.

    Parameters
    ----------
    operators : Operator or sequence of Operator
        What each shot measures of the signal in its pose; one for all, or one for each. All
        measurements have one shape.
    matrices : array of shape (n_shots, d, d + 1)
        Of each shot, [R t]: its operator's point x reads the field at R x + t, in the data's own
        units.

    Examples
    --------
    >>> import numpy as np
    >>> from neurfield.operators import Identity
    >>> moved = Affine(Identity([[0.0], [1.0]]), [[[1.0, 0.0]], [[1.0, 0.5]]])
    >>> moved.points().ravel()
    array([0. , 1. , 0.5, 1.5])
    """

    def __init__(self, operators: Operator | Sequence[Operator], matrices: Any) -> None:
        self.matrices = real_array(matrices, "matrices")
        if self.matrices.ndim != 3 or self.matrices.shape[2] != self.matrices.shape[1] + 1:
            raise ValueError(
                "matrices must have shape (n_shots, d, d + 1) for d axes, got "
                f"{self.matrices.shape}"
            )
        if not isinstance(operators, Sequence):
            operators = [operators] * len(self.matrices)
        self.operators = list(operators)
        if len(self.operators) != len(self.matrices):
            raise ValueError(
                f"operators must be one for all {len(self.matrices)} shots or one for each, got "
                f"{len(self.operators)}"
            )
        places = [
            np.asarray(operator.points()) @ matrix[:, :-1].T + matrix[:, -1]
            for operator, matrix in zip(self.operators, self.matrices, strict=True)
        ]
        self._ends = np.cumsum([len(place) for place in places])
        self._points = np.concatenate(places)

    def points(self) -> np.ndarray:
        return self._points

    def apply(self, values: np.ndarray) -> np.ndarray:
        shots = np.split(values, self._ends[:-1], axis=1)
        found = [op.apply(shot) for op, shot in zip(self.operators, shots, strict=True)]
        if len({one.shape for one in found}) > 1:
            raise ValueError(
                "operators must measure as much in each shot, got shapes "
                f"{sorted({one.shape[1:] for one in found})}"
            )
        return np.stack(found, axis=1)

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        shots = [op.adjoint(measured[:, i]) for i, op in enumerate(self.operators)]
        return np.concatenate(shots, axis=1)
