"""The ω-schedule: how fast each layer may oscillate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
