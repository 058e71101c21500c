"""What was measured of signals, as it was given: validated, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neurfield.learning.measured import real_rows
from neurfield.likelihoods import Likelihood
from neurfield.signals.missing import filled


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
    n_channels: Callable[[], int],
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
    n_channels : callable
        Returns how many channels the field has, once an operator was checked.
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
    likelihood.check_measured(torch.as_tensor(rows), values.shape[1:], n_channels())
    std = _std(likelihood.given_std(), values, name)
    return Given(rows, operators, likelihood, std, values.shape[1:], is_complex)


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
