"""Encoding of dask arrays: one task for each block of signals, run when the result is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neurfield.codec import Codec, encoding_room
from neurfield.signals import Layout, SignalGroup, Signals
from neurfield.signals.layout import SAMPLE
from neurfield.signals.lazy import LazyValues, count_observed

LATENT = "latent"


def is_dask_backed(X: Any) -> bool:
    """Tell whether the input is an xarray object made of dask blocks."""
    arrays = [X] if isinstance(X, xr.DataArray) else []
    if isinstance(X, xr.Dataset):
        arrays = [array for array in X.data_vars.values() if SAMPLE in array.dims]
    return bool(arrays) and all(array.chunks is not None for array in arrays)


def encode_lazily(
    codec: Codec,
    signals: Signals,
    X: xr.DataArray | xr.Dataset,
    attrs: Mapping[str, Any],
    memory_budget: float | None = None,
) -> xr.DataArray:
    """Return latents as a lazily computed array of dimensions sample and latent.

    Parameters
    ----------
    codec : Codec
        Sent to each worker once.
    signals : Signals
        What was read from ``X``, which is one group of signals.
    X : DataArray or Dataset
        Its coordinates along ``sample``, such as labels, are carried along.
    attrs : mapping
        Attributes of the result.
    memory_budget : int or float, optional
        Most memory that one task may take, as :func:`neurfield.memory.room` has it.
    """
    import dask.array
    from dask.delayed import delayed

    (group,) = signals.groups
    assert isinstance(group.values, LazyValues)
    source = group.values.source
    whole = dict.fromkeys(range(1, len(source.shape)), -1)
    # Small chunks are encoded together: a block has work of its own, whatever it holds.
    values = source.graph.rechunk({0: tuple(np.diff(source.bounds).tolist()), **whole})
    latents = dask.array.map_blocks(
        _encode_block,
        values,
        codec=delayed(codec, traverse=False),
        axes=group.axes,
        is_scattered=group.is_scattered,
        layout=signals.layout,
        memory_budget=memory_budget,
        drop_axis=list(whole),
        new_axis=1,
        chunks=(values.chunks[0], (codec.latents_on(group.axes),)),
        meta=np.empty((0, 0), dtype=np.float32),
    )
    latents = latents.rechunk({0: source.graph.chunks[0]})
    coords = X.coords.to_dataset().drop_vars(
        n for n, c in X.coords.items() if set(c.dims) - {SAMPLE}
    )
    labelled = xr.DataArray(latents, coords.coords, (SAMPLE, LATENT), "latents", dict(attrs))
    return labelled.unify_chunks()


def _encode_block(
    values: np.ndarray,
    codec: Codec,
    axes: tuple[np.ndarray, ...],
    is_scattered: bool,
    layout: Layout,
    memory_budget: float | None,
    block_info: Any = None,
) -> np.ndarray:
    start = block_info[0]["array-location"][0][0]
    count_observed(values, start + np.arange(len(values)))
    group = SignalGroup(axes, values, np.arange(len(values)), is_scattered)
    block = Signals((group,), layout)
    with encoding_room(codec, block, memory_budget, "transform"):
        return codec.encode(block)
