"""Read values at scattered points into groups of signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.labelled import description_of, numbers_of, values_of
from neurfield.signals.layout import CHANNEL, POINT, SAMPLE, Layout
from neurfield.signals.lazy import LazyValues


def point_coordinates(X: xr.DataArray, expected: Layout | None) -> tuple[str, ...]:
    """Return the names of the coordinates of scattered points; none for values on a grid."""
    if POINT not in X.dims:
        return ()
    along = [
        str(name)
        for name, coord in X.coords.items()
        if POINT in coord.dims and set(coord.dims) <= {SAMPLE, POINT} and name != POINT
    ]
    if expected is not None and set(expected.axis_names) <= set(along):
        return expected.axis_names
    return tuple(name for name in along if X[name].dtype.kind in "iufMm")


def read_scattered(X: xr.DataArray, names: tuple[str, ...], expected: Layout | None) -> Signals:
    """Read values at points, the same for all signals or, with a sample axis, each one's own."""
    if extra := set(map(str, X.dims)) - {SAMPLE, POINT, CHANNEL}:
        raise ValueError(
            f'X has scattered points along "{POINT}", so it can have no grid beside them; '
            f"got the dimensions {sorted(extra)} too"
        )
    if X.size == 0:
        raise ValueError(f"X needs at least one signal with one value, got sizes {dict(X.sizes)}")
    values, positions = values_of(X, (POINT,)), np.arange(X.sizes[SAMPLE])
    read = {name: numbers_of(X[name], name, expected) for name in names}
    times = {name: time for name, (_, time) in read.items() if time is not None}
    if any(SAMPLE in X[name].dims for name in names):
        axes = [_per_signal(X, name, read[name][0]) for name in names]
        values = values[positions] if isinstance(values, LazyValues) else values
        groups = _grouped_by_points(axes, values)
    else:
        shared = tuple(read[name][0] for name in names)
        groups = (SignalGroup(shared, values, positions, is_scattered=True),)
    for group in groups:
        for name, axis in zip(names, group.axes, strict=True):
            if not np.isfinite(axis).all():
                raise ValueError(f'coordinate "{name}" of X must be finite where X has values')
    layout = Layout(
        container="dataarray",
        is_list=False,
        axis_names=names,
        axes=None,
        n_channels=X.sizes.get(CHANNEL, 1),
        dims=(SAMPLE, *names, *([CHANNEL] if CHANNEL in X.dims else [])),
        times=times,
        **description_of(X, names),
    )
    return Signals(groups, layout)


def _per_signal(X: xr.DataArray, name: str, numbers: np.ndarray) -> np.ndarray:
    points = numbers.T if X[name].dims == (POINT, SAMPLE) else numbers
    return np.broadcast_to(points, (X.sizes[SAMPLE], X.sizes[POINT]))


def _grouped_by_points(axes: Sequence[np.ndarray], values: np.ndarray) -> tuple[SignalGroup, ...]:
    """Put signals on the same points together, without points that only fill up the array."""
    blank = np.isnan(np.stack(axes)).any(axis=0)
    if values.dtype.kind == "f":
        blank &= np.isnan(values).all(axis=-1)
    else:
        blank[:] = False
    members: dict[bytes, list[int]] = {}
    for i in range(len(values)):
        key = b"".join(axis[i][~blank[i]].tobytes() for axis in axes)
        members.setdefault(key, []).append(i)
    groups = []
    for rows in members.values():
        points = tuple(axis[rows[0]][~blank[rows[0]]] for axis in axes)
        held = np.stack([values[i][~blank[i]] for i in rows])
        groups.append(SignalGroup(points, held, np.array(rows), is_scattered=True))
    return tuple(groups)
