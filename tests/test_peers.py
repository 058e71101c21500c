"""Peers of encoders: PCA of blocks, autoencoders, probabilistic PCA, and what fills gaps."""

import numpy as np
import pytest
import torch
from elsewhere import elsewhere
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.decomposition import PCA

from neurfield.evaluation.peers import (
    BlockPCA,
    ConvAutoencoder,
    GaussianProcessFiller,
    LinearInterpolator,
    ProbabilisticPCA,
    from_blocks,
    to_blocks,
)

SHAPES = {"1-D": (23,), "2-D": (9, 12), "3-D": (6, 8, 7)}


def waves(draw, shape, n, n_channels=1):
    """Return smooth signals of few degrees of freedom, channels last."""
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    basis = [np.cos(np.pi * (k * axes[0] + axes[-1])) for k in range(3)]
    mixed = draw.random((n, n_channels, 3)) @ np.reshape(basis, (3, -1))
    return np.moveaxis(mixed.reshape(n, n_channels, *shape), 1, -1) / 6 + 0.5


def trained(n_components=8, **options):
    chosen = {"max_iter": 8, "max_time": None, "device": "cpu", "random_state": 0, **options}
    return ConvAutoencoder(n_components, **chosen)


# --- Codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("peer", [BlockPCA(8, random_state=0), trained(max_iter=2)])
def test_codes_have_the_same_length_for_signals_of_any_dimension(rng, shape, peer):
    signals = waves(rng, shape, 20, 2)
    peer = clone(peer).set_params(channel_axis=-1).fit(signals)
    codes = peer.transform(signals)
    assert codes.shape == (20, 8)
    assert peer.n_latents_ == 8
    assert peer.inverse_transform(codes).shape == signals.shape
    one = clone(peer).set_params(channel_axis=None).fit(signals[..., 0])
    assert one.inverse_transform(one.transform(signals[..., 0])).shape == (20, *shape)
    first = clone(peer).set_params(channel_axis=1).fit(np.moveaxis(signals, -1, 1))
    found = first.inverse_transform(first.transform(np.moveaxis(signals, -1, 1)))
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), peer.inverse_transform(codes), atol=1e-6)


