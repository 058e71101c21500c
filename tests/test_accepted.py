"""What may hold signals, which values they may have, and in which types they come back."""

import array
import datetime

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import xarray as xr

from neurfield import NeuralField
from neurfield.datasets import channels_to_complex, complex_to_channels
from neurfield.signals.layout import cast


def series(n=6, size=12):
    return np.random.default_rng(0).normal(size=(n, size // 3)).repeat(3, axis=1)


def labelled(values):
    return xr.DataArray(values, dims=("sample", "t"))


DAYS = series().astype("datetime64[D]")

REFUSED = {
    "generator": (lambda: (x for x in series()), "X must be an array.* got generator"),
    "map": (lambda: map(np.sin, series()), "X must be an array.* got map"),
    "Ellipsis": (lambda: ..., "X must be an array.* got ellipsis: Ellipsis"),
    "None": (lambda: None, "X must be an array.* got NoneType"),
    "text": (lambda: "scan.nii", "X must be an array.* got str: 'scan.nii'"),
    "mapping": (lambda: {"ann": series()}, "X must be an array.* got dict"),
    "set": (lambda: {1.0, 2.0}, "X must be an array.* got set"),
    "number": (lambda: 3.0, "X must be an array.* got float: 3.0"),
    "tree": (lambda: xr.DataTree(), "X must be an array.* got a DataTree"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], "nested lists are not all of one length; .*asarray"),
    "deep ragged": (lambda: [[[1.0], [2.0, 3.0]]] * 2, "nested lists are not all of one length"),
    "ragged series": (lambda: [pd.Series([1.0, 2.0]), pd.Series([3.0])], "not all of one length"),
    "paths": (lambda: ["a.nii", "b.nii"], r"got a list with str as X\[0\]"),
    "list of None": (lambda: [series()[0], None], r"got a list with NoneType as X\[1\]"),
    "list of Ellipsis": (lambda: [..., series()[0]], r"got a list with ellipsis as X\[0\]"),
    "sparse in a list": (lambda: [scipy.sparse.csr_matrix(series())], r"X\[0\]; .*toarray\(\)"),
    "sparse array in a list": (lambda: [series()[0], scipy.sparse.coo_array(series())], "toarray"),
    "meta tensor": (lambda: torch.empty(6, 12, device="meta"), "a tensor on the device 'meta'"),
    "dates": (lambda: DAYS, r"values of X must be real numbers, got dtype datetime64\[D\]"),
    "durations": (lambda: DAYS - DAYS[0], "real numbers, got dtype timedelta64.*divide durations"),
    "list of dates": (lambda: list(DAYS), r"X\[0\]: values must be real numbers, got dtype dat"),
    "labelled dates": (lambda: labelled(DAYS), "values of X must be real numbers, got dtype dat"),
    "text values": (lambda: labelled(series().astype(str)), "real numbers, got dtype <U"),
    "objects": (lambda: labelled(series().astype(object)), "real numbers, got dtype object"),
    "complex": (lambda: series() + 1j, "Complex data not supported: values of X.*complex_to_ch"),
    "list of complex": (lambda: list(series() + 1j), r"X\[0\]: Complex data.*complex_to_channels"),
    "labelled complex": (lambda: labelled(series() + 1j), "Complex data.*complex_to_channels"),
    "dask complex": (lambda: labelled(series() + 1j).chunk(sample=2), "Complex data.*complex_to_"),
    "dataset complex": (lambda: labelled(series() + 1j).to_dataset(name="v"), "Complex data"),
    "text column": (
        lambda: pd.DataFrame({"name": ["ann", "bob"], "v": [1.0, 2.0], "w": [3.0, 1.0]}),
        r"columns \['name'\] of X must hold real numbers, got .*'ann'; drop them",
    ),
    "date column": (
        lambda: pd.DataFrame({"born": DAYS[:, 0], "v": series()[:, 0]}),
        r"columns \['born'\] of X must hold real numbers, got datetime64",
    ),
    "object column": (
        lambda: pd.DataFrame({"v": [1.0, 2.0], "w": [datetime.date(2024, 1, 1), 3.0]}),
        r"columns \['w'\] of X must hold real numbers, got object, such as datetime.date",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_signals_is_refused_by_name_before_any_work(case, small_encoder):
    given, message = REFUSED[case]
    steps: list = []
    enc, X = small_encoder(callbacks=[steps.append]), given()
    with pytest.raises(ValueError, match=message):
        enc.fit(X)
    assert steps == []


@pytest.mark.parametrize("what", ["transform", "score", "partial_fit"])
@pytest.mark.parametrize("case", ["generator", "ragged", "complex", "sparse in a list"])
def test_every_method_refuses_it(case, what, small_encoder):
    given, message = REFUSED[case]
    enc = small_encoder().fit(series())
    with pytest.raises(ValueError, match=message):
        getattr(enc, what)(given())


ACCEPTED = {
    "tensor": lambda X: torch.tensor(X),
    "tensor with gradient": lambda X: torch.tensor(X, requires_grad=True),
    "list of tensors": lambda X: [torch.tensor(x, requires_grad=True) for x in X],
    "bfloat16": lambda X: torch.tensor(X).to(torch.bfloat16),
    "conjugate view": lambda X: torch.complex(torch.tensor(X), torch.tensor(X)).conj().real,
    "longdouble": lambda X: X.astype(np.longdouble),
    "list of longdouble": lambda X: list(X.astype(np.longdouble)),
    "labelled longdouble": lambda X: labelled(X.astype(np.longdouble)),
    "dask longdouble": lambda X: labelled(X.astype(np.longdouble)).chunk(sample=2),
    "object column": lambda X: pd.DataFrame(X).astype(object),
    "nullable": lambda X: pd.DataFrame(X).astype("Float64"),
    "tuple of arrays": tuple,
    "nested lists": lambda X: X.tolist(),
    "series": lambda X: [pd.Series(x) for x in X],
    "Variable": lambda X: xr.Variable(("sample", "t"), X),
    "Python array": lambda X: [np.asarray(array.array("d", x)) for x in X],
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_other_containers_give_the_same_latents(kind, small_encoder):
    X = np.round(series() * 4) / 4  # exact in all types
    enc = small_encoder(precision="float64").fit(X)
    found = small_encoder(precision="float64").fit(ACCEPTED[kind](X))
    np.testing.assert_allclose(found.transform(ACCEPTED[kind](X)), enc.transform(X), rtol=1e-5)


def test_a_gradient_is_left_as_it_was(small_encoder):
    X = torch.tensor(series(), requires_grad=True)
    small_encoder().fit(X)
    assert X.requires_grad
    assert X.grad is None


@pytest.mark.parametrize("kind", ["masked", "tensor", "longdouble"])
def test_a_field_of_one_signal_takes_them_too(kind):
    x = series()[0]
    hidden = np.arange(12) == 4
    given = {
        "masked": np.ma.masked_array(np.where(hidden, 1e9, x), hidden),
        "tensor": torch.tensor(x, requires_grad=True),
        "longdouble": x.astype(np.longdouble),
    }[kind]
    plain = np.where(hidden, np.nan, x) if kind == "masked" else x
    fits = [NeuralField(hidden_dim=8, n_layers=3, max_iter=3, random_state=0) for _ in "ab"]
    np.testing.assert_array_equal(fits[0].fit(given).predict(), fits[1].fit(plain).predict())


# --- types of results -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_integers_are_clipped_at_their_ends_and_never_wrap_around(dtype, source):
    limits = np.iinfo(dtype)
    values = np.array([-1e30, -1.0, -0.5, 0.5, 1.5, 100.4, 1e10, 2.0**31, 2.0**63, 2.0**64, 1e30])
    expected = [min(max(round(v), limits.min), limits.max) for v in source(values).tolist()]
    found = cast(values.astype(source), dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(expected, dtype=dtype))


def test_truth_values_are_the_nearer_of_the_two(small_encoder):
    np.testing.assert_array_equal(cast(np.array([-3.0, 0.4, 0.6, 7.0]), bool), [0, 0, 1, 1])
    X = series() > 0
    enc = small_encoder().fit(X)
    R = enc.inverse_transform(enc.transform(X), dtype=bool)
    np.testing.assert_array_equal(R, enc.inverse_transform(enc.transform(X)) >= 0.5)


@pytest.mark.parametrize(("dtype", "value"), [("float16", 1e5), ("float32", -1e39)])
def test_floating_point_types_too_narrow_are_refused(dtype, value):
    with pytest.raises(ValueError, match=f"dtype {dtype} cannot hold decoded values"):
        cast(np.array([0.0, value]), dtype)
    assert cast(np.array([0.0, 6e4]), dtype).dtype == dtype


@pytest.mark.parametrize("container", ["patches", "dask", "list", "dataset"])
def test_integers_are_clipped_in_every_container(container, small_encoder):
    X = np.where(series() > 0, 255, 0).astype(np.uint8)
    given = {
        "patches": lambda: X,
        "dask": lambda: labelled(X).chunk(sample=2),
        "list": lambda: list(X),
        "dataset": lambda: labelled(X).to_dataset(name="v"),
    }[container]()
    enc = small_encoder(patch_size=6 if container == "patches" else None).fit(given)
    Z = 9 * np.asarray(enc.transform(given))
    exact, found = enc.inverse_transform(Z), enc.inverse_transform(Z, dtype=np.uint8)
    exact, found = (v["v"] if isinstance(v, xr.Dataset) else v for v in (exact, found))
    assert np.max(exact) > 256
    assert np.asarray(found).dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(found), np.clip(np.rint(exact), 0, 255))


# --- complex signals ------------------------------------------------------------------------------


def spins():
    return series() + 1j * series(n=7)[1:]


@pytest.mark.parametrize("kind", ["array", "list", "labelled", "list of labelled", "masked"])
def test_complex_signals_are_decoded_as_such(kind, small_encoder):
    z = spins()
    given = {
        "array": lambda: z,
        "list": lambda: list(z),
        "labelled": lambda: labelled(z).assign_attrs(te=3.0).rename("echo"),
        "list of labelled": lambda: list(labelled(z)),
        "masked": lambda: np.ma.masked_array(z, np.abs(z) > 2.5),
    }[kind]()
    X = complex_to_channels(given)
    enc = small_encoder(channel_axis=-1).fit(X)
    assert enc.field_.out_dim == 2
    R = enc.inverse_transform(enc.transform(X))
    found = channels_to_complex(R)
    assert type(found) is type(given)
    assert np.asarray(found).dtype.kind == "c"
    np.testing.assert_allclose(np.real(found), np.asarray(R)[..., 0])
    np.testing.assert_allclose(np.imag(found), np.asarray(R)[..., 1])
    if kind == "labelled":
        assert (found.attrs, found.name, found.dims) == ({"te": 3.0}, "echo", ("sample", "t"))
        xr.testing.assert_identical(channels_to_complex(X), given)
    if kind == "masked":
        np.testing.assert_array_equal(channels_to_complex(X).mask, given.mask)


@pytest.mark.parametrize(
    ("convert", "values", "message"),
    [
        (complex_to_channels, series(), "X must hold complex values, got dtype float64"),
        (complex_to_channels, labelled(spins()).rename(t="channel"), 'no dimension "channel"'),
        (channels_to_complex, series()[..., None], "last axis of two channels"),
        (channels_to_complex, labelled(series()), "must have the channels"),
    ],
)
def test_what_is_no_complex_signal_is_refused(convert, values, message):
    with pytest.raises(ValueError, match=message):
        convert(values)
