"""Containers of signals in words."""

from __future__ import annotations

import xarray as xr


def count(signals: xr.DataArray | xr.Dataset | list[xr.DataArray]) -> int:
    """Return the number of signals."""
    return len(signals) if isinstance(signals, list) else int(signals.sizes["sample"])


def describe(signals: xr.DataArray | xr.Dataset | list[xr.DataArray]) -> str:
    """Return number, shape and axes of the signals in words."""
    noun = "signal" if count(signals) == 1 else "signals"
    if isinstance(signals, list):
        shapes = {signal.shape for signal in signals}
        first = signals[0]
        axes = ", ".join(map(str, first.dims))
        shape = " × ".join(map(str, first.shape)) if len(shapes) == 1 else "various shapes"
        return f"{len(signals)} {noun} of {shape} ({axes})"
    sizes = {str(dim): size for dim, size in signals.sizes.items() if dim != "sample"}
    shape = " × ".join(map(str, sizes.values()))
    return f"{count(signals)} {noun} of {shape} ({', '.join(sizes)})"
