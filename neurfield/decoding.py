"""Where to decode, and in which container to return it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from neurfield.codec import Codec
from neurfield.derivatives import gradient
from neurfield.measuring import Measurements, measured_values
from neurfield.memory import room
from neurfield.signals import CoordinateFrame, Layout, Signals, grid_points
from neurfield.signals.coords import axes_from_coords, points_from
from neurfield.signals.encodings import encode
from neurfield.signals.layout import CHANNEL, cast
from neurfield.signals.patches import Decoder

_DERIVATIVE = "derivative"


def decode(
    decoder: Decoder,
    frame: CoordinateFrame,
    layout: Layout,
    n_latents: int,
    *,
    grid: Sequence[int] | None,
    coords: Any,
    points: npt.ArrayLike | None,
    dtypes: Sequence[npt.DTypeLike | None],
    samples: xr.Coordinates | None,
    masked: np.ndarray | None = None,
) -> list[Any]:
    """Decode latents where the caller asks: see ``FunctaEncoder.inverse_transform``.

    Parameters
    ----------
    decoder : callable
        What to decode, values, derivatives or standard deviations: takes rows of the latents, and
        points.
    frame : CoordinateFrame
        The extent that was seen in fit, beyond which points are warned of.
    layout : Layout
        Container, axes and labels that the results take.
    n_latents : int
        Number n of latents to decode.
    grid, coords, points
        As in ``FunctaEncoder.inverse_transform``.
    dtypes : sequence of dtype or None
        Of the arrays that `decoder` returns, one for each or one for all.
    samples : Coordinates or None
        Labels along the sample dimension, one for each latent.
    masked : bool array that broadcasts to (n, *shape, c), optional
        What of each signal was not observed on the grid of fit.

    Returns
    -------
    list
        One container for each array that `decoder` returns.

    Raises
    ------
    ValueError
        If more than one of `grid`, `coords` and `points` is given, one of them does not fit the
        axes, or there is no grid to decode on.
    """
    check_targets(grid=grid, coords=coords, points=points)
    dtypes = [None if dtype is None else _checked_dtype(dtype) for dtype in dtypes]
    rows = np.arange(n_latents)
    if points is not None:
        where = points_from(points, layout)
        frame.warn_outside(where.min(axis=0), where.max(axis=0))
        found = [cast(values, dtype) for values, dtype in zip(decoder(rows, where), cycle(dtypes))]
        return found if layout.has_channels else [values[..., 0] for values in found]
    if coords is not None and not isinstance(coords, Mapping | xr.DataArray):
        return _on_own_grids(decoder, frame, layout, rows, coords, dtypes)
    if coords is not None:
        axes = axes_from_coords(coords, layout)
        _warn_outside(frame, axes)
        pairs = zip(_on_grid(decoder, rows, axes), cycle(dtypes))
        return [layout.label(cast(values, dtype), axes, samples) for values, dtype in pairs]
    axes = decoding_axes(layout, grid)
    pairs = zip(_on_grid(decoder, rows, axes), cycle(dtypes))
    return [layout.wrap(values, axes, dtype, samples, masked) for values, dtype in pairs]


def check_targets(**targets: Any) -> None:
    """Refuse more than one answer to where to decode.

    Parameters
    ----------
    **targets
        Grid, coordinates and points, by the names of their arguments; None where not given.

    Raises
    ------
    ValueError
        If more than one is given.
    """
    given = [name for name, value in targets.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"give at most one of grid, coords and points, got {given}")


def decode_latents(
    codec: Codec,
    layout: Layout,
    latents: np.ndarray,
    *,
    derivative: str | Sequence[str] | None,
    return_std: bool,
    observed: Signals | Measurements | None,
    memory_budget: float | None = None,
    **where: Any,
) -> Any:
    """Decode latents, or derivatives of what they decode to, with or without deviations.

    Parameters
    ----------
    codec : Codec
        The fitted field with the units it works in.
    layout : Layout
        Container, axes and labels that the results take.
    latents : array of shape (n, P)
        As ``transform`` returns them: one row per signal.
    derivative, return_std
        As in ``FunctaEncoder.inverse_transform``.
    observed : Signals, Measurements or None
        The signals of the latents, or what was measured of them, for their standard deviations.
    memory_budget : int or float, optional
        Most memory that it may take beside the result, as :func:`neurfield.memory.room` has it.
    **where
        As in :func:`decode`.

    Returns
    -------
    container, or a tuple of two
        Values or derivatives, in the caller's units; with `return_std`, the values and their
        standard deviations.

    Raises
    ------
    ValueError
        If `derivative` and `return_std` are both given, `return_std` asks for what fit has not
        learnt, or as :func:`decode`.
    """
    frame, codes, dtype = codec.whole_frame, codec.codes(latents), where.pop("dtype")

    def need() -> float:
        of_solver = observed.bytes() if isinstance(observed, Measurements) else 0.0
        return of_solver + codec.decoding_bytes(derivatives=derivative is not None or return_std)

    def whole(decoder: Decoder, *dtypes: npt.DTypeLike | None) -> list[Any]:
        with room(memory_budget, need, codec.device, "inverse_transform"):
            across = codec.across(decoder)
            return decode(across, frame, layout, len(latents), dtypes=dtypes, **where)

    if derivative is not None:
        if return_std:
            raise ValueError("return_std=True gives the deviation of values, not of derivative")
        axes = checked_axes(derivative, layout)
        partials = whole(lambda rows, x: gradient(codec, codes[rows], x, axes), dtype)
        return label_derivatives(partials, derivative, layout)
    if return_std and codec.posterior is None:
        raise ValueError(
            "return_std=True needs what fit learns about latents with learner='varpro' or 'lapped' "
            "from at least two signals; this estimator has not learnt it"
        )
    if isinstance(observed, Measurements):
        measured = observed
        ends = np.stack([measured.codec.whole_frame.lower, measured.codec.whole_frame.upper])
        here, there = (own.units.coordinates(ends) for own in (codec, measured.codec))
        if codec.latent_size != measured.codec.latent_size or not np.allclose(here, there):
            raise ValueError(
                "operator= with observed= is for latents of signals of the size of fit, decoded "
                "within its extent"
            )

        def found(rows: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
            added, *deviation = measured_values(measured, rows, x, return_std)
            return [codec.values(codes[rows], x) + added, *deviation]

        values, *deviation = whole(found, dtype, None)
        values = encode(values, layout)
        return (values, *deviation) if return_std else values
    (values,) = whole(lambda rows, x: [codec.values(codes[rows], x)], dtype)
    values = encode(values, layout)
    if not return_std:
        return values
    store = None if observed is None else codec.store(observed)
    (deviation,) = whole(lambda rows, x: [codec.std(codes, rows, x, store)], None)
    return values, deviation


def decoding_axes(layout: Layout, grid: Sequence[int] | None) -> tuple[np.ndarray, ...]:
    """Return the axes of the grid seen in fit, or of one of another size over the same extent."""
    if grid is not None:
        return layout.resized(checked_grid(grid, layout))
    if layout.axes is None:
        raise ValueError("this estimator has seen no grid: give grid=, coords= or points=")
    return layout.axes


def checked_axes(derivative: Any, layout: Layout) -> list[int]:
    """Return which axes the names given as ``derivative=`` stand for."""
    names = [derivative] if isinstance(derivative, str) else derivative
    known = layout.axis_names
    if (
        not isinstance(names, Sequence)
        or not names
        or any(name not in known for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(
            f"derivative must be one of the axes {known}, or a sequence of different ones, "
            f"got {derivative!r}"
        )
    return [known.index(name) for name in names]


def label_derivatives(partials: list[Any], derivative: str | Sequence[str], layout: Layout) -> Any:
    """Return one partial derivative as it is, several along a last axis called "derivative"."""
    names = [derivative] if isinstance(derivative, str) else list(derivative)
    partials = [_in_units(part, name, layout) for part, name in zip(partials, names, strict=True)]
    return partials[0] if isinstance(derivative, str) else _stack(partials, names)


def _in_units(partial: Any, name: str, layout: Layout) -> Any:
    """Correct the attribute ``units`` of a labelled derivative, or drop it where unknown."""
    if isinstance(partial, list):
        return [_in_units(item, name, layout) for item in partial]
    if isinstance(partial, xr.Dataset):
        return partial.map(lambda variable: _in_units(variable, name, layout), keep_attrs=True)
    if isinstance(partial, xr.DataArray) and "units" in partial.attrs:
        per = layout.units[layout.axis_names.index(name)]
        attrs = {key: value for key, value in partial.attrs.items() if key != "units"}
        if per is not None:
            attrs["units"] = f"{partial.attrs['units']}/{per}"
        partial.attrs = attrs
    return partial


def _stack(partials: list[Any], names: list[str]) -> Any:
    first = partials[0]
    if isinstance(first, list):
        return [_stack(list(items), names) for items in zip(*partials, strict=True)]
    if isinstance(first, np.ndarray):
        stack = np.ma.stack if isinstance(first, np.ma.MaskedArray) else np.stack
        return stack(partials, axis=-1)
    along = xr.DataArray(names, dims=_DERIVATIVE, name=_DERIVATIVE)
    whole = xr.concat(partials, dim=along, combine_attrs="drop_conflicts")
    return whole.transpose(..., _DERIVATIVE)


def _on_grid(decoder: Decoder, rows: np.ndarray, axes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Evaluate on a grid: arrays of shape (n, *shape, c)."""
    points = grid_points(axes)
    shape = tuple(len(axis) for axis in axes)
    return [values.reshape(len(rows), *shape, -1) for values in decoder(rows, points)]


