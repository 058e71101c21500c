"""Axes of dates and durations are seconds inside, and dates and durations outside."""

import datetime

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.signals import read_signals
from neurfield.signals.times import TimeAxis

START = np.datetime64("2024-02-28T22:00", "s")
STEPS = np.arange(12)


def series():
    return np.random.default_rng(0).normal(size=(9, 4)).repeat(3, axis=1)


def labelled(t, **attrs):
    return xr.DataArray(series(), {"t": ("t", t, attrs)}, ("sample", "t"), name="pressure")


AXES = {
    "dates": START + STEPS.astype("timedelta64[h]"),
    "dates in ns": (START + STEPS.astype("timedelta64[h]")).astype("datetime64[ns]"),
    "uneven dates": START + np.cumsum(STEPS).astype("timedelta64[s]"),
    "descending": (START + STEPS.astype("timedelta64[m]"))[::-1],
    "before 1677": np.datetime64("1500-01-01", "s") + STEPS.astype("timedelta64[h]"),
    "360 Hz": np.datetime64("2024-01-01", "ns") + np.rint(1e9 / 360 * STEPS).astype("m8[ns]"),
    "durations": STEPS.astype("timedelta64[ms]"),
    "durations in ns": (7 * STEPS).astype("timedelta64[ns]"),
    "pandas": pd.date_range("2024-01-01", periods=12, freq="D"),
}


@pytest.fixture(scope="module")
def dated(small_encoder):
    return small_encoder().fit(labelled(AXES["dates"]))


@pytest.mark.parametrize("kind", AXES)
def test_times_are_encoded_as_seconds_and_come_back_as_they_were(kind, small_encoder):
    X = labelled(AXES[kind], note="kept")
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    seconds = (X["t"] - X["t"].min()).to_numpy() / np.timedelta64(1, "s")
    as_numbers = labelled(seconds)
    np.testing.assert_allclose(small_encoder().fit(as_numbers).transform(as_numbers), Z, atol=1e-6)
    R = enc.inverse_transform(Z)
    xr.testing.assert_identical(R["t"], X["t"])
    assert R["t"].dtype == X["t"].dtype


@pytest.mark.parametrize("container", ["dataset", "list", "dask", "own grids", "points"])
def test_times_in_every_labelled_container(container, dated, small_encoder):
    X = labelled(AXES["dates"])
    Z = dated.transform(X)
    R = dated.inverse_transform(Z)
    if container == "dataset":
        enc = small_encoder().fit(X.to_dataset())
        found = enc.inverse_transform(enc.transform(X.to_dataset()))["pressure"]
    elif container == "list":
        enc = small_encoder().fit(list(X))
        found = xr.concat(enc.inverse_transform(enc.transform(list(X))), "sample")
    elif container == "dask":
        lazy = X.chunk(sample=3)
        enc = small_encoder().fit(lazy)
        found = enc.inverse_transform(enc.transform(lazy).compute())
    elif container == "own grids":
        found = xr.concat(dated.inverse_transform(Z, coords=list(X)), "sample")
    else:
        points = X.rename(t="point").rename(point="point").assign_coords(t=("point", AXES["dates"]))
        points = points.drop_vars("point")
        np.testing.assert_allclose(dated.transform(points), Z, rtol=1e-4, atol=1e-5)
        enc = small_encoder().fit(points)
        found = enc.inverse_transform(enc.transform(points), coords=X)
    np.testing.assert_array_equal(found["t"], X["t"])
    np.testing.assert_allclose(found, R, rtol=1e-4, atol=1e-4)


def test_positions_of_a_resampled_grid_are_dates_between_those_of_fit(dated):
    fine = dated.inverse_transform(np.zeros((1, 4)), grid=(23,))
    half_hours = START + np.arange(23) * np.timedelta64(30, "m")
    np.testing.assert_array_equal(fine["t"], half_hours)
    finer = dated.inverse_transform(np.zeros((1, 4)), coords={"t": [0.25]})
    assert finer["t"].values[0] == START.astype("M8[ms]") + np.timedelta64(250, "ms")


@pytest.mark.parametrize(
    "where",
    [
        AXES["dates"][1:3],
        AXES["dates"][1:3].astype("datetime64[ns]"),
        pd.DatetimeIndex(AXES["dates"][1:3]),
        [datetime.datetime(2024, 2, 28, 23), datetime.datetime(2024, 2, 29)],
        ["2024-02-28T23:00", "2024-02-29"],
        [3600.0, 7200.0],
    ],
    ids=["datetime64", "other unit", "pandas", "datetime", "text", "seconds from the origin"],
)
def test_dates_to_decode_at_in_many_forms(where, dated):
    Z = dated.transform(labelled(AXES["dates"]))
    R = dated.inverse_transform(Z)
    at = dated.inverse_transform(Z, coords={"t": where})
    np.testing.assert_array_equal(at["t"], AXES["dates"][1:3])
    np.testing.assert_allclose(at, R[:, 1:3], atol=1e-6)
    points = np.array(where)[:, None]
    np.testing.assert_allclose(dated.inverse_transform(Z, points=points), R[:, 1:3], atol=1e-6)


