"""Latents of what was measured through operators."""

import copy

import numpy as np
import pytest
import torch
from measured_pictures import SHAPE, gaussian_of, linear_encoder, pictures, siren_encoder
from scipy.optimize import minimize

from neurfield.likelihoods import Gaussian, Huber, Poisson, StudentT
from neurfield.operators import Blur, Fourier, Identity, Mask, Matrix, Radon


@pytest.fixture(scope="module")
def linear():
    return linear_encoder()


@pytest.fixture(scope="module")
def siren():
    return siren_encoder()


def measured(operator, X, std, seed=1):
    clean = operator.apply(X.reshape(len(X), -1, 1))
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal(clean.shape)
    if np.iscomplexobj(clean):
        noise = noise + 1j * draw.standard_normal(clean.shape)
    return clean + std * noise


def flat(measurements):
    rows = measurements.reshape(len(measurements), -1)
    return np.concatenate([rows.real, rows.imag], axis=1) if np.iscomplexobj(rows) else rows


OPERATORS = {
    "blur": Blur(SHAPE, fwhm=3.0),
    "angles": Radon(SHAPE, [0.0, 50.0, 110.0]),
    "frequencies": Fourier(SHAPE, mask=np.arange(12) % 3 == 0),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_latents_of_a_linear_field_are_those_of_the_gaussian(linear, name):
    operator, X = OPERATORS[name], pictures(3, 5)
    Y = measured(operator, X, 0.5)
    found = linear.transform(Y, operator=operator, likelihood=Gaussian(std=0.5))
    m, B, mean, precision, noise = gaussian_of(linear)

    A = flat(operator.apply(np.eye(144)[..., None])).T
    weight = 1.0 / (0.25 + noise * np.square(A).sum(axis=1))
    J = A @ B
    for latent, y in zip(found, flat(Y), strict=True):
        normal = J.T @ (weight[:, None] * J) + precision
        wanted = np.linalg.solve(normal, J.T @ (weight * (y - A @ m)) + precision @ mean)
        scale = np.abs(wanted).max()
        # The variance of measurements from values around the field is an estimate.
        np.testing.assert_allclose(latent, wanted, atol=0.05 * scale)


SEEN = np.random.default_rng(4).permutation(144).reshape(SHAPE) < 70


def test_what_was_measured_is_decoded_whatever_latents_say(siren):
    X, operator = pictures(5, 12), Mask(SHAPE, SEEN)
    how = {"operator": operator, "likelihood": Gaussian(std=0.01)}
    Y = measured(operator, X, 0.01)
    Z = siren.transform(Y, **how)
    alone = np.abs(siren.inverse_transform(Z) - X)
    values, std = siren.inverse_transform(Z, observed=Y, return_std=True, **how)
    error = np.abs(values - X)
    assert error[:, SEEN].max() < 0.05 < alone[:, SEEN].mean()
    assert std[:, SEEN].max() < 0.02 < std[:, ~SEEN].mean()
    # Neighbours are alike, so that those of measured values are known better too.
    assert error[:, ~SEEN].mean() < alone[:, ~SEEN].mean()
    assert 0.8 < np.mean(error[:, ~SEEN] < 1.645 * std[:, ~SEEN]) < 0.99


# Of real pictures, frequencies k and -k say the same: of these lines no two are of such a pair.
LINES = np.isin(np.arange(12), [1, 2, 4])


@pytest.mark.parametrize("operator", [Mask(SHAPE, SEEN), Fourier(SHAPE, mask=LINES)])
def test_signals_of_a_linear_field_are_those_of_the_gaussian(linear, operator):
    X = pictures(3, 5)
    Y, how = measured(operator, X, 0.2), {"operator": operator, "likelihood": Gaussian(std=0.2)}
    found = linear.inverse_transform(linear.transform(Y, **how), observed=Y, **how)
    m, B, mean, precision, noise = gaussian_of(linear)

    A = flat(operator.apply(np.eye(144)[..., None])).T
    covariance = B @ np.linalg.solve(precision, B.T) + noise * np.eye(144)
    of_measured = A @ covariance @ A.T + 0.04 * np.eye(len(A))
    left = flat(Y)
    centre = m + B @ mean
    wanted = centre + (covariance @ A.T @ np.linalg.solve(of_measured, (left - A @ centre).T)).T
    error = np.abs(found.reshape(3, -1) - wanted).max()
    assert error < 0.03 * np.abs(wanted - centre).max()


def test_no_other_latent_is_more_probable(siren):
    siren = copy.deepcopy(siren)
    siren.codec_.posterior.mixture = None
    operator, X = OPERATORS["angles"], pictures(2, 6)
    Y = measured(operator, X, 0.5)
    found = siren.transform(Y, operator=operator, likelihood=Gaussian(std=0.5))
    prior = siren.codec_.posterior.prior
    A = operator.matrix.toarray()
    noise = siren.codec_.posterior.variance(siren.codec_.units.coordinates(operator.points()))
    noise = noise[:, 0] * siren.codec_.units.value_scale[0] ** 2
    weight = 1.0 / (0.25 + np.square(A) @ noise)

    def objective(latent, y):
        values = siren.inverse_transform(latent[None], dtype=np.float64).ravel()
        away = latent - prior.mean
        return (
            0.5 * np.sum(weight * np.square(y - A @ values)) + 0.5 * away @ prior.precision @ away
        )

    draw = np.random.default_rng(0)
    for latent, y in zip(found.astype(np.float64), Y.reshape(2, -1), strict=True):
        best = objective(latent, y)
        assert best < objective(prior.mean, y)
        for _ in range(20):
            step = draw.standard_normal(12) / np.sqrt(np.diag(prior.precision))
            assert objective(latent + 0.3 * step, y) > best - 0.02 * abs(best)


def test_measured_signals_have_nothing_to_do_with_each_other(siren):
    operator = OPERATORS["angles"]
    Y = measured(operator, pictures(4, 7), 0.5)
    together = siren.transform(Y, operator=operator)
    np.testing.assert_array_equal(siren.transform(Y[2:3], operator=operator)[0], together[2])


def test_each_signal_may_have_an_operator(siren):
    X = pictures(2, 8)
    operators = [Radon(SHAPE, [0.0, 90.0]), Radon(SHAPE, [45.0, 135.0])]
    Y = np.concatenate([measured(op, X[i : i + 1], 0.5) for i, op in enumerate(operators)])
    found = siren.transform(Y, operator=operators)
    for i, operator in enumerate(operators):
        alone = siren.transform(Y[i : i + 1], operator=operator)
        np.testing.assert_array_equal(found[i], alone[0])


def test_what_is_missing_counts_for_nothing(siren):
    X = pictures(2, 9)
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    everywhere, part = Identity(Mask(SHAPE, np.ones(SHAPE, bool)).points()), Mask(SHAPE, mask)
    gaps = np.where(mask.ravel(), X.reshape(2, -1), np.nan)
    likelihood = Gaussian(std=0.5)
    np.testing.assert_allclose(
        siren.transform(gaps, operator=everywhere, likelihood=likelihood),
        siren.transform(X[:, mask], operator=part, likelihood=likelihood),
        atol=1e-3,
    )


def test_units_of_measurements_do_not_matter(siren):
    operator = OPERATORS["angles"]
    Y = measured(operator, pictures(2, 10), 0.5)
    thousand = Matrix(SHAPE, 1000.0 * operator.matrix, Y.shape[1:])
    np.testing.assert_allclose(
        siren.transform(1000.0 * Y, operator=thousand),
        siren.transform(Y, operator=operator),
        atol=2e-3,
    )


@pytest.mark.parametrize("encoder", ["linear", "siren"])
def test_threads_do_not_get_in_each_others_way(encoder, request):
    encoder = request.getfixturevalue(encoder)
    operator = OPERATORS["angles"]
    Y = measured(operator, pictures(12, 16), 0.5)
    alone = encoder.transform(Y, operator=operator)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(3):
            np.testing.assert_allclose(
                encoder.transform(Y, operator=operator), alone, rtol=1e-3, atol=1e-4
            )
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("likelihood", ["gaussian", StudentT()])
def test_frequencies_that_were_not_measured_count_for_nothing(linear, likelihood):
    operator = OPERATORS["frequencies"]
    Y = measured(operator, pictures(2, 17), 2.0)
    unseen = ~np.broadcast_to(operator.mask, Y.shape)
    found = [
        linear.transform(np.where(unseen, other, Y), operator=operator, likelihood=likelihood)
        for other in (0.0, 1e3, np.nan, complex(np.nan, np.nan))
    ]
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], atol=1e-6)


