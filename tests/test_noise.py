"""Noise with a variance at each node of a grid, and a spectrum."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from neurfield.learning.nodes import read, reader
from neurfield.learning.noise import CorrelatedNoise, spectrum_of

GRIDS = {
    "a line": (np.linspace(-1, 1, 40),),
    "a picture": (np.linspace(-1, 1, 12), np.linspace(1, -1, 9)),
    "a volume": (np.linspace(-1, 1, 6), np.linspace(-0.5, 0.5, 5), np.linspace(-1, 1, 7)),
}


@pytest.fixture(params=GRIDS)
def noise(request):
    axes = GRIDS[request.param]
    shape = tuple(map(len, axes))
    draw = np.random.default_rng(0)
    low = np.exp(-sum(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")) * 4.0)
    spectrum = np.stack([low, np.ones(shape)], axis=-1)
    return CorrelatedNoise(axes, draw.uniform(0.5, 2.0, (*shape, 2)), spectrum)


def nodes(noise):
    return np.stack(np.meshgrid(*noise.axes, indexing="ij"), axis=-1).reshape(-1, len(noise.axes))


def test_variances_are_those_that_were_given(noise):
    n, c = noise.shape
    matrix = noise.values(np.eye(n * c).reshape(-1, n, c)).reshape(n * c, -1)
    np.testing.assert_allclose(np.square(matrix).sum(axis=0), np.square(noise.std).ravel())
    # What is of one channel says nothing of another one, and neighbours are alike in the first.
    covariance = (matrix.T @ matrix).reshape(n, c, n, c)
    assert np.abs(covariance[:, 0, :, 1]).max() < 1e-12
    assert covariance[0, 0, 1, 0] > 0.3 * covariance[0, 0, 0, 0]
    white = covariance[:, 1, :, 1]
    np.testing.assert_allclose(white, np.diag(np.diag(white)), atol=1e-12)


def test_back_is_the_transpose(noise):
    draw = np.random.default_rng(1)
    numbers, values = draw.standard_normal((2, 3, *noise.shape))
    np.testing.assert_allclose(
        np.sum(noise.values(numbers) * values), np.sum(numbers * noise.back(values))
    )


def test_values_between_nodes_are_read_linearly(noise):
    assert reader(noise.axes, nodes(noise)) is None
    coords = np.random.default_rng(2).uniform(-1.2, 1.2, (50, len(noise.axes)))
    values = np.random.default_rng(3).standard_normal(noise.shape)
    axes = [np.sort(axis) for axis in noise.axes]
    table = values.reshape(*map(len, axes), -1)
    for i, axis in enumerate(noise.axes):
        table = table if axis[0] < axis[-1] else np.flip(table, i)
    ends = np.array([(axis[0], axis[-1]) for axis in axes]).T
    wanted = RegularGridInterpolator(axes, table)(np.clip(coords, *ends))
    np.testing.assert_allclose(read(reader(noise.axes, coords), values[None])[0], wanted)


def test_a_spectrum_is_found_again(noise):
    n, c = noise.shape
    draw = np.random.default_rng(4)
    signals = noise.values(draw.standard_normal((3000, n, c))).reshape(3000, -1)
    shape = tuple(map(len, noise.axes))
    variance = np.square(noise.std).reshape(*shape, c)
    spectrum = spectrum_of(signals, variance, np.ones(3000))
    np.testing.assert_allclose(spectrum[..., 1], 1.0, rtol=0.1)
    again = CorrelatedNoise(noise.axes, variance, spectrum)
    eye = np.eye(n * c).reshape(-1, n, c)
    one, other = (np.einsum("kic,kjc->cij", x, x) for x in (noise.values(eye), again.values(eye)))
    assert np.linalg.norm(one - other) < 0.35 * np.linalg.norm(one)
