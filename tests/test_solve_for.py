"""Parameters of measurements that are unknown beside the latent."""

import numpy as np
import pytest
import torch
from measured_pictures import SHAPE, linear_encoder, pictures, siren_encoder

from neurfield import FunctaEncoder
from neurfield.likelihoods import Gaussian, Poisson
from neurfield.nuisances import Affine, Drift, Gain, Offset, Phase, Setup
from neurfield.operators import Blur, Fourier, Identity, Mask

STD = 0.5


@pytest.fixture(scope="module")
def siren():
    return siren_encoder()


def drawn(encoder, n, seed):
    """Latents and values of signals that are as the encoder has learnt."""
    draw, mixture = np.random.default_rng(seed), encoder.codec_.posterior.mixture
    kinds = draw.choice(len(mixture.weights), n, p=mixture.weights)
    Z = [draw.multivariate_normal(mixture.means[k], mixture.covariances[k]) for k in kinds]
    factors = draw.standard_normal((n, len(mixture.directions)))
    around = np.tensordot(factors, mixture.directions, axes=1)
    around += np.sqrt(mixture.noise) * draw.standard_normal(around.shape)
    values = encoder.inverse_transform(Z, dtype=np.float64)
    return np.array(Z), values + around[..., 0] * encoder.codec_.units.value_scale


@pytest.fixture(scope="module")
def linear():
    return linear_encoder()


def columns(X):
    """Values as operators take them."""
    return X.reshape(len(X), -1, 1)


def noisy(operator, values, std=STD):
    clean, draw = operator.apply(values), np.random.default_rng(2)
    noise = draw.standard_normal(clean.shape)
    if np.iscomplexobj(clean):
        noise = noise + 1j * draw.standard_normal(clean.shape)
    return clean + std * noise


def assert_within_standard_errors(details, truth):
    """Errors over standard errors are about standard normal numbers."""
    z = (details.parameters - truth) / details.std
    assert np.abs(z).max() < 5.0, z
    assert 0.5 < np.sqrt(np.square(z).mean()) < 1.6, z


def test_offset_and_drift_of_a_linear_field_have_the_closed_form(linear):
    mask = np.random.default_rng(0).random(SHAPE) < 0.6
    operator = Mask(SHAPE, mask)
    Y = noisy(operator, columns(pictures(3, 5)) + 2.0)
    details = linear.encode_details(
        Y, operator=operator, likelihood=Gaussian(std=STD), solve_for=(Offset(0.3), Drift(2, 0.2))
    )
    assert details.names == ["offset", "drift_1", "drift_2"]

    codec = linear.codec_
    size, prior, cells = codec.latent_size, codec.posterior.prior, codec.field.cells
    unit = np.concatenate([np.zeros((1, size)), np.eye(size)])
    values = linear.inverse_transform(unit, dtype=np.float64).reshape(size + 1, -1)[:, mask.ravel()]
    precision = prior.blocks(cells).dense().numpy()
    precision += np.diag(np.tile(codec.posterior.precision.double().numpy(), cells.n_cells))
    peak = float(codec.units.value_range[0])
    of_parameters = np.square(peak * np.array([0.3, 0.2, 0.2])) ** -1.0
    before = np.zeros((size + 3, size + 3))
    before[:size, :size] = precision / prior.noise
    before[size:, size:] = np.diag(of_parameters)
    mean = np.append(np.tile(prior.mean.numpy(), cells.n_cells), np.zeros(3))
    t = operator.points()[mask.ravel(), 0] / (SHAPE[0] - 1)
    drift = [np.cos(np.pi * k * t) for k in range(3)]
    J = np.concatenate([values[1:] - values[0], drift]).T
    noise = float(codec.posterior.noise[0]) * float(codec.units.value_scale[0]) ** 2
    weight = 1.0 / (STD**2 + noise)
    after = weight * J.T @ J + before
    found = np.concatenate([details.latents, details.parameters], axis=1)
    wanted = np.linalg.solve(after, weight * J.T @ (Y - values[0]).T + (before @ mean)[:, None]).T
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    deviation = np.sqrt(np.diag(np.linalg.inv(after)))[size:]
    np.testing.assert_allclose(details.std, np.tile(deviation, (3, 1)), rtol=1e-4)


