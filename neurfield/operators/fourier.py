"""Frequencies of pictures and volumes, seen by several coils: magnetic resonance imaging."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from typing import Any

import numpy as np
from scipy import fft

from neurfield.operators.base import GridOperator, spacing_of
from neurfield.optional import require
from neurfield.signals.coords import real_array


class _OfCoils(GridOperator):
    """Frequencies of a signal on a grid, as each coil sees it.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    sensitivities : complex array of shape (n_coils, *shape), or None
        What each coil multiplies the signal with.
    is_complex : bool
        Whether a field has two channels, a real and an imaginary part, instead of one.
    """

    def __init__(self, grid: Any, sensitivities: Any, is_complex: bool) -> None:
        super().__init__(grid)
        self.is_complex = is_complex
        self.sensitivities = None if sensitivities is None else np.asarray(sensitivities)
        if self.sensitivities is None:
            return
        shape = self.sensitivities.shape
        if len(shape) != 1 + len(self.shape) or shape[1:] != self.shape or not shape[0]:
            raise ValueError(
                f"sensitivities must have the shape (n_coils, {', '.join(map(str, self.shape))}), "
                f"got {shape}"
            )
        if not np.isfinite(self.sensitivities).all():
            raise ValueError("sensitivities must be finite")

    def apply(self, values: np.ndarray) -> np.ndarray:
        wanted = 2 if self.is_complex else 1
        if values.shape[-1] != wanted:
            raise ValueError(
                f"a field with {values.shape[-1]} channels has no Fourier transform with "
                f"is_complex={self.is_complex}, which asks for {wanted}"
            )
        signals = self.on_grid(values)
        parts = signals[..., 0] + 1j * signals[..., 1] if self.is_complex else signals[..., 0]
        parts = parts[:, None]
        if self.sensitivities is not None:
            parts = parts * self._of_type(np.result_type(values.dtype, np.complex64))
        found = self._transform(parts)
        return found[:, 0] if self.sensitivities is None else found

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        seen = measured[:, None] if self.sensitivities is None else measured
        found = self._transform_back(seen)
        if self.sensitivities is None:
            parts = found[:, 0]
        else:
            parts = (found * self._of_type(found.dtype).conj()).sum(axis=1)
        channels = [parts.real, parts.imag] if self.is_complex else [parts.real]
        return np.stack(channels, axis=-1).reshape(len(measured), -1, len(channels))

    def _of_type(self, dtype: np.dtype) -> np.ndarray:
        assert self.sensitivities is not None
        return self.sensitivities.astype(dtype, copy=False)

    @abstractmethod
    def _transform(self, signals: np.ndarray) -> np.ndarray:
        """Return the frequencies of signals of shape (n, n_coils, *shape)."""

    @abstractmethod
    def _transform_back(self, frequencies: np.ndarray) -> np.ndarray:
        """Return the adjoint of :meth:`_transform`."""


class Fourier(_OfCoils):
    """The discrete Fourier transform, of all frequencies of a grid or of some.

    Frequency zero is in the middle, as MR files have it, and the transform keeps the norm.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`.
    mask : bool array that broadcasts to the grid's shape, optional
        Which frequencies are measured. The others are zero in what is measured, and what is given
        for them has no effect. None = all.
    sensitivities : complex array of shape (n_coils, *shape), optional
        What each coil multiplies the signal with. None = one coil, alike everywhere; what is
        measured has no axis of coils then.
    is_complex : bool, default=False
        Whether a field has two channels, a real and an imaginary part, instead of one.

    Examples
    --------
    >>> import numpy as np
    >>> half = Fourier((4,), mask=[False, True, True, False])
    >>> half.apply(np.ones((1, 4, 1))).round(9) + 0
    array([[0.+0.j, 0.+0.j, 2.+0.j, 0.+0.j]])
    """

    def __init__(
        self,
        grid: Any,
        mask: Any = None,
        sensitivities: Any = None,
        is_complex: bool = False,
    ) -> None:
        super().__init__(grid, sensitivities, is_complex)
        self.mask = None if mask is None else np.asarray(mask)
        if self.mask is not None:
            with contextlib.suppress(ValueError):
                self.mask = np.broadcast_to(self.mask, self.shape)
            if self.mask.dtype != bool or self.mask.shape != self.shape or not self.mask.any():
                raise ValueError(
                    f"mask must be a bool array that broadcasts to the grid's shape, {self.shape}, "
                    f"and is true somewhere, got {self.mask.dtype} of shape {self.mask.shape}"
                )
        self._over = tuple(range(-len(self.axes), 0))

    def _transform(self, signals: np.ndarray) -> np.ndarray:
        moved = fft.ifftshift(signals, axes=self._over)
        found = fft.fftshift(fft.fftn(moved, axes=self._over, norm="ortho"), axes=self._over)
        return found if self.mask is None else found * self.mask

    def _transform_back(self, frequencies: np.ndarray) -> np.ndarray:
        seen = frequencies if self.mask is None else frequencies * self.mask
        moved = fft.ifftshift(seen, axes=self._over)
        return fft.fftshift(fft.ifftn(moved, axes=self._over, norm="ortho"), axes=self._over)


class NonUniformFourier(_OfCoils):
    """Frequencies anywhere, such as along radial or spiral trajectories; needs finufft.

    Like :class:`Fourier`, of unit norm, and with phase zero at the point in the middle of the grid,
    index n // 2 along each axis.

    Parameters
    ----------
    grid : tuple of d int, sequence of d arrays, mapping, or DataArray
        As in :class:`GridOperator`, of one to three evenly spaced axes.
    trajectory : array of shape (n_frequencies, d)
        In cycles per unit of the data's axes.
    sensitivities : complex array of shape (n_coils, *shape), optional
        As in :class:`Fourier`.
    is_complex : bool, default=False
        As in :class:`Fourier`.

    References
    ----------
    Barnett, Magland and af Klinteberg, "A Parallel Nonuniform Fast Fourier Transform Library Based
    on an Exponential of Semicircle Kernel", SIAM Journal on Scientific Computing 41, 2019.
    """

    def __init__(
        self,
        grid: Any,
        trajectory: Any,
        sensitivities: Any = None,
        is_complex: bool = False,
    ) -> None:
        finufft = require("finufft", "mri")
        super().__init__(grid, sensitivities, is_complex)
        self.trajectory = real_array(trajectory, "trajectory")
        d = len(self.axes)
        if d > 3:
            raise ValueError(f"grid must have one to three axes, got {d}")
        if self.trajectory.ndim != 2 or self.trajectory.shape[1] != d or not len(self.trajectory):
            raise ValueError(
                f"trajectory must have shape (n_frequencies, {d}), got {self.trajectory.shape}"
            )
        steps = [spacing_of(axis, f"grid[{i}]") for i, axis in enumerate(self.axes)]
        self._phases = [
            np.ascontiguousarray(2.0 * math.pi * step * along)
            for step, along in zip(steps, self.trajectory.T, strict=True)
        ]
        self._to = getattr(finufft, f"nufft{d}d2")
        self._back = getattr(finufft, f"nufft{d}d1")

    def _transform(self, signals: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(signals.reshape(-1, *self.shape).astype(np.complex128))
        found = self._to(*self._phases, flat, isign=-1, eps=1e-9) * self._norm
        return found.reshape(*signals.shape[:2], -1)

    def _transform_back(self, frequencies: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(
            frequencies.reshape(-1, len(self.trajectory)).astype(np.complex128)
        )
        found = self._back(*self._phases, flat, self.shape, isign=1, eps=1e-9) * self._norm
        return found.reshape(*frequencies.shape[:2], *self.shape)

    @property
    def _norm(self) -> float:
        return math.prod(self.shape) ** -0.5