@pytest.mark.parametrize("peer", [BlockPCA(8), trained(max_iter=2)])
def test_signals_of_another_shape_are_refused(rng, peer):
    signals = waves(rng, (9, 12), 10)[..., 0]
    with pytest.raises(ValueError, match=r"shape \(9, 12\) with 1 channel.*got \(8, 12\) with 1"):
        clone(peer).fit(signals).transform(signals[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        clone(peer).fit(np.where(signals > signals.mean(), np.nan, signals))
    with pytest.raises(ValueError, match=r"one to three axes .* got shape \(10,"):
        clone(peer).fit(np.zeros((10, 2, 2, 2, 2)))


# --- PCA of blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_block_is_pca(rng, shape):
    signals = rng.random((30, *shape))
    peer = BlockPCA(5, block_size=shape, random_state=0).fit(signals)
    flat = signals.reshape(30, -1)
    pca = PCA(5, random_state=0).fit(flat)
    np.testing.assert_allclose(np.abs(peer.transform(signals)), np.abs(pca.transform(flat)))
    expected = pca.inverse_transform(pca.transform(flat)).reshape(signals.shape)
    np.testing.assert_allclose(peer.inverse_transform(peer.transform(signals)), expected)


def test_all_blocks_have_one_basis(rng):
    signals = rng.random((20, 8, 12))
    peer = BlockPCA(13, block_size=4, random_state=0).fit(signals)
    assert (peer.n_latents_, peer.block_size_, peer.pca_.n_components_) == (12, (4, 4), 2)
    corner = signals[:, 4:8, 8:12].reshape(20, 16)
    codes = peer.transform(signals).reshape(20, 6, 2)
    np.testing.assert_allclose(codes[:, 5], peer.pca_.transform(corner))
    with pytest.raises(ValueError, match="at least one for each of 6 blocks, got 5"):
        BlockPCA(5, block_size=4).fit(signals)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_blocks_that_do_not_divide_a_signal_are_put_together_again(rng, shape):
    signals = rng.random((3, *shape, 2))
    size = (4,) * len(shape)
    assert np.array_equal(from_blocks(to_blocks(signals, size), signals.shape[1:], size), signals)


def test_the_size_of_blocks_is_that_of_the_texture(rng):
    # Tiles are drawn alone, so that a basis of a tile is all there is to know.
    tiles = (rng.random((40, 4, 4, 2)) @ rng.normal(size=(2, 16))).reshape(40, 4, 4, 4, 4)
    signals = tiles.transpose(0, 1, 3, 2, 4).reshape(40, 16, 16)
    signals += 0.1 * rng.normal(size=signals.shape)
    peer = BlockPCA(32, random_state=0).fit(signals)
    assert peer.block_size_ == (4, 4)
    with pytest.raises(ValueError, match="three signals or more to choose block_size by, got 2"):
        BlockPCA(32).fit(signals[:2])


# --- Autoencoders --------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 1e-3], ids=["plain", "variational"])
def test_the_loss_falls(rng, beta):
    peer = trained(max_iter=30, beta=beta).fit(waves(rng, (9, 12), 50)[..., 0])
    assert peer.n_iter_ == len(peer.loss_curve_) == 30
    assert np.mean(peer.loss_curve_[-5:]) < 0.5 * np.mean(peer.loss_curve_[:5])


def test_codes_of_a_variational_autoencoder_are_means(rng):
    signals = waves(rng, (23,), 30)[..., 0]
    peer = trained(beta=1e-3).fit(signals)
    assert np.array_equal(peer.transform(signals), peer.transform(signals))
    plain = trained().fit(signals)
    assert peer.n_parameters_ > plain.n_parameters_
    drawn = [trained(beta=beta, max_iter=25).fit(signals) for beta in (1e-3, 10.0)]
    few, many = (float(np.square(one.transform(signals)).mean()) for one in drawn)
    assert many < 0.1 * few  # a large divergence leaves nothing but the prior's mean


def test_training_is_drawn_by_the_seed_alone(rng):
    signals = waves(rng, (23,), 30)[..., 0]
    before = torch.get_rng_state()
    one, same, other = (trained(beta=1e-3, random_state=seed).fit(signals) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.loss_curve_ == same.loss_curve_ != other.loss_curve_
    assert np.array_equal(one.transform(signals), same.transform(signals))


def test_time_ends_the_training(rng):
    signals = waves(rng, (23,), 10)[..., 0]
    peer = trained(max_iter=None, max_time=0.05).fit(signals)
    assert peer.n_iter_ >= 1
    with pytest.raises(ValueError, match="max_time or max_iter must end the training"):
        trained(max_iter=None).fit(signals)


def test_training_on_another_device(rng):
    signals = waves(rng, (23,), 10)[..., 0]
    with elsewhere() as name:
        peer = trained(max_iter=2, beta=1e-3, device=name).fit(signals)
        found = peer.inverse_transform(peer.transform(signals))
    assert np.isfinite(found).all()


def test_large_signals_are_seen_in_crops_and_encoded_whole(rng):
    signals = waves(rng, (1500,), 4)[..., 0]
    peer = trained(200, max_iter=3).fit(signals)
    assert peer.n_latents_ == 192  # 8 at each of 24 places
    assert peer.inverse_transform(peer.transform(signals)).shape == signals.shape


# --- Probabilistic PCA ---------------------------------------------------------------------------


def noisy(draw, n=200, d=12, q=3):
    return draw.normal(size=(n, q)) @ draw.normal(size=(q, d)) + 0.3 * draw.normal(size=(n, d)) + 5


def test_without_gaps_the_answer_is_that_of_pca(rng):
    X = noisy(rng)
    model = ProbabilisticPCA(3, tol=0, max_iter=20).fit(X)
    pca = PCA(3).fit(X)
    unbiased = (len(X) - 1) / len(X)
    assert model.noise_variance_ == pytest.approx(pca.noise_variance_ * unbiased, rel=1e-9)
    np.testing.assert_allclose(covariance(model), pca.get_covariance() * unbiased, atol=1e-9)
    np.testing.assert_allclose(model.mean_, X.mean(axis=0), atol=1e-9)


def test_the_steps_find_the_answer_of_pca_from_elsewhere(rng, monkeypatch):
    X = noisy(rng)

    def start(self, values, is_observed):
        self.components_ = rng.normal(size=(3, 12))
        self.mean_ = np.zeros(12)
        self.noise_variance_ = 1.0

    monkeypatch.setattr(ProbabilisticPCA, "_start", start)
    model = ProbabilisticPCA(3, tol=1e-12, max_iter=2000).fit(X)
    assert np.diff(model.log_likelihood_curve_).min() > -1e-9
    expected = PCA(3).fit(X).get_covariance() * (len(X) - 1) / len(X)
    np.testing.assert_allclose(covariance(model), expected, atol=1e-3)


def test_with_gaps_the_likelihood_is_that_of_observed_values_and_rises(rng):
    X = noisy(rng)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[3] = np.nan
    model = ProbabilisticPCA(3, tol=1e-9, max_iter=2000).fit(X)
    curve = np.array(model.log_likelihood_curve_)
    assert np.diff(curve).min() > -1e-9
    assert curve[-1] > curve[0] + 0.05
    expected = likelihood(covariance(model), model.mean_, X)
    np.testing.assert_allclose(model.score_samples(X), expected, atol=1e-8)
    assert curve[-1] == pytest.approx(expected.sum() / np.isfinite(X).sum(), abs=1e-9)


def test_with_gaps_no_small_change_is_better(rng):
    X = noisy(rng)
    X[rng.random(X.shape) < 0.4] = np.nan
    model = ProbabilisticPCA(3, tol=1e-12, max_iter=5000).fit(X)
    best = likelihood(covariance(model), model.mean_, X).sum()
    for _ in range(20):
        weights = model.components_ + 1e-2 * rng.normal(size=(3, 12))
        noise = model.noise_variance_ * (1 + 1e-2 * rng.normal())
        changed = weights.T @ weights + noise * np.eye(12)
        mean = model.mean_ + 1e-2 * rng.normal(size=12)
        assert likelihood(changed, mean, X).sum() < best


def test_latents_are_the_conditional_mean(rng):
    X = noisy(rng)
    X[rng.random(X.shape) < 0.4] = np.nan
    model = ProbabilisticPCA(3).fit(X)
    seen = np.isfinite(X[0])
    whole = covariance(model)
    expected = model.mean_ + whole[:, seen] @ np.linalg.solve(
        whole[np.ix_(seen, seen)], (X[0] - model.mean_)[seen]
    )
    found = model.inverse_transform(model.transform(X[:1]))[0]
    # What was observed is described without its noise.
    np.testing.assert_allclose(found[~seen], expected[~seen], atol=1e-9)
    assert np.array_equal(model.transform(np.full((1, 12), np.nan)), np.zeros((1, 3)))


def test_values_that_no_signal_has_are_the_mean_of_all(rng):
    X = rng.random((20, 6))
    X[:, 2] = np.nan
    model = ProbabilisticPCA(2).fit(X)
    found = model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(found[:, 2], np.nanmean(X))


def test_signals_of_a_subspace_are_described_exactly(rng):
    X = rng.random((40, 2)) @ rng.random((2, 9))
    gappy = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    model = ProbabilisticPCA(2, max_iter=2000, tol=1e-8).fit(gappy)
    enough = np.isfinite(gappy).sum(axis=1) > 3
    np.testing.assert_allclose(
        model.inverse_transform(model.transform(gappy))[enough], X[enough], atol=0.02
    )


def test_wrong_sizes_of_probabilistic_pca_are_refused(rng):
    with pytest.raises(ValueError, match=r"less than 5, .* got 5"):
        ProbabilisticPCA(5).fit(rng.random((9, 5)))
    with pytest.raises(ValueError, match="got NaN alone"):
        ProbabilisticPCA(2).fit(np.full((9, 5), np.nan))
    model = ProbabilisticPCA(2, max_time=1e-9).fit(rng.random((9, 5)))
    assert model.n_iter_ == 0


def covariance(model):
    d = model.components_.shape[1]
    return model.components_.T @ model.components_ + model.noise_variance_ * np.eye(d)


def likelihood(whole, mean, X):
    """Return the log-likelihood of observed values of each row, by SciPy."""
    levels = []
    for row in X:
        seen = np.isfinite(row)
        part = multivariate_normal(mean[seen], whole[np.ix_(seen, seen)]) if seen.any() else None
        levels.append(part.logpdf(row[seen]) if part else 0.0)
    return np.array(levels)


# --- What fills gaps of single signals ------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_planes_are_interpolated_exactly(rng, shape):
    planes = 2 + sum(
        np.indices(shape) * np.reshape([1.0, -2, 3][: len(shape)], (-1, *[1] * len(shape)))
    )
    signals = np.stack([planes, planes * 2], axis=-1)[None]
    gappy = signals.copy()
    inside = tuple(slice(1, -1) for _ in shape)
    gappy[0][inside][rng.random(gappy[0][inside].shape[:-1]) < 0.5] = np.nan
    assert np.isnan(gappy).any()
    found = LinearInterpolator(channel_axis=-1).fit_transform(gappy)
    np.testing.assert_allclose(found, signals, atol=1e-12)


@pytest.mark.parametrize("filler", [LinearInterpolator(), GaussianProcessFiller()])
def test_fillers_keep_what_was_observed(rng, filler):
    signals = waves(rng, (9, 12), 3)[..., 0]
    gappy = np.where(rng.random(signals.shape) < 0.3, np.nan, signals)
    before = gappy.copy()
    found = filler.fit_transform(gappy)
    assert np.array_equal(gappy, before, equal_nan=True)
    seen = np.isfinite(gappy)
    assert np.array_equal(found[seen], signals[seen])
    assert np.abs(found - signals)[~seen].mean() < 0.02
    gappy[1] = np.nan
    with pytest.raises(ValueError, match=r"X\[1\] must hold observed values, got NaN alone"):
        filler.transform(gappy)
