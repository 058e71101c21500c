"""Latents whose distances and axes mean something."""

import copy

import numpy as np
import pytest
import torch

from neurfield.learning.canonical import canonicalise
from neurfield.learning.solvers import LevenbergMarquardt
from neurfield.signals import read_signals

P = 4


@pytest.fixture(scope="module")
def X():
    t = np.linspace(0, 1, 16)
    shapes = np.stack([np.sin(k * t + 0.3) / k for k in range(1, 8)])
    return np.random.default_rng(0).normal(size=(60, 7)) @ shapes


@pytest.fixture(scope="module")
def fitted(small_encoder, X):
    return small_encoder(precision="float64", omega=(5.0, 5.0), max_iter=60).fit(X)


def test_canonicalising_renames_latents_and_changes_no_signal(fitted, X):
    field = copy.deepcopy(fitted.field_)
    scramble = torch.tensor(np.random.default_rng(1).normal(size=(P, P))) + 2 * torch.eye(P)
    field.reparametrize(scramble)
    store = fitted.codec_.store(read_signals(X))
    context = store.batch(np.arange(len(store)))
    solver = LevenbergMarquardt(3, 1e-4 * torch.eye(P, dtype=torch.float64), 16)
    before = solver.solve(field, context)
    decoded = field(context.coords, before)
    matrix = canonicalise(field, solver.precision, store, torch.Generator().manual_seed(0))
    after = before @ matrix.T
    assert not torch.allclose(after, before)
    torch.testing.assert_close(field(context.coords, after), decoded)
    solver.reparametrize(matrix)
    torch.testing.assert_close(solver.solve(field, context), after, rtol=1e-4, atol=1e-5)


def test_axes_are_uncorrelated_with_falling_variance(small_encoder, X):
    enc = small_encoder(precision="float64", omega=(5.0, 5.0), max_iter=60, transform_steps=1)
    covariance = np.cov(enc.fit_transform(X).astype(float), rowvar=False)
    variance = np.diag(covariance)
    assert (np.diff(variance) < 0).all()
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    np.testing.assert_allclose(correlation, np.eye(P), atol=1e-3)


def test_distances_of_latents_are_distances_of_signals(fitted, X):
    Z = fitted.transform(X).astype(float)
    R = fitted.inverse_transform(Z) / fitted.codec_.units.scaler.scale[0]
    i, j = np.triu_indices(len(X), 1)
    between_latents = np.linalg.norm(Z[i] - Z[j], axis=1)
    between_signals = np.sqrt(np.mean((R[i] - R[j]) ** 2, axis=1))
    np.testing.assert_allclose(between_latents, between_signals, rtol=0.25, atol=0.01)


def test_latents_of_another_seed_tell_the_same_story(small_encoder, X):
    a, b = (
        small_encoder(random_state=seed, omega=(5.0, 5.0), max_iter=100).fit_transform(X)
        for seed in (0, 1)
    )
    i, j = np.triu_indices(len(X), 1)
    distances = [np.linalg.norm(Z[i] - Z[j], axis=1) for Z in (a, b)]
    assert np.corrcoef(*distances)[0, 1] > 0.95
