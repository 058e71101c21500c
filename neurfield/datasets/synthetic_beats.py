"""Synthetic ECG beats, for examples and tests that need no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from neurfield.datasets.aami import AAMI_NAMES

# Amplitude (mV), centre (s after the R peak, at 60 beats per minute) and width (s) of each wave.
# fmt: off
_WAVES = {
    "N": {"P": (0.15, -0.17, 0.022), "Q": (-0.12, -0.028, 0.010), "R": (1.20, 0.0, 0.012),
          "S": (-0.25, 0.030, 0.011), "T": (0.32, 0.270, 0.050)},
    # From another place in the atria: an early beat, its P wave inverted and close.
    "S": {"P": (-0.10, -0.12, 0.018), "Q": (-0.10, -0.028, 0.010), "R": (1.15, 0.0, 0.012),
          "S": (-0.28, 0.030, 0.011), "T": (0.28, 0.250, 0.048)},
    # From the ventricles: early, no P wave, a broad complex and a T wave of the other sign.
    "V": {"Q": (-0.15, -0.080, 0.030), "R": (1.60, 0.0, 0.042),
          "S": (-0.70, 0.110, 0.038), "T": (-0.50, 0.300, 0.060)},
    # Both at once.
    "F": {"P": (0.12, -0.16, 0.022), "Q": (-0.12, -0.050, 0.020), "R": (1.35, 0.0, 0.026),
          "S": (-0.45, 0.070, 0.024), "T": (-0.12, 0.290, 0.055)},
    # A pacemaker's spike, then a broad complex.
    "Q": {"spike": (0.80, -0.090, 0.003), "Q": (-0.30, -0.050, 0.020), "R": (0.90, 0.0, 0.035),
          "S": (-0.55, 0.080, 0.035), "T": (-0.35, 0.290, 0.060)},
}
# fmt: on

#: Intervals before and after a beat, as parts of the usual one: early beats, and the pause after.
_INTERVALS = {
    "N": (1.0, 1.0),
    "S": (0.70, 1.0),
    "V": (0.65, 1.35),
    "F": (0.95, 1.0),
    "Q": (1.0, 1.0),
}


def synthetic_ecg(
    n_samples: int = 200,
    *,
    length: int = 187,
    frequency: float = 125.0,
    classes: Sequence[str] = ("N", "S", "V", "F", "Q"),
    noise: float = 0.01,
    random_state: int | np.random.RandomState | None = None,
) -> xr.DataArray:
    """Return synthetic ECG beats of the five AAMI classes, as :func:`load_wfdb` cuts them.

    Each beat is a sum of Gaussian waves P, Q, R, S and T, or those that its class has, with the
    beats before and after it in the same window. Every beat has a heart rate of its own, and its
    waves amplitudes, widths and times of their own; baseline wander and white noise come on top.

    Parameters
    ----------
    n_samples : int, default=200
        Number of beats.
    length : int, default=187
        Samples in a window.
    frequency : float, default=125.0
        Samples per second.
    classes : sequence of {"N", "S", "V", "F", "Q"}, default=all five
        Classes to draw from, equally likely.
    noise : float, default=0.01
        Standard deviation of the white noise, mV.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers; pass an int for the same beats each time.

    Returns
    -------
    DataArray of shape (n_samples, length), dims (sample, time), float32
        In mV. ``time`` in seconds, 0 at the R peak; ``sample``, ``label`` and ``label_name`` over
        ``sample``.

    Raises
    ------
    ValueError
        If a class is unknown, or a number is not positive.

    Notes
    -----
    The waves are those of McSharry et al. (2003), equation (1), in the closed form without the
    return to the baseline. With the heart rate, P waves move with the square root of the interval
    between beats, and T waves do so as in Bazett's formula.

    References
    ----------
    P. E. McSharry et al., "A Dynamical Model for Generating Synthetic Electrocardiogram Signals",
    IEEE Trans. Biomed. Eng. 50(3), 2003.
    H. C. Bazett, "An Analysis of the Time-Relations of Electrocardiograms", Heart 7, 1920.

    Examples
    --------
    >>> beats = synthetic_ecg(100, random_state=0)
    >>> beats.shape, sorted(set(beats["label"].values.tolist()))
    ((100, 187), ['F', 'N', 'Q', 'S', 'V'])
    """
    for name, number in {"n_samples": n_samples, "length": length, "frequency": frequency}.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")
    unknown = [label for label in classes if label not in _WAVES]
    if unknown or not classes:
        raise ValueError(f"classes must be some of {', '.join(_WAVES)}, got {tuple(classes)}")
    rng = check_random_state(random_state)
    labels = rng.choice(np.array(list(classes)), n_samples)
    time = (np.arange(length) - length // 2) / frequency
    values = np.stack([_window(label, time, rng) for label in labels])
    values += rng.normal(0.0, noise, values.shape)
    return xr.DataArray(
        values.astype(np.float32),
        dims=("sample", "time"),
        coords={
            "sample": np.arange(n_samples),
            "time": ("time", time, {"units": "s"}),
            "label": ("sample", labels),
            "label_name": ("sample", np.array([AAMI_NAMES[label] for label in labels])),
        },
        name="signal",
        attrs={"units": "mV", "frequency": frequency, "source": "neurfield, synthetic"},
    )


def _window(label: str, time: NDArray[np.float64], rng: np.random.RandomState) -> NDArray[Any]:
    """Return one beat with its neighbours, which are normal ones of the same heart."""
    interval = 60 / rng.uniform(55, 100)
    before, after = (interval * part * rng.lognormal(0, 0.03) for part in _INTERVALS[label])
    heart = {wave: rng.lognormal(0, (0.2, 0.1)) for wave in ("P", "Q", "R", "S", "T", "spike")}
    neighbour = "Q" if label == "Q" else "N"
    values = _beat(label, time, interval, heart, rng)
    values += _beat(neighbour, time + before, interval, heart, rng)
    values += _beat(neighbour, time - after, interval, heart, rng)
    breathing, phase = rng.uniform(0.15, 0.4), rng.uniform(0, 2 * np.pi)
    return values + 0.05 * np.sin(2 * np.pi * breathing * time + phase)


def _beat(
    label: str,
    time: NDArray[np.float64],
    interval: float,
    heart: dict[str, NDArray[np.float64]],
    rng: np.random.RandomState,
) -> NDArray[np.float64]:
    values = np.zeros_like(time)
    for wave, (amplitude, centre, width) in _WAVES[label].items():
        own_amplitude, own_width = heart[wave]
        stretch = np.sqrt(interval) if wave in ("P", "T") else 1.0
        height = amplitude * own_amplitude * rng.lognormal(0, 0.05)
        shifted = (time - centre * stretch - rng.normal(0, 0.02 * abs(centre))) / (
            width * own_width
        )
        values += height * np.exp(-(shifted**2) / 2)
    return values
