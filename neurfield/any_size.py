"""Latents of signals of any size, checked, and decoded at the size that the caller tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from sklearn.utils.validation import check_array

from neurfield.codec import Codec
from neurfield.decoding import check_targets, checked_grid, decode_latents
from neurfield.signals import Layout, read_signals
from neurfield.signals.coords import axes_from_coords
from neurfield.validation import check_field, validated_latents

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

# One row per signal, or one item where they are not equally long.
Latents = np.ndarray | list[np.ndarray]


def validated_latents_of_any_size(encoder: FunctaEncoder, X: npt.ArrayLike) -> Latents:
    """Validate latents, of any length where the codec describes signals of any size.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.
    X : array-like of shape (n, P), or list of n arrays of shape (P_i,)
        Latents, one row or one item per signal.

    Returns
    -------
    float64 array of shape (n, P), or list of n arrays of shape (P_i,)
        The list where latents have several lengths.

    Raises
    ------
    ValueError
        As :func:`neurfield.validation.validated_latents`, but for the length where signals have any
        size.
    """
    if not encoder.codec_.any_size:
        return validated_latents(encoder, X)
    if isinstance(X, list | tuple) and len({np.size(row) for row in X}) > 1:
        rows = []
        for i, row in enumerate(X):
            if np.ndim(row) != 1:
                raise ValueError(
                    f"X[{i}] must hold the latents of one signal, got shape {np.shape(row)}"
                )
            rows.append(check_array(row, dtype=np.float64, ensure_2d=False, input_name=f"X[{i}]"))
        return rows
    latents = check_array(X, dtype=np.float64, input_name="X")
    check_field(encoder, X, "X")
    return latents


def decode_of_any_size(codec: Codec, layout: Layout, latents: Latents, **how: Any) -> Any:
    """Decode latents of signals of the size of fit, or of that of the grid asked for.

    Latents as long as those of fit are decoded anywhere within its extent. Of others, and beyond
    it, the grid tells the size of the signal.

    Parameters
    ----------
    codec : Codec
        The fitted field with the units it works in.
    layout : Layout
        Container, axes and labels that the results take.
    latents : array of shape (n, P), or list of n arrays of shape (P_i,)
        As :func:`validated_latents_of_any_size` returns them.
    **how
        As in :func:`neurfield.decoding.decode_latents`.

    Returns
    -------
    container, or a tuple of two
        As :func:`neurfield.decoding.decode_latents`.

    Raises
    ------
    ValueError
        As :func:`neurfield.decoding.decode_latents`, or if signals on the grid asked for have
        latents of another length.
    """
    if not codec.any_size:
        assert isinstance(latents, np.ndarray)
        return decode_latents(codec, layout, latents, **how)
    grid, coords, points = how["grid"], how["coords"], how["points"]
    check_targets(grid=grid, coords=coords, points=points)
    if coords is not None and not isinstance(coords, Mapping | xr.DataArray):
        return _each_on_its_grid(codec, layout, latents, coords, how)
    if isinstance(latents, list):
        lengths = sorted({len(row) for row in latents})
        raise ValueError(
            f"X holds latents of several lengths, {lengths[0]} to {lengths[-1]}: give coords=, a "
            "sequence with the grid of each signal"
        )
    axes, what = None, "points=" if points is not None else "grid="
    if coords is not None:
        axes, what = axes_from_coords(coords, layout), "coords="
    elif latents.shape[1] == codec.latent_size or points is not None:
        pass  # within the extent of fit
    elif grid is None:
        axes, what = layout.axes, "the grid of fit"
    elif _has_indices(layout):
        axes = tuple(np.arange(size, dtype=np.float64) for size in checked_grid(grid, layout))
        layout, how["grid"] = replace(layout, axes=axes, masked=None), None
    own = codec.for_latents(latents.shape[1], axes, what)
    return decode_latents(own, layout, latents, **how)


def _each_on_its_grid(
    codec: Codec, layout: Layout, latents: Latents, coords: Any, how: dict[str, Any]
) -> Any:
    """Decode each signal on a grid of its own; an array among the grids stands for its indices."""
    grids = list(coords) if isinstance(coords, Iterable) else [coords]
    if len(grids) != len(latents):
        raise ValueError(
            f"coords must be one mapping, or one per latent: got {len(grids)} for "
            f"{len(latents)} latents"
        )
    works: list[tuple[Codec, Layout, list[Any] | None]] = []  # all are checked before any work
    for i, grid in enumerate(grids):
        if isinstance(grid, np.ndarray) and _has_indices(layout):
            axes = read_signals([grid], layout.channel_axis, layout).groups[0].axes
            labels, at = replace(layout, axes=axes, masked=None, is_list=True), None
        else:
            axes, labels, at = axes_from_coords(grid, layout), layout, [grid]
        works.append((codec.for_latents(len(latents[i]), axes, f"coords[{i}]"), labels, at))
    found = []
    for i, (own, labels, at) in enumerate(works):
        mine = {**how, "coords": at, "samples": None, "masked": None}
        if how["observed"] is not None:
            mine["observed"] = how["observed"].subset(np.array([i]))
        found.append(decode_latents(own, labels, latents[i][None], **mine))
    if how["return_std"]:
        return [values for (values,), _ in found], [deviation for _, (deviation,) in found]
    return [values for (values,) in found]


def _has_indices(layout: Layout) -> bool:
    """Tell whether signals are arrays whose axes count from 0."""
    return layout.container == "array" and not layout.has_columns
