"""From scaled values of a field to real numbers that were measured, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.learning.measured.grain import Grain
from neurfield.signals import Units

# Signals of noise by which variances of measurements are estimated, and how many at a time.
_PROBES, _TOGETHER, _SEED = 128, 8, 0


@dataclass(frozen=True)
class Measured:
    """An operator between scaled values at normalised points and flat, real measurements.

    Parameters
    ----------
    operator : Operator
        Or anything with its three methods.
    units : Units
        Of the field.
    n_channels : int
        c.
    """

    operator: Any
    units: Units
    n_channels: int

    def coords(self) -> np.ndarray:
        """Return the normalised points at which the field is read, of shape (M, d)."""
        return self.units.coordinates(np.asarray(self.operator.points(), dtype=np.float64))

    def apply(self, values: Tensor) -> Tensor:
        """Measure differences of scaled values, of shape (n, M, c): rows of real numbers."""
        numbers = values.detach().cpu().numpy()
        scaled = numbers * self.units.value_scale.astype(numbers.dtype)
        return torch.as_tensor(real_rows(self.operator.apply(scaled))).to(values)

    def adjoint(self, rows: Tensor, shape: tuple[int, ...], is_complex: bool) -> Tensor:
        """Return the transpose of :meth:`apply`, of shape (n, M, c).

        Parameters
        ----------
        rows : Tensor of shape (n, m)
            As :meth:`apply` returns them.
        shape : tuple of int
            Of the measurement of one signal.
        is_complex : bool
            Whether a measurement is complex, and m counts both parts.
        """
        measured = measurements_of(rows.detach().cpu().numpy(), shape, is_complex)
        back = self.operator.adjoint(measured)
        return torch.as_tensor(back * self.units.value_scale).to(rows)

    def at_zero(self) -> np.ndarray:
        """Return what the operator measures of one signal whose scaled values are zero."""
        offset = self.units.invert_values(np.zeros((1, 1, self.n_channels)))
        n_points = len(self.operator.points())
        return np.asarray(self.operator.apply(np.repeat(offset, n_points, axis=1)))

    def variance(self, grain: Grain) -> np.ndarray:
        """Return about what variance measurements have from values beside all that is known.

        Parameters
        ----------
        grain : Grain
            These values.

        Returns
        -------
        array of shape (m,)
            Estimated by measuring signals of such noise.
        """
        draw, total = np.random.default_rng(_SEED), 0.0
        for _ in range(_PROBES // _TOGETHER):
            signs = torch.as_tensor(draw.choice([-1.0, 1.0], (_TOGETHER, *grain.shape)))
            total = total + np.square(self.apply(grain.values(signs)).numpy()).sum(axis=0)
        return np.asarray(total) / _PROBES


def real_rows(measured: Any) -> np.ndarray:
    """Return measurements of n signals as rows of real numbers, both parts of complex ones.

    Parameters
    ----------
    measured : array of shape (n, ...)
        As an operator returns them.
    """
    array = np.asarray(measured)
    rows = array.reshape(len(array), -1)
    if np.iscomplexobj(rows):
        rows = np.stack([rows.real, rows.imag], axis=-1).reshape(len(rows), -1)
    return rows


def measurements_of(rows: np.ndarray, shape: tuple[int, ...], is_complex: bool) -> np.ndarray:
    """Return the measurements that :func:`real_rows` makes these rows of.

    Parameters
    ----------
    rows : array of shape (n, m)
        Real numbers.
    shape : tuple of int
        Of the measurement of one signal.
    is_complex : bool
        Whether a measurement is complex, and m counts both parts.
    """
    if is_complex:
        parts = rows.reshape(len(rows), -1, 2)
        rows = parts[..., 0] + 1j * parts[..., 1]
    return rows.reshape(len(rows), *shape)
