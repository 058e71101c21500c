"""What small patches of signals are like, and signals that are found with that."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from neurfield import FunctaEncoder
from neurfield.errors import FileError
from neurfield.fields import Lapped
from neurfield.learning.measured import patchwise
from neurfield.learning.measured.grain import Correlated
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.noise import CorrelatedNoise
from neurfield.learning.patch_prior import PatchPrior, places_of
from neurfield.learning.patch_prior_fit import learn_patch_prior
from neurfield.likelihoods import Gaussian
from neurfield.operators import Fourier

SHAPE = (32, 32)
FIELD = Lapped(cell=SHAPE, hidden_dim=8)
_FROM_MIDDLE = np.arange(32) - 16
LINES = Fourier(SHAPE, mask=((_FROM_MIDDLE % 4 == 0) | (np.abs(_FROM_MIDDLE) < 4))[:, None])


def boxes(n, seed):
    """Pictures of a few rectangles of one grey each, which no Gaussian describes well."""
    draw = np.random.default_rng(seed)
    pictures = np.zeros((n, *SHAPE))
    for picture in pictures:
        for _ in range(4):
            top, left = draw.integers(0, 22, 2)
            height, width = draw.integers(5, 16, 2)
            picture[top : top + height, left : left + width] = draw.uniform(0.2, 1.0)
    return pictures


def prior(n_kinds=2, sides=(2, 3), n_channels=2, seed=0):
    draw = np.random.default_rng(seed)
    size = int(np.prod(sides)) * n_channels
    root = (
        draw.standard_normal((n_kinds, size, size)) * np.geomspace(1.0, 3.0, n_kinds)[:, None, None]
    )
    return PatchPrior(
        np.full(n_kinds, 1.0 / n_kinds, np.float32),
        draw.standard_normal((n_kinds, *sides, n_channels)).astype(np.float32),
        (root @ root.transpose(0, 2, 1) + np.eye(size)).astype(np.float32),
    )


@pytest.mark.parametrize("shape", [(17,), (9, 12), (6, 7, 8)])
def test_patches_cover_every_node(shape):
    sides = tuple(range(2, 2 + len(shape)))
    places = places_of(shape, sides, 2, [1] * len(shape)).numpy()
    assert set(places.ravel()) == set(range(int(np.prod(shape))))
    corners = np.stack(np.unravel_index(places, shape), axis=-1)
    assert (np.ptp(corners, axis=1) + 1 == sides).all()


def test_each_patch_is_what_its_kind_makes_most_probable():
    known, variance = prior(), 0.3
    values = torch.as_tensor(np.random.default_rng(1).standard_normal((4 * 6, 2))).float()
    places = places_of((4, 6), (2, 3), 10, (0, 0))  # that do not overlap
    wanted = np.zeros((24, 2))
    for place in places.numpy():
        patch = values.numpy()[place].astype(float)
        mean = patch.mean(axis=0)
        row = (patch - mean).ravel()
        noisy = [
            multivariate_normal(own.ravel(), wide + variance * np.eye(12))
            for own, wide in zip(known.means, known.covariances.astype(float), strict=True)
        ]
        kind = int(np.argmax([one.logpdf(row) for one in noisy]))
        wide, own = known.covariances[kind].astype(float), known.means[kind].ravel()
        gain = np.linalg.solve(wide + variance * np.eye(12), wide).T
        wanted[place] = (own + gain @ (row - own)).reshape(6, 2) + mean
    np.testing.assert_allclose(known.smoothed(values, places, variance), wanted, atol=1e-4)


def test_variance_that_is_left_is_that_of_the_kind():
    known = prior(1)
    values = torch.zeros(24, 2)
    places = places_of((4, 6), (2, 3), 10, (0, 0))
    wide = known.covariances[0].astype(float) / 0.5
    spread = np.diag(np.linalg.inv(np.linalg.inv(wide) + np.eye(12) / 0.2)).reshape(6, 2)
    wanted = np.zeros((24, 2))
    wanted[places.numpy()] = np.minimum(spread + 0.2 / 6, 0.2)
    left = known.left(values, places, torch.full((24, 2), 0.2), 0.5)
    np.testing.assert_allclose(left, wanted, rtol=1e-3)
    nothing = known.left(values, places, torch.full((24, 2), 0.2), 1e-9)
    np.testing.assert_allclose(nothing, 0.2, rtol=1e-4)


def test_kinds_of_patches_are_learnt_from_signals_that_count():
    draw = np.random.default_rng(0)
    along = np.repeat(draw.standard_normal((60, 32, 1)), 32, axis=2)
    signals = np.concatenate([along[:30], along[30:].swapaxes(1, 2)]).reshape(60, -1, 1)

    def alike(weights):
        """Return the correlation of neighbours along each axis, over all kinds of patches."""
        random = np.random.default_rng(0)
        found = learn_patch_prior(signals.astype(np.float32), weights, SHAPE, 1.0, random)
        own = found.means.reshape(-1, 36)
        squares = np.tensordot(found.weights, found.covariances, axes=1)
        squares = (squares + (own * found.weights[:, None]).T @ own).reshape(6, 6, 6, 6)
        first = np.einsum("ijij->ij", squares[1:, :, :-1]).mean()
        second = np.einsum("ijij->ij", squares[:, 1:, :, :-1]).mean()
        return np.array([first, second]) / np.einsum("ijij->ij", squares).mean()

    assert alike(np.repeat([1.0, 0.0], 30)) == pytest.approx([-0.2, 1.0], abs=0.1)
    assert alike(np.ones(60)) == pytest.approx([0.4, 0.4], abs=0.1)


def test_grids_without_room_have_no_patches():
    random = np.random.default_rng(0)
    few = random.standard_normal((50, 64, 1)).astype(np.float32)
    assert learn_patch_prior(few, np.ones(50), (8, 8), 1.0, random) is None
    same = np.ones((50, 1024, 1), np.float32)
    assert learn_patch_prior(same, np.ones(50), SHAPE, 1.0, random) is None


def test_the_precision_of_noise_is_the_inverse_of_its_covariance():
    draw = np.random.default_rng(0)
    axes = (np.linspace(-1, 1, 5), np.linspace(-1, 1, 4))
    noise = CorrelatedNoise(axes, draw.uniform(0.5, 2, (5, 4, 2)), draw.uniform(0.1, 2, (5, 4, 2)))
    values = draw.standard_normal((3, 20, 2))
    np.testing.assert_allclose(noise.precise(noise.values(noise.back(values))), values)


@pytest.fixture(scope="module")
def encoder():
    return FunctaEncoder(12, field=FIELD, max_iter=20, random_state=0).fit(boxes(300, 0))


@pytest.fixture(scope="module")
def measured():
    X = boxes(12, 1)
    clean = LINES.apply(X.reshape(12, -1, 1))
    noise = np.random.default_rng(2).standard_normal((2, *clean.shape))
    std = 0.01 * np.sqrt(np.mean(np.abs(clean) ** 2))
    return X, clean + std * (noise[0] + 1j * noise[1]) * LINES.mask, Gaussian(std=std)


def without_patches(encoder):
    bare = copy.copy(encoder)
    bare.codec_ = copy.deepcopy(encoder.codec_)
    posterior = bare.codec_.posterior
    posterior.mixture = replace(posterior.mixture, patches=None)
    return bare


def decoded(encoder, Y, likelihood, **options):
    how = {"operator": LINES, "likelihood": likelihood}
    return encoder.inverse_transform(encoder.transform(Y, **how), observed=Y, **how, **options)


def test_signals_are_nearer_and_intervals_narrower(encoder, measured):
    X, Y, likelihood = measured
    values, std = decoded(encoder, Y, likelihood, return_std=True)
    bare, bare_std = decoded(without_patches(encoder), Y, likelihood, return_std=True)
    assert np.mean(np.square(values - X)) < 0.9 * np.mean(np.square(bare - X))
    assert (std <= bare_std * (1.0 + 1e-6)).all()
    assert std.mean() < 0.95 * bare_std.mean()

    def covered(found, deviation):
        return np.mean(np.abs(found - X) < 1.645 * deviation)

    assert covered(values, std) > covered(bare, bare_std) - 0.03
    assert np.array_equal(decoded(encoder, Y, likelihood), values)


def test_other_points_are_between_those_of_the_grid(encoder, measured):
    _, Y, likelihood = measured
    values, std = decoded(encoder, Y[:3], likelihood, return_std=True)
    coarse = decoded(encoder, Y[:3], likelihood, return_std=True, grid=(16, 16))
    whole = values.reshape(3, 16, 2, 16, 2).mean(axis=(2, 4))
    assert np.abs(coarse[0] - whole).mean() < 0.3 * np.abs(whole - whole.mean()).mean()
    assert coarse[1].mean() == pytest.approx(std.mean(), rel=0.3)


def test_a_round_ends_at_the_least_square(monkeypatch):
    monkeypatch.setattr(patchwise, "_ROUNDS", 1)
    monkeypatch.setattr(patchwise, "_PRODUCTS", 500)
    monkeypatch.setattr(patchwise, "_TOLERANCE", 1e-10)
    draw = np.random.default_rng(0)
    axes = (np.linspace(-1, 1, 8), np.linspace(-1, 1, 9))
    patches = prior(sides=(2, 2), n_channels=1)
    variance, spectrum = draw.uniform(0.5, 2.0, (2, 8, 9, 1))
    mixture = SignalMixture(
        *(np.ones((1,) * n) for n in (1, 2, 3)), np.zeros((0, 8, 9, 1)), variance, spectrum, axes
    )
    mixture = replace(mixture, patches=patches)
    A, target = torch.as_tensor(draw.standard_normal((30, 72))), torch.as_tensor(draw.random(30))
    noise = torch.as_tensor(draw.uniform(0.1, 0.2, 30))
    field = torch.as_tensor(draw.standard_normal((1, 72, 1)))
    shared = SimpleNamespace(
        mixture=mixture,
        grain=Correlated(mixture.nodes, variance.reshape(72, 1), mixture.beside),
        measured=SimpleNamespace(apply=lambda values: values.flatten(1) @ A.T),
        carried_back=lambda rows: (rows @ A)[..., None],
        coords=torch.zeros(72, 2),
    )
    problem = SimpleNamespace(
        shared=shared, seen=slice(None), among_all=lambda rows: rows, field=lambda *_: field
    )
    problem.field.latent_dim = 1
    averages = []
    smoothed = PatchPrior.smoothed

    def kept(self, values, places, variance):
        averages.append(smoothed(self, values, places, variance))
        return averages[-1]

    monkeypatch.setattr(PatchPrior, "smoothed", kept)
    start = torch.zeros(72, 1, dtype=torch.float64)
    one = torch.zeros(1, dtype=torch.float64)
    found = patchwise.patchwise(problem, one, target, noise, start)
    covariance = mixture.beside.values(mixture.beside.back(np.eye(72)[..., None]))[..., 0]
    A, near = A.numpy(), (averages[0] - field[0]).numpy()[:, 0]
    drawn = patches.rms**-2.0
    precision = A.T @ (A / noise.numpy()[:, None]) + 0.15 * np.linalg.inv(covariance)
    wanted = np.linalg.solve(
        precision + drawn * np.eye(72), A.T @ (target / noise).numpy() + drawn * near
    )
    np.testing.assert_allclose(found.around[:, 0], wanted, atol=1e-6)
    np.testing.assert_allclose(found.values, found.around + field[0])


def test_a_saved_encoder_decodes_the_same(encoder, measured, tmp_path):
    _, Y, likelihood = measured
    encoder.save(tmp_path / "encoder")
    loaded = FunctaEncoder.load(tmp_path / "encoder")
    assert np.array_equal(decoded(loaded, Y[:2], likelihood), decoded(encoder, Y[:2], likelihood))


DAMAGED = {
    "finite": lambda one: replace(one, means=one.means * np.nan),
    "positive": lambda one: replace(one, weights=-one.weights),
    "of one size": lambda one: replace(one, covariances=one.covariances[:, 1:]),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_patches_are_refused(message, encoder, tmp_path):
    damaged = without_patches(encoder)
    mixture = damaged.codec_.posterior.mixture
    patches = DAMAGED[message](encoder.codec_.posterior.mixture.patches)
    damaged.codec_.posterior.mixture = replace(mixture, patches=patches)
    damaged.save(tmp_path / "damaged")
    with pytest.raises(FileError, match=message):
        FunctaEncoder.load(tmp_path / "damaged")
