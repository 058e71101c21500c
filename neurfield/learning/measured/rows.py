"""Signals with an operator each, or one for all, as one map from values to rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from neurfield.learning.measured.map import measurements_of, real_rows


@dataclass(frozen=True)
class Rows:
    """What operators make of values on a grid, a row of real numbers for each signal.

    Parameters
    ----------
    operators : sequence of n Operator
        Of each signal; what those have in common that share one is computed together.
    n_channels : int
        c.
    shape : tuple of int
        Of what is measured of one signal.
    is_complex : bool
        Whether that is complex, so that a row holds both parts.
    """

    operators: Sequence[Any]
    n_channels: int
    shape: tuple[int, ...]
    is_complex: bool

    def __len__(self) -> int:
        return len(self.operators)

    def of(self, rows: np.ndarray) -> Rows:
        """Return the map of some signals, whose places are an int array of shape (k,)."""
        chosen = [self.operators[i] for i in rows]
        return Rows(chosen, self.n_channels, self.shape, self.is_complex)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Measure values of shape (n, M · c): rows of shape (n, m)."""
        signals = values.reshape(len(values), -1, self.n_channels)
        found: np.ndarray | None = None
        for operator, rows in self._alike:
            measured = real_rows(operator.apply(signals[rows]))
            if found is None:
                found = np.empty((len(values), measured.shape[1]))
            found[rows] = measured
        assert found is not None
        return found

    def adjoint(self, rows: np.ndarray) -> np.ndarray:
        """Return the transpose of :meth:`apply`, of shape (n, M · c)."""
        measured = measurements_of(rows, self.shape, self.is_complex)
        found: np.ndarray | None = None
        for operator, places in self._alike:
            values = operator.adjoint(measured[places]).reshape(len(places), -1)
            if found is None:
                found = np.empty((len(rows), values.shape[1]))
            found[places] = values
        assert found is not None
        return found

    @cached_property
    def _alike(self) -> list[tuple[Any, list[int]]]:
        places: dict[int, list[int]] = {}
        for place, operator in enumerate(self.operators):
            places.setdefault(id(operator), []).append(place)
        return [(self.operators[alike[0]], alike) for alike in places.values()]
