"""Networks of which each signal has one of its own, measured in the place of encoders."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from neurfield import NeuralField
from neurfield.evaluation.reconstruction import compare, values_of
from neurfield.evaluation.tables.base import Budget, Figures
from neurfield.evaluation.tables.data import TableData, in_range, signal_at
from neurfield.evaluation.tables.weights import sizes_within

#: What ``NeuralField(field=...)`` is called, by the name of the method.
SINGLES = {"inr-siren": "siren", "inr-fourier": "fourier"}
REDUCED_SIGNALS = 8
REDUCED_SECONDS = 60.0  # of all signals together
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
            **_sizes(SINGLES[method], data),
            "max_iter": 1_000_000,
        }
    if seconds is not None:
        chosen["max_time"] = seconds / n_signals
    return {"signals": n_signals, "parameters": chosen | known_parameters(budget)}


def known_parameters(budget: Budget) -> dict[str, Any]:
    """Return the caller's parameters of those names that ``NeuralField`` has too."""
    known = set(NeuralField().get_params()) - {"field", "random_state"}
    return {name: value for name, value in budget.parameters.items() if name in known}


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
    signals = [signal_at(data, int(position)) for position in positions]
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


def _sizes(field: str, data: TableData) -> dict[str, Any]:
    signal = signal_at(data, 0)
    n_channels = signal.sizes.get("channel", 1)
    return sizes_within(field, data.shape, n_channels, _PART_OF_VALUES * signal.size)