def test_masked_measurements_are_missing(siren):
    operator, hidden = OPERATORS["blur"], np.random.default_rng(0).random((2, *SHAPE)) < 0.3
    Y = measured(operator, pictures(2, 18), 0.5)
    np.testing.assert_array_equal(
        siren.transform(np.ma.masked_array(np.where(hidden, 1e6, Y), hidden), operator=operator),
        siren.transform(np.where(hidden, np.nan, Y), operator=operator),
    )


def test_each_signal_on_a_grid_of_its_own_has_deviations(linear, siren):
    operator = OPERATORS["angles"]
    Y = measured(operator, pictures(2, 19), 0.5)
    grids = [{"y": np.arange(12.0), "x": np.arange(12.0)}] * 2
    for encoder in (linear, siren):
        Z = encoder.transform(Y, operator=operator)
        how = {"observed": Y, "operator": operator, "return_std": True}
        _, whole = encoder.inverse_transform(Z, **how)
        _, each = encoder.inverse_transform(Z, coords=grids, **how)
        np.testing.assert_allclose(np.stack([np.asarray(one) for one in each]), whole, rtol=1e-4)


PREDICTED = (-2.0, -0.5, 0.001, 0.3, 5.0, 40.0)


@pytest.mark.parametrize(
    "likelihood",
    [Gaussian(), Huber(), StudentT(), Poisson(3.0), Poisson(200.0, "transmission")],
    ids=str,
)
def test_slopes_are_those_of_the_loss(likelihood):
    grid = torch.cartesian_prod(
        torch.tensor(PREDICTED), torch.tensor([0.0, 1.0, 300.0]), torch.tensor([1e-6, 1e-2, 1.0])
    ).double()
    predicted, counts, variance = grid.T
    std, step = torch.full_like(predicted, 0.5), 1e-2 * 1e-3 * predicted.abs().clamp_min(0.01)
    here = likelihood.evaluate(predicted, counts, std, variance)
    ends = [
        likelihood.evaluate(predicted + side * step, counts, std, variance).loss
        for side in (1.0, -1.0)
    ]
    expected = (ends[1] - ends[0]) / (2 * step)
    torch.testing.assert_close(here.slope, expected, rtol=2e-3, atol=2e-2)
    assert (here.curvature > 0).all()


