"""NeuralField: all weights of a network for one signal."""

import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.base import clone

from neurfield import NeuralField
from neurfield.datasets import phantoms

FIELDS = ("siren", "fourier", "positional", "wire", "gaussian", "hash-grid")


def tiny(field="siren", **parameters):
    small = {"hidden_dim": 16, "n_layers": 3, "max_iter": 30, "device": "cpu", "random_state": 0}
    return NeuralField(field, **(small | parameters))


RATES = {"siren": 1e-3, "fourier": 3e-3, "positional": 3e-3}
OWN = {
    "wire": {"hidden_dim": 16, "omega": 5.0, "scale": 5.0},
    "gaussian": {"scale": 0.2, "lr": 3e-3},
    "hash-grid": {"lr": 2e-3},
}


def small(field="siren", **parameters):
    longer = {"hidden_dim": 32, "max_iter": 300, "omega": 15.0, "lr": RATES.get(field)}
    return tiny(field, **(longer | OWN.get(field, {}) | parameters))


@pytest.fixture(scope="module")
def head():
    return phantoms(1, (28, 28), random_state=0)[0]


@pytest.fixture
def wave():
    t = np.linspace(0.0, 1.0, 60)
    return np.sin(7 * t) + 0.3 * np.cos(25 * t)


def blob(size):
    axes = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    return np.exp(-3 * sum((axis - 0.2) ** 2 for axis in axes))


@pytest.mark.parametrize(
    ("field", "series", "image", "volume"),
    [
        ("siren", 40, 20, 24),
        ("fourier", 40, 21, 16),
        ("positional", 27, 14, 14),
        ("wire", 35, 20, 20),
        ("gaussian", 27, 17, 20),
        ("hash-grid", 60, 35, 35),
    ],
)
def test_series_image_and_volume_are_fitted(field, series, image, volume, wave, head):
    assert small(field).fit(wave).score(wave) > series
    assert small(field, max_iter=150).fit(head).score(head) > image
    assert small(field, max_iter=100).fit(blob(10)).score(blob(10)) > volume


@pytest.mark.parametrize("field", FIELDS)
def test_what_was_not_observed_is_filled_in(field, wave):
    gappy = wave.copy()
    gappy[2::4] = np.nan
    fitted = small(field).fit(gappy)
    found = fitted.predict()
    assert np.isfinite(found).all()
    assert np.abs(found - wave)[2::4].max() < 0.12 * np.ptp(wave)
    residual = (found - gappy) / (np.nanmax(gappy) - np.nanmin(gappy))
    assert fitted.score(gappy) == pytest.approx(-10 * np.log10(np.nanmean(residual**2)), abs=1e-2)


def test_channels_missing_at_some_points_count_where_they_are(wave):
    both = np.stack([wave, 2 * wave + 1], axis=-1)
    both[10:20, 1] = np.nan
    fitted = small(channel_axis=-1).fit(both)
    assert fitted.predict().shape == both.shape
    assert fitted.score(both) > 30


@pytest.mark.parametrize(
    ("shape", "channel_axis"), [((3, 8, 7), 0), ((8, 3, 7), 1), ((8, 7, 3), -1)]
)
def test_channels_come_back_where_they_were(shape, channel_axis, rng):
    fitted = tiny(channel_axis=channel_axis, max_iter=1).fit(rng.normal(size=shape))
    assert fitted.predict().shape == shape
    sizes = list(shape)
    sizes[channel_axis] = 3
    finer = [15 if axis != channel_axis % 3 else 3 for axis in range(3)]
    assert fitted.predict(grid=(15, 15)).shape == tuple(finer)
    assert fitted.predict(points=[[0.0, 1.5], [2.0, 3.0]]).shape == (2, 3)


def test_units_of_axes_and_values_change_nothing_but_the_labels(wave):
    seconds = np.linspace(0.0, 1.0, len(wave))
    plain = tiny().fit(wave)
    labelled = xr.DataArray(1000 * wave + 5, {"time": ("time", 86400 + 0.5 * seconds)}, ["time"])
    found = tiny().fit(labelled).predict()
    np.testing.assert_allclose((found.values - 5) / 1000, plain.predict(), atol=1e-2)


