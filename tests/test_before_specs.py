"""Files of the version before specs load, and the same configurations give the same latents.

The files and the figures in ``fixtures`` were made by that version. Other processors, and another
number of threads, order sums in another way, hence the tolerances.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder
from neurfield.fields import LowRank, Siren, Spatial
from neurfield.learning import Cavia, VarPro

FIXTURES = Path(__file__).parent / "fixtures"
OF_MAXIMUM = 1e-4  # after encoding and decoding with given weights


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURES / "before_specs.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def digits():
    return load_digits().images


def beats(n, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, 60)
    return np.stack(
        [
            np.exp(-(((t - rng.uniform(0.3, 0.6)) / rng.uniform(0.03, 0.1)) ** 2))
            + 0.3 * rng.standard_normal() * np.sin(6 * t)
            for _ in range(n)
        ]
    )


def labelled(digits):
    along = np.arange(8) * 0.5
    return xr.DataArray(
        digits[:200].reshape(200, 8, 8),
        dims=("sample", "y", "x"),
        coords={"y": ("y", along, {"units": "mm"}), "x": ("x", along, {"units": "mm"})},
        name="digit",
        attrs={"units": "au"},
    )


CAVIA = {"inner_steps": 3, "learn_inner_lr": True, "context_ratio": 0.5}
# Of each configuration: the encoder, what it was fitted to, and what it encoded.
CONFIGURATIONS = {
    "varpro_digits": (
        lambda: FunctaEncoder(latent_dim=16, hidden_dim=32, max_iter=40, random_state=0),
        lambda digits: digits[:400],
        lambda digits: digits[400:420],
    ),
    "bent": (  # by several inner steps
        lambda: FunctaEncoder(latent_dim=12, hidden_dim=32, max_iter=30, random_state=1),
        lambda digits: digits[:1200],
        lambda digits: digits[1200:1210],
    ),
    "cavia_beats": (
        lambda: FunctaEncoder(
            latent_dim=8,
            hidden_dim=24,
            n_layers=4,
            learner=Cavia(**CAVIA),
            meta_lr=1e-3,
            max_iter=20,
            random_state=0,
        ),
        lambda digits: beats(50),
        lambda digits: beats(10, 1),
    ),
    "patched": (
        lambda: FunctaEncoder(
            latent_dim=4,
            hidden_dim=16,
            max_iter=10,
            random_state=0,
            field=Spatial(grid=2),
            patch_size=4,
        ),
        labelled,
        lambda digits: labelled(digits)[:10],
    ),
    "lowrank": (
        lambda: FunctaEncoder(
            latent_dim=3,
            hidden_dim=16,
            n_layers=3,
            learner=Cavia(inner_steps=2),
            field=LowRank(intermediate_dim=8),
            max_iter=5,
            random_state=0,
        ),
        lambda digits: digits[:50],
        lambda digits: digits[:5],
    ),
}
# How far latents, relative to the greatest, and errors of decoding may be from what was recorded:
# about three times what one thread instead of two changes, as each meta-step amplifies roundings.
# The closed form of many signals does so the most, and its several steps above all, which leave
# latents but for a turn of almost equal axes.
AFTER_FIT = {
    "varpro_digits": (0.1, 0.02),
    "bent": (None, 0.1),
    "cavia_beats": (1e-4, 1e-4),
    "patched": (1e-2, 1e-2),
    "lowrank": (1e-4, 1e-4),
}
FILES = {"varpro": "varpro_digits", "cavia": "cavia_beats", "patched_spatial": "patched"}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def load(file):
    return FunctaEncoder.load(FIXTURES / f"{file}.field", device="cpu")


def assert_close(found, expected, of_maximum=OF_MAXIMUM):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=of_maximum * np.abs(expected).max())


@pytest.mark.parametrize(("file", "name"), FILES.items())
def test_a_file_encodes_and_decodes_as_before(file, name, digits, recorded):
    encoder, X = load(file), CONFIGURATIONS[name][2](digits)
    Z = encoder.transform(X)
    assert_close(Z, recorded[f"{name}_Z"])
    expected = recorded[f"{name}_R"]
    decoded = encoder.inverse_transform(recorded[f"{name}_Z"])
    assert type(decoded) is type(X)
    assert_close(np.asarray(decoded)[: len(expected)], expected)


def test_a_file_of_labelled_patches_keeps_its_labels(digits):
    encoder, X = load("patched_spatial"), labelled(digits)[:10]
    decoded = encoder.inverse_transform(encoder.transform(X))
    assert (decoded.name, decoded.attrs["units"], decoded.y.attrs["units"]) == ("digit", "au", "mm")
    np.testing.assert_array_equal(decoded.y, X.y)


@pytest.mark.filterwarnings("ignore:return_std=True takes each signal as observed:UserWarning")
def test_a_file_keeps_what_it_knows_of_gaps(digits, recorded):
    encoder = load("varpro")
    gaps = digits[400:404].copy()
    gaps[:, :4] = np.nan
    assert_close(encoder.transform(gaps), recorded["varpro_digits_gap_Z"])
    std = encoder.inverse_transform(recorded["varpro_digits_Z"][:2], return_std=True)[1]
    assert_close(std, recorded["varpro_digits_std"])


@pytest.mark.parametrize(("file", "name"), FILES.items())
def test_a_file_keeps_curves_and_options(file, name, recorded):
    encoder = load(file)
    assert encoder.n_iter_ == len(encoder.loss_curve_)
    if f"{name}_loss" in recorded:
        np.testing.assert_allclose(encoder.loss_curve_, recorded[f"{name}_loss"], rtol=1e-12)
    asked = CONFIGURATIONS[name][0]()
    if asked.field == "auto":  # the default was another
        asked.set_params(field="siren")
    found = encoder.get_params()
    expected = asked.get_params() | {"device": "cpu"}
    specs = ("field", "learner", "early_stopping")
    assert {k: v for k, v in found.items() if k not in specs} == {
        k: v for k, v in expected.items() if k not in specs
    }
    for spec in ("field", "learner"):
        assert type(found[spec]) is {"siren": Siren, "varpro": VarPro}.get(
            expected[spec], type(expected[spec])
        )


@pytest.mark.parametrize(("file", "name"), FILES.items())
def test_a_file_is_fitted_on_and_saved_again(file, name, digits, tmp_path):
    encoder, (_, train, new) = load(file), CONFIGURATIONS[name]
    Z = encoder.transform(new(digits))
    encoder.save(tmp_path / "again.field")
    again = FunctaEncoder.load(tmp_path / "again.field")
    np.testing.assert_array_equal(again.transform(new(digits)), Z)
    # The learning rate is that of the beginning, which undoes the end of the course it took.
    score = encoder.score(train(digits))
    assert again.partial_fit(train(digits)).score(train(digits)) > score - 4.0
    assert again.n_iter_ > encoder.n_iter_
    np.testing.assert_array_equal(encoder.transform(new(digits)), Z)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_fit_gives_the_latents_that_it_gave(name, digits, recorded):
    make, train, new = CONFIGURATIONS[name]
    encoder = make().set_params(device="cpu").fit(train(digits))
    of_latents, of_error = AFTER_FIT[name]
    if f"{name}_loss" in recorded:
        np.testing.assert_allclose(encoder.loss_curve_, recorded[f"{name}_loss"], rtol=of_error)
    Z, expected = encoder.transform(new(digits)), recorded[f"{name}_Z"]
    if of_latents is not None:
        assert_close(Z, expected, of_latents)
    distances, of_then = pdist(Z), pdist(expected)
    assert np.corrcoef(distances, of_then)[0, 1] > 0.95
    then = recorded[f"{name}_R"]
    X, decoded = (np.asarray(a)[: len(then)] for a in (new(digits), encoder.inverse_transform(Z)))
    assert rms(decoded - X) == pytest.approx(rms(then - X), rel=of_error)
    assert rms(decoded - then) < 0.5 * rms(then - X)


def test_the_files_hold_no_code():
    for file in FILES:
        path = FIXTURES / f"{file}.field"
        assert not zipfile.is_zipfile(path)
        assert path.stat().st_size < 50_000
