"""The ω-schedule: how fast each layer may oscillate."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

_MOST = 1e30  # beyond it, products leave single precision


def omega_schedule(omega: float | Sequence[float], n_layers: int) -> tuple[float, ...]:
    """Return ω_1..ω_K, rising linearly from the first to the last layer.

    Parameters
    ----------
    omega : float or (float, float)
        Both ends of the schedule, or one constant ω.
    n_layers : int
        Number of layers K, the output layer included.

    Returns
    -------
    tuple of K floats
        One ω for each layer, in their order.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 (ω-schedule).

    Examples
    --------
    >>> omega_schedule((10, 50), 5)
    (10.0, 20.0, 30.0, 40.0, 50.0)
    >>> omega_schedule(30, 3)
    (30.0, 30.0, 30.0)
    """
    first, last = omega if isinstance(omega, Sequence) else (omega, omega)
    return tuple(float(value) for value in np.linspace(first, last, n_layers))


def check_omega(omega: Any) -> None:
    """Refuse what is neither one ω nor both ends of a schedule.

    Raises
    ------
    ValueError
        If ``omega`` is not one positive number or a pair of them.

    Examples
    --------
    >>> check_omega((10, -1))
    Traceback (most recent call last):
    ValueError: omega must be one positive number or a pair (ω_1, ω_K) of them, got (10, -1)
    """
    pair = list(omega) if isinstance(omega, tuple | list) else [omega, omega]
    if len(pair) != 2 or not all(isinstance(w, Real) and 0 < float(w) < _MOST for w in pair):
        raise ValueError(
            f"omega must be one positive number or a pair (ω_1, ω_K) of them, got {omega!r}"
        )
