"""The training latents as prior, and the standard deviation of decoded values."""

import copy
import pickle
from functools import partial

import joblib
import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.covariance import LedoitWolf

from neurfield import FunctaEncoder
from neurfield.learning import Context
from neurfield.learning.prior import draw_sample, estimate_prior
from neurfield.learning.solvers import LevenbergMarquardt, Tangent
from neurfield.signals import read_signals

NOISE = 0.02
T = np.linspace(0, 1, 40)
SHAPES = np.stack([np.sin(2 * k * T + k) / k for k in range(1, 5)])


def draw(n, seed):
    rng = np.random.default_rng(seed)
    truth = 0.5 + rng.normal(size=(n, 4)) * [0.3, 0.2, 0.1, 0.1] @ SHAPES
    return truth + NOISE * rng.normal(size=truth.shape)


@pytest.fixture(scope="module")
def encoder(small_encoder):
    parameters = {"latent_dim": 4, "hidden_dim": 32, "omega": (8.0, 8.0), "max_iter": 150}
    return small_encoder(**parameters, batch_size=128).fit(draw(300, 0))


@pytest.fixture(scope="module")
def X():
    return draw(60, 1)


@pytest.fixture(scope="module")
def part(X):
    hidden = np.random.default_rng(2).random(X.shape) > 0.25
    return np.where(hidden, np.nan, X)


def test_prior_is_that_of_the_training_latents(encoder):
    encoder = clone(encoder).set_params(learner__augmentation=0.0).fit(draw(300, 0))
    prior = encoder.codec_.posterior.prior
    latents = encoder.transform(draw(300, 0)).astype(float)
    expected = LedoitWolf().fit(latents)
    spread = np.sqrt(np.diag(expected.covariance_))
    np.testing.assert_allclose(prior.mean / spread, expected.location_ / spread, atol=0.1)
    scaled = prior.covariance / np.outer(spread, spread)
    np.testing.assert_allclose(scaled, expected.covariance_ / np.outer(spread, spread), atol=0.15)
    scale = encoder.codec_.units.scaler.scale[0]
    assert np.sqrt(prior.noise) * scale == pytest.approx(NOISE, rel=0.25)


def test_the_prior_counts_deformed_signals_as_signals(encoder):
    field, solver, signals = encoder.field_, encoder.codec_.solver, draw(12, 0)
    store = encoder.codec_.store(read_signals(signals))
    sample = draw_sample(field, solver, store, 0.5, torch.Generator().manual_seed(0))
    assert sample.deformed.shape == (16 * 12, 4)
    latents = torch.cat([sample.latents, sample.deformed]).double().numpy()
    expected = LedoitWolf().fit(latents)
    prior = estimate_prior(field, sample)
    np.testing.assert_allclose(prior.covariance, expected.covariance_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(prior.mean, expected.location_)
    # A small deformation is a small change of the signal.
    moved = sample.deformed.reshape(16, 12, 4) - sample.latents
    assert 0 < moved.std() < 0.5 * sample.latents.std()
    without = draw_sample(field, solver, store, 0.0, torch.Generator().manual_seed(0))
    assert without.deformed is None


def test_fully_observed_signals_lose_nothing(encoder, X):
    plain = copy.copy(encoder)
    codec = copy.copy(encoder.codec_)
    solver = codec.solver
    ridge = 1e-6 * torch.eye(4)
    codec.solver = LevenbergMarquardt(solver.steps, ridge, solver.reference_count)
    plain.codec_ = codec
    assert encoder.score(X) > plain.score(X) - 0.05


def test_partly_observed_signals_gain(encoder, X):
    few = np.full_like(X, np.nan)
    few[:, 10:13] = X[:, 10:13]
    plain = copy.copy(encoder)
    codec = copy.copy(encoder.codec_)
    solver = codec.solver
    ridge = solver.precision.diagonal().min() * torch.eye(4)
    codec.solver = LevenbergMarquardt(solver.steps, ridge, solver.reference_count)
    plain.codec_ = codec

    def error(enc):
        return np.mean((enc.inverse_transform(enc.transform(few)) - X) ** 2)

    assert error(encoder) < 0.8 * error(plain)


def test_solver_minimises_around_the_mean():
    """One observed value, a linear field: the posterior mean in closed form."""
    rng = np.random.default_rng(0)
    jacobian = torch.tensor(rng.normal(size=(1, 6, 1, 3)))
    tangent = Tangent(torch.zeros(1, 6, 1, dtype=torch.float64), jacobian)
    root = rng.normal(size=(3, 3))
    precision = torch.tensor(root @ root.T + np.eye(3))
    mean = torch.tensor(rng.normal(size=3))
    weights = torch.zeros(2, 6, 1, dtype=torch.float64)
    weights[:, 2] = 1
    context = Context(torch.zeros(6, 1), torch.ones_like(weights) * weights, weights)
    found = tangent.solve(context, precision, torch.full((2,), 0.5), mean).numpy()
    # Kalman's form of the same estimate, with covariance (0.5 Λ)⁻¹ and unit noise.
    covariance = np.linalg.inv(0.5 * precision.numpy())
    j = jacobian[0, 2, 0].numpy()
    gain = covariance @ j / (j @ covariance @ j + 1)
    expected = mean.numpy() + gain * (1 - j @ mean.numpy())
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-9)
    everything = Context(torch.zeros(6, 1), torch.ones_like(weights))
    same = [tangent.solve(everything, precision, s, mean) for s in (0.5, torch.full((2,), 0.5))]
    torch.testing.assert_close(*same)