def test_points_of_dates_and_numbers(small_encoder):
    values = np.random.default_rng(0).normal(size=(6, 3, 4))
    coords = {"t": AXES["dates"][:3], "x": [0.0, 0.5, 1.0, 1.5]}
    X = xr.DataArray(values, coords, ("sample", "t", "x"))
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    found = enc.inverse_transform(Z, points=[[datetime.datetime(2024, 2, 28, 23), 0.5]])
    np.testing.assert_allclose(found[:, 0], enc.inverse_transform(Z)[:, 1, 1], atol=1e-6)


def test_signals_of_other_dates_are_encoded_from_the_origin_of_fit(dated):
    part = labelled(AXES["dates"]).isel(t=slice(4, 9))
    gaps = labelled(AXES["dates"]).where((STEPS >= 4) & (STEPS < 9))
    np.testing.assert_allclose(dated.transform(part), dated.transform(gaps), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="outside the extent seen in fit"):
        dated.transform(labelled(AXES["dates"] + np.timedelta64(365, "D")))


def test_an_encoder_of_dates_is_saved_with_their_origin(dated, tmp_path):
    dated.save(tmp_path / "enc.safetensors")
    twin = FunctaEncoder.load(tmp_path / "enc.safetensors")
    Z = dated.transform(labelled(AXES["dates"]))
    xr.testing.assert_identical(twin.inverse_transform(Z), dated.inverse_transform(Z))
    xr.testing.assert_identical(
        twin.inverse_transform(Z, grid=(5,)), dated.inverse_transform(Z, grid=(5,))
    )


def test_a_derivative_is_per_second(small_encoder):
    X = labelled(AXES["dates"]).assign_attrs(units="mmHg")
    enc = small_encoder().fit(X)
    slope = enc.inverse_transform(enc.transform(X), derivative="t")
    assert slope.attrs["units"] == "mmHg/s"
    R = enc.inverse_transform(enc.transform(X), grid=(12001,))
    np.testing.assert_allclose(
        R.differentiate("t", datetime_unit="s")[:, 6000],
        enc.inverse_transform(enc.transform(X), derivative="t", coords={"t": R["t"][6000:6001]})[
            :, 0
        ],
        rtol=0.02,
        atol=1e-6,
    )


def noleap():
    return xr.date_range("2024-01-01", periods=12, calendar="noleap", use_cftime=True)


REFUSED = {
    "numbers after dates": (np.arange(12.0), "must hold dates as before, got numbers"),
    "durations after dates": (AXES["durations"], "must hold dates as before, got durations"),
    "time zone": (
        pd.date_range("2024", periods=12, tz="Europe/Berlin"),
        "(time zone Europe/Berlin|must hold real numbers, dates or durations)",  # of older xarray
    ),
    "NaT": (np.append(AXES["dates"][1:], np.datetime64("NaT")), "none of them NaN or NaT"),
    "other calendar": (noleap(), "calendar 'noleap'.*convert_calendar"),
    "labels": (list("abcdefghijkl"), r'labels have no distances: call the dimension "channel"'),
    "categories": (pd.Categorical(list("abcdefghijkl")), "labels have no distances"),
    "periods": (pd.period_range("2024-01", periods=12, freq="M"), "such as Period"),
    "twice": (AXES["dates"][[0, *range(11)]], "must not repeat a value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_coordinates_that_are_no_such_times_are_refused(case, dated):
    t, message = REFUSED[case]
    with pytest.raises(ValueError, match=f'coordinate "t" of X .*{message}'):
        dated.transform(labelled(t))


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([False, True], "got dtype bool"),
        ([1j, 2j], "got dtype complex128"),
        ([0.0, np.nan], r"none of them NaN or NaT, got \[nan\]"),
        ([0.0, np.inf], r"got \[inf\]"),
        ([-1.7e308, 1.7e308], "an infinite extent"),
        ([2**62, 2**62 + 1], "must not repeat a value"),
        ([5.0, 5.0], "must not repeat a value, got 5.0 2 times"),
    ],
)
def test_coordinates_that_are_no_positions_are_refused(t, message):
    X = xr.DataArray(series()[:, :2], {"t": t}, ("sample", "t"))
    with pytest.raises(ValueError, match=f'coordinate "t" of X .*{message}'):
        read_signals(X)


@pytest.mark.parametrize(
    "where",
    [
        ["noon"],
        [np.timedelta64(1, "s")],
        [np.datetime64("NaT")],
        [True],
        pd.date_range("2024", periods=2, tz="UTC"),
    ],
)
def test_places_to_decode_at_that_are_no_dates_are_refused(where, dated):
    with pytest.raises(ValueError, match=r'coords\["t"\]'):
        dated.inverse_transform(np.zeros((1, 4)), coords={"t": where})


def test_dates_are_no_coordinates_of_numbers(small_encoder):
    enc = small_encoder().fit(series())
    with pytest.raises(ValueError, match=r'coords\["x"\] must hold real numbers'):
        enc.inverse_transform(np.zeros((1, 4)), coords={"x": AXES["dates"][:2]})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_are_exact_to_the_tick_for_ninety_days(unit):
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, 90 * 86400 * 10**9, 1000)).astype("m8[ns]")
    times = np.unique((np.datetime64("2024-01-01", "ns") + ticks).astype(f"M8[{unit}]"))
    axis = TimeAxis.of(times)
    found = axis.times(axis.seconds(times))
    np.testing.assert_array_equal(found, times)
    assert found.dtype == times.dtype
