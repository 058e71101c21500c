"""Where signals stand: any order of coordinates, none twice, and not outside the extent of fit."""

import warnings

import numpy as np
import pytest
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.signals import read_signals


def series():
    return np.random.default_rng(0).normal(size=(9, 4)).repeat(3, axis=1)


def labelled(values):
    return xr.DataArray(values, {"t": np.arange(values.shape[1])}, ("sample", "t"))


def test_repeated_coordinates_are_refused():
    X = labelled(series()).assign_coords(t=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11])
    with pytest.raises(ValueError, match=r'coordinate "t" of X must not repeat a value, got 9'):
        read_signals(X)


def test_the_order_of_coordinates_does_not_matter(small_encoder):
    X = labelled(series())
    shuffled = X.isel(t=np.random.default_rng(0).permutation(X.sizes["t"]))
    enc = small_encoder().fit(shuffled)
    fine = enc.inverse_transform(enc.transform(shuffled), grid=(23,))
    np.testing.assert_allclose(np.sort(fine["t"]), np.linspace(0, 11, 23))
    latents = enc.transform(X)
    np.testing.assert_allclose(latents, enc.transform(shuffled), rtol=1e-3, atol=1e-5)
    backwards = enc.transform(X.isel(t=slice(None, None, -1)))
    np.testing.assert_allclose(backwards, latents, rtol=1e-3, atol=1e-5)


def moved(X, by):
    return X.assign_coords(t=X["t"] + by)


@pytest.mark.parametrize(
    "outside",
    [
        lambda X: moved(X, 100.0),
        lambda X: moved(X, -7.0),
        lambda X: [moved(X, 7.0).isel(sample=i) for i in range(3)],
        lambda X: X.assign_coords(t=1000.0 * X["t"]),
    ],
    ids=["far off", "to the left", "list", "other unit"],
)
@pytest.mark.parametrize("what", ["transform", "score", "partial_fit"])
def test_signals_mostly_outside_the_extent_of_fit_are_refused(outside, what, small_encoder):
    X = labelled(series())
    enc = small_encoder().fit(X)
    with pytest.raises(ValueError, match=r"X\[0\] lies outside the extent seen in fit, \[0.0\]"):
        getattr(enc, what)(outside(X))


def test_signals_that_reach_beyond_the_extent_of_fit_are_warned_of(small_encoder):
    X = labelled(series())
    enc = small_encoder().fit(X)
    with pytest.warns(UserWarning, match=r"encoding at coordinates \[2.0\] to \[13.0\], outside"):
        enc.transform(moved(X, 2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enc.transform(X.isel(t=slice(3, 8)))


def test_scattered_points_outside_are_counted(small_encoder):
    rng = np.random.default_rng(0)
    points = xr.DataArray(
        rng.random((5, 20)), {"x": ("point", rng.random(20))}, ("sample", "point")
    )
    enc = small_encoder().fit(points)
    with pytest.raises(ValueError, match="100% of its points"):
        enc.transform(points.assign_coords(x=points["x"] + 2.0))


def test_arrays_of_a_larger_shape_are_refused_in_lists():
    rng = np.random.default_rng(0)
    enc = FunctaEncoder(4, hidden_dim=8, n_layers=3, max_iter=2, random_state=0)
    enc.fit([rng.random((6, 6)) for _ in range(5)])
    with pytest.raises(ValueError, match=r"of its points"):
        enc.transform([rng.random((30, 30))])


def in_units(values="mV", t="s", of=labelled):
    X = of(series()).assign_attrs(units=values)
    X["t"].attrs["units"] = t
    return X


@pytest.mark.parametrize("container", ["dataarray", "dataset", "list", "dask"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"t": "ms"}, r'unit of "t" of X must be "s" as seen in fit, got "ms": convert'),
        ({"values": "uV"}, r'unit of .* of X must be "mV" as seen in fit, got "uV": convert'),
    ],
)
def test_signals_in_another_unit_than_in_fit_are_refused(other, message, container, small_encoder):
    into = {
        "dataarray": lambda X: X,
        "dataset": lambda X: X.to_dataset(name="lead"),
        "list": list,
        "dask": lambda X: X.chunk(sample=3),
    }[container]
    enc = small_encoder().fit(into(in_units()))
    enc.transform(into(in_units()))
    with pytest.raises(ValueError, match=message):
        enc.transform(into(in_units(**other)))


def test_signals_of_a_list_in_several_units_are_refused(small_encoder):
    with pytest.raises(
        ValueError, match=r'X\[1\]: the unit of values of X must be "mV" as in X\[0\]'
    ):
        small_encoder().fit([in_units()[0], in_units(values="uV")[1]])


def test_indices_are_no_positions_after_a_fit_on_coordinates(small_encoder):
    X = labelled(series()).assign_coords(t=0.5 * np.arange(12))
    enc = small_encoder().fit(X)
    with pytest.raises(
        ValueError, match=r'dimension "t" of X has no coordinates, .* from 0 to 5.5'
    ):
        enc.transform(X.drop_vars("t").isel(t=slice(6)))
    np.testing.assert_array_equal(enc.transform(X.values), enc.transform(X))
    counted = small_encoder().fit(labelled(series()))
    counted.transform(labelled(series()).drop_vars("t"))
