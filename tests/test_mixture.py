"""What fits learn of signals that are measured through operators."""

import copy

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from neurfield import FunctaEncoder
from neurfield.errors import FileError
from neurfield.fields import Lapped
from neurfield.likelihoods import Gaussian
from neurfield.operators import Identity, Mask, Radon
from neurfield.signals import grid_points

SHAPE = (10, 12)
STD = 0.3
RADON = Radon(SHAPE, [0.0, 45.0, 90.0, 135.0])


def pictures(n, seed):
    """Two kinds: stripes along one axis, and along the other."""
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal((n, *SHAPE))
    along = gaussian_filter(noise, (4.0, 0.8), axes=(1, 2))
    across = gaussian_filter(noise, (0.8, 4.0), axes=(1, 2))
    return 3.0 + 8.0 * np.where(draw.random((n, 1, 1)) < 0.5, along, across)


def fitted(latent_dim, **options):
    encoder = FunctaEncoder(latent_dim, max_iter=30, random_state=0, **options)
    return encoder.fit(pictures(400, 0))


@pytest.fixture(scope="module")
def linear():
    """An encoder whose field is linear in its latents, which are those of whole signals."""
    encoder = fitted(20, field=Lapped(cell=SHAPE, hidden_dim=8))
    with torch.no_grad():
        encoder.field_.detail.table.zero_()
    return encoder


@pytest.fixture(scope="module")
def siren():
    return fitted(8, hidden_dim=16, field="siren")


def measured(X, operator=RADON, seed=1):
    clean = operator.apply(X.reshape(len(X), -1, 1))
    return clean + STD * np.random.default_rng(seed).standard_normal(clean.shape)


def gaussians_of(encoder):
    """Return weights, means and covariances of signals on the grid, in their units."""
    size = encoder.latent_dim
    unit = np.concatenate([np.zeros((1, size)), np.eye(size)])
    decoded = encoder.inverse_transform(unit, dtype=np.float64).reshape(size + 1, -1)
    B = (decoded[1:] - decoded[0]).T
    mixture = encoder.codec_.posterior.mixture
    scale = float(encoder.codec_.units.value_scale[0])
    around = scale * mixture.directions.reshape(len(mixture.directions), -1)
    numbers = np.eye(mixture.noise.size)[..., None]
    beside = scale * mixture.beside.values(numbers)[..., 0]
    noise = around.T @ around + beside.T @ beside
    means = decoded[0] + mixture.means @ B.T
    return mixture.weights, means, [B @ one @ B.T + noise for one in mixture.covariances]


def test_what_measurements_say_is_what_the_densities_on_the_grid_say(linear):
    weights, means, covariances = gaussians_of(linear)
    assert len(weights) > 1
    A = RADON.matrix.toarray()
    X = pictures(6, 3)
    Y = measured(X)
    how = {"operator": RADON, "likelihood": Gaussian(std=STD)}
    values, std = linear.inverse_transform(
        linear.transform(Y, **how), observed=Y, return_std=True, **how
    )
    for y, found, deviation in zip(Y.reshape(6, -1), values, std, strict=True):
        logs, conditional = [], []
        for weight, mean, covariance in zip(weights, means, covariances, strict=True):
            of_y = A @ covariance @ A.T + STD**2 * np.eye(len(A))
            gain = np.linalg.solve(of_y, A @ covariance).T
            logs.append(np.log(weight) + multivariate_normal.logpdf(y, A @ mean, of_y))
            spread = np.diag(covariance - gain @ A @ covariance)
            conditional.append((mean + gain @ (y - A @ mean), spread))
        shares = np.exp(np.array(logs) - logsumexp(logs))
        if shares.max() < 0.99:
            continue  # in between, what is most probable under their sum is no mean of theirs
        mean, spread = conditional[shares.argmax()]
        np.testing.assert_allclose(found.ravel(), mean, atol=0.03 * X.std())
        np.testing.assert_allclose(deviation.ravel(), np.sqrt(spread), rtol=0.05)


def error(encoder, X, Y):
    how = {"operator": RADON, "likelihood": Gaussian(std=STD)}
    values = encoder.inverse_transform(encoder.transform(Y, **how), observed=Y, **how)
    return float(np.mean(np.square(values - X)))


