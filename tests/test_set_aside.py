"""Training signals that a field of one cell does not see, to learn what it leaves of others."""

from __future__ import annotations

import numpy as np
import pytest

from neurfield import FunctaEncoder
from neurfield.fields import Lapped
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.store import ContextStore

SHAPE = (8, 8)
AXES = (np.linspace(-1, 1, 8), np.linspace(-1, 1, 8))


def pictures(n, seed):
    """Pictures of which each has much that no other one has."""
    draw = np.random.default_rng(seed)
    return np.cumsum(draw.standard_normal((n, *SHAPE)), axis=1) / 3.0


@pytest.fixture
def mixture():
    draw = np.random.default_rng(0)
    orthogonal = np.linalg.qr(draw.standard_normal((64, 3)))[0].T * [[3.0], [2.0], [1.0]]
    return SignalMixture(
        weights=np.array([0.25, 0.75]),
        means=np.array([[0.0, 0.0], [50.0, 0.0]]),
        covariances=np.array([np.eye(2), [[2.0, 1.0], [1.0, 2.0]]], dtype=np.float32),
        directions=orthogonal.reshape(3, *SHAPE, 1).astype(np.float32),
        noise=np.full((*SHAPE, 1), 0.01, dtype=np.float32),
        spectrum=np.ones((*SHAPE, 1), dtype=np.float32),
        axes=AXES,
    )


def drawn(mixture, n, of_latents, of_directions, of_noise):
    """Draw signals whose variances are so many times as large."""
    draw = np.random.default_rng(1)
    kinds = draw.choice(len(mixture.weights), n, p=mixture.weights)
    halves = np.linalg.cholesky(mixture.covariances.astype(np.float64))
    white = draw.standard_normal((n, 2, 1))
    latents = mixture.means[kinds] + of_latents**0.5 * (halves[kinds] @ white)[..., 0]
    around = mixture.directions.reshape(len(mixture.directions), -1)
    factors = of_directions**0.5 * draw.standard_normal((n, len(around)))
    # Noise that the directions do not explain.
    noise = (of_noise * 0.01) ** 0.5 * draw.standard_normal((n, 64))
    unit = around / np.linalg.norm(around, axis=1, keepdims=True)
    noise = (noise - noise @ unit.T @ unit) * (64 / 61) ** 0.5
    return latents, factors @ around + noise


def test_a_mixture_becomes_as_wide_as_other_signals_are(mixture):
    wider = mixture.widened(*drawn(mixture, 20_000, 1.5, 2.0, 3.0), np.ones(20_000))
    np.testing.assert_allclose(wider.covariances, 1.5 * mixture.covariances, rtol=0.03)
    np.testing.assert_allclose(
        np.square(wider.directions), 2.0 * np.square(mixture.directions), rtol=0.03
    )
    np.testing.assert_allclose(wider.noise, 3.0 * mixture.noise, rtol=0.03)
    np.testing.assert_array_equal(wider.means, mixture.means)


def test_a_mixture_becomes_no_narrower(mixture):
    same = mixture.widened(*drawn(mixture, 2000, 0.5, 0.5, 0.5), np.ones(2000))
    for name, array in mixture.state().items():
        if name == "mixture_spectrum":
            np.testing.assert_allclose(same.state()[name], array, atol=0.05)
        else:
            np.testing.assert_array_equal(same.state()[name], array)


def test_signals_count_as_often_as_they_say(mixture):
    latents, rest = drawn(mixture, 4000, 2.0, 2.0, 2.0)
    weights = np.random.default_rng(0).choice([0, 1, 3], 4000)
    of_weights = mixture.widened(latents, rest, weights).state()
    repeated = mixture.widened(
        latents.repeat(weights, 0), rest.repeat(weights, 0), np.ones(weights.sum())
    )
    for name, array in repeated.state().items():
        np.testing.assert_allclose(of_weights[name], array, rtol=1e-5)


@pytest.mark.parametrize(
    ("cell", "n_signals", "n_aside"), [(SHAPE, 640, 20), (SHAPE, 320, 0), (4, 640, 0)]
)
def test_signals_are_set_aside_where_one_cell_is_all_of_many(cell, n_signals, n_aside, monkeypatch):
    asides, read = [], ContextStore.drawn

    def watched(store, *args):
        found = read(store, *args)
        asides.append(len(store.aside))
        assert not np.isin(found, store.aside).any()
        return found

    monkeypatch.setattr(ContextStore, "drawn", watched)
    FunctaEncoder(16, field=Lapped(cell=cell), max_iter=3, random_state=0).fit(
        pictures(n_signals, 0)
    )
    assert set(asides) == {n_aside}


def test_intervals_hold_signals_that_were_not_trained_with():
    """A field that knows its signals by heart does not take others for as well known."""
    train, others = pictures(640, 0), pictures(300, 1)
    encoder = FunctaEncoder(40, field=Lapped(cell=SHAPE), max_iter=300, random_state=0).fit(train)
    latents = encoder.transform(others)
    found, std = encoder.inverse_transform(latents, return_std=True, observed=others)
    covered = np.mean(np.abs(found - others) < 1.645 * std)
    assert 0.86 < covered < 0.94
    encoder.codec_.posterior.mixture.check(40, 2, 1)
