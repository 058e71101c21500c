"""Fields of one signal against their published formulas."""

import math

import numpy as np
import pytest
import torch

from neurfield.fields import (
    FourierFeatureMLP,
    GaussianMLP,
    HashGrid,
    PlainSiren,
    Wire,
    gaussian_frequencies,
    positional_frequencies,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(d, n_points=9):
    return np.random.default_rng(1).uniform(-1, 1, (n_points, d))


def weights_of(field):
    return [(w.weight.detach().numpy(), w.bias.detach().numpy()) for w in field.layers]


@pytest.mark.parametrize(("d", "c"), [(1, 1), (2, 3), (3, 1)])
def test_siren_is_the_published_formula(d, c):
    field = PlainSiren(
        d, c, hidden_dim=6, n_layers=4, omega=(3.0, 9.0), generator=generator()
    ).double()
    x = points(d)
    *sines, (W, b) = weights_of(field)
    hidden = x
    for omega, (Wk, bk) in zip((3.0, 5.0, 7.0), sines, strict=True):
        hidden = np.sin(omega * (hidden @ Wk.T + bk))
    with torch.no_grad():
        found = field(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, hidden @ W.T + b, rtol=0, atol=1e-12)


def test_initial_weights_of_a_siren_fill_their_published_ranges():
    field = PlainSiren(2, 4, hidden_dim=200, n_layers=3, omega=(10.0, 40.0), generator=generator())
    bounds = [1 / 2, math.sqrt(6 / 200) / 25.0, math.sqrt(6 / 200) / 40.0]
    for layer, bound in zip(field.layers, bounds, strict=True):
        largest = float(layer.weight.detach().abs().max())
        assert 0.97 * bound < largest <= bound * (1 + 1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_fourier_features_are_the_published_formula(d):
    B = gaussian_frequencies(7, [3.0] * d, generator()).double()
    field = FourierFeatureMLP(B, 2, hidden_dim=5, n_layers=3, generator=generator()).double()
    x = points(d)
    v = (x + 1) / 2
    gamma = np.array(
        [
            [math.cos(2 * math.pi * float(row @ vn)) for row in B.numpy()]
            + [math.sin(2 * math.pi * float(row @ vn)) for row in B.numpy()]
            for vn in v
        ]
    )
    np.testing.assert_allclose(field.features(torch.tensor(x)).numpy(), gamma, atol=1e-12)
    *hidden_layers, (W, b) = weights_of(field)
    hidden = gamma
    for Wk, bk in hidden_layers:
        hidden = np.maximum(hidden @ Wk.T + bk, 0.0)
    with torch.no_grad():
        found = field(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, hidden @ W.T + b, rtol=0, atol=1e-12)


def test_positional_features_are_those_of_nerf_up_to_their_signs():
    field = FourierFeatureMLP(positional_frequencies((4, 4)).double(), 1, hidden_dim=3)
    p = points(2)
    nerf = [f(2**k * math.pi * p[:, i]) for f in (np.cos, np.sin) for i in (0, 1) for k in range(4)]
    found = field.features(torch.tensor(p)).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(np.stack(nerf, axis=-1)), atol=1e-12)


@pytest.mark.parametrize(("d", "c"), [(1, 1), (2, 3), (3, 1)])
def test_wavelets_are_the_published_formula(d, c):
    field = Wire(
        d, c, hidden_dim=6, n_layers=4, omega=(3.0, 6.0), scale=1.5, generator=generator()
    ).double()
    x = points(d)

    def wavelet(z, omega):
        return np.exp(1j * omega * z) * np.exp(-(np.abs(1.5 * z) ** 2))

    def numbers(parameter):
        return parameter.detach().numpy()

    hidden = wavelet(x @ numbers(field.first.weight).T + numbers(field.first.bias), 3.0)
    for omega, layer in zip((4.0, 5.0), field.inner, strict=True):
        W, b = (real + 1j * imaginary for real, imaginary in map(numbers, layer.parameters()))
        hidden = wavelet(hidden @ W.T + b, omega)
    real, minus_imaginary = np.split(numbers(field.output.weight), 2, axis=1)
    expected = (hidden @ (real - 1j * minus_imaginary).T).real + numbers(field.output.bias)
    with torch.no_grad():
        found = field(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("d", "c"), [(1, 1), (2, 3), (3, 1)])
def test_gaussians_are_the_published_formula(d, c):
    field = GaussianMLP(d, c, hidden_dim=6, n_layers=4, scale=0.3, generator=generator()).double()
    x = points(d)
    *gaussians, (W, b) = weights_of(field)
    hidden = x
    for Wk, bk in gaussians:
        hidden = np.exp(-((hidden @ Wk.T + bk) ** 2) / (2 * 0.3**2))
    with torch.no_grad():
        found = field(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, hidden @ W.T + b, rtol=0, atol=1e-12)


MADE = {
    "wire": lambda d: Wire(d, 2, 4, 4, scale=2.0, generator=generator()),
    "gaussian": lambda d: GaussianMLP(d, 2, 4, 3, scale=0.5, generator=generator()),
    "hash-grid": lambda d: HashGrid(
        (7,) * d, 2, 4, 2, 20, coarsest=(2,) * d, n_levels=3, generator=generator()
    ),
}


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", MADE)
def test_gradients_are_those_of_finite_differences(name, d):
    field = MADE[name](d).double()
    with torch.no_grad():
        for parameter in field.parameters():  # features of a new hash grid are next to nothing
            parameter.uniform_(-1, 1, generator=generator())
    parameters = dict(field.named_parameters())

    def values(coords, *weights):
        state = dict(zip(parameters, weights, strict=True))
        return torch.func.functional_call(field, state, (coords,))

    coords = torch.tensor(points(d, 3), requires_grad=True)
    assert torch.autograd.gradcheck(values, (coords, *parameters.values()))


@pytest.mark.parametrize("name", MADE)
def test_a_seed_decides_the_first_weights_and_leaves_global_draws_alone(name):
    before = torch.random.get_rng_state()
    first, again = MADE[name](2).state_dict(), MADE[name](2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = MADE[name](2)
    other.reset_parameters(generator(1))
    for key, parameter in other.named_parameters():
        is_drawn = name != "hash-grid" or not key.endswith("bias")
        assert torch.equal(parameter, first[key]) != is_drawn
    assert torch.equal(torch.random.get_rng_state(), before)


def test_numbers_of_weights():
    assert GaussianMLP(3, 2, 5, 3).n_parameters == (3 * 5 + 5) + (5 * 5 + 5) + (5 * 2 + 2)
    # The first layer is real; of the last bias the imaginary part says nothing.
    assert Wire(3, 2, 5, 3).n_parameters == (3 * 5 + 5) + 2 * (5 * 5 + 5) + (2 * 5 * 2 + 2)
    # Levels of 2, 4 and 8 cells have 3², 5² and, hashed, 40 entries of two features each.
    hashed = HashGrid((8, 8), 1, 5, 2, 40, coarsest=(2, 2), n_levels=3)
    assert hashed.n_parameters == 2 * (9 + 25 + 40) + (6 * 5 + 5) + (5 + 1)


def test_gaussian_frequencies_have_the_standard_deviation_of_their_axis():
    B = gaussian_frequencies(20_000, (2.0, 10.0), generator())
    np.testing.assert_allclose(B.std(dim=0).numpy(), [2.0, 10.0], rtol=0.03)
    assert (B.mean(dim=0).abs() < torch.tensor([0.1, 0.5])).all()


def test_frequencies_stay_as_they_are_and_travel_with_the_weights():
    field = FourierFeatureMLP(positional_frequencies((3,)), 1, hidden_dim=4, n_layers=2)
    assert "frequencies" in field.state_dict()
    assert not field.frequencies.requires_grad
    assert field.n_parameters == (6 * 4 + 4) + (4 + 1)


def test_shapes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="n_layers must be at least 2"):
        PlainSiren(1, 1, n_layers=1)
    with pytest.raises(ValueError, match="n_layers must be at least 2"):
        FourierFeatureMLP(torch.ones(3, 1), 1, n_layers=1)
    for make in (Wire, GaussianMLP):
        with pytest.raises(ValueError, match="n_layers must be at least 2"):
            make(1, 1, n_layers=1)
    with pytest.raises(ValueError, match=r"frequencies must have shape \(m, d\)"):
        FourierFeatureMLP(torch.ones(3), 1)
