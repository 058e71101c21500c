"""NeuralField: one signal from what was measured of it through an operator."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from neurfield import NeuralField
from neurfield.operators import Blur, Downsample, Fourier, Identity, Mask, Radon

SHAPE = (12, 12)


def small(**parameters):
    usual = {"hidden_dim": 32, "n_layers": 3, "omega": 5.0, "max_iter": 100, "lr": 5e-3}
    return NeuralField(**(usual | {"device": "cpu", "random_state": 0} | parameters))


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    return 20.0 + 400.0 * gaussian_filter(noise, 2.0)


def measured(operator, picture):
    return operator.apply(picture.reshape(1, -1, picture.size // 144))[0]


def psnr(found, picture):
    return -10 * np.log10(np.mean((np.asarray(found) - picture) ** 2) / np.ptp(picture) ** 2)


OPERATORS = {
    "projections": (Radon(SHAPE, np.arange(0.0, 180.0, 12.0)), 21),
    "frequencies": (Fourier(SHAPE, mask=np.abs(np.arange(12) - 6) < 5), 30),
    "blurred": (Blur(SHAPE, fwhm=2.0), 25),
    "thick": (Downsample(SHAPE, (np.arange(0.5, 12.0, 2.0), np.arange(12.0))), 25),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_picture_is_found_from_what_was_measured(name, picture):
    operator, least = OPERATORS[name]
    field = small().fit(measured(operator, picture), operator=operator)
    found = field.predict()
    assert found.shape == SHAPE
    assert psnr(found, picture) > least
    # The peak of a score is the range of the field, which is about that of the picture.
    assert field.score(picture) == pytest.approx(psnr(found, picture), abs=2.0)


@pytest.mark.parametrize("field", ["siren", "wire", "gaussian", "hash-grid"])
def test_values_as_they_are_give_the_field_that_they_give_without_an_operator(field, picture):
    operator = Mask(SHAPE, np.ones(SHAPE, bool))
    through = small(field=field, max_iter=30).fit(picture.ravel(), operator=operator)
    plain = small(field=field, max_iter=30).fit(picture)
    np.testing.assert_allclose(through.predict(), plain.predict(), atol=1e-2 * np.ptp(picture))


def test_complex_pictures_have_two_channels(picture):
    operator = Fourier(SHAPE, is_complex=True)
    parts = np.stack([picture, 50.0 - picture], axis=-1)
    field = small().fit(measured(operator, parts), operator=operator)
    assert field.predict(grid=(7, 9)).shape == (7, 9, 2)
    assert psnr(field.predict(), parts) > 30
    assert field.score(parts) > 25


def test_each_coil_counts(picture):
    coils = np.exp(1j * np.linspace(0, 2, 144)).reshape(1, *SHAPE) * np.ones((3, 1, 1))
    operator = Fourier(SHAPE, mask=np.arange(12) % 2 == 0, sensitivities=coils)
    field = small(max_iter=20).fit(measured(operator, picture), operator=operator)
    assert field.predict().shape == SHAPE
    assert field.psnr_curve_[-1] > field.psnr_curve_[0] + 3


def test_coordinates_of_the_operator_are_those_of_the_field(picture):
    millimetres = 10.0 + 0.5 * np.arange(12), 0.25 * np.arange(12)
    fine = Blur(millimetres, fwhm=0.0)
    field = small(max_iter=100).fit(measured(fine, picture), operator=fine)
    found = field.predict()
    assert found.dims == ("y", "x")
    np.testing.assert_array_equal(found.y, millimetres[0])
    assert psnr(found, picture) > 20
    counted = small(max_iter=100).fit(
        measured(Blur(SHAPE, fwhm=0.0), picture), operator=Blur(SHAPE, 0.0)
    )
    np.testing.assert_allclose(found, counted.predict(), atol=1e-2 * np.ptp(picture))


def test_points_without_a_grid(rng):
    where = rng.uniform(0.0, 5.0, (60, 1))
    field = small().fit(np.sin(where[:, 0]), operator=Identity(where))
    assert np.abs(field.predict(points=where) - np.sin(where[:, 0])).mean() < 0.05
    with pytest.raises(ValueError, match="give grid=, coords= or points="):
        field.predict()


def test_what_is_missing_counts_for_nothing(picture):
    operator = Radon(SHAPE, [0.0, 45.0, 90.0])
    values = measured(operator, picture)
    hidden = np.random.default_rng(0).random(values.shape) < 0.3
    gaps = small(max_iter=10).fit(np.where(hidden, np.nan, values), operator=operator).predict()
    masked = np.ma.masked_array(np.where(hidden, 1e6, values), hidden)
    found = small(max_iter=10).fit(masked, operator=operator).predict()
    np.testing.assert_array_equal(found, gaps)
    frequencies = Fourier(SHAPE, mask=np.arange(12) % 2 == 0)
    values = measured(frequencies, picture)
    junk = np.where(frequencies.mask, values, 1e3)
    found = [small(max_iter=10).fit(v, operator=frequencies).predict() for v in (values, junk)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-3 * np.ptp(picture))


def test_measurements_that_are_held_out_say_when_noise_begins(rng):
    t = np.linspace(0.0, 1.0, 200)
    wave = np.sin(6 * t)
    noisy, operator = wave + 0.5 * rng.standard_normal(200), Identity(t[:, None])
    error = {}
    for stops in (True, False):
        field = small(omega=40.0, max_iter=250, early_stopping=stops)
        found = field.fit(noisy, operator=operator).predict(points=t[:, None])
        error[stops] = np.mean((found - wave) ** 2)
    assert error[True] < 0.7 * error[False]


def test_points_may_be_read_in_blocks(picture):
    operator = Mask(SHAPE, np.ones(SHAPE, bool))
    wide = {"hidden_dim": 2**17, "n_layers": 2, "max_iter": 2, "lr": 1e-5}
    through = small(**wide).fit(picture.ravel(), operator=operator)
    plain = small(**wide).fit(picture)
    np.testing.assert_allclose(through.predict(), plain.predict(), atol=1e-3 * np.ptp(picture))


def test_random_state_decides_everything(picture):
    operator = OPERATORS["projections"][0]
    values = measured(operator, picture)
    first, again = (
        small(max_iter=5, early_stopping=True).fit(values, operator=operator) for _ in range(2)
    )
    np.testing.assert_array_equal(first.predict(), again.predict())


class Doubled(Identity):
    def adjoint(self, measured):
        return 2.0 * super().adjoint(measured)


ONE = Identity([[0.0, 0.0], [1.0, 1.0]])
WRONG = {
    "real numbers of shape \\(3,\\)": ([1.0, 2.0, 3.0], ONE),
    "complex numbers of shape \\(12, 12\\)": (np.ones(SHAPE), Fourier(SHAPE)),
    "got infinity": ([1.0, np.inf], ONE),
    "only NaN": ([np.nan, np.nan], ONE),
    "an array of numbers": (["a", "b"], ONE),
    "differ by": ([1.0, 2.0], Doubled([[0.0, 0.0], [1.0, 1.0]])),
    "must have the methods": ([1.0], object()),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_an_operator_cannot_have_measured_is_refused(message):
    values, operator = WRONG[message]
    with pytest.raises(ValueError, match=message):
        small().fit(values, operator=operator)


def test_early_stopping_is_of_measurements(picture):
    with pytest.raises(ValueError, match="give operator= with it"):
        small(early_stopping=True).fit(picture)