def test_a_labelled_signal_comes_back_labelled(head):
    head = head.assign_attrs(units="HU")
    fitted = tiny().fit(head)
    found = fitted.predict()
    assert found.dims == head.dims
    assert found.name == head.name
    assert found.attrs == head.attrs
    assert found.dtype == np.float32
    for name in ("y", "x"):
        np.testing.assert_array_equal(found[name], head[name])
        assert found[name].attrs == head[name].attrs
    finer = fitted.predict(grid=(55, 10))
    assert finer.shape == (55, 10)
    np.testing.assert_allclose(finer.y[[0, -1]], head.y[[0, -1]])
    row = fitted.predict(coords={"y": [head.y[3]], "x": head.x})
    np.testing.assert_allclose(row[0], found[3], atol=1e-5)
    xr.testing.assert_allclose(fitted.predict(coords=head), found, atol=1e-5)
    at = np.stack([head.y[[2, 5]], head.x[[7, 1]]], axis=-1)
    np.testing.assert_allclose(fitted.predict(points=at), found.values[[2, 5], [7, 1]], atol=1e-5)


def test_channel_dimension_dataset_and_order_of_dimensions_come_back(wave):
    time = np.linspace(0, 2, len(wave))
    leads = xr.DataArray(
        np.stack([wave, -wave]), {"channel": ["I", "II"], "time": time}, ["channel", "time"]
    )
    found = tiny().fit(leads).predict()
    assert found.dims == ("channel", "time")
    assert found.channel.values.tolist() == ["I", "II"]
    dataset = leads.to_dataset(dim="channel")
    assert list(tiny().fit(dataset).predict().data_vars) == ["I", "II"]


def test_scattered_points_are_fitted_and_predicted(rng):
    t = np.sort(rng.uniform(0, 10, 50))
    scattered = xr.DataArray(np.sin(t), {"time": ("point", t)}, ["point"])
    fitted = small("fourier", n_frequencies=8).fit(scattered)
    assert fitted.score(scattered) > 25
    found = fitted.predict(points=t[:, None])
    assert np.abs(found - np.sin(t)).mean() < 0.1
    with pytest.raises(ValueError, match="give grid=, coords= or points="):
        fitted.predict(coords=None)


@pytest.mark.parametrize("field", FIELDS)
def test_random_state_decides_everything(field, wave):
    before = torch.random.get_rng_state()
    first, again, other = (
        tiny(field, batch_points=20, random_state=seed).fit(wave) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.predict(), again.predict())
    assert first.loss_curve_ == again.loss_curve_
    assert not np.array_equal(first.predict(), other.predict())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_curves_tell_how_the_fit_went(wave):
    fitted = tiny().fit(wave)
    assert fitted.n_iter_ == 30 == len(fitted.loss_curve_) == len(fitted.psnr_curve_)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    one = tiny(max_iter=1).fit(wave)
    assert one.score(wave) == pytest.approx(fitted.psnr_curve_[1], abs=1e-3)


def test_fit_ends_early_once_it_gains_too_little(wave):
    assert tiny(max_iter=250, tol=1000.0).fit(wave).n_iter_ == 200
    assert tiny(max_iter=10**6, max_time=1e-9).fit(wave).n_iter_ == 1


def test_callbacks_see_each_iteration_and_may_end_the_fit(wave):
    seen = []

    def enough(progress):
        seen.append((progress.iteration, progress.loss, progress.psnr))
        assert progress.max_iter == 30
        return progress.iteration == 7

    fitted = tiny(callbacks=[enough, seen.append]).fit(wave)
    assert fitted.n_iter_ == 7
    assert seen[::2] == [(n + 1, fitted.loss_curve_[n], fitted.psnr_curve_[n]) for n in range(7)]
    assert all(progress.field is fitted.field_ for progress in seen[1::2])
    elapsed = [progress.elapsed for progress in seen[1::2]]
    assert elapsed == sorted(elapsed)


def test_networks_are_as_large_as_their_kind_does_well_with(wave, head):
    layers = {
        field: NeuralField(field, max_iter=1).fit(wave).field_.layers
        for field in ("siren", "fourier", "positional", "gaussian", "hash-grid")
    }
    widths = {field: [layer.out_features for layer in layers[field]] for field in layers}
    assert widths.pop("hash-grid") == [64, 64, 1]
    assert set(map(tuple, widths.values())) == {(128, 128, 128, 128, 1)}
    wire = NeuralField("wire", max_iter=1).fit(wave).field_
    assert (wire.hidden_dim, len(wire.inner), wire.scale) == (90, 2, 10.0)
    grid = NeuralField("hash-grid", max_iter=1).fit(head).field_
    assert grid.sizes[[0, -1]].tolist() == [[4, 4], [27, 27]]
    assert grid.n_dense == len(grid.sizes) == 8
    hashed = NeuralField("hash-grid", table_size=50, max_iter=1).fit(head).field_
    assert len(hashed.table) == 25 + 36 + 49 + 5 * 50


