"""Signals that were measured through operators: their latents, and how sure these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from neurfield.codec import Codec
from neurfield.learning.lanes import each_in_lanes, lane_count
from neurfield.learning.measured import Found, Measured, Shared, solved, tangent_of
from neurfield.likelihoods import Likelihood
from neurfield.memory import room
from neurfield.operators import check_adjoint
from neurfield.patched import patches_of

_COLUMNS = 2**12  # values whose deviations are found at once


@dataclass(frozen=True)
class Measurements:
    """What was measured of some signals, and how.

    Parameters
    ----------
    values : float64 array of shape (n, m)
        Real numbers of each signal, NaN where nothing was measured.
    operators : list of n Operator
        Of each signal.
    likelihood : Likelihood
        Of a measurement.
    std : float64 array of shape (n, m), or None
        Standard deviation of each; None = there is none, or it is to be found out.
    """

    values: np.ndarray
    operators: list[Any]
    likelihood: Likelihood
    std: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)


def read_measurements(
    codec: Codec, X: Any, operator: Any, likelihood: Any, name: str = "X"
) -> Measurements:
    """Validate measurements and their operators, before any work is done.

    Parameters
    ----------
    codec : Codec
        Fitted.
    X : array of shape (n, ...), real or complex
        What was measured of each signal; NaN where nothing was.
    operator : Operator, or sequence of n
        One for all signals, or one for each.
    likelihood : str or Likelihood
        Of a measurement.
    name : str, default="X"
        What the measurements were given as, for messages.

    Raises
    ------
    ValueError
        If an operator is none, its adjoint is not one, or shapes do not match.
    """
    likelihood = Likelihood.of(likelihood)
    likelihood.check()
    values = np.asarray(X)
    if values.dtype.kind not in "biufc" or values.ndim < 1 or not len(values):
        raise ValueError(
            f"{name} must hold the measurements of one signal or more, as numbers of shape "
            f"(n, ...), got {values.dtype} of shape {values.shape}"
        )
    if codec.posterior is None:
        raise ValueError(
            "operator= needs what fit learns about latents with learner='varpro' or 'lapped' from "
            "at least two signals; this estimator has not learnt it"
        )
    if patches_of(codec) is not None or getattr(codec.field, "pool", None):
        raise ValueError(
            "operator= needs a field whose latents are of whole signals or of cells, not of "
            "patches or pooled: fit without patch_size and pool"
        )
    several = isinstance(operator, Sequence)
    operators = list(operator) if several else [operator] * len(values)
    if len(operators) != len(values):
        raise ValueError(
            f"operator must be one for all or a sequence of one for each of the {len(values)} "
            f"signals of {name}, got {len(operators)}"
        )
    measures: dict[int, bool] = {}  # complex numbers, by operator
    for i, one in enumerate(operators):
        if id(one) not in measures:
            called = f"operator[{i}]" if several else "operator"
            shape, measures[id(one)] = _checked(codec, one, called)
            if values.shape[1:] != shape:
                raise ValueError(
                    f"{name} must have measurements of the shape that {called} has, {shape}, got "
                    f"{values.shape[1:]}"
                )
    is_complex = np.iscomplexobj(values)
    if len(set(measures.values())) > 1 or is_complex not in measures.values():
        kind = "complex" if is_complex else "real"
        raise ValueError(f"{name} is {kind}, but operator measures other numbers")
    rows = _rows(values)
    if np.isinf(rows).any():
        raise ValueError(f"{name} must be finite, or NaN where nothing was measured, got infinity")
    if (empty := np.flatnonzero(np.isnan(rows).all(axis=1))).size:
        raise ValueError(f"{name}[{empty[0]}] holds no measurement, only NaN")
    likelihood.check_measured(torch.as_tensor(rows))
    return Measurements(rows, operators, likelihood, _std(likelihood.std, values, name))


def _checked(codec: Codec, operator: Any, name: str) -> tuple[tuple[int, ...], bool]:
    """Refuse what is no operator for a field; return what shape it measures, and if complex."""
    n_channels, n_axes = codec.field.out_dim, codec.field.in_dim
    check_adjoint(operator, n_channels, name)
    points = np.asarray(operator.points())
    if points.shape[1] != n_axes:
        raise ValueError(
            f"{name}.points() must have the {n_axes} axes of fit, got shape {points.shape}"
        )
    codec.whole_frame.warn_outside(points.min(axis=0), points.max(axis=0), "measuring")
    measured = np.asarray(operator.apply(np.zeros((1, len(points), n_channels))))
    return measured.shape[1:], bool(np.iscomplexobj(measured))


def encode_measured(
    codec: Codec, X: Any, operator: Any, likelihood: Any, memory_budget: float | None = None
) -> np.ndarray:
    """Fit one latent to what was measured of each signal: float32 array of shape (n, P).

    Parameters
    ----------
    codec : Codec
        Fitted.
    X, operator, likelihood
        As :func:`read_measurements` takes them.
    memory_budget : int, float or None, default=None
        Most memory that it may take, as :func:`neurfield.memory.room` has it.

    Raises
    ------
    ValueError
        As :func:`read_measurements`.
    """
    measurements = read_measurements(codec, X, operator, likelihood)
    latents = np.empty((len(measurements), codec.latent_size), dtype=np.float32)
    need = partial(_bytes, codec, measurements)
    with room(memory_budget, need, codec.device, "transform"):
        solve = _solver(codec, measurements)

        def of_signal(i: int, lane: int) -> None:
            latents[i] = solve(i).latent.numpy()

        each_in_lanes(of_signal, len(latents))
    return latents


def measured_std(
    codec: Codec, measurements: Measurements, rows: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return the standard deviation of decoded values, those around the field included.

    Parameters
    ----------
    codec : Codec
        Fitted.
    measurements : Measurements
        As :func:`read_measurements` returns them.
    rows : int array of shape (k,)
        Which signals.
    points : array of shape (M, d)
        In the caller's units.

    Returns
    -------
    array of shape (k, M, c)
        In the caller's units.
    """
    posterior = codec.posterior
    assert posterior is not None
    coords = codec.units.coordinates(points)
    where = torch.as_tensor(coords, dtype=codec.dtype, device=codec.device)
    result = np.empty((len(rows), len(points), codec.field.out_dim), dtype=codec.value_dtype)
    solve = _solver(codec, measurements)
    with torch.no_grad():
        columns = tangent_of(codec.field.twin(), where)[1].flatten(1).cpu()

    def of_signal(i: int, lane: int) -> None:
        factor, spread = solve(int(rows[i])).factor, []
        for some in columns.split(_COLUMNS, dim=1):
            half = torch.linalg.solve_triangular(factor, some.double(), upper=False)
            spread.append(half.square().sum(dim=0))
        variance = posterior.total(torch.cat(spread).reshape(len(points), -1).numpy(), coords)
        result[i] = np.sqrt(variance) * codec.units.value_scale

    each_in_lanes(of_signal, len(rows))
    return result