@pytest.mark.parametrize("likelihood", [Gaussian(std=STD), "gaussian"], ids=["known", "unknown"])
def test_gain_and_offset_are_within_their_standard_errors(siren, likelihood):
    operator, draw = Blur(SHAPE, fwhm=2.0), np.random.default_rng(3)
    gain, offset = 1.0 + 0.2 * draw.standard_normal(12), 3.0 * draw.standard_normal(12)
    values = gain[:, None, None] * columns(drawn(siren, 12, 3)[1]) + offset[:, None, None]
    details = siren.encode_details(
        noisy(operator, values),
        operator=operator,
        likelihood=likelihood,
        solve_for=("gain", "offset"),
    )
    assert details.names == ["gain", "offset"]
    assert_within_standard_errors(details, np.stack([gain, offset], axis=1))


def test_drift_is_within_its_standard_errors(siren):
    operator, draw = Blur(SHAPE, fwhm=2.0), np.random.default_rng(4)
    (Z, X), peak = drawn(siren, 12, 4), float(siren.codec_.units.value_range[0])
    amplitudes = 0.1 * peak * draw.standard_normal((12, 3))
    t = operator.points()[:, 0] / (SHAPE[0] - 1)
    course = amplitudes @ np.cos(np.pi * np.arange(1, 4)[:, None] * t)
    how = {"operator": operator, "likelihood": Gaussian(std=STD)}
    Y = noisy(operator, columns(X) + course[..., None])
    details = siren.encode_details(Y, **how, solve_for="drift")
    assert_within_standard_errors(details, amplitudes)
    errors = [np.square(found - Z).mean() for found in (details.latents, siren.transform(Y, **how))]
    assert errors[0] < 0.6 * errors[1]


def test_transform_returns_the_latents_of_the_details(siren):
    operator = Blur(SHAPE, fwhm=2.0)
    Y = noisy(operator, 1.3 * columns(pictures(2, 5)))
    how = {"operator": operator, "solve_for": Gain()}
    np.testing.assert_array_equal(siren.transform(Y, **how), siren.encode_details(Y, **how).latents)


def test_nothing_unknown_is_as_without_it(siren):
    operator = Blur(SHAPE, fwhm=2.0)
    Y = noisy(operator, columns(pictures(2, 6)))
    details = siren.encode_details(Y, operator=operator, solve_for=())
    np.testing.assert_array_equal(details.latents, siren.transform(Y, operator=operator))
    assert details.parameters.shape == details.std.shape == (2, 0)


def test_what_is_missing_counts_for_nothing(siren):
    hidden = np.random.default_rng(0).random((2, *SHAPE)) < 0.3
    operator = Identity(Mask(SHAPE, ~hidden[0]).points())
    Y = noisy(operator, columns(pictures(2, 7)))
    gaps = np.where(hidden.reshape(2, -1), np.nan, Y)
    how = {"likelihood": Gaussian(std=STD), "solve_for": "gain"}
    found = siren.encode_details(gaps, operator=operator, **how)
    for i, one in enumerate(hidden):
        part = Mask(SHAPE, ~one)
        alone = siren.encode_details(Y[i : i + 1, ~one.ravel()], operator=part, **how)
        np.testing.assert_allclose(found.parameters[i], alone.parameters[0], rtol=1e-2)
        np.testing.assert_allclose(found.std[i], alone.std[0], rtol=1e-2)


def test_a_gain_of_counts_is_found(siren):
    operator, X = Blur(SHAPE, fwhm=2.0), columns(drawn(siren, 16, 8)[1])
    X = X[(X > 0.5).all(axis=(1, 2))]
    gain = np.random.default_rng(5).uniform(0.6, 1.4, (len(X), 1))
    counts = np.random.default_rng(6).poisson(50.0 * operator.apply(gain[..., None] * X))
    details = siren.encode_details(
        counts, operator=operator, likelihood=Poisson(50.0), solve_for=Gain(0.3)
    )
    error = details.parameters - gain
    assert np.abs(error / details.std).max() < 5.0
    assert np.square(error).mean() < 0.7 * np.square(gain - 1.0).mean()


def heads(n, seed, degrees=None, shift=None):
    """Ellipses with a spot beside their middle, turned and shifted by so many pixels."""
    shapes = 0.05 * np.random.default_rng(seed).standard_normal((n, 5, 1, 1))
    at = np.stack(np.meshgrid(*[np.arange(16.0) - 7.5] * 2, indexing="ij"))
    at = np.broadcast_to(at, (n, 2, 16, 16))
    if degrees is not None:
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0)
        at = np.einsum("nij,njyx->niyx", turn, at) + shift[:, :, None, None]
    y, x = at[:, 0] / 7.5, at[:, 1] / 7.5
    radius = np.hypot(y / (0.8 + shapes[:, 0]), x / (0.5 + shapes[:, 1]))
    spot = np.square(y - 0.3 - shapes[:, 2]) + np.square(x - 0.1 - shapes[:, 3])
    return 5.0 / (1.0 + np.exp(8.0 * (radius - 1.0))) + 3.0 * np.exp(-20.0 * spot)


