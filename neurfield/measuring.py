"""Signals that were measured through operators: their latents, and how sure these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from neurfield.codec import Codec
from neurfield.learning.lanes import each_in_lanes, lane_count
from neurfield.learning.measured import (
    Found,
    Joint,
    Measured,
    Shared,
    known_of,
    real_rows,
    setup_of,
    solved,
    solved_jointly,
    tangent_of,
)
from neurfield.likelihoods import Likelihood
from neurfield.memory import room
from neurfield.nuisances import Nuisance, nuisances_of
from neurfield.operators import check_adjoint
from neurfield.patched import patches_of
from neurfield.signals.missing import filled

_COLUMNS = 2**12  # values whose deviations are found at once
_MOST_LATENTS = 2**14
_TOGETHER = 16  # signals that are measured in one go, about


@dataclass(frozen=True)
class Measurements:
    """What was measured of some signals, and how.

    Parameters
    ----------
    codec : Codec
        That solves for the latents.
    values : float64 array of shape (n, m)
        Real numbers of each signal, NaN where nothing was measured.
    operators : list of n Operator
        Of each signal.
    likelihood : Likelihood
        Of a measurement.
    std : float64 array of shape (n, m), or None
        Standard deviation of each; None = there is none, or it is to be found out.
    """

    codec: Codec
    values: np.ndarray
    operators: list[Any]
    likelihood: Likelihood
    std: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, rows: np.ndarray) -> Measurements:
        """Return those of some signals.

        Parameters
        ----------
        rows : int array of shape (k,)
            Which ones.
        """
        std = None if self.std is None else self.std[rows]
        operators = [self.operators[i] for i in rows]
        return replace(self, values=self.values[rows], operators=operators, std=std)

    def bytes(self, is_joint: bool = False) -> float:
        """Return about how many bytes solving takes: a tangent model, and matrices of each lane.

        Parameters
        ----------
        is_joint : bool, default=False
            Whether each signal has a linear model of its own, as parameters are unknown too.
        """
        P, m = self.codec.latent_size, self.values.shape[1]
        operators = {id(one): one for one in self.operators}.values()
        n_values = max(len(one.points()) for one in operators) * self.codec.field.out_dim
        lanes = lane_count(self.codec.device)
        n_tangents = min(len(operators), lanes)
        tangents = n_tangents * (8 * P * m + self.codec.dtype.itemsize * (P + _TOGETHER) * n_values)
        of_lane = 8 * P * ((4 if is_joint else 2) * m + 3 * P) + self.codec.decoding_bytes(
            derivatives=True
        )
        return 8 * P * P + tangents + lanes * of_lane


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
    _check_solvable(codec)
    given = read_given(X, operator, likelihood, partial(_checked, codec), name)
    return Measurements(codec, given.values, given.operators, given.likelihood, given.std)


@dataclass(frozen=True)
class Given:
    """Measurements as a caller has given them, checked.

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
    shape : tuple of int
        Of what was measured of one signal.
    is_complex : bool
        Whether that is complex, so that values hold both parts.
    """

    values: np.ndarray
    operators: list[Any]
    likelihood: Likelihood
    std: np.ndarray | None
    shape: tuple[int, ...]
    is_complex: bool


def read_given(
    X: Any,
    operator: Any,
    likelihood: Any,
    checked: Callable[[Any, str], tuple[tuple[int, ...], bool]],
    name: str = "X",
) -> Given:
    """Validate measurements with their operators and likelihood.

    Parameters
    ----------
    X, operator, likelihood
        As :func:`read_measurements` takes them.
    checked : callable
        Takes an operator and what to call it; refuses it, or returns the shape of what it measures
        and whether that is complex.
    name : str, default="X"
        What the measurements were given as, for messages.

    Raises
    ------
    ValueError
        As :func:`read_measurements`.
    """
    likelihood = Likelihood.of(likelihood)
    likelihood.check()
    values = _without_masks(X)
    if values.dtype.kind not in "biufc" or values.ndim < 1 or not len(values):
        raise ValueError(
            f"{name} must hold the measurements of one signal or more, as numbers of shape "
            f"(n, ...), got {values.dtype} of shape {values.shape}"
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
            shape, measures[id(one)] = checked(one, called)
            if values.shape[1:] != shape:
                raise ValueError(
                    f"{name} must have measurements of the shape that {called} has, {shape}, got "
                    f"{values.shape[1:]}"
                )
    is_complex = np.iscomplexobj(values)
    if len(set(measures.values())) > 1 or is_complex not in measures.values():
        kind = "complex" if is_complex else "real"
        raise ValueError(f"{name} is {kind}, but operator measures other numbers")
    rows = real_rows(values).astype(np.float64)
    if np.isinf(rows).any():
        raise ValueError(f"{name} must be finite, or NaN where nothing was measured, got infinity")
    if (empty := np.flatnonzero(np.isnan(rows).all(axis=1))).size:
        raise ValueError(f"{name}[{empty[0]}] holds no measurement, only NaN")
    likelihood.check_measured(torch.as_tensor(rows))
    std = _std(likelihood.std, values, name)
    return Given(rows, operators, likelihood, std, values.shape[1:], is_complex)


def _check_solvable(codec: Codec) -> None:
    """Refuse what has not learnt, or does not have, one latent for each signal or cell."""
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
    if codec.latent_size > _MOST_LATENTS:
        raise ValueError(
            f"operator= solves with matrices of all latents of a signal, {_MOST_LATENTS} at most, "
            f"got {codec.latent_size}"
        )


def _checked(codec: Codec, operator: Any, name: str) -> tuple[tuple[int, ...], bool]:
    """Refuse what is no operator for a field; return what shape it measures, and if complex."""
    n_channels, n_axes = codec.field.out_dim, codec.field.in_dim
    check_adjoint(operator, n_channels, name)
    points = np.asarray(operator.points())
    if points.shape[1] != n_axes:
        raise ValueError(
            f"{name}.points() must have the {n_axes} axes of fit, got shape {points.shape}"
        )
    if codec.any_size and codec.whole_frame.share_inside(tuple(points.T), True) < 1.0:
        raise ValueError(
            f"{name}.points() must lie in the extent seen in fit, where latents of cells are: from "
            f"{codec.whole_frame.lower.tolist()} to {codec.whole_frame.upper.tolist()}, got "
            f"{points.min(axis=0).tolist()} to {points.max(axis=0).tolist()}"
        )
    codec.whole_frame.warn_outside(points.min(axis=0), points.max(axis=0), "measuring")
    measured = np.asarray(operator.apply(np.zeros((1, len(points), n_channels))))
    return measured.shape[1:], bool(np.iscomplexobj(measured))


@dataclass(frozen=True)
class Details:
    """What was found of each signal.

    Parameters
    ----------
    latents : float32 array of shape (n, latent_dim)
        Most probable latents.
    names, units : list of E str
        Of the parameters that were unknown of a signal's measurement beside its latent.
    parameters : float64 array of shape (n, E)
        The most probable ones, in these units.
    std : float64 array of shape (n, E)
        Their standard errors, whatever latents and other parameters are.
    """

    latents: np.ndarray
    names: list[str]
    units: list[str]
    parameters: np.ndarray
    std: np.ndarray


def encode_measured(
    codec: Codec,
    X: Any,
    operator: Any,
    likelihood: Any,
    memory_budget: float | None = None,
    solve_for: Any = (),
) -> Details:
    """Fit one latent to what was measured of each signal, and parameters that are unknown too.

    Parameters
    ----------
    codec : Codec
        Fitted.
    X, operator, likelihood
        As :func:`read_measurements` takes them.
    memory_budget : int, float or None, default=None
        Most memory that it may take, as :func:`neurfield.memory.room` has it.
    solve_for : str, Nuisance, or sequence of these, default=()
        What is unknown of the measurement of each signal.

    Raises
    ------
    ValueError
        As :func:`read_measurements`, or if `solve_for` has no part in such measurements.
    """
    nuisances = nuisances_of(solve_for)
    if operator is None:
        raise ValueError("solve_for= says what is unknown of measurements: give operator= with it")
    measurements = read_measurements(codec, X, operator, likelihood)
    setup = setup_of(Measured(measurements.operators[0], codec.units, codec.field.out_dim))
    priors = [nuisance.prior(setup) for nuisance in nuisances]
    names = [name for prior in priors for name in prior.names]
    units = [unit for prior in priors for unit in prior.units]
    n = len(measurements)
    latents = np.empty((n, codec.latent_size), dtype=np.float32)
    parameters, std = np.empty((n, len(names))), np.empty((n, len(names)))

    def keep(i: int, found: Found) -> None:
        latents[i] = found.unknown[: codec.latent_size].numpy()
        parameters[i] = found.unknown[len(found.unknown) - len(names) :].numpy()
        std[i] = found.std.numpy()

    need = partial(measurements.bytes, is_joint=bool(nuisances))
    with room(memory_budget, need, codec.device, "transform"):
        _solve_each(measurements, np.arange(n), keep, nuisances)
    return Details(latents, names, units, parameters, std)


def measured_values(
    measurements: Measurements, rows: np.ndarray, points: np.ndarray, return_std: bool
) -> list[np.ndarray]:
    """Return what measurements say of values around the field, and deviations of decoded values.

    Parameters
    ----------
    measurements : Measurements
        As :func:`read_measurements` returns them.
    rows : int array of shape (k,)
        Which signals.
    points : array of shape (M, d)
        In the caller's units.
    return_std : bool
        Whether deviations are asked for.

    Returns
    -------
    list of arrays of shape (k, M, c)
        What is to be added to the values of the field, and, with `return_std`, their deviations
        from the signals, noise included; in the caller's units.
    """
    codec, P = measurements.codec, measurements.codec.latent_size
    posterior = codec.posterior
    assert posterior is not None
    coords = codec.units.coordinates(points)
    where = torch.as_tensor(coords, dtype=codec.dtype, device=codec.device)
    shape = (len(rows), len(points), codec.field.out_dim)
    added, deviation = np.zeros(shape), np.empty(shape if return_std else 0)
    with torch.no_grad():
        directions, noise = known_of(posterior, codec.field).around(coords)
        around = torch.as_tensor(directions).flatten(1).to(codec.dtype)
        columns = around
        if return_std:
            tangent = tangent_of(codec.field.twin(), where)[1].flatten(1).cpu()
            columns = torch.cat([tangent, around])

    def keep(i: int, found: Found) -> None:
        added[i] = (found.unknown[P:] @ around.double()).reshape(shape[1:]).numpy()
        if not return_std:
            return
        spread = []
        for some in columns.split(_COLUMNS, dim=1):
            half = torch.linalg.solve_triangular(found.factor, some.double(), upper=False)
            spread.append(half.square().sum(dim=0))
        of_unknown = torch.cat(spread).reshape(shape[1:]).numpy()
        # Those of a mixture hold as they are; one Gaussian's are calibrated.
        variance = of_unknown + noise if len(around) else posterior.total(of_unknown, coords)
        deviation[i] = np.sqrt(variance)

    _solve_each(measurements, rows, keep)
    found = [added, deviation] if return_std else [added]
    return [(one * codec.units.value_scale).astype(codec.value_dtype) for one in found]


def _solve_each(
    measurements: Measurements,
    rows: np.ndarray,
    keep: Callable[[int, Found], None],
    nuisances: Sequence[Nuisance] = (),
) -> None:
    """Solve for some signals, and hand on each result with its place among them.

    What signals have in common that one operator has measured is there as long as they are solved.
    """
    codec = measurements.codec
    with torch.no_grad():
        known = known_of(codec.posterior, codec.field)
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(id(measurements.operators[row]), []).append(place)

    def shared_by(alike: list[int]) -> Shared | Joint:
        operator = measurements.operators[rows[alike[0]]]
        measured = Measured(operator, codec.units, codec.field.out_dim)
        if nuisances:
            return Joint.of(codec.field, measured, known, nuisances)
        return Shared.of(codec.field, measured, known)

    def solve(place: int, shared: Shared | Joint) -> None:
        row = rows[place]
        std = None if measurements.std is None else torch.tensor(measurements.std[row])
        values = torch.as_tensor(measurements.values[row])
        how = values, measurements.likelihood, std, codec.solver.steps
        if isinstance(shared, Joint):
            keep(place, solved_jointly(shared, *how))
        else:
            keep(place, solved(shared, *how))

    def in_lanes(alike: list[int]) -> None:
        shared = shared_by(alike)

        def of_signal(i: int, lane: int) -> None:
            solve(alike[i], shared)

        each_in_lanes(of_signal, len(alike))

    groups = list(places.values())
    if len(groups) < lane_count(codec.device):
        for alike in groups:
            in_lanes(alike)
        return

    def of_group(number: int, lane: int) -> None:
        shared = shared_by(groups[number])
        for place in groups[number]:
            solve(place, shared)

    each_in_lanes(of_group, len(groups))


def _without_masks(X: Any) -> np.ndarray:
    """Return measurements with NaN where either part of one, or a mask, says that it is missing."""
    values = np.asarray(X)
    if values.dtype.kind != "c":
        return np.asarray(filled(X))
    missing = np.isnan(values) | np.ma.getmaskarray(X)
    return np.where(missing, complex(np.nan, np.nan), values)


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
    return real_rows(found * (1 + 1j) if np.iscomplexobj(values) else found)
