"""What was measured of one signal through an operator, as a network learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neurfield.decibels import psnr_of
from neurfield.fields import CoordinateField
from neurfield.learning.measured import Measured, real_rows
from neurfield.learning.regression import Misfit
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.memory import at_once
from neurfield.operators import check_adjoint
from neurfield.signals import Units
from neurfield.signals.arrays import default_axis_names
from neurfield.signals.layout import CHANNEL, POINT

_HELD_OUT = 10  # one in so many measurements
_STEPS = 10  # to a rough signal


@dataclass(frozen=True)
class MeasuredSignal:
    """One signal as rows of real numbers, some of which may say when to stop.

    Parameters
    ----------
    measured : Measured
        The operator between scaled values and rows.
    coords : Tensor of shape (M, d)
        Normalised points at which the network is read.
    values : Tensor of shape (m,)
        What was measured, beside what is measured where scaled values are zero; any finite number
        where nothing was.
    weights : Tensor of shape (m,)
        One for each number that is learnt from, zero elsewhere.
    held_out : Tensor of shape (m,)
        One for each number that is not learnt from although it was measured, zero elsewhere.
    shape : tuple of int
        Of the measurement.
    is_complex : bool
        Whether it is complex, and m counts both parts.
    peak : float
        Range of what was measured, for the PSNR.
    """

    measured: Measured
    coords: Tensor
    values: Tensor
    weights: Tensor
    held_out: Tensor
    shape: tuple[int, ...]
    is_complex: bool
    peak: float

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        operator: Any,
        units: Units,
        device: torch.device | str,
        generator: torch.Generator,
        holds_out: bool,
    ) -> Self:
        """Divide measurements into those that are learnt from and those that are held out, if any.

        Parameters
        ----------
        X : array
            As :func:`check_measured` has let it pass.
        operator : Operator
            What measured it.
        units : Units
            Of the network.
        device : torch.device or str
            Where the network lives.
        generator : torch.Generator
            Decides which are held out.
        holds_out : bool
            Whether some are.
        """
        n_channels = len(units.value_scale)
        measured = Measured(operator, units, n_channels)
        numbers = real_rows(X[None])[0] - real_rows(measured.at_zero())[0]
        coords = measured.coords()
        probes = torch.randn(2, len(coords), n_channels, generator=generator)
        says_something = (measured.apply(probes) != 0).any(dim=0).numpy()
        rows = np.flatnonzero(~np.isnan(numbers) & says_something)
        n_held_out = len(rows) // _HELD_OUT if holds_out else 0
        drawn = torch.randperm(len(rows), generator=generator)[:n_held_out].numpy()
        weights, held_out = np.zeros((2, len(numbers)))
        weights[rows], weights[rows[drawn]], held_out[rows[drawn]] = 1.0, 0.0, 1.0

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        return cls(
            measured,
            tensor(coords),
            tensor(np.nan_to_num(numbers)),
            tensor(weights),
            tensor(held_out),
            X.shape,
            np.iscomplexobj(X),
            max(float(np.ptp(numbers[rows])), 1e-30) if len(rows) else 1.0,
        )

    def batches(self, n_points: int, generator: torch.Generator) -> Iterator[MeasuredSignal]:
        """Yield itself for ever: a measurement may depend on all points.

        Parameters
        ----------
        n_points : int
            Not used.
        generator : torch.Generator
            Not used.
        """
        while True:
            yield self

    def misfit(self, network: CoordinateField) -> Misfit:
        """Return how far what is measured of a network is from what was measured of the signal.

        Parameters
        ----------
        network : CoordinateField
            In normalised coordinates and scaled values.
        """
        residual = _Through.apply(self._read(network), self) - self.values
        squared = residual.square() / self.peak**2
        error = (squared * self.weights).sum() / self.weights.sum().clamp_min(1.0)
        held_out = None
        if self.held_out.any():
            held_out = float((squared.detach() * self.held_out).sum() / self.held_out.sum())
        return Misfit(error, float(psnr_of(float(error.detach()))), held_out)

    def _read(self, network: CoordinateField) -> Tensor:
        blocks = self.coords.split(max(1, at_once("derivatives") // network.numbers_per_point))
        if len(blocks) == 1:
            return network(self.coords)
        # Of many points, hidden values are computed again on the way back.
        return torch.cat([checkpoint(network, block, use_reentrant=False) for block in blocks])


class _Through(torch.autograd.Function):
    """Values of shape (M, c) to a row of shape (m,), with the operator's own adjoint."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, signal: MeasuredSignal) -> Tensor:
        ctx.signal = signal
        return signal.measured.apply(values[None])[0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        signal = ctx.signal
        return signal.measured.adjoint(slope[None], signal.shape, signal.is_complex)[0], None


def check_measured(X: Any, operator: Any) -> tuple[np.ndarray, int]:
    """Refuse what an operator cannot have measured of one signal.

    Parameters
    ----------
    X : array
        Real or complex; NaN, or the mask of a masked array, where nothing was measured.
    operator : Operator
        Or anything with its three methods.

    Returns
    -------
    measured : float64 or complex128 array
        The same.
    n_channels : int
        Of the signal.

    Raises
    ------
    ValueError
        If the operator has no adjoint, or measures other shapes or numbers; if a measurement is
        infinite, or there is none.
    """
    values = np.asarray(X)
    if values.dtype.kind not in "biufc":
        raise ValueError(f"X must be an array of numbers, got dtype {values.dtype}")
    is_complex = values.dtype.kind == "c"
    values = np.array(values, dtype=np.complex128 if is_complex else np.float64)
    values[np.isnan(values) | np.ma.getmaskarray(X)] = np.nan
    measures: list[str] = []
    for n_channels in sorted({1, 2, values.shape[-1] if values.ndim else 1} - {0}):
        try:
            check_adjoint(operator, n_channels)
            at_zero = operator.apply(np.zeros((1, len(operator.points()), n_channels)))
        except ValueError as error:
            measures.append(f"{n_channels} channel(s): {error}")
            continue
        kind = "complex" if np.iscomplexobj(at_zero) else "real"
        if at_zero.shape[1:] == values.shape and (kind == "complex") == is_complex:
            break
        measures.append(f"{n_channels} channel(s): {kind} numbers of shape {at_zero.shape[1:]}")
    else:
        raise ValueError(
            f"X must be what operator measures of one signal, got "
            f"{'complex' if is_complex else 'real'} numbers of shape {values.shape}, but of a "
            f"signal with {'; '.join(measures)}"
        )
    if np.isinf(values).any():
        raise ValueError("X must be finite, or NaN where nothing was measured, got infinity")
    if np.isnan(values).all():
        raise ValueError("X holds no measurement, only NaN")
    return values, n_channels


def rough_signal(X: np.ndarray, operator: Any, n_channels: int) -> np.ndarray | xr.DataArray:
    """Return a signal that has about the extent and the range of one with some measurements.

    It is that of least squares after few steps of conjugate gradients.

    Parameters
    ----------
    X : array
        As :func:`check_measured` returns it.
    operator : Operator
        What measured it.
    n_channels : int
        c, which stand last.

    Returns
    -------
    array or DataArray
        An array where the operator has a grid that counts from 0, a DataArray with the coordinates
        of another grid, or with those of points.
    """
    seen, points = ~np.isnan(X), np.asarray(operator.points())

    def back(measured: np.ndarray) -> Tensor:
        return torch.as_tensor(operator.adjoint(np.where(seen, measured, 0.0)[None])).flatten(1)

    def normal(rows: Tensor) -> Tensor:
        return back(operator.apply(rows.reshape(1, -1, n_channels).numpy())[0])

    rows = conjugate_gradients(normal, lambda rows: rows, back(X), _STEPS)
    values = rows.reshape(-1, n_channels).numpy()
    axes, channels = getattr(operator, "axes", None), [CHANNEL] if n_channels > 1 else []
    values = values if channels else values[:, 0]
    if axes is None:
        names = default_axis_names(points.shape[1])
        coords = {name: (POINT, along) for name, along in zip(names, points.T, strict=True)}
        return xr.DataArray(values, coords, [POINT, *channels])
    shape = tuple(len(axis) for axis in axes)
    values = values.reshape(*shape, *values.shape[1:])
    if all(np.array_equal(axis, np.arange(len(axis))) for axis in axes):
        return values
    names = default_axis_names(len(axes))
    return xr.DataArray(values, dict(zip(names, axes, strict=True)), [*names, *channels])
