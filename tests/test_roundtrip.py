"""Decoded values are one function of the physical coordinate, however the signals came.

One small encoder for each container is fitted once. Signals are then given in another order,
direction, unit or type, and have to be the same function of where they stand.
"""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurfield import FunctaEncoder

N, HEIGHT, WIDTH = 6, 4, 5
Y, X = 10.0 + 2.0 * np.arange(HEIGHT), -1.0 + 0.25 * np.arange(WIDTH)
START = np.datetime64("2024-02-28T23:59:58", "ns")

# Whole numbers from 0 to 100, which every type holds.
VALUES = np.random.default_rng(0).integers(0, 101, (N, HEIGHT, WIDTH))
HIDDEN = np.zeros(VALUES.shape, bool)
HIDDEN[1, 1:3, 2:] = HIDDEN[4, 0, :2] = True

few = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def make(values, y=Y, x=X, hidden=None):
    """Return signals in a labelled array, which every container is made of."""
    grid = xr.DataArray(values, {"y": y, "x": x}, ("sample", "y", "x"), name="value")
    return grid if hidden is None else grid.where(~hidden)


def points(X):
    return X.stack(point=("y", "x")).reset_index("point")


# --- containers: from a labelled array, and what comes back as one --------------------------------

LABELLED = {
    "dataarray": lambda X: X,
    "dataset": lambda X: X.to_dataset(name="value"),
    "list of dataarrays": list,
    "dask": lambda X: X.chunk(sample=4),
    "dask dataset": lambda X: X.to_dataset(name="value").chunk(sample=4, y=3),
    "points": points,
    "list of points": lambda X: list(points(X)),
}
UNLABELLED = {
    "ndarray": lambda X: X.to_numpy(),
    "numpy.ma": lambda X: np.ma.masked_invalid(X.to_numpy()),
    "list of arrays": lambda X: list(X.to_numpy()),
    "list of numpy.ma": lambda X: list(np.ma.masked_invalid(X.to_numpy())),
}
CONTAINERS = LABELLED | UNLABELLED


def small():
    return FunctaEncoder(
        3, hidden_dim=8, n_layers=3, omega=5.0, max_iter=4, batch_size=6, device="cpu",
        precision="float64", random_state=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    """Return an encoder for each container, fitted on the same signals."""
    return {name: small().fit(into(make(VALUES))) for name, into in CONTAINERS.items()}


def decoded(enc, Z, x=X, y=Y):
    """Return decoded values at physical coordinates, in ascending order, as an array."""
    if not isinstance(enc.layout_.axes, type(None)) and enc.layout_.container == "array":
        found = enc.inverse_transform(Z)
        return np.ma.getdata(np.ma.stack(found) if isinstance(found, list) else found)
    found = enc.inverse_transform(Z, coords={"y": y, "x": x})
    found = found if isinstance(found, xr.DataArray) else found["value"]
    return found.transpose("sample", "y", "x").to_numpy()


def latents(enc, given):
    return np.asarray(enc.transform(given))


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=0.02 * 100)


