"""Signals of a fit that count more or less than others."""

import numpy as np
import pytest
import sklearn
import xarray as xr
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurfield.learning.weighting import quantile, shrunk_covariance
from neurfield.signals.layout import SAMPLE

# What is drawn at random in these fits makes no difference: whole signals, all in each batch,
# without deformations.
SETTLED = {
    "varpro": {
        "learner__augmentation": 0.0,
        "learner__context_ratio": 1.0,
        "learner__inner_steps": 1,
        "weight_decay": 0.0,
        "precision": "float64",
    },
    "cavia": {"learner": "cavia", "learner__context_ratio": 1.0, "precision": "float64"},
}
WEIGHTS = np.array([1, 3, 0, 2, 1, 2])


def shifted(n=6, length=16):
    """Signals that hold the same values, so that repeating one leaves their range as it is."""
    wave = np.sin(np.linspace(0, 2 * np.pi, length, endpoint=False)) + np.linspace(0, 1, length)
    return np.stack([np.roll(wave, 2 * i) for i in range(n)])


@pytest.fixture(params=sorted(SETTLED))
def settled(request, small_encoder):
    return lambda **more: small_encoder(batch_size=64, max_iter=6, **SETTLED[request.param], **more)


def same_latents(one, other, X, **tolerance):
    np.testing.assert_allclose(one.transform(X), other.transform(X), **tolerance)


def test_whole_weights_are_repeated_signals(settled):
    X = shifted()
    one = settled().fit(X, sample_weight=WEIGHTS)
    other = settled().fit(np.repeat(X, WEIGHTS, axis=0))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(one.psnr_curve_, other.psnr_curve_, rtol=1e-6)
    same_latents(one, other, X, rtol=1e-3, atol=1e-5)
    plain = settled().fit(X)
    assert abs(plain.loss_curve_[0] / one.loss_curve_[0] - 1) > 1e-4


def test_whole_weights_are_repeated_signals_for_deviations_too(small_encoder):
    X = shifted(8)
    weights = np.array([2, 1, 1, 3, 1, 2, 1, 1])
    settings = SETTLED["varpro"] | {"batch_size": 64}
    one = small_encoder(**settings).fit(X, sample_weight=weights)
    other = small_encoder(**settings).fit(np.repeat(X, weights, axis=0))
    mine, theirs = one.codec_.posterior.prior, other.codec_.posterior.prior
    np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mine.covariance, theirs.covariance, rtol=1e-3, atol=1e-7)
    assert mine.noise == pytest.approx(theirs.noise, rel=1e-3)


@pytest.mark.parametrize("learner", ["varpro", "cavia"])
@pytest.mark.parametrize("kind", ["array", "list", "dataarray", "patches"])
def test_a_signal_of_weight_zero_is_as_if_it_were_not_there(small_encoder, rng, learner, kind):
    values = rng.random((9, 8))
    values[3] *= 1e3  # would change the range
    kept = np.delete(np.arange(9), [3, 6])
    weights = np.ones(9)
    weights[[3, 6]] = 0.0
    X = {
        "array": values,
        "patches": values,
        "list": list(values),
        "dataarray": xr.DataArray(values, dims=(SAMPLE, "time")),
    }[kind]
    rest = [X[i] for i in kept] if kind == "list" else X[kept]
    patches = {"patch_size": 4} if kind == "patches" else {}
    one = small_encoder(learner=learner, **patches).fit(X, sample_weight=weights)
    other = small_encoder(learner=learner, **patches).fit(rest)
    np.testing.assert_array_equal(one.transform(rest), other.transform(rest))
    assert one.codec_.fingerprint == other.codec_.fingerprint


def test_equal_weights_change_nothing_but_rounding(settled):
    X, plain = shifted(), settled().fit(shifted())
    ones = settled().fit(X, sample_weight=np.ones(6))
    np.testing.assert_array_equal(ones.transform(X), plain.transform(X))


@pytest.mark.parametrize("learner", ["varpro", "cavia"])
def test_what_counts_more_is_fitted_better(small_encoder, rng, learner):
    smooth = np.sin(np.linspace(0, 3, 16)[None] + rng.random((12, 1)))
    rough = rng.standard_normal((12, 16)) / 2
    X = np.concatenate([smooth, rough])
    errors = {}
    for name, weights in {"smooth": (20.0, 1.0), "rough": (1.0, 20.0)}.items():
        enc = small_encoder(learner=learner, hidden_dim=16, max_iter=60, meta_lr=3e-3)
        enc.fit(X, sample_weight=np.repeat(weights, 12))
        errors[name] = enc.score(rough)
    assert errors["rough"] > errors["smooth"]


