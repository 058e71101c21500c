"""To normalised numbers and back, the same whatever container they came in."""

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neurfield.signals import Units, read_signals

da = pytest.importorskip("dask.array")

AXES = {"y": np.array([2.0, 2.5, 3.0, 3.5]), "x": np.array([-7.0, 0.0, 7.0])}
numbers = st.floats(-1e6, 1e6, allow_nan=False, width=32)
images = arrays(np.float64, (3, 4, 3, 2), elements=st.one_of(numbers, st.just(np.nan))).filter(
    lambda X: (~np.isnan(X)).any(axis=(1, 2)).all()  # every channel of every signal
)


def labelled(X):
    return xr.DataArray(X, {**AXES, "channel": ["a", "b"]}, ("sample", "y", "x", "channel"))


CONTAINERS = {
    "array": lambda X: X,
    "dataarray": labelled,
    "transposed": lambda X: labelled(X).transpose("channel", "y", "sample", "x"),
    "dataset": lambda X: labelled(X).to_dataset("channel"),
    "dask": lambda X: labelled(X).chunk({"sample": 2}),
    "list": lambda X: [labelled(X).isel(sample=i) for i in range(len(X))],
    "list of arrays": lambda X: list(X),
    "lazy list": lambda X: [labelled(X).chunk().isel(sample=i) for i in range(len(X))],
}


def read(kind, X):
    return read_signals(CONTAINERS[kind](X), -1 if kind == "array" or "arrays" in kind else None)


def there_and_back(units, signals):
    """Return the values of all signals, scaled and brought back."""
    (group,) = signals.groups
    scaled = units.values(np.asarray(group.values[np.arange(len(signals))]))
    return scaled, units.invert_values(scaled)


@pytest.mark.parametrize("kind", CONTAINERS)
@given(X=images)
def test_values_come_back(kind, X):
    signals = read(kind, X)
    units = Units.of(signals)
    scaled, back = there_and_back(units, signals)
    expected, _ = there_and_back(Units.of(read("array", X)), read("array", X))
    np.testing.assert_array_equal(scaled, expected)
    largest = np.nanmax(np.abs(X))
    np.testing.assert_allclose(back, X, rtol=0, atol=8 * np.finfo(float).eps * largest)


@pytest.mark.parametrize("kind", [kind for kind in CONTAINERS if "array" not in kind])
def test_coordinates_come_back(kind):
    signals = read(kind, np.random.default_rng(0).random((3, 4, 3, 2)))
    (group,), names = signals.groups, signals.layout.axis_names
    units = Units.of(signals)
    points = np.stack(np.meshgrid(*(AXES[name] for name in names), indexing="ij"), axis=-1)
    normalised = units.coordinates(points)
    np.testing.assert_array_equal(normalised.min(axis=(0, 1)), [-1, -1])
    np.testing.assert_array_equal(normalised.max(axis=(0, 1)), [1, 1])
    np.testing.assert_array_equal(normalised.reshape(-1, 2), units.frame.grid(group.axes))
    np.testing.assert_allclose(units.invert_coordinates(normalised), points, atol=1e-9)


@given(
    ends=st.tuples(numbers, numbers).filter(lambda ends: abs(ends[1] - ends[0]) > 1e-3),
    where=st.lists(st.floats(-3, 3), min_size=1),
)
def test_points_come_back(ends, where):
    signal = xr.DataArray(np.ones((1, 2)), {"t": np.sort(ends)}, ("sample", "t"))
    units = Units.of(read_signals(signal))
    points = np.array(where)[:, None]
    back = units.coordinates(units.invert_coordinates(points))
    # Normalised coordinates have ten digits; a far origin leaves the caller's fewer.
    lost = 4 * np.finfo(float).eps * (1 + np.abs(ends).max() / abs(ends[1] - ends[0]))
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-10 + 8 * lost)


def test_dask_arrays_stay_lazy():
    X = np.random.default_rng(0).normal(50, 20, (4, 5, 2))
    units = Units.of(read_signals(X, -1))
    lazy = da.from_array(X, chunks=(2, 5, 2))
    scaled = units.values(lazy)
    assert isinstance(scaled, da.Array)
    np.testing.assert_array_equal(scaled.compute(), units.values(X))
    np.testing.assert_allclose(units.invert_values(scaled).compute(), X, rtol=1e-14)


def test_ranges_are_in_the_caller_s_units_and_scaled():
    X = np.random.default_rng(0).normal(50, 20, (40, 5, 2)) * [1, 100]
    units = Units.of(read_signals(X, -1))
    np.testing.assert_array_equal(units.value_range, np.ptp(X, axis=(0, 1)))
    scaled = units.values(X)
    np.testing.assert_allclose(units.scaled_range, np.ptp(scaled, axis=(0, 1)))
    steps = units.invert_values(np.ones(2)) - units.invert_values(np.zeros(2))
    np.testing.assert_allclose(steps, units.value_scale)


def test_identity_changes_nothing():
    units = Units.identity(2, 3)
    points, values = np.array([[-1.0, 0.25]]), np.array([[0.0, 0.5, 2.0]])
    for forth, back in (
        (units.coordinates, units.invert_coordinates),
        (units.values, units.invert_values),
    ):
        given = points if forth == units.coordinates else values
        np.testing.assert_array_equal(forth(given), given)
        np.testing.assert_array_equal(back(given), given)


def test_isotropic_units_scale_axes_alike():
    signals = read("dataarray", np.random.default_rng(0).random((3, 4, 3, 2)))
    np.testing.assert_array_equal(Units.of(signals).frame.half_width, [0.75, 7])
    np.testing.assert_array_equal(Units.of(signals, isotropic=True).frame.half_width, [7, 7])


def test_outside_of_the_extent_there_is_a_warning():
    units = Units.of(read("dataarray", np.random.default_rng(0).random((3, 4, 3, 2))))
    units.warn_outside(np.array([2.0, -7.0]), np.array([3.5, 7.0]))
    with pytest.warns(UserWarning, match="outside the extent seen in fit"):
        units.warn_outside(np.array([1.0, -7.0]), np.array([3.5, 7.0]))


def test_saved_units_are_the_same():
    units = Units.of(read("dataarray", np.random.default_rng(0).random((3, 4, 3, 2))))
    document = json.loads(json.dumps(units.to_dict()))
    again = Units.from_dict({**document, "dtype": "float32"})
    assert document == {
        "frame": {key: value.tolist() for key, value in vars(units.frame).items()},
        "scaler": {key: value.tolist() for key, value in vars(units.scaler).items()},
    }
    for step, other in ((units.frame, again.frame), (units.scaler, again.scaler)):
        for name, value in vars(step).items():
            np.testing.assert_array_equal(getattr(other, name), value)