def test_the_level_of_noise_is_found_out(linear):
    operator, X = Radon(SHAPE, np.arange(0.0, 180.0, 10.0)), pictures(10, 11)
    decoded = linear.inverse_transform(linear.transform(X))
    Y = measured(operator, decoded, 2.0)
    known = linear.transform(Y, operator=operator, likelihood=Gaussian(std=2.0))
    found = linear.transform(Y, operator=operator)
    truth = linear.transform(X)
    assert np.square(found - truth).mean() < 1.3 * np.square(known - truth).mean()


@pytest.mark.parametrize("robust", [Huber(), StudentT(), StudentT(std=0.5)])
def test_outliers_do_little_harm(linear, robust):
    operator, X = Radon(SHAPE, np.arange(0.0, 180.0, 10.0)), pictures(5, 12)
    Y = measured(operator, X, 0.5)
    clean = linear.transform(Y, operator=operator)
    broken = np.random.default_rng(0).random(Y.shape) < 0.05
    Y = Y + 300.0 * broken
    harm = [
        np.square(linear.transform(Y, operator=operator, likelihood=one) - clean).mean()
        for one in (robust, Gaussian())
    ]
    assert harm[0] < 0.25 * harm[1]


@pytest.mark.parametrize("link", ["identity", "transmission"])
def test_counts_have_the_latents_that_scipy_finds(linear, link):
    X, draw = pictures(2, 13), np.random.default_rng(0)
    X = X - X.min(axis=(1, 2), keepdims=True) + 1.0
    if link == "identity":
        operator, scale = Blur(SHAPE, fwhm=2.0), 3.0
    else:
        operator, scale = Matrix(SHAPE, 0.005 * Radon(SHAPE, [0.0, 60.0, 120.0]).matrix), 200.0
    clean = operator.apply(X.reshape(2, -1, 1))
    rate = scale * (clean if link == "identity" else np.exp(-clean))
    Y = draw.poisson(rate).astype(float)
    found = linear.transform(Y, operator=operator, likelihood=Poisson(scale, link))
    m, B, mean, precision, noise = gaussian_of(linear)
    A = operator.apply(np.eye(144)[..., None]).reshape(144, -1).T
    J, origin = A @ B, A @ m
    variance = np.maximum(noise * np.square(A).sum(axis=1), 1e-9)

    def objective(latent, y):
        eta = origin + J @ latent
        # The most probable prediction is found by brute force.
        away = np.linspace(-6, 6, 4001)[:, None] * np.sqrt(variance)
        eta = eta + away
        lam = scale * np.maximum(eta, 1e-9) if link == "identity" else scale * np.exp(-eta)
        loss = (lam - y * np.log(lam) + 0.5 * np.square(away) / variance).min(axis=0).sum()
        return loss + 0.5 * (latent - mean) @ precision @ (latent - mean)

    for latent, y in zip(found.astype(np.float64), Y.reshape(2, -1), strict=True):
        wanted = minimize(objective, latent, args=(y,), method="BFGS", options={"gtol": 1e-2})
        assert objective(latent, y) < wanted.fun + 0.2