def _solver(codec: Codec, measurements: Measurements) -> Callable[[int], Found]:
    """Return what solves for a signal; what signals measured alike share is computed once."""
    shared: dict[int, Shared] = {}
    for one in measurements.operators:
        if id(one) not in shared:
            measured = Measured(one, codec.units, codec.field.out_dim)
            shared[id(one)] = Shared.of(codec.field, measured, codec.posterior)

    def solve(i: int) -> Found:
        own = shared[id(measurements.operators[i])]
        std = None if measurements.std is None else torch.as_tensor(measurements.std[i])
        values = torch.as_tensor(measurements.values[i])
        return solved(own, values, measurements.likelihood, std, codec.solver.steps)

    return solve


def _bytes(codec: Codec, measurements: Measurements) -> float:
    """Return about how many bytes solving takes: tangent models, and matrices of each lane."""
    P, m = codec.latent_size, measurements.values.shape[1]
    operators = {id(one): one for one in measurements.operators}.values()
    n_values = max(len(one.points()) for one in operators) * codec.field.out_dim
    tangents = len(operators) * 8 * P * m + codec.dtype.itemsize * P * n_values
    of_lane = 8 * P * (2 * m + 3 * P) + codec.decoding_bytes(derivatives=True)
    return tangents + lane_count(codec.device) * of_lane


def _rows(values: np.ndarray) -> np.ndarray:
    """Return measurements as rows of real numbers."""
    flat = values.reshape(len(values), -1)
    if np.iscomplexobj(flat):
        flat = np.stack([flat.real, flat.imag], axis=-1).reshape(len(values), -1)
    return flat.astype(np.float64)


def _std(std: Any, values: np.ndarray, name: str) -> np.ndarray | None:
    if std is None:
        return None
    found = np.asarray(std, dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(f"std of likelihood must be positive and finite, got {std!r:.60}")
    try:
        found = np.broadcast_to(found, values.shape)
    except ValueError as error:
        raise ValueError(
            f"std of likelihood must be a number or broadcast to {name}, of shape {values.shape}, "
            f"got shape {found.shape}"
        ) from error
    return _rows(found.astype(values.dtype) * (1 + 1j) if np.iscomplexobj(values) else found)