def test_intervals_hold_the_hidden_values(encoder, X, part):
    Z = encoder.transform(part)
    R, std = encoder.inverse_transform(Z, return_std=True, observed=part)
    assert R.shape == std.shape == X.shape
    assert std.dtype == np.float32
    hidden = np.isnan(part)
    covered = np.abs(R - X)[hidden] < 1.645 * std[hidden]
    assert 0.85 <= covered.mean() <= 0.95


def test_std_is_that_of_the_gaussian_posterior(encoder, X, part):
    """The closed form, from a Jacobian by finite differences."""
    Z = encoder.transform(part[:1])
    std = encoder.inverse_transform(Z, return_std=True, observed=part[:1])[1][0]
    codec, posterior = encoder.codec_, encoder.codec_.posterior
    double = copy.deepcopy(codec.field).double()
    coords = torch.tensor(codec.units.frame.normalise(np.arange(40.0)[:, None]))

    def decode(latent):
        with torch.no_grad():
            return double(coords, torch.tensor(latent[None]))[0, :, 0].numpy()

    z = Z[0].astype(float)
    steps = 1e-5 * np.eye(4)
    J = np.stack([(decode(z + h) - decode(z - h)) / 2e-5 for h in steps], axis=1)
    seen = np.isfinite(part[0])
    sigma2 = posterior.prior.noise
    inverse = np.linalg.inv(posterior.prior.covariance)
    covariance = np.linalg.inv(J[seen].T @ J[seen] / sigma2 + inverse)
    noise = posterior.variance(coords.numpy())[:, 0]
    residual = codec.units.scaler.apply(part[0][seen, None])[:, 0] - decode(z)[seen]
    misfit = np.sum(residual**2 / noise[seen])
    free = seen.sum() - 4 + np.trace(covariance @ inverse)
    weight = posterior.level_weight
    level = (weight + misfit) / (weight + free)
    variance = posterior.scale**2 * level * (noise + np.sum(J @ covariance * J, axis=1))
    np.testing.assert_allclose(std, np.sqrt(variance) * codec.units.scaler.scale[0], rtol=1e-3)


def test_less_is_sure_where_less_was_observed(encoder, X):
    half = X.copy()
    half[:, 20:] = np.nan
    std, whole = (
        encoder.inverse_transform(encoder.transform(seen), return_std=True, observed=seen)[1]
        for seen in (half, X)
    )
    assert (std[:, 30:].mean(axis=1) > 2 * std[:, :20].mean(axis=1)).mean() > 0.9
    assert whole[:, 30:].mean() < 0.5 * std[:, 30:].mean()


def test_what_was_observed_is_given_and_not_remembered(encoder, X, part):
    Z = encoder.transform(part)
    given = encoder.inverse_transform(Z, return_std=True, observed=part)[1]
    encoder.transform(X)
    encoder.score(X)
    again = encoder.inverse_transform(Z, return_std=True, observed=part)[1]
    np.testing.assert_array_equal(again, given)
    with pytest.warns(UserWarning, match="as observed on the whole grid of fit: give observed=X"):
        not_given = encoder.inverse_transform(Z, return_std=True)[1]
    encoder.transform(part)
    with pytest.warns(UserWarning, match="as observed on the whole grid"):
        again = encoder.inverse_transform(Z, return_std=True)[1]
    np.testing.assert_array_equal(again, not_given)
    # Latents alone are taken to be of signals that were observed everywhere.
    whole = encoder.inverse_transform(encoder.transform(X), return_std=True, observed=X)[1]
    assert given.mean() > 1.1 * whole.mean()
    assert not_given.mean() < 1.2 * whole.mean()


def test_each_latent_goes_with_its_own_signal(encoder, part):
    Z = encoder.transform(part)
    std = encoder.inverse_transform(Z, return_std=True, observed=part)[1]
    some = [5, 3, 3]
    latents = Z[some].astype(float).tolist()
    again = encoder.inverse_transform(latents, return_std=True, observed=part[some])[1]
    np.testing.assert_allclose(again, std[some], rtol=1e-6)
    other = encoder.inverse_transform(Z[some], return_std=True, observed=part[[3, 5, 5]])[1]
    assert not np.allclose(other, std[some], rtol=1e-2)
    moved = Z + np.float32(1e-4)  # a latent need not be the very one that transform gave
    near = encoder.inverse_transform(moved, return_std=True, observed=part)[1]
    np.testing.assert_allclose(near, std, rtol=0.05)