orders = st.permutations(range(HEIGHT)).flatmap(
    lambda y: st.permutations(range(WIDTH)).map(lambda x: (list(y), list(x)))
)
TYPES = ["uint8", "int8", "int16", ">i2", "uint64", "float16", "float32", ">f4", "longdouble"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_each_container_decodes_to_the_same_values(container, fitted):
    reference = fitted["ndarray"]
    Z = latents(reference, VALUES)
    enc, into = fitted[container], CONTAINERS[container]
    if "points" in container:  # a fit on points begins elsewhere, so the field is another
        enc = fitted["dataarray"]
    close(decoded(enc, latents(enc, into(make(VALUES)))), decoded(reference, Z))


@pytest.mark.parametrize("container", LABELLED)
@given(order=orders, dims=st.permutations(("sample", "y", "x")), gaps=st.booleans())
@few
def test_the_order_of_coordinates_and_dimensions_does_not_matter(
    container, fitted, order, dims, gaps
):
    enc, into = fitted[container], LABELLED[container]
    whole = make(VALUES, hidden=HIDDEN if gaps else None)
    shuffled = whole.isel(y=order[0], x=order[1])
    if "list" not in container and container != "points":
        shuffled = shuffled.transpose(*dims)
    expected = latents(enc, into(whole))
    close(decoded(enc, latents(enc, into(shuffled))), decoded(enc, expected))
    np.testing.assert_allclose(latents(enc, into(shuffled)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("container", LABELLED)
@given(order=orders, axis=st.sampled_from(["y", "x"]))
@few
def test_a_fit_on_coordinates_in_any_order_decodes_where_it_is_asked(
    container, fitted, order, axis
):
    enc, into = fitted[container], LABELLED[container]
    Z = latents(enc, into(make(VALUES)))
    y, x = Y[order[0]], X[order[1]]
    there = decoded(enc, Z, x=x, y=y)
    np.testing.assert_allclose(there, decoded(enc, Z)[:, order[0]][:, :, order[1]], atol=1e-5)


@pytest.mark.parametrize("container", ["dataarray", "dataset", "list of dataarrays", "dask"])
@pytest.mark.parametrize("direction", [(1, -1), (-1, 1), (-1, -1)])
def test_axes_that_run_backwards_come_back_backwards(container, direction, fitted):
    into = LABELLED[container]
    backwards = make(VALUES).isel(
        y=slice(None, None, direction[0]), x=slice(None, None, direction[1])
    )
    enc = small().fit(into(backwards))
    found = enc.inverse_transform(latents(enc, into(backwards)))
    found = xr.concat(found, "sample") if isinstance(found, list) else found
    found = found["value"] if isinstance(found, xr.Dataset) else found
    np.testing.assert_array_equal(found["y"], backwards["y"])
    np.testing.assert_array_equal(found["x"], backwards["x"])
    reference = fitted[container]
    there = decoded(reference, latents(reference, into(make(VALUES))))
    close(found.sortby(["y", "x"]).transpose("sample", "y", "x"), there)


# Other units: the frame maps the extent to [-1, 1], so the fit is the same to rounding.
units = st.tuples(st.sampled_from([1e-6, 1e-3, 0.7, 25.4, 1e6]), st.sampled_from([0.0, -3.0, 5e3]))


@pytest.mark.parametrize("container", LABELLED)
@given(in_y=units, in_x=units)
@settings(few, max_examples=3)
def test_other_units_of_coordinates_change_nothing(container, fitted, in_y, in_x):
    y, x = (scale * axis + offset for axis, (scale, offset) in ((Y, in_y), (X, in_x)))
    into, given_ = LABELLED[container], make(VALUES, y, x)
    enc = small().fit(into(given_))
    reference = fitted[container]
    expected = decoded(reference, latents(reference, into(make(VALUES))))
    close(decoded(enc, latents(enc, into(given_)), x, y), expected)


@pytest.mark.parametrize("container", CONTAINERS)
@given(scale=st.sampled_from([1e-12, 0.1, 1e4, 1e30]), offset=st.sampled_from([0.0, -7.0, 1e3]))
@settings(few, max_examples=3)
def test_other_units_of_values_come_back_in_them(container, fitted, scale, offset):
    into, there = CONTAINERS[container], make(scale * (VALUES + offset))
    enc, reference = small().fit(into(there)), fitted[container]
    expected = decoded(reference, latents(reference, into(make(VALUES))))
    close(decoded(enc, latents(enc, into(there))) / scale - offset, expected)


@pytest.mark.parametrize("container", CONTAINERS)
@given(dtype=st.sampled_from(TYPES), axis=st.sampled_from(["int32", "int64", "float32", "uint8"]))
@few
def test_the_type_of_values_and_coordinates_does_not_matter(container, fitted, dtype, axis):
    enc, into = fitted[container], CONTAINERS[container]
    kept = np.dtype(axis).kind == "f"  # integers hold the coordinates of y alone
    typed = make(VALUES.astype(dtype), Y.astype(axis), X.astype(axis) if kept else X)
    found = latents(enc, into(typed))
    np.testing.assert_allclose(found, latents(enc, into(make(VALUES))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("container", CONTAINERS)
@given(dtype=st.sampled_from(["uint8", "int8", "int16", "uint64", "int64", "float16", "bool"]))
@settings(few, max_examples=7)
def test_results_of_any_type_are_the_nearest_that_it_holds(container, fitted, dtype):
    enc = fitted[container]
    if enc.layout_.axes is None:
        return
    Z = 30 * latents(enc, CONTAINERS[container](make(VALUES)))  # far beyond 0 to 100

    def values(**options):
        found = enc.inverse_transform(Z, **options)
        found = found["value"] if isinstance(found, xr.Dataset) else found
        return np.stack(found) if isinstance(found, list) else np.asarray(found)

    exact, found = values(), values(dtype=dtype)
    assert found.dtype == dtype
    if dtype == "bool":
        np.testing.assert_array_equal(found, exact >= 0.5)
    elif dtype == "float16":
        np.testing.assert_array_equal(found, exact.astype(np.float16))
    else:
        limits = np.iinfo(dtype)
        expected = [min(max(round(v), limits.min), limits.max) for v in exact.ravel().tolist()]
        np.testing.assert_array_equal(found.ravel(), np.array(expected, dtype=dtype))


@pytest.mark.parametrize("container", ["numpy.ma", "list of numpy.ma", "dataarray", "dask"])
@given(dtype=st.sampled_from(["uint8", "int16", "float32"]), fill=st.integers(0, 255))
@few
def test_what_is_hidden_does_not_matter(container, fitted, dtype, fill):
    enc, hidden = fitted[container], make(VALUES, hidden=HIDDEN)
    masked = np.ma.masked_array(np.where(HIDDEN, fill, VALUES).astype(dtype), HIDDEN)
    given_ = {
        "numpy.ma": lambda: masked,
        "list of numpy.ma": lambda: list(masked),
        "dataarray": lambda: make(masked),
        "dask": lambda: (
            make(masked.data).assign_attrs(_FillValue=-1).where(~HIDDEN).chunk(sample=2)
        ),
    }[container]()
    found = latents(enc, given_)
    np.testing.assert_allclose(
        found, latents(enc, CONTAINERS[container](hidden)), rtol=1e-5, atol=1e-6
    )


# --- tables ---------------------------------------------------------------------------------------

CURVES = VALUES.reshape(N, -1)
TIMES = 0.25 * np.arange(CURVES.shape[1])
COLUMNS = {
    "none": pd.RangeIndex(CURVES.shape[1]),
    "numbers": pd.Index(TIMES),
    "integers": pd.Index(5 + 3 * np.arange(CURVES.shape[1])),
    "durations": pd.to_timedelta(TIMES, unit="s"),
    "dates": pd.DatetimeIndex(START + pd.to_timedelta(TIMES, unit="s")),
}


@pytest.fixture(scope="module")
def tables():
    return {n: small().fit(pd.DataFrame(CURVES, columns=c)) for n, c in COLUMNS.items()}


@pytest.mark.parametrize("kind", COLUMNS)
@given(order=st.permutations(range(CURVES.shape[1])), dtype=st.sampled_from(["uint8", "Int64"]))
@few
def test_columns_of_a_table_stand_where_their_labels_say(kind, tables, order, dtype):
    enc, table = tables[kind], pd.DataFrame(CURVES, columns=COLUMNS[kind])
    shuffled = table.astype(dtype).iloc[:, list(order)]
    expected = enc.transform(table)
    np.testing.assert_allclose(enc.transform(shuffled), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(enc.transform(CURVES), expected, rtol=1e-6)
    close(enc.inverse_transform(expected), small_reference(tables))


def small_reference(tables):
    return tables["none"].inverse_transform(tables["none"].transform(CURVES))


@pytest.mark.parametrize("kind", COLUMNS)
def test_labels_of_columns_are_coordinates_to_decode_at(kind, tables, tmp_path):
    enc = tables[kind]
    Z = enc.transform(pd.DataFrame(CURVES, columns=COLUMNS[kind]))
    enc.save(tmp_path / "enc")
    for each in (enc, FunctaEncoder.load(tmp_path / "enc")):
        there = each.inverse_transform(Z, coords={"x": COLUMNS[kind][3:6]})
        np.testing.assert_array_equal(there["x"], COLUMNS[kind][3:6])
        np.testing.assert_allclose(there, each.inverse_transform(Z)[:, 3:6], atol=1e-4)


def test_columns_that_repeat_a_position_are_refused():
    with pytest.raises(ValueError, match=r"unique column names|not repeat a value"):
        small().fit(pd.DataFrame(CURVES, columns=[0, *range(CURVES.shape[1] - 1)]))


def test_arrays_of_another_length_do_not_stand_on_the_columns_of_fit(tables):
    with pytest.raises(ValueError, match="arrays on the grid seen in fit"):
        tables["numbers"].transform([curve[:5] for curve in CURVES])


# --- dates ----------------------------------------------------------------------------------------


@given(
    step=st.sampled_from(["1ns", "1us", "7ms", "1s", "1h", "1D"]),
    unit=st.sampled_from(["ns", "us", "ms", "s"]),
    order=st.permutations(range(WIDTH)),
    is_date=st.booleans(),
)
@settings(few, max_examples=12)
def test_dates_and_durations_come_back_to_the_tick(fitted, step, unit, order, is_date):
    ticks = pd.to_timedelta(np.arange(WIDTH) * pd.Timedelta(step)).to_numpy()
    exact = (START + ticks if is_date else ticks).astype(f"{'M8' if is_date else 'm8'}[{unit}]")
    if len(np.unique(exact)) < WIDTH:
        exact = START + ticks if is_date else ticks
    there = make(VALUES, Y, exact[list(order)]).isel(y=slice(2), sample=slice(3))
    enc = small().fit(there)
    xr.testing.assert_identical(enc.inverse_transform(enc.transform(there))["x"], there["x"])
