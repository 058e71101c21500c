"""Channels that are hidden at transform, such as labels, and volumes that have none in fit."""

import copy

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from segmentation import dice, most_probable
from signals import hippocampus_labelled

from neurfield import FunctaEncoder

SHAPE = (12, 12)


def labelled(n, seed):
    """Return smooth pictures under smooth disturbances, with where they are bright as labels."""
    noise = np.random.default_rng(seed).standard_normal((2, n, *SHAPE))
    first, second = gaussian_filter(noise, (0, 0, 2.5, 2.5))
    images = first / first.std() + 0.7 * second / second.std()
    return np.stack([images, (first > 0).astype(float)], axis=-1)


def without_labels(signals):
    hidden = signals.copy()
    hidden[..., 1:] = np.nan
    return hidden


@pytest.fixture(scope="module")
def encoder():
    encoder = FunctaEncoder(
        latent_dim=24, hidden_dim=32, max_iter=60, channel_axis=-1, random_state=0
    )
    return encoder.fit(labelled(300, 0))


def with_usual_weight(encoder):
    """Return the encoder with the weight of the prior that any part of a signal has."""
    other = copy.copy(encoder)
    other.codec_ = copy.deepcopy(encoder.codec_)
    other.codec_.solver.alone = None
    return other


def error_of(channel, encoder, signals):
    hidden = signals.copy()
    hidden[..., channel] = np.nan
    decoded = encoder.inverse_transform(encoder.transform(hidden))
    return np.square(decoded - signals)[..., channel].mean()


def test_labels_that_most_signals_lack_are_learnt_from_the_few_that_have_them():
    signals, asked = labelled(200, 0), labelled(60, 1)
    few = signals.copy()
    few[20:, ..., 1] = np.nan
    before = few.copy()
    options = {"hidden_dim": 32, "max_iter": 40, "channel_axis": -1, "random_state": 0}
    encoder = FunctaEncoder(16, **options).fit(few)
    np.testing.assert_array_equal(few, before)
    mean = np.square(signals[:20, ..., 1].mean(axis=0) - asked[..., 1]).mean()
    assert error_of(1, encoder, asked) < 0.85 * mean
    assert np.isfinite(encoder.psnr_curve_).all()
    # Where as many have them as have not, none are predicted.
    half = signals[:40].copy()
    half[20:, ..., 1] = np.nan
    again = FunctaEncoder(16, **(options | {"max_iter": 1})).fit(half)
    assert again.codec_.posterior.mixture is None  # which gaps leave out


def test_hidden_labels_are_found(encoder):
    signals = labelled(100, 1)
    mean = labelled(300, 0)[..., 1].mean(axis=0)
    of_mean = np.square(mean - signals[..., 1]).mean()
    assert error_of(1, encoder, signals) < 0.8 * of_mean


def test_the_weight_found_for_one_channel_predicts_the_other_better(encoder):
    signals, usual = labelled(100, 1), with_usual_weight(encoder)
    assert error_of(1, encoder, signals) <= error_of(1, usual, signals)
    assert error_of(0, encoder, signals) < 0.9 * error_of(0, usual, signals)


def test_signals_with_all_their_channels_are_encoded_as_before(encoder):
    signals = labelled(4, 2)
    points = np.random.default_rng(0).random((4, *SHAPE, 1)) < 0.5
    for seen in (signals, np.where(points, signals, np.nan)):
        np.testing.assert_array_equal(
            encoder.transform(seen), with_usual_weight(encoder).transform(seen)
        )


def test_files_keep_the_weights(encoder, tmp_path):
    hidden = without_labels(labelled(4, 3))
    encoder.save(tmp_path / "encoder.nf")
    loaded = FunctaEncoder.load(tmp_path / "encoder.nf")
    np.testing.assert_array_equal(loaded.transform(hidden), encoder.transform(hidden))


def test_most_signals_of_a_fit_may_be_without_labels():
    signals, held_out = labelled(200, 5), labelled(100, 1)
    some = signals.copy()
    some[60:] = without_labels(some[60:])
    encoder = FunctaEncoder(
        latent_dim=24, hidden_dim=32, max_iter=60, channel_axis=-1, random_state=0
    ).fit(some)
    of_mean = np.square(signals[:60, ..., 1].mean(axis=0) - held_out[..., 1]).mean()
    assert error_of(1, encoder, held_out) < of_mean


@pytest.mark.slow
def test_labels_of_volumes_are_found(shared_data):
    data = hippocampus_labelled(shared_data)
    encoder = FunctaEncoder(256, max_iter=200, channel_axis=-1, random_state=0)
    encoder.fit(data.train.values)
    held_out = data.held_out.values
    truth = most_probable(held_out[..., 1:])

    def mean_dice(parts):
        found = most_probable(parts)
        return [
            np.mean([dice(*pair, label) for pair in zip(found, truth, strict=True)])
            for label in (1, 2)
        ]

    found = encoder.inverse_transform(encoder.transform(without_labels(held_out)))
    anterior, posterior = mean_dice(found[..., 1:])
    print(f"Dice of the anterior part {anterior:.3f}, of the posterior part {posterior:.3f}")
    atlas = np.repeat(data.train.values[..., 1:].mean(axis=0)[None], len(truth), 0)
    assert anterior > mean_dice(atlas)[0] + 0.03
    assert posterior > mean_dice(atlas)[1] + 0.06
    assert anterior > 0.79
    assert posterior > 0.765