def test_small_rotations_and_shifts_are_found():
    encoder = FunctaEncoder(
        latent_dim=16, hidden_dim=32, field="lapped", max_iter=150, random_state=0
    ).fit(heads(400, 0))
    draw = np.random.default_rng(1)
    degrees, shift = 5.0 * draw.standard_normal(8), 0.75 * draw.standard_normal((8, 2))
    operator = Blur((16, 16), fwhm=1.5)
    Y = noisy(operator, columns(heads(8, 9, degrees, shift)), std=0.2)
    how = {"operator": operator, "likelihood": Gaussian(std=0.2)}
    details = encoder.encode_details(Y, **how, solve_for=Affine(scale=0.0))
    assert details.names == ["rotation_01", "translation_0", "translation_1"]
    error = details.parameters - np.column_stack([degrees, shift])
    assert np.median(np.abs(error / details.std)) < 1.5
    assert np.abs(error[:, 0]).mean() < 0.7 * np.abs(degrees).mean()
    assert np.abs(error[:, 1:]).mean() < 0.2 * np.abs(shift).mean()
    # Latents say what signals are like, and not in which pose.
    Z = encoder.transform(noisy(operator, columns(heads(8, 9)), std=0.2), **how)
    ignored = encoder.transform(Y, **how)
    assert np.square(details.latents - Z).mean() < 0.5 * np.square(ignored - Z).mean()


def test_phases_of_coils_are_within_their_standard_errors(siren):
    y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, 12)] * 2, indexing="ij")
    middles = [(-1, -1), (1, -1), (-1, 1), (1, 1)]
    coils = [np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) + 1j * a * x) for a, b in middles]
    operator = Fourier(SHAPE, mask=np.arange(12) % 2 == 0, sensitivities=coils)
    phases, (Z, X) = np.random.default_rng(7).standard_normal((12, 4)), drawn(siren, 12, 7)
    turned = np.exp(1j * phases)[:, :, None, None]
    Y = noisy(operator, columns(X)) * turned  # noise is alike in all directions
    how = {"operator": operator, "likelihood": Gaussian(std=STD)}
    details = siren.encode_details(Y, **how, solve_for=Phase())
    assert details.names == ["phase_0", "phase_1", "phase_2", "phase_3"]
    assert_within_standard_errors(details, phases)
    known = siren.transform(Y / turned, **how)
    assert np.square(details.latents - known).mean() < 0.1 * np.square(known - Z).mean()


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_pose_moves_points_around_the_middle_of_the_extent(n_axes):
    lower, upper = torch.zeros(n_axes).double(), torch.full((n_axes,), 10.0).double()
    points = torch.full((1, n_axes), 5.0).double()
    points[0, 0] += 1.0
    setup = Setup(points, lower, upper, np.ones(1), (1,), False)
    pose = Affine()
    prior = pose.prior(setup)
    parameters = torch.zeros(len(prior.names)).double()
    parameters[prior.names.index("rotation_01")] = 90.0
    parameters[prior.names.index("log_scale_0")] = np.log(2.0)
    parameters[prior.names.index("translation_0")] = 0.5
    moved = pose.points(parameters, points, setup)
    expected = [5.5, 7.0, 5.0][:n_axes]
    np.testing.assert_allclose(moved.numpy(), [expected], atol=1e-12)


WRONG = {
    "solve_for must be one of": {"solve_for": "scale"},
    "names or nuisances": {"solve_for": 3},
    "'gain' twice": {"solve_for": ("gain", Gain(0.1))},
    "'std' parameter of Gain": {"solve_for": Gain(std=0.0)},
    "give operator= with it": {"solve_for": "gain", "operator": None},
    "'phase' needs complex measurements": {"solve_for": "phase"},
    "one of rotation, scale and translation": {"solve_for": Affine(0, 0, 0)},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(siren, message):
    how = {"operator": Identity([[0.0, 0.0]]), **WRONG[message]}
    with pytest.raises(ValueError, match=message):
        siren.transform([[1.0]], **how)


def test_a_signal_of_one_axis_has_no_pose(small_encoder):
    encoder = small_encoder(field="siren").fit(pictures(8, 0)[:, 0])
    with pytest.raises(ValueError, match="2 or 3 axes, got 1"):
        encoder.transform([[1.0]], operator=Identity([[0.0]]), solve_for="affine")