def test_partial_fit_takes_weights(small_encoder):
    X = shifted()
    one, other = small_encoder(), small_encoder()
    one.partial_fit(X, sample_weight=[0, 1, 1, 1, 1, 0]).partial_fit(X[:3], sample_weight=[1, 0, 1])
    other.partial_fit(X[1:5]).partial_fit(X[[0, 2]])
    np.testing.assert_array_equal(one.transform(X), other.transform(X))


def test_early_stopping_weighs_what_is_held_out(small_encoder, rng):
    X, weights = rng.random((20, 12)), np.linspace(0.1, 3, 20)
    settings = {"early_stopping": True, "max_iter": 30}
    plain = small_encoder(**settings).fit(X)
    weighted = small_encoder(**settings).fit(X, sample_weight=weights)
    assert len(weighted.validation_curve_) == len(plain.validation_curve_)
    assert weighted.validation_curve_ != plain.validation_curve_


def test_scores_are_weighted_means(small_encoder):
    X, weights = shifted(), np.array([1.0, 2.0, 0.0, 0.5, 1.0, 4.0])
    enc = small_encoder().fit(X)
    each = [enc.score(X[i : i + 1]) for i in range(6)]
    assert enc.score(X, sample_weight=weights) == pytest.approx(np.average(each, weights=weights))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones(5), r"\(5,\).*\(6,|6"),
        (np.ones((6, 1)), "1D"),
        (-np.ones(6), "[Nn]egative"),
        (np.full(6, np.nan), "NaN"),
        (np.zeros(6), "zero"),
        (["a"] * 6, "could not convert|string|numeric"),
    ],
)
def test_weights_that_cannot_be_are_refused_before_any_work(small_encoder, weights, said):
    encoder = small_encoder(callbacks=[lambda _: pytest.fail("trained")])
    with pytest.raises(ValueError, match=said):
        encoder.fit(shifted(), sample_weight=weights)


def test_a_checkpoint_of_other_weights_is_not_resumed(small_encoder, tmp_path):
    settings = {"checkpoint": tmp_path / "c", "checkpoint_every": 2}
    small_encoder(**settings).fit(shifted(), sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="data"):
        small_encoder(**settings).fit(shifted(), sample_weight=WEIGHTS + 1)


def test_weights_are_routed(small_encoder):
    X, weights = shifted(), WEIGHTS.astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        encoder = small_encoder().set_fit_request(sample_weight=True)
        pipe = make_pipeline(encoder, StandardScaler().set_fit_request(sample_weight=False)).fit(
            X, sample_weight=weights
        )
        expected = small_encoder().fit(X, sample_weight=weights)
        np.testing.assert_array_equal(pipe[0].transform(X), expected.transform(X))
        scored = encoder.set_score_request(sample_weight=True)
        scores = cross_val_score(scored, X, cv=2, params={"sample_weight": weights})
    first = small_encoder().fit(X[3:], sample_weight=weights[3:])
    assert scores[0] == pytest.approx(first.score(X[:3], sample_weight=weights[:3]))


def test_weighted_statistics_are_those_of_repeated_rows(rng):
    rows, weights = rng.standard_normal((9, 4)), rng.integers(1, 5, 9)
    repeated = np.repeat(rows, weights, axis=0)
    expected = LedoitWolf().fit(repeated)
    mean, covariance = shrunk_covariance(rows, weights.astype(float))
    np.testing.assert_allclose(mean, expected.location_)
    np.testing.assert_allclose(covariance, expected.covariance_)
    found = quantile(rows, 0.9, weights.astype(float))
    assert found == np.quantile(repeated, 0.9, method="inverted_cdf")


@pytest.mark.parametrize("chunks", [1, 4])
def test_signals_of_weight_zero_leave_the_scaling_of_blocks_as_it_is(small_encoder, chunks):
    values = shifted()
    values[2] *= 50
    signals = xr.DataArray(values, dims=("sample", "x"))
    blocks = signals.chunk(sample=chunks)
    expected = small_encoder().fit(signals, sample_weight=WEIGHTS)
    found = small_encoder().fit(blocks, sample_weight=WEIGHTS)
    assert found.codec_.units.scaler == expected.codec_.units.scaler
    np.testing.assert_array_equal(found.transform(blocks), expected.transform(signals))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ma.masked_array(np.ones(6), [1, 0, 0, 0, 0, 0]), "NaN"),
        (np.full(6, 1e38), "single precision"),
        (np.full(6, 1e-320), "single precision"),
    ],
)
def test_weights_that_nothing_can_be_made_of_are_refused(small_encoder, weight, message):
    with pytest.raises(ValueError, match=message):
        small_encoder().fit(shifted(), sample_weight=weight)
