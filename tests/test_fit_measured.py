"""Encoders fitted to what operators measured, without any whole signal."""

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter
from sklearn.base import clone

from neurfield import FunctaEncoder
from neurfield.likelihoods import Gaussian, Poisson, StudentT
from neurfield.operators import Fourier, Identity, Mask, Radon

SHAPE, N = (8, 8), 60
SMALL = {"latent_dim": 12, "hidden_dim": 16, "max_iter": 15, "random_state": 0, "field": "siren"}


def pictures(n, seed):
    """Smooth pictures of few directions."""
    draw = np.random.default_rng(7)
    directions = gaussian_filter(draw.standard_normal((6, *SHAPE)), 1.5, axes=(1, 2))
    weights = np.random.default_rng(seed).standard_normal((n, 6))
    return 5.0 + 10.0 * np.tensordot(weights, directions, 1)


def masks(n, seed, part=0.4):
    draw, n_seen = np.random.default_rng(seed), round(part * np.prod(SHAPE))
    ranks = draw.random((n, np.prod(SHAPE))).argsort(axis=1).argsort(axis=1)
    return [Mask(SHAPE, rank.reshape(SHAPE) < n_seen) for rank in ranks]


def angles(n, seed):
    draw = np.random.default_rng(seed)
    return [Radon(SHAPE, draw.uniform(0.0, 180.0, 4)) for _ in range(n)]


def lines(n, seed):
    draw = np.random.default_rng(seed)
    chosen = [draw.permutation(8) < 3 for _ in range(n)]
    return [Fourier(SHAPE, mask=(line | (np.arange(8) == 4))[:, None]) for line in chosen]


def measured(operators, X, std, seed=0):
    pairs = zip(operators, X, strict=True)
    clean = np.concatenate([one.apply(x.reshape(1, -1, 1)) for one, x in pairs])
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal(clean.shape)
    if np.iscomplexobj(clean):
        noise = noise + 1j * draw.standard_normal(clean.shape)
    return clean + std * noise


def error(encoder, X, Y, operators, likelihood):
    Z = encoder.transform(Y, operator=operators, likelihood=likelihood)
    return float(np.sqrt(np.mean((encoder.inverse_transform(Z) - X) ** 2)))


KINDS = {"masks": masks, "angles": angles, "lines": lines}


@pytest.fixture(scope="module")
def whole():
    return FunctaEncoder(**SMALL).fit(pictures(N, 0))


