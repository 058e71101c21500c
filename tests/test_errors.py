"""What cannot work says so before any work is done: the argument, what was expected, what came."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.exceptions import NotFittedError

from neurfield import FunctaEncoder
from neurfield.fields import LowRank, Spatial
from neurfield.learning import Cavia, EarlyStopping


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((8, 5, 6))


@pytest.fixture(scope="module")
def labelled(X):
    coords = {"row": np.arange(5.0), "col": np.arange(6.0)}
    return xr.DataArray(X, coords, ("sample", "row", "col"), name="image")


@pytest.fixture(scope="module")
def fitted(small_encoder, X):
    return small_encoder().fit(X)


@pytest.fixture(scope="module")
def fitted_labelled(small_encoder, labelled):
    return small_encoder().fit(labelled)


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", 2.5),
        ("hidden_dim", -1),
        ("n_layers", 1),
        ("omega", 0.0),
        ("omega", -30.0),
        ("omega", float("nan")),
        ("omega", float("inf")),
        ("omega", "fast"),
        ("omega", (30.0,)),
        ("omega", (30.0, 60.0, 90.0)),
        ("omega", (30.0, -60.0)),
        ("omega", (30.0, float("inf"))),
        ("omega", (30.0, float("nan"))),
        ("omega", (30.0, "60")),
        ("learner", "maml"),
        ("learner__inner_steps", 0),
        ("learner__damping", 0.0),
        ("learner__augmentation", -0.1),
        ("learner__context_ratio", 0.0),
        ("learner__context_ratio", 1.5),
        ("field__hidden_dim", 0),
        ("field__n_layers", 1),
        ("field__modulation", "scale"),
        ("field__skip_connections", "no"),
        ("field__residual_scale", 0.0),
        ("field__output_scale", -1.0),
        ("transform_steps", 0),
        ("meta_lr", -1e-3),
        ("meta_lr", float("nan")),
        ("batch_size", 0),
        ("max_iter", 0),
        ("max_time", 0),
        ("memory_budget", 0),
        ("memory_budget", 1.5),
        ("lr_schedule", "linear"),
        ("channel_axis", 1.5),
        ("checkpoint", 3),
        ("checkpoint_every", 0),
        ("callbacks", [3]),
        ("callbacks", print),
        ("device", "abacus"),
        ("device", "cuda:99"),
        ("device", 0),
        ("precision", "float16"),
        ("random_state", "seed"),
        ("verbose", -1),
        ("warm_start", "yes"),
    ],
)
def test_parameters_out_of_range_are_named_with_their_value(small_encoder, X, name, value):
    enc = small_encoder(**{name: value})
    shown = repr(value[0] if isinstance(value, list) else value)
    option = name.rpartition("__")[2]
    with pytest.raises(ValueError, match=option) as error:
        enc.fit(X)
    assert shown in str(error.value)
    with pytest.raises(ValueError, match=option):
        enc.partial_fit(X)
    assert not hasattr(enc, "codec_")


@pytest.mark.parametrize(
    ("spec", "option", "value"),
    [
        (Cavia, "inner_steps", 0),
        (Cavia, "inner_lr", 0.0),
        (Cavia, "learn_inner_lr", "yes"),
        (Cavia, "second_order", None),
        (Cavia, "context_ratio", 0.0),
        (Cavia, "context_ratio", 1.5),
        (Cavia, "context_selection", "best"),
        (Cavia, "gradient_scaling", None),
        (Cavia, "recompute", None),
        (Spatial, "grid", 0),
        (Spatial, "interpolation", "cubic"),
        (LowRank, "intermediate_dim", 0),
        (EarlyStopping, "validation_fraction", 0.0),
        (EarlyStopping, "validation_fraction", 1.0),
        (EarlyStopping, "n_iter_no_change", 0),
        (EarlyStopping, "tol", -1.0),
    ],
)
def test_options_out_of_range_are_named_with_their_value(small_encoder, X, spec, option, value):
    message = f"{option!r} parameter of {spec.__name__} must be .* Got {value!r}"
    enc = small_encoder(**{spec.kind: spec(**{option: value})})
    for method in (enc.fit, enc.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X)
    assert not hasattr(enc, "codec_")


def test_an_unavailable_device_names_those_that_are_there(small_encoder, X):
    with pytest.raises(ValueError, match=r"device='cuda:99' is not available.*\['cpu'"):
        small_encoder(device="cuda:99").fit(X)


def test_parameters_are_checked_in_fit_and_not_in_the_constructor():
    FunctaEncoder(latent_dim=-1, device="abacus", omega="fast")


def test_from_medfuncta_checks_its_parameters():
    state = FunctaEncoderState().state
    with pytest.raises(ValueError, match=r"omega.*\(10\.0,\)"):
        FunctaEncoder.from_medfuncta(state, omega=(10.0,))
    with pytest.raises(ValueError, match="device='abacus'"):
        FunctaEncoder.from_medfuncta(state, omega=10.0, device="abacus")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 4),
        ("hidden_dim", 8),
        ("field__residual_scale", 0.5),
        ("field__modulation", "shift_scale"),
    ],
)
def test_from_medfuncta_takes_no_parameters_that_the_weights_contradict(name, value):
    state = FunctaEncoderState().state
    option = name.rpartition("__")[2]
    message = f"weights make a field with {option}=.*got {option}={value}"
    with pytest.raises(ValueError, match=message):
        FunctaEncoder.from_medfuncta(state, omega=10.0, device="cpu", **{name: value})


class FunctaEncoderState:
    """A published state dict of two layers."""

    def __init__(self):
        sizes = {"layers.0": (4, 2), "last_layer": (1, 4)}
        self.state = {}
        for layer, (n_out, n_in) in sizes.items():
            self.state[f"model.{layer}.linear.weight"] = torch.zeros(n_out, n_in)
            self.state[f"model.{layer}.linear.bias"] = torch.zeros(n_out)
            self.state[f"model.{layer}.modulate_shift_layer.weight"] = torch.zeros(n_out, 3)
            self.state[f"model.{layer}.modulate_shift_layer.bias"] = torch.zeros(n_out)


# --- unfitted -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda enc, X: enc.transform(X),
        lambda enc, X: enc.inverse_transform(np.zeros((1, 4))),
        lambda enc, X: enc.score(X),
        lambda enc, X: enc.save("unfitted.field"),
        lambda enc, X: enc.get_feature_names_out(),
    ],
    ids=["transform", "inverse_transform", "score", "save", "get_feature_names_out"],
)
def test_an_unfitted_estimator_says_so(small_encoder, X, use):
    with pytest.raises(NotFittedError, match=r"FunctaEncoder.*not fitted"):
        use(small_encoder(), X)


@pytest.mark.parametrize("name", ["field_", "codec_", "loss_curve_", "n_iter_", "device_"])
def test_fitted_attributes_are_not_there_before_fit(small_encoder, name):
    assert not hasattr(small_encoder(), name)


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (np.zeros((0, 5, 6)), r"0 sample\(s\).*\(0, 5, 6\).*minimum of 1"),
        (np.zeros((0, 5)), r"0 sample\(s\)"),
        ([], "X needs at least one signal, got none"),
        (np.zeros((3, 0)), r"0 feature\(s\)"),
        (np.zeros((3, 5, 0)), r"at least one value.*\(3, 5, 0\)"),
        (np.zeros(5), "2D array, got 1D array"),
        (np.float64(3.0), "2D array, got"),
        (np.zeros((2, 3), dtype=complex), "[Cc]omplex"),
        (np.array([["a", "b"], ["c", "d"]]), "string|numeric|convert"),
        (xr.DataArray(np.zeros((0, 5)), dims=("sample", "t")), "at least one signal.*'sample': 0"),
        (xr.Dataset(), "X must hold a variable"),
        ([np.zeros((0, 3))], r"X\[0\].*at least one value.*\(0, 3\)"),
        ([np.zeros(3), np.zeros(())], r"X\[1\].*at least one axis"),
        ([np.zeros(3), np.array(["a"])], r"X\[1\].*real numbers.*<U1"),
        ([np.zeros(3), np.zeros(3, dtype=complex)], r"X\[1\].*complex128"),
        ([np.zeros(3), xr.Dataset()], r"X\[1\]"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_input_that_holds_no_signals(small_encoder, signals, message):
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(signals)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities(small_encoder, fitted, X, labelled, value):
    bad = X.copy()
    bad[3, 1, 1] = value
    message = r"X contains infinity in signal\(s\) \[3\].*must be finite"
    with pytest.raises(ValueError, match=message):
        fitted.transform(bad)
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(labelled.copy(data=bad))
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(list(bad))
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(bad.reshape(8, -1))


def test_signals_in_which_nothing_was_observed(small_encoder, fitted, X, labelled):
    bad = X.copy()
    bad[[2, 5]] = np.nan
    message = r"X: signal\(s\) \[2, 5\] are NaN everywhere.*at least one observed value"
    for signals in (bad, labelled.copy(data=bad), list(bad), bad.reshape(8, -1)):
        with pytest.raises(ValueError, match=message):
            small_encoder().fit(signals)
    with pytest.raises(ValueError, match=message):
        fitted.transform(bad)


def test_a_channel_that_was_never_observed(small_encoder, X):
    two = np.stack([X, np.full_like(X, np.nan)], axis=-1)
    with pytest.raises(ValueError, match="channel 1 of X has no observed value"):
        small_encoder(channel_axis=-1).fit(two)


def test_other_number_of_axes_than_in_fit(small_encoder, fitted, X):
    with pytest.raises(ValueError, match=r"X must have 2 coordinate axes \('y', 'x'\).*got 3"):
        fitted.transform(X[..., None])
    with pytest.raises(ValueError, match=r"X must have 2 coordinate axes \('y', 'x'\).*got 1"):
        fitted.transform(X.reshape(8, 30))
    with pytest.raises(ValueError, match=r"6 features.*30 features"):
        fitted.transform(X[:, 0])
    one_dimensional = small_encoder().fit(X[:, 0])
    with pytest.raises(ValueError, match=r"X must have 1 coordinate axes.*got 2"):
        one_dimensional.transform(X)


def test_other_shape_than_in_fit(fitted, X):
    message = r"shape \(5, 4\).*fitted on \(5, 6\).*list of arrays.*xarray"
    with pytest.raises(ValueError, match=message):
        fitted.transform(X[:, :, :4])


def test_other_length_than_in_fit(small_encoder, X):
    enc = small_encoder().fit(X[:, 0])
    with pytest.raises(ValueError, match=r"4 features.*6 features"):
        enc.transform(X[:, 0, :4])


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [
        (0, (4, 5, 6), r"channel_axis.*4|channel_axis.*got 0"),
        (3, (4, 5, 6), "channel_axis.*3 axes, got 3"),
        (-3, (4, 5, 6), "channel_axis.*3 axes, got -3"),
        (1, (4, 5), r"channel_axis.*three axes.*\(4, 5\)"),
    ],
)
def test_channel_axis_that_is_not_there(small_encoder, axis, shape, message):
    with pytest.raises(ValueError, match=message):
        small_encoder(channel_axis=axis).fit(np.zeros(shape))


def test_other_number_of_channels_than_in_fit(small_encoder, X, labelled):
    colour = np.stack([X] * 3, axis=-1)
    enc = small_encoder(channel_axis=-1).fit(colour)
    message = r"X must have 3 channel\(s\) as seen in fit, got 2"
    with pytest.raises(ValueError, match=message):
        enc.transform(colour[..., :2])
    with pytest.raises(ValueError, match=message):
        enc.transform([image[..., :2] for image in colour])
    with pytest.raises(ValueError, match=r"must have 3 channel\(s\).*got 1"):
        enc.transform(labelled.rename(row="y", col="x"))


def test_mixed_channels_and_axes_in_one_list(small_encoder, X):
    colour = [np.stack([image] * c, axis=-1) for image, c in zip(X, [3, 3, 1], strict=False)]
    with pytest.raises(ValueError, match=r"X\[2\]: X must have 3 channel\(s\) as in X\[0\], got 1"):
        small_encoder(channel_axis=-1).fit(colour)
    with pytest.raises(ValueError, match=r"X\[1\]: X must have 2 coordinate axes.*X\[0\], got 1"):
        small_encoder().fit([X[0], X[0, 0]])


# --- labels ---------------------------------------------------------------------------------------


def test_labelled_input_needs_a_sample_dimension(small_encoder, labelled):
    with pytest.raises(ValueError, match=r'dimension named "sample", got.*patient.*list'):
        small_encoder().fit(labelled.rename(sample="patient"))


def test_labelled_input_needs_a_coordinate_axis(small_encoder):
    bare = xr.DataArray(np.zeros((4, 3)), dims=("sample", "channel"))
    with pytest.raises(ValueError, match=r"at least one coordinate axis, got.*sample.*channel"):
        small_encoder().fit(bare)


def test_other_coordinate_names_than_in_fit(fitted_labelled, labelled):
    message = r"axes of X must be \('row', 'col'\) as seen in fit, got \('height', 'col'\)"
    with pytest.raises(ValueError, match=message):
        fitted_labelled.transform(labelled.rename(row="height"))
    with pytest.raises(ValueError, match=r"'row', 'col'.*'height', 'col'"):
        fitted_labelled.transform([image for image in labelled.rename(row="height")])


def test_mixed_coordinate_names_in_one_list(small_encoder, labelled):
    with pytest.raises(ValueError, match=r"X\[1\].*'row', 'col'.*X\[0\].*'height', 'col'"):
        small_encoder().fit([labelled[0], labelled[1].rename(row="height")])


def test_items_of_a_list_have_no_sample_dimension(small_encoder, labelled):
    with pytest.raises(ValueError, match=r'X\[0\].*without a "sample" dimension'):
        small_encoder().fit([labelled, labelled])


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (np.array(["a", "b", "c", "d", "e"]), "real numbers, dates or durations"),
        (np.array([0.0, 1.0, np.nan, 3.0, 4.0]), "finite numbers"),
        (np.array([0.0, 1.0, np.inf, 3.0, 4.0]), "finite numbers"),
    ],
    ids=["words", "NaN", "infinity"],
)
def test_coordinates_that_are_no_numbers(small_encoder, labelled, axis, expected):
    with pytest.raises(ValueError, match=f'coordinate "row" of X must hold {expected}'):
        small_encoder().fit(labelled.assign_coords(row=axis))


def test_labelled_values_that_are_no_numbers(small_encoder, labelled):
    with pytest.raises(ValueError, match="values of X have dtype complex128"):
        small_encoder().fit(labelled.astype(complex))


def test_variables_of_a_dataset_that_do_not_fit_together(small_encoder, labelled):
    other = labelled.isel(col=0, drop=True)
    with pytest.raises(ValueError, match=r"same dimensions, got.*'a'.*'b'"):
        small_encoder().fit(xr.Dataset({"a": labelled, "b": other}))
    channels = labelled.expand_dims(channel=["x", "y"])
    with pytest.raises(ValueError, match=r'none may have a "channel" dimension'):
        small_encoder().fit(xr.Dataset({"a": channels, "b": channels}))


def test_variables_of_fit_that_a_dataset_lacks(small_encoder, labelled):
    enc = small_encoder().fit(xr.Dataset({"t1": labelled, "t2": labelled}))
    with pytest.raises(ValueError, match=r"lacks the variables \['t2'\].*it has \['t1'\]"):
        enc.transform(xr.Dataset({"t1": labelled}))


# --- latents and where to decode them -------------------------------------------------------------


def test_latents_of_another_width(fitted):
    with pytest.raises(ValueError, match=r"latents of length 4 \(latent_dim\), got shape \(3, 5\)"):
        fitted.inverse_transform(np.zeros((3, 5)))


def test_latents_that_are_no_matrix_of_numbers(fitted):
    with pytest.raises(ValueError, match="2D array, got 1D array"):
        fitted.inverse_transform(np.zeros(4))
    with pytest.raises(ValueError, match="X contains NaN"):
        fitted.inverse_transform(np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        fitted.inverse_transform(np.zeros((0, 4)))


@pytest.mark.parametrize(
    "grid", [(9,), (9, 9, 9), 9, (9, 0), (9, -1), (9.0, 9.0), ("9", "9"), (), (True, True)]
)
def test_grid_of_the_wrong_length_or_kind(fitted, grid):
    with pytest.raises(ValueError, match=r"grid must give 2 positive.*\('y', 'x'\), got") as error:
        fitted.inverse_transform(np.zeros((1, 4)), grid=grid)
    assert repr(grid) in str(error.value)


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ({"y": [0.0]}, r"coords must have the axes seen in fit, \('y', 'x'\), got \('y',\)"),
        ({"row": [0.0], "col": [0.0]}, r"\('y', 'x'\), got \('row', 'col'\)"),
        ({"y": [0.0], "x": []}, r'coords\["x"\].*non-empty 1-D.*\(0,\)'),
        ({"y": [0.0], "x": [[0.0]]}, r'coords\["x"\].*1-D.*\(1, 1\)'),
        ({"y": [0.0], "x": [np.nan]}, r'coords\["x"\].*finite'),
        ({"y": [0.0], "x": ["left"]}, r'coords\["x"\].*numbers'),
        ([{"y": [0.0], "x": [0.0]}], "one mapping, or one per latent: got 1 for 2 latents"),
        (3, "coords must be"),
        ([1, 2], "coords"),
    ],
)
def test_coords_that_name_no_place(fitted, coords, message):
    with pytest.raises(ValueError, match=message):
        fitted.inverse_transform(np.zeros((2, 4)), coords=coords)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0, 0.0, 0.0]], r"\(n_points, 2\).*\('y', 'x'\), got \(1, 3\)"),
        ([0.0, 0.0], r"\(n_points, 2\).*got \(2,\)"),
        (np.zeros((0, 2)), r"\(n_points, 2\).*got \(0, 2\)"),
        ([[0.0, np.nan]], "points must be finite"),
        ([["a", "b"]], "points must"),
    ],
)
def test_points_that_are_no_places(fitted, points, message):
    with pytest.raises(ValueError, match=message):
        fitted.inverse_transform(np.zeros((1, 4)), points=points)


def test_one_way_of_saying_where_is_enough(fitted):
    message = r"at most one of grid, coords and points, got \['grid', 'points'\]"
    with pytest.raises(ValueError, match=message):
        fitted.inverse_transform(np.zeros((1, 4)), grid=(3, 3), points=[[0.0, 0.0]])


@pytest.mark.parametrize("dtype", ["colour", complex, "datetime64[s]"])
def test_dtype_that_decoded_values_cannot_have(fitted, dtype):
    with pytest.raises(ValueError, match="dtype"):
        fitted.inverse_transform(np.zeros((1, 4)), dtype=dtype)


def test_nothing_of_the_above_comes_with_a_warning_of_numpy_or_torch(fitted, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.transform(X)
        fitted.inverse_transform(np.zeros((1, 4)), grid=(3, 3))


def table(**columns):
    return pd.DataFrame({"a": np.arange(6.0), "b": np.arange(6.0) + 1} | columns)


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (table(c=np.arange(6) + 1j), r"columns \['c'\] of X have dtype complex128"),
        (table(c=[1, 2, pd.NA, 4, 5, 6]), r"columns \['c'\].*<NA>.*Float64"),
        (table(c=list("uvwxyz")).rename(columns={"b": "c"}), r"columns \['c'\].*'u'"),
        (pd.Series([np.arange(4.0)] * 6), "array of objects with ndarray"),
        (np.array([np.arange(4.0), np.arange(3.0)], dtype=object), r"pass a list of arrays"),
    ],
    ids=["complex column", "numbers with gaps", "repeated name", "series", "ragged"],
)
def test_tables_and_objects_say_what_in_them_is_no_number(small_encoder, signals, message):
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(signals)


def test_each_array_of_a_list_stands_on_the_labelled_grid_of_fit(small_encoder, X):
    signals = xr.DataArray(X, {"row": 3.0 * np.arange(5)}, ("sample", "row", "col"))
    encoder = small_encoder().fit(signals)
    np.testing.assert_array_equal(encoder.transform(list(X)), encoder.transform(signals))
