"""Networks of which each signal has one of its own, measured in the place of encoders."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neurfield import NeuralField
from neurfield.evaluation.reconstruction import compare, values_of
from neurfield.evaluation.tables.base import Budget, Figures
from neurfield.evaluation.tables.data import TableData, in_range

#: What ``NeuralField(field=...)`` is called, by the name of the method.
SINGLES = {"inr-siren": "siren", "inr-fourier": "fourier"}
REDUCED_SIGNALS = 8
REDUCED_SECONDS = 60.0  # of all signals together
_N_LAYERS = 3
_LEAST_WIDTH = 4
_PART_OF_VALUES = 0.25


def single_settings(method: str, budget: Budget, data: TableData) -> dict[str, Any]:
    """Return how many signals a method is measured on, and what each network is made with.

    In the reduced form these are a few signals, which share the seconds of a row, and networks
    with no more weights than a quarter of a signal's values. In full they are all signals, and
    what ``NeuralField`` does by default. Parameters of the caller hold where ``NeuralField`` has
    one of that name.
    """
    n_signals, seconds = len(data.test), budget.max_time
    chosen: dict[str, Any] = {}
    if not budget.full:
        n_signals = min(n_signals, REDUCED_SIGNALS)
        seconds = seconds or REDUCED_SECONDS
        chosen = {
            "hidden_dim": _width(SINGLES[method], data),
            "n_layers": _N_LAYERS,
            "max_iter": 1_000_000,
        }
    if seconds is not None:
        chosen["max_time"] = seconds / n_signals
    known = set(NeuralField().get_params()) - {"field", "random_state"}
    chosen |= {name: value for name, value in budget.parameters.items() if name in known}
    return {"signals": n_signals, "parameters": chosen}


def measure_single(
    method: str, n_signals: int, parameters: Mapping[str, Any], data: TableData, seed: int
) -> Figures:
    """Fit a network to each of some signals to measure on, drawn at random.

    Returns
    -------
    dict
        Means over these signals. The code of a signal is all weights of its network, which is what
        both ``latent_dim`` and ``parameters`` count; encoding is the whole fit.
    """
    positions = np.sort(np.random.default_rng(seed).permutation(len(data.test))[:n_signals])
    signals = [_signal(data, int(position)) for position in positions]
    found, seconds, n_weights = [], 0.0, 0
    for signal in signals:
        network = NeuralField(SINGLES[method], **parameters, random_state=seed)
        start = time.perf_counter()
        network.fit(signal)
        seconds += time.perf_counter() - start
        found.append(network.predict().transpose(*signal.dims))
        n_weights = network.field_.n_parameters
    scores = compare(values_of(signals), in_range(values_of(found)), 0.0, 1.0)
    return {
        **scores.means(),
        "signals": len(signals),
        "latent_dim": n_weights,
        "parameters": n_weights,
        "encode_ms": 1000 * seconds / len(signals),
    }


def _signal(data: TableData, position: int) -> xr.DataArray:
    if isinstance(data.test, list):
        return data.test[position]
    return data.test.isel(sample=position, drop=True)


def _width(field: str, data: TableData) -> int:
    """Return the largest width with weights for at most a quarter of a signal's values."""
    signal = _signal(data, 0)
    n_channels = signal.sizes.get("channel", 1)
    # With as many frequencies as the width L, of which sine and cosine go in, weights and biases
    # are a L² + b L + c: a counts square matrices, b what is in proportion to the width.
    a, b = (3, 2 + n_channels) if field == "fourier" else (1, data.n_axes + 2 + n_channels)
    room = max(0.0, _PART_OF_VALUES * signal.size - n_channels)
    return max(_LEAST_WIDTH, math.floor((math.sqrt(b * b + 4 * a * room) - b) / (2 * a)))
