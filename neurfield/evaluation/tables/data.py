"""The signals of a table: some to learn from, others to measure on, values in [0, 1]."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from neurfield.datasets import Container
from neurfield.evaluation.reconstruction import Arrays, as_array, values_of
from neurfield.signals.describing import describe

_HELD_OUT = 0.25  # of signals that come without a division of their own
_LABEL = "label_"  # how coordinates begin that tell of one label each
_GROUPS = ("patient", "record")  # coordinates whose members are not to be divided


@dataclass(frozen=True)
class TableData:
    """Signals to learn from and signals to measure on.

    Parameters
    ----------
    train, test : DataArray or list of DataArray
        Values between 0 and 1 over the range of `train`.
    train_labels, test_labels : arrays of shape (n_samples,) or (n_samples, n_labels), or None
        Classes, where the signals have them; or several labels a signal, each of them 0 or 1.
    digest : str
        Tells this data from any other.
    label_names : tuple of str, default=()
        Names of the labels, where there are several a signal.
    """

    train: xr.DataArray | list[xr.DataArray]
    test: xr.DataArray | list[xr.DataArray]
    train_labels: NDArray[Any] | None
    test_labels: NDArray[Any] | None
    digest: str
    label_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis, of the first signal where they differ."""
        first = self.train[0] if isinstance(self.train, list) else self.train.isel(sample=0)
        return tuple(size for dim, size in first.sizes.items() if dim != "channel")

    @property
    def n_axes(self) -> int:
        """Number of coordinate axes."""
        return len(self.shape)

    @property
    def has_classes(self) -> bool:
        """Whether there are classes to tell apart."""
        labels = self.train_labels
        return (
            labels is not None
            and self.test_labels is not None
            and bool(np.any(labels != labels[:1]))
        )

    def described(self) -> tuple[str, str]:
        """Return what both parts are, a line each."""
        return f"learns from {describe(self.train)}", f"measured on {describe(self.test)}"

    def flat(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both parts with one row of values per signal.

        Raises
        ------
        ValueError
            If the signals stand on grids of their own.
        """
        train, test = self.stacked()
        return train.reshape(len(train), -1), test.reshape(len(test), -1)

    def stacked(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both parts as arrays of shape (n_samples, *shape, n_channels).

        Raises
        ------
        ValueError
            If the signals stand on grids of their own.
        """
        train, test = values_of(self.train), values_of(self.test)
        if isinstance(train, list) or isinstance(test, list):
            raise ValueError("it needs signals on one grid; these stand on grids of their own")
        return np.asarray(train), np.asarray(test)


def make_data(
    train: Container,
    test: Container | None = None,
    *,
    limits: tuple[int | None, int | None] = (None, None),
    grid: Sequence[int] | None = None,
) -> TableData:
    """Prepare signals for the tables.

    Parameters
    ----------
    train : DataArray, Dataset or list of DataArray
        Signals to learn from.
    test : the same, optional
        Signals to measure on. By default a quarter of `train` at random; whole records or patients,
        where a coordinate of that name tells them, and otherwise the same share of each class.
    limits : (int or None, int or None), default=(None, None)
        Most signals to learn from and to measure on, drawn at random.
    grid : sequence of int, optional
        Points along each axis to resample every signal to, linearly over its own extent.

    Returns
    -------
    TableData
        Both parts with their labels, scaled by the map that takes the range of what is to be learnt
        from to [0, 1].

    Raises
    ------
    ValueError
        If `grid` does not fit, or nothing is left to measure on.
    """
    parts = [_plain(part) for part in ((train,) if test is None else (train, test))]
    if grid is not None:
        parts = [_resampled(part, grid) for part in parts]
    if test is None:
        parts = _divided(parts[0])
    draw = np.random.default_rng(0)
    first, second = (_some(part, most, draw) for part, most in zip(parts, limits, strict=True))
    arrays = [np.asarray(signal) for signal in (first if isinstance(first, list) else [first])]
    lower = min(float(np.nanmin(array)) for array in arrays)
    span = max(float(np.nanmax(array)) for array in arrays) - lower
    learn, measure = (_scaled(part, lower, span or 1.0) for part in (first, second))
    digest = _digest((learn, measure))
    names = _label_names(first)
    if names != _label_names(second):
        return TableData(learn, measure, None, None, digest)
    return TableData(learn, measure, labels_beside(first), labels_beside(second), digest, names)


def resized(data: TableData, shape: tuple[int, ...]) -> TableData:
    """Return signals of another size, each value the mean over the points that it stands for.

    Parameters
    ----------
    data : TableData
        On a common grid.
    shape : tuple of int
        Points along each axis.

    Raises
    ------
    ValueError
        If the signals stand on grids of their own.
    """
    parts = []
    for values in data.stacked():
        channels_first = torch.from_numpy(np.moveaxis(values, -1, 1).astype(np.float32))
        found = torch.nn.functional.interpolate(channels_first, size=shape, mode="area")
        dims = ("sample", *(f"axis_{k}" for k in range(len(shape))), "channel")
        parts.append(xr.DataArray(np.moveaxis(found.numpy(), 1, -1), dims=dims))
    return replace(data, train=parts[0], test=parts[1])


Part = xr.DataArray | list[xr.DataArray]


def _plain(signals: Container) -> Part:
    return signals if isinstance(signals, list) else as_array(signals)


def _resampled(part: Part, grid: Sequence[int]) -> Part:
    if isinstance(part, list):
        arrays = [_resampled_one(signal, grid) for signal in part]
        return xr.concat(
            [array.drop_vars(list(array.coords)).drop_attrs() for array in arrays], dim="sample"
        )
    return _resampled_one(part, grid)


def _resampled_one(signal: xr.DataArray, grid: Sequence[int]) -> xr.DataArray:
    axes = [dim for dim in signal.dims if dim not in ("sample", "channel")]
    if len(grid) != len(axes) or min(grid) < 1:
        raise ValueError(f"grid needs {len(axes)} positive numbers {tuple(axes)}, got {list(grid)}")
    targets = {
        dim: np.linspace(float(signal[dim][0]), float(signal[dim][-1]), size)
        for dim, size in zip(axes, grid, strict=True)
    }
    return signal.interp(targets)


def _divided(part: Part) -> list[Part]:
    n_signals = len(part)
    positions = np.arange(n_signals)
    labels = labels_beside(part)
    groups = next((_coordinate(part, name) for name in _GROUPS if _has(part, name)), None)
    if n_signals < 2:
        raise ValueError(f"it takes two signals or more to hold some out, got {n_signals}")
    if groups is not None and len(np.unique(groups)) > 1:
        splitter = GroupShuffleSplit(1, test_size=_HELD_OUT, random_state=0)
        train, test = next(splitter.split(positions, groups=groups))
    else:
        train, test = train_test_split(
            positions,
            test_size=_HELD_OUT,
            random_state=0,
            stratify=labels if _can_be_shared(labels) else None,
        )
    return [_take(part, np.sort(train)), _take(part, np.sort(test))]


def _can_be_shared(labels: NDArray[Any] | None) -> bool:
    """Tell whether both parts of a division can have some of each class."""
    if labels is None or labels.ndim == 2:
        return False
    _, counts = np.unique(labels, return_counts=True)
    return bool(counts.min() >= 2 and len(counts) <= math.ceil(_HELD_OUT * len(labels)))


def _some(part: Part, most: int | None, draw: np.random.Generator) -> Part:
    if most is None or len(part) <= most:
        return part
    return _take(part, np.sort(draw.permutation(len(part))[:most]))


def _take(part: Part, positions: NDArray[np.intp]) -> Part:
    if isinstance(part, list):
        return [part[position] for position in positions]
    return part.isel(sample=positions)


def _has(part: Container, name: str) -> bool:
    return not isinstance(part, list) and name in part.coords and part[name].dims == ("sample",)


def _coordinate(part: Container, name: str) -> NDArray[Any]:
    assert not isinstance(part, list)
    return part[name].values


def labels_beside(part: Container) -> NDArray[Any] | None:
    """Return the class of each signal, or which labels it has, or None; None for a list."""
    if _has(part, "label"):
        return _coordinate(part, "label")
    columns = [_coordinate(part, _LABEL + name) for name in _label_names(part)]
    return np.column_stack(columns).astype(int) if columns else None


def _label_names(part: Container) -> tuple[str, ...]:
    """Return the names of the labels that readers give as columns of 0 and 1, in their order."""
    if isinstance(part, list) or _has(part, "label"):
        return ()
    named = [str(name) for name in part.coords if str(name).startswith(_LABEL)]
    columns = [name for name in named if _has(part, name) and part[name].dtype.kind in "biu"]
    if not all(np.isin(part[name], (0, 1)).all() for name in columns):
        return ()  # they count something
    return tuple(name.removeprefix(_LABEL) for name in columns)


def _scaled(part: Part, lower: float, span: float) -> Part:
    if isinstance(part, list):
        return [((signal - lower) / span).astype(np.float32) for signal in part]
    return ((part - lower) / span).astype(np.float32)


def _digest(parts: Sequence[Part]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for signal in part if isinstance(part, list) else [part]:
            digest.update(repr(signal.shape).encode())
            digest.update(np.ascontiguousarray(signal.values).tobytes())
            for dim in signal.dims:
                digest.update(np.asarray(signal[dim].values).astype(str).tobytes())
        labels = labels_beside(part)
        if labels is not None:
            digest.update(labels.astype(str).tobytes())
    return digest.hexdigest()[:16]


def in_range(values: Arrays) -> Arrays:
    """Return decoded values cut off at the range of the data, which no signal leaves."""
    if isinstance(values, list):
        return [np.clip(one, 0.0, 1.0) for one in values]
    return np.clip(np.asarray(values), 0.0, 1.0)


def signal_at(data: TableData, position: int) -> xr.DataArray:
    """Return one of the signals to measure on.

    Parameters
    ----------
    data : TableData
        Signals to learn from and to measure on.
    position : int
        Which one, from 0.
    """
    if isinstance(data.test, list):
        return data.test[position]
    return data.test.isel(sample=position, drop=True)