def _on_own_grids(
    decoder: Decoder,
    frame: CoordinateFrame,
    layout: Layout,
    rows: np.ndarray,
    coords: Any,
    dtypes: Sequence[npt.DTypeLike | None],
) -> list[list[Any]]:
    grids = list(coords) if isinstance(coords, Iterable) else [coords]
    all_axes = [axes_from_coords(one, layout) for one in grids]
    if len(grids) != len(rows):
        raise ValueError(
            f"coords must be one mapping, or one per latent: got {len(grids)} for "
            f"{len(rows)} latents"
        )
    results = []
    for row, axes, grid in zip(rows, all_axes, grids, strict=True):
        _warn_outside(frame, axes)
        found = zip(_on_grid(decoder, rows[row : row + 1], axes), cycle(dtypes))
        signals = [layout.label(cast(v, dtype), axes, None).isel(sample=0) for v, dtype in found]
        if isinstance(grid, xr.DataArray):  # which signal this is, and where its volume lies
            signals = [_described_by(grid, signal) for signal in signals]
        results.append(signals)
    return [list(signals) for signals in zip(*results, strict=True)]


def _described_by(grid: xr.DataArray, signal: Any) -> Any:
    """Return a decoded signal with the facts of the one whose grid it is on, not those of fit."""
    own = {
        name: fact
        for name, fact in grid.coords.items()
        if name not in signal.dims and set(fact.dims) <= {*signal.dims} - {CHANNEL}
    }
    return without_facts(signal).assign_attrs(grid.attrs).assign_coords(own)


