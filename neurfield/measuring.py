"""Signals that were measured through operators: their latents, and how sure these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from neurfield.codec import Codec
from neurfield.fields import LappedField
from neurfield.given import read_given
from neurfield.learning.lanes import each_in_lanes, lane_count
from neurfield.learning.measured import (
    PROBES,
    Found,
    Joint,
    Known,
    Measured,
    Shared,
    known_of,
    setup_of,
    solved,
    solved_jointly,
    spread_of,
    tangent_of,
)
from neurfield.likelihoods import Likelihood
from neurfield.memory import room
from neurfield.nuisances import Nuisance, nuisances_of
from neurfield.operators import check_adjoint
from neurfield.patched import patches_of

_MOST_LATENTS = 2**14
_STEPS = 10
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
        tangents = n_tangents * (
            8 * P * m + self.codec.dtype.itemsize * (P + lanes * _TOGETHER) * n_values
        )
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
    checked = partial(_checked, codec)
    given = read_given(X, operator, likelihood, checked, lambda: codec.field.out_dim, name)
    return Measurements(codec, given.values, given.operators, given.likelihood, given.std)


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
        _solve_each(measurements, np.arange(n), keep, _known_to(codec), nuisances)
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
    known = _known_to(codec)
    with torch.no_grad():
        directions, noise = known.around(coords)
        grain = known.grain(coords, noise)
        around = torch.as_tensor(directions).flatten(1).to(codec.dtype)
        columns = around
        if return_std:
            tangent = tangent_of(codec.field.twin(), where)[1].flatten(1).cpu()
            columns = torch.cat([tangent, around])

    def keep(i: int, found: Found) -> None:
        assert found.beside is not None
        of_directions = (found.unknown[P:] @ around.double()).reshape(shape[1:])
        added[i] = (of_directions + found.beside.values(grain)).numpy()
        if not return_std:
            return
        left = [part.numpy() for part in found.beside.parts(grain, columns)]
        of_unknown = left[1] * spread_of(found.factor, columns).reshape(shape[1:])
        # Those of a mixture hold as they are; one Gaussian's are calibrated.
        if len(around):
            variance = found.beside.narrowed(grain, of_unknown + left[0] * noise)
        else:
            told = (1.0 - left[0]) * posterior.total(np.zeros_like(of_unknown), coords)
            variance = posterior.total(of_unknown, coords) - told
        deviation[i] = np.sqrt(variance)

    _solve_each(measurements, rows, keep, known, n_probes=PROBES if return_std else 0)
    found = [added, deviation] if return_std else [added]
    return [(one * codec.units.value_scale).astype(codec.value_dtype) for one in found]


@torch.no_grad()
def _known_to(codec: Codec) -> Known:
    """Return what its fit has learnt of signals."""
    return known_of(codec.posterior, codec.field)


def _solve_each(
    measurements: Measurements,
    rows: np.ndarray,
    keep: Callable[[int, Found], None],
    known: Known,
    nuisances: Sequence[Nuisance] = (),
    n_probes: int | None = None,
) -> None:
    """Solve for some signals, and hand on each result with its place among them.

    What signals have in common that one operator has measured is there as long as they are solved.
    """
    codec = measurements.codec
    steps = codec.solver.steps
    bends = not isinstance(codec.field, LappedField) or measurements.likelihood.is_bounded
    if steps > 1 and bends:
        steps = max(steps, _STEPS)  # with little noise, or at boundaries of labels, bends count
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
        how = values, measurements.likelihood, std, steps
        if isinstance(shared, Joint):
            keep(place, solved_jointly(shared, *how))
        else:
            keep(place, solved(shared, *how, n_probes))

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
