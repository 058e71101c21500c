"""What a container looked like, so that results can go back into one like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from neurfield.signals.times import TimeAxis

SAMPLE, CHANNEL, POINT = "sample", "channel", "point"


@dataclass(frozen=True)
class Layout:
    """Container, axes and labels of a data set, without its values.

    Parameters
    ----------
    container : {"array", "dataarray", "dataset"}
        What the caller passed, or what the items of the caller's list are.
    is_list : bool
        Whether the caller passed a list of signals, each on a grid of its own.
    axis_names : tuple of d str
        Names of the coordinate axes.
    axes : tuple of d arrays or None
        Reference grid in the caller's units; None when no grid was ever seen.
    n_channels : int, default=1
        Number of channels c.
    channel_axis : int or None, default=None
        Which axis of an array (sample axis included) holds channels; None = one channel, no axis.
    dims : tuple of str, default=()
        Order of all dimensions of an xarray input, "sample" first for lists.
    channel_labels : sequence or None, default=None
        Coordinate of the "channel" dimension, or the variable names of a Dataset.
    name : str or None, default=None
        Name of a DataArray, or of the only variable of a Dataset.
    attrs : mapping, optional
        Attributes of the DataArray or Dataset.
    variable_attrs : mapping of str to mapping, optional
        Attributes of each variable of a Dataset.
    axis_attrs : mapping of str to mapping, optional
        Attributes of each coordinate axis (units and the like).
    unit_axes : bool, default=False
        Whether each axis of an array spans [-1, 1], whatever its size, instead of counting indices.
    extent : tuple of d pairs of float, or None, default=None
        First and last coordinate along each axis, where scattered points take the place of a grid.
    times : mapping of str to TimeAxis, optional
        Axes that hold dates or durations; their coordinates here are seconds.
    """

    container: Literal["array", "dataarray", "dataset"]
    is_list: bool
    axis_names: tuple[str, ...]
    axes: tuple[np.ndarray, ...] | None
    n_channels: int = 1
    channel_axis: int | None = None
    dims: tuple[str, ...] = ()
    channel_labels: tuple[Any, ...] | None = None
    name: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    variable_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    axis_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unit_axes: bool = False
    extent: tuple[tuple[float, float], ...] | None = None
    times: Mapping[str, TimeAxis] = field(default_factory=dict)

    @property
    def n_axes(self) -> int:
        """Number of coordinate axes d."""
        return len(self.axis_names)

    @property
    def has_channels(self) -> bool:
        """Whether the caller's data has an axis, or several variables, for channels."""
        if self.container == "array":
            return self.channel_axis is not None
        return CHANNEL in self.dims or len(self.variable_attrs) > 1

    @property
    def units(self) -> tuple[str | None, ...]:
        """Unit of each axis, where its attributes give one."""
        return tuple(
            "s" if name in self.times else self.axis_attrs.get(name, {}).get("units")
            for name in self.axis_names
        )

    def wrap(
        self,
        values: np.ndarray,
        axes: Sequence[np.ndarray],
        dtype: npt.DTypeLike | None = None,
        samples: npt.ArrayLike | None = None,
    ) -> Any:
        """Put values into a container like the one seen in fit.

        Parameters
        ----------
        values : array of shape (n, *shape, c)
            One signal a row, in the caller's units, channels last.
        axes : sequence of d arrays
            Grid of the values, in the caller's units.
        dtype : dtype, optional
            Type to return; integer types are rounded and clipped to their range.
        samples : array-like of length n, optional
            Labels for the sample dimension of xarray results.

        Returns
        -------
        ndarray, DataArray or Dataset; a list of n of them (without sample axis) for list input
            The values in the container, order of dimensions and labels of the caller.
        """
        values = cast(values, dtype)
        whole: Any
        if self.container == "array":
            whole = self._as_array(values)
        else:
            whole = self.label(values, axes, samples)
        if not self.is_list:
            return whole
        if self.container == "array":
            return list(whole)
        return [whole.isel({SAMPLE: i}) for i in range(len(values))]

    def label(
        self,
        values: np.ndarray,
        axes: Sequence[np.ndarray],
        samples: npt.ArrayLike | None = None,
    ) -> xr.DataArray | xr.Dataset:
        """Label values of shape (n, *shape, c) with the axes they stand on."""
        coords: dict[str, Any] = {
            name: (name, self.positions(name, axis), dict(self.axis_attrs.get(name, {})))
            for name, axis in zip(self.axis_names, axes, strict=True)
        }
        if samples is not None:
            coords[SAMPLE] = (SAMPLE, np.asarray(samples))
        dims = [SAMPLE, *self.axis_names]
        if self.has_channels:
            dims.append(CHANNEL)
            if self.channel_labels is not None:
                coords[CHANNEL] = (CHANNEL, list(self.channel_labels))
        else:
            values = values[..., 0]
        array = xr.DataArray(
            values, coords=coords, dims=dims, name=self.name, attrs=dict(self.attrs)
        )
        order = [dim for dim in self.dims if dim in array.dims]
        array = array.transpose(*order) if order else array
        return self._as_dataset(array) if self.container == "dataset" else array

    def positions(self, name: str, axis: np.ndarray) -> np.ndarray:
        """Return coordinates as the caller has them: dates or durations where fit saw such."""
        return self.times[name].times(axis) if name in self.times else axis

    def resized(self, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return a grid of the given sizes over the same extent."""
        ends = list(self.extent or [(-1.0, 1.0)] * self.n_axes)
        if self.axes is not None:
            ends = [_ends(axis) for axis in self.axes]
        return tuple(np.linspace(*end, size) for end, size in zip(ends, sizes, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values that describe the layout, for JSON."""
        plain = asdict(self)
        plain["axes"] = None if self.axes is None else [axis.tolist() for axis in self.axes]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Layout:
        """Rebuild a layout from :meth:`to_dict`."""
        fields = dict(plain)
        for name in ("axis_names", "dims"):
            fields[name] = tuple(fields[name])
        if fields.get("extent") is not None:
            fields["extent"] = tuple((first, last) for first, last in fields["extent"])
        if fields["channel_labels"] is not None:
            fields["channel_labels"] = tuple(fields["channel_labels"])
        if fields["axes"] is not None:
            fields["axes"] = tuple(np.asarray(axis, dtype=np.float64) for axis in fields["axes"])
        fields["times"] = {n: TimeAxis(**time) for n, time in fields.get("times", {}).items()}
        return cls(**fields)

    def _as_array(self, values: np.ndarray) -> np.ndarray:
        if self.channel_axis is None:
            return values[..., 0]
        return np.moveaxis(values, -1, self.channel_axis)

    def _as_dataset(self, array: xr.DataArray) -> xr.Dataset:
        names = list(self.variable_attrs)
        if len(names) == 1:
            dataset = array.rename(names[0]).to_dataset()
        else:
            dataset = array.to_dataset(dim=CHANNEL)
        for name in names:
            dataset[name].attrs = dict(self.variable_attrs[name])
        dataset.attrs = dict(self.attrs)
        return dataset


def _ends(axis: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest coordinate, in the order in which the axis runs."""
    ends = float(axis.min()), float(axis.max())
    return ends[::-1] if axis[0] > axis[-1] else ends


def cast(values: np.ndarray, dtype: npt.DTypeLike | None) -> np.ndarray:
    """Convert values to a type; integers are rounded and clipped instead of wrapping around."""
    if dtype is None:
        return values
    target = np.dtype(dtype)
    if np.issubdtype(target, np.integer):
        limits = np.iinfo(target)
        return np.clip(np.rint(values), limits.min, limits.max).astype(target)
    return values.astype(target)


def check_agreement(layout: Layout, expected: Layout, where: str = "seen in fit") -> None:
    """Refuse signals whose axes or channels are not those of another layout."""
    if layout.n_axes != expected.n_axes:
        raise ValueError(
            f"X must have {expected.n_axes} coordinate axes {expected.axis_names} as {where}, "
            f"got {layout.n_axes}: {layout.axis_names}"
        )
    if set(layout.axis_names) != set(expected.axis_names):
        raise ValueError(
            f"the coordinate axes of X must be {expected.axis_names} as {where}, "
            f"got {layout.axis_names}"
        )
    if layout.n_channels != expected.n_channels:
        raise ValueError(
            f"X must have {expected.n_channels} channel(s) as {where}, got {layout.n_channels}"
        )
