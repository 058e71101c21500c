"""Signals of one cell that were observed in part: solved as what operators measure is."""

import numpy as np
import pytest
import xarray as xr
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder
from neurfield.fields import Lapped
from neurfield.operators import Identity

GRID = np.stack(np.meshgrid(*2 * [np.arange(8.0)], indexing="ij"), axis=-1).reshape(-1, 2)
DIGITS = (load_digits().images / 16.0).astype(np.float32)
TRAIN, HELD_OUT = DIGITS[:600], DIGITS[600:630]


@pytest.fixture(scope="module")
def encoder():
    options = {"field": Lapped(cell=8), "max_iter": 20, "random_state": 0, "device": "cpu"}
    return FunctaEncoder(20, **options).fit(TRAIN)


def with_gaps(seed=0):
    hidden = np.random.default_rng(seed).random(HELD_OUT.shape) < 0.5
    hidden[0] = False
    return np.where(hidden, np.nan, HELD_OUT), hidden


def test_gaps_are_what_no_operator_measured(encoder):
    part, _ = with_gaps()
    measured, identity = part.reshape(30, 64)[1:].astype(float), Identity(GRID)
    latents = encoder.transform(part)
    same = encoder.transform(measured, operator=identity)
    np.testing.assert_allclose(latents[1:], same, atol=2e-3 * np.abs(same).max())
    _, deviation = encoder.inverse_transform(latents, observed=part, return_std=True)
    _, expected = encoder.inverse_transform(
        same, observed=measured, operator=identity, return_std=True
    )
    # There values beside the field are decoded too, those that were measured above all.
    assert (expected > 0).all()
    assert (expected <= 1.01 * deviation[1:]).all()
    is_seen = ~np.isnan(part[1:])
    assert expected[is_seen].mean() < 0.95 * deviation[1:][is_seen].mean()


def test_whole_signals_are_encoded_as_ever(encoder):
    part, _ = with_gaps()
    np.testing.assert_array_equal(encoder.transform(part)[0], encoder.transform(HELD_OUT)[0])
    _, alone = encoder.inverse_transform(
        encoder.transform(HELD_OUT), observed=HELD_OUT, return_std=True
    )
    _, among = encoder.inverse_transform(encoder.transform(part), observed=part, return_std=True)
    np.testing.assert_array_equal(alone[0], among[0])


def test_neither_order_nor_company_counts(encoder):
    part, _ = with_gaps()
    latents = encoder.transform(part)
    np.testing.assert_array_equal(encoder.transform(part[::-1])[::-1], latents)
    np.testing.assert_array_equal(encoder.transform(part[4:5]), latents[4:5])


def test_hidden_values_are_found_and_their_deviations_hold(encoder):
    part, hidden = with_gaps()
    found, deviation = encoder.inverse_transform(
        encoder.transform(part), observed=part, return_std=True
    )
    error = (found - HELD_OUT)[hidden]
    assert np.sqrt(np.mean(error**2)) < 0.75 * np.sqrt(np.mean((HELD_OUT - TRAIN.mean(0)) ** 2))
    assert 0.8 < np.mean(np.abs(error) <= 1.645 * deviation[hidden]) < 0.97


def test_values_on_another_grid_count_where_they_are(encoder):
    coarse = HELD_OUT[:, ::2, ::2]
    points = GRID.reshape(8, 8, 2)[::2, ::2].reshape(-1, 2)
    measured = coarse.reshape(30, 16).astype(float)
    axes = {"y": np.arange(0.0, 8.0, 2.0), "x": np.arange(0.0, 8.0, 2.0)}
    latents = encoder.transform(xr.DataArray(coarse, axes, ("sample", *axes)))
    same = encoder.transform(measured, operator=Identity(points))
    np.testing.assert_allclose(latents, same, atol=2e-3 * np.abs(same).max())


def test_the_score_is_that_of_these_latents(encoder):
    part, hidden = with_gaps()
    found = encoder.inverse_transform(encoder.transform(part))
    error = np.where(hidden, 0.0, found - HELD_OUT) ** 2
    mse = error.sum(axis=(1, 2)) / (~hidden).sum(axis=(1, 2))
    peak = np.ptp(TRAIN)
    expected = np.mean(10.0 * np.log10(peak**2 / mse))
    assert encoder.score(part) == pytest.approx(expected, abs=0.05)
