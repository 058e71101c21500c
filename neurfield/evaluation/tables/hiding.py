"""Signals of which a part is hidden, and the measure of what is put in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.evaluation.metrics import psnr
from neurfield.evaluation.reconstruction import Arrays, values_of
from neurfield.evaluation.tables.data import Part, TableData

#: What is hidden of each signal: half of its points at random, or a box somewhere in it.
GAPS = ("scattered", "block")
_SCATTERED = 0.5  # of all points
_BLOCK = 0.25  # of each axis; were it half, no signal would show what others have in the middle


def with_gaps(data: TableData, gap: str, seed: int) -> TableData:
    """Return the same signals with NaN where a part of each is hidden, drawn by the seed.

    Parameters
    ----------
    data : TableData
        Signals; all channels of a point are hidden together.
    gap : {"scattered", "block"}
        What is hidden.
    seed : int
        Draws what is hidden of each signal, those to learn from first.

    Raises
    ------
    ValueError
        If a signal has nothing that could be hidden.
    """
    draw = np.random.default_rng([seed, GAPS.index(gap)])
    train, test = (_hidden(part, gap, draw) for part in (data.train, data.test))
    return replace(data, train=train, test=test)


def hidden_psnr(data: TableData, gappy: TableData, found: Arrays) -> float:
    """Return the mean PSNR of what was hidden of the signals to measure on, in dB.

    Parameters
    ----------
    data, gappy : TableData
        Signals, and the same with gaps.
    found : arrays
        Values in the place of the signals to measure on, as ``values_of`` has them.
    """
    pairs = zip(values_of(data.test), values_of(gappy.test), found, strict=True)
    levels = [
        psnr(np.where(np.isnan(seen), truth, np.nan)[None], np.asarray(values)[None])
        for truth, seen, values in pairs
    ]
    return float(np.mean(levels))


def _hidden(part: Part, gap: str, draw: np.random.Generator) -> Part:
    if isinstance(part, list):
        return [_without(signal, _drawn(signal, gap, draw)) for signal in part]
    masks = [_drawn(part.isel(sample=0), gap, draw) for _ in range(len(part))]
    return _without(part, xr.concat(masks, dim="sample"))


def _without(signals: xr.DataArray, is_hidden: xr.DataArray) -> xr.DataArray:
    return signals.where(~is_hidden).transpose(*signals.dims)


def _drawn(signal: xr.DataArray, gap: str, draw: np.random.Generator) -> xr.DataArray:
    """Return where a signal is hidden, over all axes but that of channels."""
    axes = [dim for dim in signal.dims if dim != "channel"]
    shape = tuple(signal.sizes[dim] for dim in axes)
    is_hidden = (_scattered if gap == "scattered" else _box)(shape, draw)
    if not 0 < is_hidden.sum() < is_hidden.size:
        raise ValueError(f"a part of each signal is to be hidden, and one has the shape {shape}")
    return xr.DataArray(is_hidden, dims=axes)


def _scattered(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.bool_]:
    is_hidden = np.zeros(int(np.prod(shape)), dtype=bool)
    is_hidden[: round(_SCATTERED * is_hidden.size)] = True
    return draw.permutation(is_hidden).reshape(shape)


def _box(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.bool_]:
    is_hidden = np.zeros(shape, dtype=bool)
    sides = [max(1, round(n * _BLOCK)) for n in shape]
    starts = [draw.integers(n - side + 1) for n, side in zip(shape, sides, strict=True)]
    is_hidden[tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))] = True
    return is_hidden
