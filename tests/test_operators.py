"""Operators measure what they say, and their adjoints are their adjoints."""

import numpy as np
import pytest
import xarray as xr
from scipy import sparse
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.linalg import LinearOperator

from neurfield.operators import (
    Affine,
    Blur,
    Compose,
    Downsample,
    Fourier,
    Identity,
    Mask,
    Matrix,
    NonUniformFourier,
    Operator,
    Radon,
    check_adjoint,
)

draw = np.random.default_rng(0)
CHECKER = (np.indices((6, 5)).sum(axis=0) % 2).astype(bool)
COILS = draw.standard_normal((3, 6, 5)) + 1j * draw.standard_normal((3, 6, 5))
POSES = [[[1.0, 0.1, 0.5], [-0.1, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]]


def turned():
    pytest.importorskip("finufft")
    return NonUniformFourier((6, 5), draw.uniform(-0.5, 0.5, (11, 2)), COILS, is_complex=True)


OPERATORS = {
    "identity": lambda: (Identity(draw.standard_normal((7, 2))), 2),
    "mask": lambda: (Mask((6, 5), CHECKER), 3),
    "matrix": lambda: (Matrix((6, 5), draw.standard_normal((8, 30)), (4, 2)), 2),
    "sparse": lambda: (Matrix((30,), sparse.random_array((8, 30), density=0.3, rng=draw)), 1),
    "complex": lambda: (Matrix((4,), draw.standard_normal((3, 4)) * (1 + 2j)), 2),
    "linear": lambda: (
        Matrix((4,), LinearOperator((4, 4), matvec=lambda x: 2 * x, rmatvec=lambda x: 2 * x)),
        1,
    ),
    "blur": lambda: (Blur((6, 5), fwhm=(2.0, 0.0)), 3),
    "downsample": lambda: (
        Downsample(
            (np.arange(6.0), np.arange(0.0, 3.0, 0.5)),
            ([0.5, 2.5, 4.5], [0.5, 2.0]),
            profile=("box", "gaussian"),
        ),
        2,
    ),
    "parallel": lambda: (Radon((6, 5), angles=[0, 20, 45, 90, 170], axis=0.7), 2),
    "fan": lambda: (Radon((6, 5), angles=[0, 20, 90], source=20.0), 1),
    "slices": lambda: (Radon((3, 6, 5), angles=[10, 100]), 2),
    "fourier": lambda: (Fourier((6, 5)), 1),
    "coils": lambda: (
        Fourier((6, 5), mask=CHECKER[:, :1], sensitivities=COILS, is_complex=True),
        2,
    ),
    "radial": lambda: (turned(), 2),
    "affine": lambda: (Affine(Blur((6, 5), fwhm=2.0), POSES), 2),
    "compose": lambda: (Compose(Mask((6, 5), CHECKER), Blur((6, 5), fwhm=2.0)), 2),
    "of a volume": lambda: (Compose(Radon((2, 6, 5), [30.0]), Blur((2, 6, 5), fwhm=2.0)), 2),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoints(name):
    operator, n_channels = OPERATORS[name]()
    check_adjoint(operator, n_channels)
    values = draw.standard_normal((4, len(operator.points()), n_channels))
    measured = operator.apply(values)
    other = draw.standard_normal(measured.shape)
    if np.iscomplexobj(measured):
        other = other + 1j * draw.standard_normal(measured.shape)
    forth, back = np.vdot(other, measured).real, np.vdot(operator.adjoint(other), values)
    assert abs(forth - back) < 1e-8 * np.linalg.norm(measured) * np.linalg.norm(other)
    # Signals have nothing to do with each other.
    np.testing.assert_allclose(operator.apply(values[2:3]), measured[2:3], atol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_single_precision_stays(name):
    operator, n_channels = OPERATORS[name]()
    values = draw.standard_normal((2, len(operator.points()), n_channels))
    measured = operator.apply(values)
    single = operator.apply(values.astype(np.float32))
    np.testing.assert_allclose(single, measured, atol=2e-5 * np.abs(measured).max())


def test_a_wrong_adjoint_is_refused_with_its_figure():
    class Wrong(Operator):
        def points(self):
            return np.arange(4.0)[:, None]

        def apply(self, values):
            return 2.0 * values

        def adjoint(self, measured):
            return 2.01 * measured

    with pytest.raises(ValueError, match=r"not the adjoint .* differ by \d\.\de-0\d"):
        check_adjoint(Wrong(), 1)
    Wrong.adjoint = lambda self, measured: measured[:, 1:]
    with pytest.raises(ValueError, match=r"must return real values of shape \(2, 4, 1\)"):
        check_adjoint(Wrong(), 1)
    with pytest.raises(ValueError, match="list without points, apply, adjoint"):
        check_adjoint([], 1)


@pytest.mark.parametrize("wrong", [0.0, 2.0])
def test_a_wrong_adjoint_is_refused_however_much_is_measured(wrong):
    class Wrong(Mask):
        def adjoint(self, measured):
            return wrong * super().adjoint(measured)

    with pytest.raises(ValueError, match="not the adjoint"):
        check_adjoint(Wrong((512, 512), np.ones((512, 512), bool)), 1)


@pytest.mark.parametrize("name", OPERATORS)
def test_integers_are_numbers_too(name):
    operator, n_channels = OPERATORS[name]()
    values = draw.integers(0, 256, (2, len(operator.points()), n_channels))
    measured = operator.apply(values.astype(float))
    scale = np.abs(measured).max()
    np.testing.assert_allclose(operator.apply(values), measured, atol=1e-5 * scale)
    np.testing.assert_allclose(operator.apply(values.astype(np.uint8)), measured, atol=1e-5 * scale)
    if not np.iscomplexobj(measured):
        whole = np.round(measured)
        np.testing.assert_allclose(
            operator.adjoint(whole.astype(int)), operator.adjoint(whole), rtol=1e-4, atol=1e-3
        )


def test_projections_are_those_of_scikit_image():
    skimage = pytest.importorskip("skimage.transform")
    y, x = np.indices((41, 41)) - 20.0
    picture = np.exp(-((y - 4) ** 2 + (x + 7) ** 2) / 30) + 0.5 * np.exp(
        -(y**2 + (x - 6) ** 2) / 20
    )
    angles = np.array([0.0, 30.0, 45.0, 90.0, 135.0])
    wanted = skimage.radon(picture, angles, circle=True).T
    found = Radon((41, 41), angles, n_detectors=41).apply(picture.reshape(1, -1, 1))[0]
    assert np.abs(found - wanted).max() < 0.01 * wanted.max()


@pytest.mark.parametrize("source", [None, 60.0])
def test_a_gaussian_has_the_integrals_of_a_gaussian(source):
    axis = np.linspace(-10.0, 10.0, 101)
    blob = np.exp(-(axis[:, None] ** 2 + axis**2) / 8.0)
    radon = Radon((axis, axis), [0.0, 37.0, 90.0], n_detectors=31, spacing=0.5, source=source)
    found = radon.apply(blob.reshape(1, -1, 1))[0]
    at = 0.5 * (np.arange(31) - 15)
    if source is not None:  # distance of a ray of the fan from the axis of rotation
        at = at * source / np.hypot(source, at)
    wanted = np.sqrt(8.0 * np.pi) * np.exp(-(at**2) / 8.0)
    np.testing.assert_allclose(found, np.tile(wanted, (3, 1)), atol=0.01)


def test_the_axis_of_rotation_may_be_off_the_middle():
    picture = draw.random((1, 25, 1))
    middle = Radon((5, 5), [0.0], n_detectors=9).apply(picture)[0, 0]
    moved = Radon((5, 5), [0.0], n_detectors=9, axis=2.0).apply(picture)[0, 0]
    np.testing.assert_allclose(moved[2:], middle[:-2])


def test_frequencies_are_those_of_numpy():
    picture = draw.random((6, 5))
    wanted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(picture), norm="ortho"))
    np.testing.assert_allclose(Fourier((6, 5)).apply(picture.reshape(1, -1, 1))[0], wanted)


def test_frequencies_anywhere_are_those_of_the_grid_there():
    pytest.importorskip("finufft")
    picture = draw.random((1, 30, 1))
    along = [np.fft.fftshift(np.fft.fftfreq(n, d=2.0)) for n in (6, 5)]
    trajectory = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 2)
    grid = (2.0 * np.arange(6), 2.0 * np.arange(5))
    found = NonUniformFourier(grid, trajectory).apply(picture)
    np.testing.assert_allclose(found[0], Fourier((6, 5)).apply(picture)[0].ravel(), atol=1e-7)


