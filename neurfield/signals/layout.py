"""What a container looked like, so that results can go back into one like it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from neurfield.signals.attributes import from_json, to_json
from neurfield.signals.times import TimeAxis

SAMPLE, CHANNEL, POINT = "sample", "channel", "point"

# What holds whatever callers put there, which JSON may have no type for.
_AS_JSON = ("channel_labels", "attrs", "variable_attrs", "axis_attrs", "coords", "encodings")


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
    has_columns : bool, default=False
        Whether positions along the axis of an array are labels of a DataFrame's columns.
    masked : bool array that broadcasts to (*shape, c), or None, default=None
        Of masked arrays, where on the reference grid no signal of fit has a value.
    coords : mapping of str to Variable, optional
        Coordinates beside the axes and the samples: scalars, and those over the grid or channels.
    encodings : mapping of str to mapping, optional
        How a file stored the values (""), the variables of a Dataset and the coordinates.
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
    has_columns: bool = False
    masked: np.ndarray | None = None
    coords: Mapping[str, xr.Variable] = field(default_factory=dict)
    encodings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what was pickled, and the defaults of what an older version did not have."""
        makers = {f.name: f.default_factory for f in fields(self)}
        defaults = {name: make() for name, make in makers.items() if make is not MISSING}
        self.__dict__.update({**defaults, **state})

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
        samples: xr.Coordinates | None = None,
        masked: np.ndarray | None = None,
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
        samples : Coordinates, optional
            Labels along the sample dimension of xarray results.
        masked : bool array that broadcasts to the values, optional
            What of each signal has not been observed; only where `axes` are the grid of fit.

        Returns
        -------
        ndarray, DataArray or Dataset; a list of n of them (without sample axis) for list input
            The values in the container, order of dimensions and labels of the caller.
        """
        values = cast(values, dtype)
        whole: Any
        if self.container == "array":
            whole = self._as_array(values)
            known = [mask for mask in (self.masked, masked) if mask is not None]
            if known:
                mask = np.zeros(values.shape, dtype=bool)
                for part in known if self.is_grid_of_fit(axes) else []:
                    mask |= part
                whole = np.ma.masked_array(whole, self._as_array(mask))
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
        samples: xr.Coordinates | None = None,
    ) -> xr.DataArray | xr.Dataset:
        """Label values of shape (n, *shape, c) with the axes they stand on."""
        coords: dict[str, Any] = {
            name: (name, self.positions(name, axis), dict(self.axis_attrs.get(name, {})))
            for name, axis in zip(self.axis_names, axes, strict=True)
        }
        dims = [SAMPLE, *self.axis_names]
        if self.has_channels:
            dims.append(CHANNEL)
            if self.channel_labels is not None:
                labels = label_array(self.channel_labels)
                coords[CHANNEL] = (CHANNEL, labels, dict(self.axis_attrs.get(CHANNEL, {})))
        else:
            values = values[..., 0]
        array = xr.DataArray(
            values, coords=coords, dims=dims, name=self.name, attrs=dict(self.attrs)
        )
        array = array.assign_coords(self._beside(axes))
        if samples is not None:
            if shared := {
                name for name in samples if name in array.coords or name in array.dims[1:]
            }:
                raise ValueError(
                    f"labels of samples must not be called as axes or other coordinates are: "
                    f"{sorted(map(str, shared))}; rename them"
                )
            array = array.assign_coords(samples)
        order = [dim for dim in self.dims if dim in array.dims]
        array = array.transpose(*order) if order else array
        return self._as_dataset(array) if self.container == "dataset" else array

    def is_grid_of_fit(self, axes: Sequence[np.ndarray]) -> bool:
        """Tell whether axes are those of the reference grid."""
        return self.axes is not None and all(map(np.array_equal, axes, self.axes))

    def _beside(self, axes: Sequence[np.ndarray]) -> dict[str, xr.Variable]:
        """Return the coordinates beside the axes; those over the grid belong to that of fit."""
        everywhere = {CHANNEL} if self.has_channels else set()
        places = everywhere | (set(self.axis_names) if self.is_grid_of_fit(axes) else set())
        return {name: v for name, v in self.coords.items() if set(v.dims) <= places}

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
        plain = {name.name: getattr(self, name.name) for name in fields(self)}
        plain["axes"] = None if self.axes is None else [axis.tolist() for axis in self.axes]
        if self.masked is not None:
            bits = np.packbits(self.masked, axis=None).tobytes()
            plain["masked"] = {"shape": list(self.masked.shape), "bits": to_json(bits)}
        plain["times"] = {name: asdict(time) for name, time in self.times.items()}
        plain["coords"] = {n: [v.dims, v.to_numpy(), v.attrs] for n, v in self.coords.items()}
        return {
            name: to_json(value) if name in _AS_JSON else value for name, value in plain.items()
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Layout:
        """Rebuild a layout from :meth:`to_dict`."""
        held = {n: from_json(v) if n in _AS_JSON else v for n, v in plain.items()}
        for name in ("axis_names", "dims"):
            held[name] = tuple(held[name])
        if held.get("extent") is not None:
            held["extent"] = tuple((first, last) for first, last in held["extent"])
        if held["channel_labels"] is not None:
            held["channel_labels"] = tuple(held["channel_labels"])
        if held["axes"] is not None:
            held["axes"] = tuple(np.asarray(axis, dtype=np.float64) for axis in held["axes"])
        if held.get("masked") is not None:
            shape, bits = held["masked"]["shape"], from_json(held["masked"]["bits"])
            flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=math.prod(shape))
            held["masked"] = flat.astype(bool).reshape(shape)
        held["times"] = {n: TimeAxis(**time) for n, time in held.get("times", {}).items()}
        held["coords"] = {n: xr.Variable(*parts) for n, parts in held.get("coords", {}).items()}
        return cls(**held)

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


def label_array(labels: Any) -> np.ndarray:
    """Return labels as an array that keeps them as they are, of whatever types.

    Examples
    --------
    >>> label_array(["II", 2])
    array(['II', 2], dtype=object)
    """
    held = list(labels)
    kinds = {type(label) for label in held}
    if len(kinds) == 1 and not kinds & {tuple, list}:
        return np.asarray(held)
    array = np.empty(len(held), dtype=object)
    array[:] = held
    return array


def cast(values: np.ndarray, dtype: npt.DTypeLike | None) -> np.ndarray:
    """Convert values to a type; integers are rounded and clipped instead of wrapping around.

    Raises
    ------
    ValueError
        If a floating-point type is too narrow for a value.
    """
    if dtype is None:
        return values
    target = np.dtype(dtype)
    if target.kind == "b":
        return values >= 0.5
    if target.kind in "iu":
        limits = np.iinfo(target)
        whole = np.rint(values).astype(np.float64)
        # In float64 the greatest 64-bit integers are numbers that are beyond them.
        below, above = whole <= limits.min, whole >= limits.max
        found = np.where(below | above, 0.0, whole).astype(target)
        found[below], found[above] = limits.min, limits.max
        return found
    with np.errstate(over="ignore"):
        found = values.astype(target)
    if np.isinf(found).any():
        raise ValueError(
            f"dtype {target} cannot hold decoded values up to {np.abs(values).max():g}; ask for a "
            "wider one"
        )
    return found