def test_hash_grids_have_at_most_three_axes():
    with pytest.raises(ValueError, match="takes signals of one to three axes, got 4"):
        NeuralField("hash-grid").fit(np.zeros((2, 2, 2, 2)))


@pytest.mark.parametrize("n_frequencies", [None, 3])
def test_frequencies_follow_the_parameters_or_the_grid(n_frequencies, head):
    octaves = tiny("positional", n_frequencies=n_frequencies, max_iter=1).fit(head).field_
    # 28 points hold up to 13.5 cycles, a quarter of which leaves the octaves 1 and 2.
    assert octaves.frequencies.max() == (2 if n_frequencies is None else 4)
    drawn = tiny("fourier", n_frequencies=n_frequencies, max_iter=1).fit(head).field_
    assert len(drawn.frequencies) == (n_frequencies or 16)
    wide = tiny("fourier", n_frequencies=4000, sigma=5.0, max_iter=1).fit(head).field_
    assert float(wide.frequencies.std()) == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize("field", FIELDS)
def test_clone_and_pickle(field, wave):
    fitted = tiny(field, omega=(10.0, 20.0)).fit(wave)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "field_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(), fitted.predict())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"field": "relu"}, "'field' parameter"),
        ({"n_layers": 1}, "'n_layers' parameter"),
        ({"scale": 0.0}, "'scale' parameter"),
        ({"table_size": 0}, "'table_size' parameter"),
        ({"callbacks": ["print"]}, "callbacks must be callable, got 'print'"),
        ({"omega": (1.0, 2.0, 3.0)}, "omega must be one positive number"),
        ({"channel_axis": 0}, "at least 2 axis/axes"),
        ({"device": "abacus"}, "device='abacus' names no device"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters, message, wave):
    with pytest.raises(ValueError, match=message):
        tiny(**parameters).fit(wave)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.full(5, np.nan), "no.* value|nothing|NaN"),
        (np.array([0.0, np.inf]), "infinity"),
        (np.array(1.0), "real numbers along at least 1"),
        (np.array(["a", "b"]), "real numbers"),
        ([[1.0, 2.0], [3.0]], "one signal, an array of numbers"),
        (np.empty(0), "at least one value"),
        (xr.DataArray(np.zeros((2, 5)), dims=["sample", "x"]), 'without a "sample" dimension'),
    ],
)
def test_what_is_no_single_signal_is_refused(signal, message):
    with pytest.raises(ValueError, match=message):
        tiny().fit(signal)


def test_places_that_do_not_fit_are_refused(wave):
    fitted = tiny(max_iter=1).fit(wave)
    with pytest.raises(ValueError, match="at most one of grid, coords and points"):
        fitted.predict(grid=(3,), points=[[0.0]])
    with pytest.raises(ValueError, match="coords must be a mapping"):
        fitted.predict(coords=[{"x": [0.0]}])
    with pytest.raises(ValueError, match=r"shape \(60,\) seen in fit"):
        fitted.score(wave[:-1])
    with pytest.warns(UserWarning, match="outside the extent"):
        fitted.predict(points=[[100.0]])


def test_a_rate_too_high_is_told(wave):
    with pytest.raises(ValueError, match="too high for this signal"):
        tiny("fourier", lr=1e30).fit(wave)


def test_masked_values_come_back_masked():
    signal = np.ma.masked_greater(np.sin(np.arange(48.0)).reshape(8, 6), 0.9)
    field = tiny().fit(signal)
    np.testing.assert_array_equal(field.predict().mask, signal.mask)
    assert not np.ma.is_masked(field.predict(grid=(5, 5)))


def test_values_beyond_single_precision_stay_finite():
    signal = 1e300 * np.sin(np.arange(48.0)).reshape(8, 6)
    field = tiny().fit(signal)
    assert np.isfinite(field.predict()).all()
    assert field.score(signal) == pytest.approx(tiny().fit(signal / 1e300).score(signal / 1e300))