@pytest.mark.parametrize("name", ["linear", "siren"])
def test_kinds_of_signals_and_directions_around_the_field_help(name, request):
    encoder = request.getfixturevalue(name)
    X = pictures(60, 4)
    Y = measured(X)
    with_mixture = error(encoder, X, Y)
    one = copy.deepcopy(encoder)
    one.codec_.posterior.mixture = None
    assert with_mixture < 0.9 * error(one, X, Y)


@pytest.mark.parametrize("name", ["linear", "siren"])
def test_intervals_hold_nine_of_ten_values(name, request):
    encoder = request.getfixturevalue(name)
    X = pictures(60, 5)
    Y = measured(X)
    how = {"operator": RADON, "likelihood": Gaussian(std=STD)}
    Z = encoder.transform(Y, **how)
    values, std = encoder.inverse_transform(Z, observed=Y, return_std=True, **how)
    assert 0.85 < np.mean(np.abs(values - X) < 1.645 * std) < 0.95


def test_values_that_were_seen_are_what_was_seen(siren):
    X = pictures(3, 6)
    everywhere = Identity(grid_points([np.arange(n) for n in SHAPE]))
    Y = X.reshape(3, -1)
    how = {"operator": everywhere, "likelihood": Gaussian(std=1e-3)}
    Z = siren.transform(Y, **how)
    values = siren.inverse_transform(Z, observed=Y, **how)
    of_field = siren.inverse_transform(Z)
    assert np.abs(values - X).mean() < 0.2 * np.abs(of_field - X).mean()


def test_types_that_were_asked_for_are_those_of_values_alone(siren):
    Y = measured(pictures(2, 7))
    Z = siren.transform(Y, operator=RADON)
    values, std = siren.inverse_transform(
        Z, observed=Y, operator=RADON, return_std=True, dtype=np.int16
    )
    assert (values.dtype, std.dtype) == (np.int16, np.float32)


def test_a_saved_encoder_knows_what_it_knew(siren, tmp_path):
    Y = measured(pictures(2, 8))
    siren.save(tmp_path / "siren")
    loaded = FunctaEncoder.load(tmp_path / "siren")
    assert np.array_equal(loaded.transform(Y, operator=RADON), siren.transform(Y, operator=RADON))


def test_what_no_fit_leaves_is_refused(siren, tmp_path):
    damaged = copy.deepcopy(siren)
    damaged.codec_.posterior.mixture.means[:] = np.nan
    damaged.save(tmp_path / "damaged")
    with pytest.raises(FileError, match="means of the mixture must be finite"):
        FunctaEncoder.load(tmp_path / "damaged")


def test_signals_with_gaps_or_of_cells_have_none():
    X = pictures(40, 9)
    cells = FunctaEncoder(12, field=Lapped(cell=(5, 4)), max_iter=2, random_state=0).fit(X)
    X[0, :3] = np.nan
    gaps = FunctaEncoder(8, hidden_dim=16, field="siren", max_iter=2, random_state=0).fit(X)
    assert cells.codec_.posterior.mixture is gaps.codec_.posterior.mixture is None
    assert np.isfinite(gaps.transform(measured(pictures(2, 10)), operator=RADON)).all()


def test_noise_is_as_wide_as_that_of_signals_that_directions_do_not_know():
    draw = np.random.default_rng(0)
    X = draw.standard_normal((90, *SHAPE))  # which nothing describes
    encoder = FunctaEncoder(4, hidden_dim=8, field="siren", max_iter=2, random_state=0).fit(X[:60])
    half = Mask(SHAPE, draw.random(SHAPE) < 0.5)
    how = {"operator": half, "likelihood": Gaussian(std=0.1)}
    Y = half.apply(X[60:].reshape(30, -1, 1)) + 0.1 * draw.standard_normal((30, half.mask.sum()))
    Z = encoder.transform(Y, **how)
    values, std = encoder.inverse_transform(Z, observed=Y, return_std=True, **how)
    inside = np.abs(values - X[60:]) < 1.645 * std
    assert 0.85 < inside[:, ~half.mask].mean() < 0.95