def without_facts(signal: Any) -> Any:
    """Return a signal without what is known of one signal alone, such as its labels over time."""
    facts = [
        name
        for name, fact in signal.coords.items()
        if name not in (*signal.dims, CHANNEL) and CHANNEL not in fact.dims
    ]
    return signal.drop_vars(facts)


def _warn_outside(frame: CoordinateFrame, axes: Sequence[np.ndarray]) -> None:
    frame.warn_outside(
        np.array([axis.min() for axis in axes]), np.array([axis.max() for axis in axes])
    )


def checked_grid(grid: Any, layout: Layout) -> list[int]:
    """Return the numbers of points given as ``grid=``.

    Parameters
    ----------
    grid : sequence of d int
        Whatever the caller gave.
    layout : Layout
        Whose axes they are for.

    Raises
    ------
    ValueError
        If they are not one positive number for each axis.
    """
    sizes = list(grid) if isinstance(grid, Sequence | np.ndarray) else [grid]
    whole = all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes
    )
    if len(sizes) != layout.n_axes or not whole:
        raise ValueError(
            f"grid must give {layout.n_axes} positive number(s) of points, one for each of the "
            f"axes {layout.axis_names}, got {grid!r}"
        )
    return [int(n) for n in sizes]


def _checked_dtype(dtype: npt.DTypeLike) -> np.dtype:
    try:
        target = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype must be a type of real numbers, got {dtype!r}") from error
    if target.kind not in "biuf":
        raise ValueError(f"dtype must be a type of real numbers, got {dtype!r}")
    return target