def test_blur_is_a_gaussian():
    signal = draw.random(60)
    wanted = gaussian_filter1d(signal, 5.0 / 2.3548 / 0.5, truncate=8)
    found = Blur((0.5 * np.arange(60),), fwhm=5.0).apply(signal.reshape(1, -1, 1))[0]
    np.testing.assert_allclose(found[25:-25], wanted[25:-25], atol=2e-3)


def test_thick_slices_are_means():
    volume = draw.random((1, 10 * 4, 1))
    thick = Downsample((10, 4), ([2.0, 7.0], np.arange(4.0)))
    np.testing.assert_allclose(
        thick.apply(volume)[0], volume.reshape(2, 5, 4).mean(axis=1), atol=1e-12
    )


def test_grids_may_be_labelled():
    signals = xr.DataArray(
        np.zeros((2, 3, 4)), dims=("sample", "y", "x"), coords={"y": [0.0, 0.5, 1.0]}
    )
    assert Mask(signals, np.ones((3, 4), bool)).points()[4].tolist() == [0.5, 0.0]


WRONG = {
    "grid must be numbers": lambda: Blur("ab", 1.0),
    "one point or more": lambda: Blur((0, 2), 1.0),
    "finite numbers": lambda: Blur(([np.nan],), 1.0),
    "fwhm must be a number of at least 0": lambda: Blur((3, 3), [1.0, 2.0, 3.0]),
    "mask must be a bool array": lambda: Mask((3,), [1.0, 0.0, 1.0]),
    "column for each of the 4 points": lambda: Matrix((2, 2), np.ones((3, 5))),
    "as many values as the matrix has rows": lambda: Matrix((2,), np.ones((3, 2)), (2, 2)),
    "evenly spaced": lambda: Radon(([0.0, 1.0, 3.0], [0.0, 1.0]), [0.0]),
    "two axes or more": lambda: Radon((3,), [0.0]),
    "angles must be finite": lambda: Radon((3, 3), [np.inf]),
    "outside of the picture": lambda: Radon((3, 3), [0.0], source=1.0),
    "sensitivities must have the shape": lambda: Fourier((3, 3), sensitivities=np.ones((3, 3))),
    "broadcasts to the grid's shape": lambda: Fourier((3, 3), mask=np.ones(4, bool)),
    "is_complex=True, which asks for 2": lambda: Fourier((3,), is_complex=True).apply(
        np.ones((1, 3, 1))
    ),
    "matrices must have shape": lambda: Affine(Blur((3,), 1.0), [[1.0, 0.0]]),
    "one for all 1 shots": lambda: Affine([Blur((3,), 1.0)] * 2, [[[1.0, 0.0]]]),
    "hold none of its points": lambda: Downsample((3,), [[0.5, 9.0]], thickness=1.0),
    "profile must be one of": lambda: Downsample((4,), [[0.5, 2.5]], profile="round"),
    "2 axes of the grid": lambda: Downsample((4, 4), [[0.5, 2.5]]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()