@pytest.fixture(scope="module")
def fitted():
    operators = masks(N, 1)
    Y = measured(operators, pictures(N, 0), 0.3)
    return FunctaEncoder(**SMALL).fit(Y, operator=operators, likelihood=Gaussian(std=0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_measurements_teach_nearly_what_whole_signals_do(whole, kind):
    operators, likelihood = KINDS[kind](N, 1), Gaussian(std=0.3)
    Y = measured(operators, pictures(N, 0), 0.3)
    encoder = FunctaEncoder(**SMALL).fit(Y, operator=operators, likelihood=likelihood)
    X, others = pictures(20, 2), KINDS[kind](20, 3)
    theirs = measured(others, X, 0.3)
    found = error(encoder, X, theirs, others, likelihood)
    assert found < 1.5 * error(whole, X, theirs, others, likelihood)


def test_it_is_an_encoder_of_whole_signals_too(fitted, tmp_path):
    X = pictures(10, 4)
    assert fitted.n_features_in_ == 64
    assert fitted.transform(X).shape == (10, 12)
    assert np.isfinite(fitted.score(X))
    fitted.save(tmp_path / "encoder.safetensors")
    loaded = FunctaEncoder.load(tmp_path / "encoder.safetensors")
    np.testing.assert_allclose(loaded.transform(X), fitted.transform(X), atol=1e-4)


def test_deviations_hold_what_was_not_seen(fitted):
    X, operators = pictures(40, 5), masks(40, 6)
    Y = measured(operators, X, 0.3)
    how = {"operator": operators, "likelihood": Gaussian(std=0.3)}
    Z = fitted.transform(Y, **how)
    values, std = fitted.inverse_transform(Z, observed=Y, return_std=True, **how)
    inside = np.abs(X - values) < 1.645 * std
    assert 0.8 < inside.mean() < 0.98


def test_the_same_seed_gives_the_same_encoder():
    operators = masks(12, 1)
    Y = measured(operators, pictures(12, 0), 0.3)
    one, other = (
        FunctaEncoder(**SMALL | {"max_iter": 2}).fit_transform(Y, operator=operators)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_fit_transform_measures_alike():
    operators = masks(12, 1)
    Y = measured(operators, pictures(12, 0), 0.3)
    encoder = FunctaEncoder(**SMALL | {"max_iter": 2})
    how = {"operator": operators, "likelihood": Gaussian(std=0.3)}
    Z = encoder.fit_transform(Y, **how)
    np.testing.assert_array_equal(Z, encoder.transform(Y, **how))
    assert clone(encoder).get_params() == encoder.get_params()


def test_signals_of_weight_zero_are_not_there():
    operators = masks(12, 1)
    Y = measured(operators, pictures(12, 0), 0.3)
    weight = np.repeat([1.0, 0.0], [8, 4])
    spoilt = np.where(weight[:, None] > 0, Y, 1e6)
    quick = FunctaEncoder(**SMALL | {"max_iter": 2})
    without = clone(quick).fit(Y[:8], operator=operators[:8])
    quick.fit(spoilt, sample_weight=weight, operator=operators)
    X = pictures(3, 8)
    np.testing.assert_array_equal(quick.transform(X), without.transform(X))


def test_the_grid_has_the_operators_coordinates():
    axes = {"y": np.linspace(0.0, 3.0, 8), "x": np.linspace(-1.0, 1.0, 8)}
    operators = [Mask(axes, one.mask) for one in masks(12, 1)]
    Y = measured(operators, pictures(12, 0), 0.3)
    encoder = FunctaEncoder(**SMALL | {"max_iter": 2})
    decoded = encoder.inverse_transform(encoder.fit_transform(Y, operator=operators))
    assert isinstance(decoded, xr.DataArray)
    np.testing.assert_allclose(decoded["y"], axes["y"])
    np.testing.assert_allclose(decoded["x"], axes["x"])


def test_channels_are_those_that_the_operator_measures():
    X = np.stack([pictures(12, 0), 100.0 - 10.0 * pictures(12, 9)], axis=-1).reshape(12, -1, 2)
    operators = masks(12, 1)
    Y = np.concatenate([one.apply(x[None]) for one, x in zip(operators, X, strict=True)])
    encoder = FunctaEncoder(**SMALL | {"max_iter": 2}, channel_axis=-1)
    Z = encoder.fit_transform(Y, operator=operators)
    assert encoder.inverse_transform(Z).shape == (12, *SHAPE, 2)
    assert encoder.n_features_in_ == 128


def noisy(likelihood, clean):
    draw = np.random.default_rng(0)
    if isinstance(likelihood, Poisson):
        return draw.poisson(3.0 * clean).astype(float)
    outlier = np.where(draw.random(clean.shape) < 0.05, 200.0, 0.0)
    return clean + outlier + 0.5 * draw.standard_normal(clean.shape)


@pytest.mark.parametrize("likelihood", [Poisson(scale=3.0), StudentT()], ids=str)
def test_other_noise_than_normal_teaches_more_than_taken_for_normal(likelihood):
    def positive(n, seed):
        return np.clip(pictures(n, seed) + 15.0, 0.0, None)

    operators, X = masks(N, 1, 0.6), positive(20, 2)
    Y = noisy(likelihood, measured(operators, positive(N, 0), 0.0))
    wrong = Y / 3.0 if isinstance(likelihood, Poisson) else Y
    found, taken = (
        FunctaEncoder(**SMALL).fit(these, operator=operators, likelihood=how)
        for these, how in ((Y, likelihood), (wrong, Gaussian(std=0.3)))
    )
    found, taken = (
        np.square(encoder.inverse_transform(encoder.transform(X)) - X).mean()
        for encoder in (found, taken)
    )
    assert found < taken


ONE = Mask(SHAPE, np.ones(SHAPE, bool))
WRONG = {
    "two signals or more": ({}, np.ones((1, 64)), ONE),
    "same points": ({}, np.ones((2, 64)), [ONE, Mask((16, 4), np.ones((16, 4), bool))]),
    "must form a grid": ({}, np.ones((2, 3)), Identity([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])),
    "without patch_size": ({"patch_size": 4}, np.ones((2, 64)), ONE),
    "channel_axis must say": ({}, np.ones((2, 64, 2)), ONE),
    "shape that operator has": ({}, np.ones((2, 63)), ONE),
    "X is real": ({}, np.ones((2, *SHAPE)), Fourier(SHAPE)),
    "one for each of the 2": ({}, np.ones((2, 64)), [ONE] * 3),
    "holds no measurement": ({}, [[1.0] * 64, [np.nan] * 64], ONE),
    "without points, adjoint": ({}, np.ones((2, 64)), type("Half", (), {"apply": len})()),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(message):
    parameters, Y, operator = WRONG[message]
    encoder = FunctaEncoder(**SMALL | parameters)
    with pytest.raises(ValueError, match=message):
        encoder.fit(Y, operator=operator)
    assert not hasattr(encoder, "codec_")


def test_passes_take_whole_signals():
    with pytest.raises(TypeError, match="operator"):
        FunctaEncoder(**SMALL).partial_fit(np.ones((2, 64)), operator=ONE)