def test_intervals_hold_nine_of_ten_values(siren):
    operator, X = OPERATORS["angles"], pictures(40, 14)
    Y = measured(operator, X, 0.5)
    Z = siren.transform(Y, operator=operator)
    values, std = siren.inverse_transform(Z, observed=Y, operator=operator, return_std=True)
    assert std.shape == values.shape == X.shape
    assert 0.8 < np.mean(np.abs(X - values) < 1.645 * std) < 0.98


def test_a_fitted_encoder_stays_as_it_is(siren):
    before = copy.deepcopy(siren.codec_.field.state_dict())
    operator = OPERATORS["angles"]
    siren.transform(measured(operator, pictures(2, 15), 0.5), operator=operator)
    for name, weight in siren.codec_.field.state_dict().items():
        assert torch.equal(weight, before[name])


class Doubled(Identity):
    def adjoint(self, measured):
        return 2.0 * super().adjoint(measured)


LAPPED = []
WRONG = {
    "shape that operator has, \\(3, 17\\)": lambda e: e.transform(
        np.ones((2, 3, 5)), operator=OPERATORS["angles"]
    ),
    "differ by": lambda e: e.transform(np.ones((2, 1)), operator=Doubled([[0.0, 0.0]])),
    "the 2 axes of fit": lambda e: e.transform(np.ones((2, 1)), operator=Identity([[0.0]])),
    "one for each of the 2": lambda e: e.transform(
        np.ones((2, 1)), operator=[Identity([[0.0, 0.0]])] * 3
    ),
    "X is real": lambda e: e.transform(np.ones((2, 12, 12)), operator=OPERATORS["frequencies"]),
    "infinity": lambda e: e.transform([[np.inf]], operator=Identity([[0.0, 0.0]])),
    "holds no measurement": lambda e: e.transform([[np.nan]], operator=Identity([[0.0, 0.0]])),
    "likelihood must be one of": lambda e: e.transform(
        [[1.0]], operator=Identity([[0.0, 0.0]]), likelihood="normal"
    ),
    "must hold counts": lambda e: e.transform(
        [[-1.0]], operator=Identity([[0.0, 0.0]]), likelihood="poisson"
    ),
    "positive and finite": lambda e: e.transform(
        [[1.0]], operator=Identity([[0.0, 0.0]]), likelihood=Gaussian(std=0.0)
    ),
    "broadcast to X": lambda e: e.transform(
        [[1.0]], operator=Identity([[0.0, 0.0]]), likelihood=Gaussian(std=[1.0, 2.0])
    ),
    "must lie in the extent seen in fit": lambda e: LAPPED[0].transform(
        np.ones((1, 1)), operator=Identity([[30.0, 0.0]])
    ),
    "give observed= with it": lambda e: e.inverse_transform(
        np.zeros((1, 12)), operator=Identity([[0.0, 0.0]]), return_std=True
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(siren, linear, message):
    LAPPED[:] = [linear]
    with pytest.raises(ValueError, match=message):
        WRONG[message](siren)