def test_std_survives_pickling(encoder, part):
    Z = encoder.transform(part)
    expected = encoder.inverse_transform(Z, return_std=True, observed=part)
    loaded = pickle.loads(pickle.dumps(encoder))
    found = loaded.inverse_transform(Z, return_std=True, observed=part)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:return_std=True takes each signal as observed:UserWarning")
def test_std_survives_saving(encoder, X, part, tmp_path):
    encoder.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    np.testing.assert_array_equal(loaded.transform(part), encoder.transform(part))
    for data in (X, part):
        Z = encoder.transform(data)
        for observed in (data, None):
            np.testing.assert_array_equal(
                loaded.inverse_transform(Z, return_std=True, observed=observed),
                encoder.inverse_transform(Z, return_std=True, observed=observed),
            )


def test_an_estimator_pickled_before_there_was_a_posterior(encoder, X):
    old = copy.deepcopy(encoder)
    del old.codec_.__dict__["posterior"]
    del old.codec_.solver.__dict__["mean"]
    Z = old.transform(X)
    assert np.isfinite(old.inverse_transform(Z)).all()
    with pytest.raises(ValueError, match=r"return_std=True needs what fit learns"):
        old.inverse_transform(Z, return_std=True)


def test_transform_keeps_nothing_of_the_signals(encoder, X, part):
    before = joblib.hash(encoder), len(pickle.dumps(encoder))
    for signals in (X, part, part[:7]):
        encoder.transform(signals)
        assert (joblib.hash(encoder), len(pickle.dumps(encoder))) == before


def test_observed_signals_must_be_those_of_the_latents(encoder, X, part):
    Z = encoder.transform(part)
    decode = partial(encoder.inverse_transform, Z, return_std=True)
    with pytest.raises(ValueError, match=r"signal of each latent, got 59 signals for 60 latents"):
        decode(observed=part[1:])
    with pytest.raises(ValueError, match=r"X has 39 features.*expecting 40 features"):
        decode(observed=part[:, 1:])
    with pytest.raises(ValueError, match=r"signal\(s\) \[0\] are NaN everywhere"):
        decode(observed=np.where(np.arange(60)[:, None] == 0, np.nan, part))
    with pytest.raises(ValueError, match=r"observed= changes nothing but standard deviations"):
        encoder.inverse_transform(Z, observed=part)


def test_coarser_grids_count_as_partly_observed(small_encoder):
    signals = xr.DataArray(draw(200, 0), dims=("sample", "time"), coords={"time": T})
    enc = small_encoder(hidden_dim=32, omega=(8.0, 8.0), max_iter=60).fit(signals)
    coarse = signals[:20, ::8]
    Z = enc.transform(coarse)
    R, std = enc.inverse_transform(Z, return_std=True, observed=coarse)
    assert isinstance(std, xr.DataArray)
    assert std.dims == R.dims == ("sample", "time")
    fine = signals[:20]
    whole = enc.inverse_transform(enc.transform(fine), return_std=True, observed=fine)[1]
    assert float(std.mean()) > 1.2 * float(whole.mean())


def test_channels_lists_and_scattered_points(small_encoder):
    rng = np.random.default_rng(0)
    images = [rng.random((5 + i % 3, 6, 2)) for i in range(12)]
    enc = small_encoder(channel_axis=-1).fit(images)
    gappy = [np.where(rng.random(x.shape) < 0.5, x, np.nan) for x in images]
    Z = enc.transform(gappy)
    R, std = enc.inverse_transform(Z, return_std=True, observed=gappy)
    assert [s.shape for s in std] == [r.shape for r in R]
    assert all(np.isfinite(s).all() and (s > 0).all() for s in std)
    points = [[0.5, 0.5], [1, 2], [0, 0]]
    values, std = enc.inverse_transform(Z, points=points, return_std=True, observed=gappy)
    assert values.shape == std.shape == (12, 3, 2)


@pytest.mark.parametrize("parameters", [{"learner": "cavia"}, {"n": 1}])
def test_without_a_prior_there_is_no_std(small_encoder, X, parameters):
    parameters = dict(parameters)
    data = X[: parameters.pop("n", 12)]
    enc = small_encoder(**parameters).fit(data)
    for observed in (data, None):
        with pytest.raises(ValueError, match=r"return_std=True needs what fit learns"):
            enc.inverse_transform(enc.transform(data), return_std=True, observed=observed)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_signals_of_few_values(small_encoder, length):
    X = np.random.default_rng(0).random((12, length))
    enc = small_encoder().fit(X)
    std = enc.inverse_transform(enc.transform(X), return_std=True, observed=X)[1]
    assert np.isfinite(std).all()
