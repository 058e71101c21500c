"""Labels as measurements."""

import numpy as np
import pytest
import torch
from measured_pictures import SHAPE, gaussian_of, linear_encoder, pictures
from scipy.optimize import minimize

from neurfield import FunctaEncoder
from neurfield.likelihoods import Categorical, Gaussian, Poisson
from neurfield.operators import Identity, Mask

EVERYWHERE = Mask(SHAPE, np.ones(SHAPE, dtype=bool))


def labelled(n, seed):
    """Discs in rings, which are the labels, in pictures that show little of them."""
    draw = np.random.default_rng(seed)
    middle, radius = draw.uniform(4.0, 7.0, (n, 1, 1, 2)), draw.uniform(1.5, 3.0, (n, 1, 1))
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    distance = np.linalg.norm(places - middle, axis=-1)
    disc, ring = distance < radius, (distance >= radius) & (distance < radius + 2.0)
    picture = 0.3 * disc + 0.3 * draw.standard_normal((n, *SHAPE))
    return np.stack([picture, disc, ring], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return FunctaEncoder(48, channel_axis=-1, max_iter=60, random_state=0).fit(labelled(400, 0))


def some_labels():
    """Predictions of 40 points with labels of three kinds or none, and parts of two."""
    draw = np.random.default_rng(0)
    predicted = torch.tensor(draw.uniform(-0.5, 1.5, (40, 3)))
    labels = torch.nn.functional.one_hot(torch.tensor(draw.integers(0, 4, 40)), 4)[:, 1:].double()
    labels[:4] = torch.tensor([0.25, 0.5, 0.0])
    variance = torch.tensor(draw.choice([1e-6, 0.02, 0.1], (40, 3)))
    return predicted, labels, variance


def test_the_loss_is_a_cross_entropy_with_its_derivatives():
    predicted, labels, variance = some_labels()
    bound = Categorical().among(torch.arange(120), 3)
    here = bound.evaluate(
        predicted.flatten(), labels.flatten(), torch.zeros(120), variance.flatten()
    )

    def cross_entropy(values):
        logits = (values - 0.5) / variance.clamp_min(0.01)
        logits = torch.nn.functional.pad(logits, (1, 0))
        target = torch.cat([1.0 - labels.sum(dim=1, keepdim=True), labels], dim=1)
        return torch.nn.functional.cross_entropy(logits, target, reduction="sum")

    torch.testing.assert_close(here.loss.sum(), cross_entropy(predicted))
    slope = torch.func.grad(cross_entropy)(predicted)
    torch.testing.assert_close(here.slope, -slope.flatten(), rtol=1e-6, atol=1e-8)
    hessian = torch.func.hessian(cross_entropy)(predicted).reshape(120, 120)
    torch.testing.assert_close(here.information, hessian.diagonal(), rtol=1e-6, atol=1e-6)
    assert (here.curvature >= here.information * (1 - 1e-9)).all()


def test_the_curvature_of_steps_bounds_the_loss_of_one_label():
    draw = np.random.default_rng(1)
    here, there = torch.tensor(draw.uniform(-1.0, 2.0, (2, 500)))
    labels, variance = torch.tensor(draw.integers(0, 2, 500)).double(), here.new_full((500,), 0.05)
    at = Categorical().evaluate(here, labels, torch.zeros_like(variance), variance)
    moved = there - here
    most = at.loss - at.slope * moved + 0.5 * at.curvature * moved.square()
    assert (
        Categorical().evaluate(there, labels, torch.zeros_like(variance), variance).loss
        <= most + 1e-9
    ).all()


def test_latents_of_a_linear_field_are_the_most_probable_ones():
    encoder = linear_encoder((pictures(200, 0) > 5.0).astype(np.float64))
    m, B, mean, precision, noise = gaussian_of(encoder)
    noise = max(noise, 0.01)
    truth = pictures(2, 7) > 5.0
    found = encoder.transform(
        truth.reshape(2, -1).astype(float), operator=EVERYWHERE, likelihood="categorical"
    )

    def objective(latent, labels):
        logits = (m + B @ latent - 0.5) / noise
        away = latent - mean
        slope = B.T @ ((1.0 / (1.0 + np.exp(-logits)) - labels) / noise) + precision @ away
        loss = np.logaddexp(0.0, logits).sum() - labels @ logits
        return loss + 0.5 * away @ precision @ away, slope

    for latent, labels in zip(found.astype(np.float64), truth.reshape(2, -1), strict=True):
        best = minimize(objective, mean, (labels.astype(float),), jac=True, method="BFGS")
        start = objective(mean, labels.astype(float))[0]
        assert objective(latent, labels)[0] - best.fun < 0.01 * (start - best.fun)


def test_labels_of_some_points_tell_of_others(encoder):
    truth = labelled(12, 9)
    seen = truth.reshape(12, -1, 3).copy()
    without = seen.copy()
    seen[:, np.arange(144) % 12 >= 6, 1:] = np.nan  # the right half has no labels
    without[..., 1:] = np.nan
    how = {"operator": EVERYWHERE, "likelihood": Categorical([1, 2], Gaussian(std=0.05))}

    def errors(values):
        Z = encoder.transform(values, **how)
        found, std = encoder.inverse_transform(Z, observed=values, return_std=True, **how)
        wrong = (found[..., 1:] > 0.5) != (truth[..., 1:] > 0.5)
        assert (std > 0).all()
        return wrong[:, :, :6].mean(), wrong[:, :, 6:].mean()

    (told, beside), (untold, alone) = errors(seen), errors(without)
    assert told < 0.3 * untold
    assert beside < 0.8 * alone


def test_a_level_of_noise_is_found_out_beside_labels(encoder):
    values = labelled(3, 9).reshape(3, -1, 3)
    values[..., 0] += 0.1 * np.random.default_rng(0).standard_normal(values.shape[:2])
    found, known = (
        encoder.transform(values, operator=EVERYWHERE, likelihood=Categorical([1, 2], others))
        for others in ("gaussian", Gaussian(std=0.1))
    )
    scale = np.abs(known).max()
    np.testing.assert_allclose(found, known, atol=0.2 * scale)


def test_fit_takes_labels_for_values():
    values = labelled(60, 3).reshape(60, -1, 3)
    draw = np.random.default_rng(0)
    masks = [Mask(SHAPE, draw.permutation(144).reshape(SHAPE) < 120) for _ in values]
    Y = np.concatenate([m.apply(x[None]) for m, x in zip(masks, values, strict=True)])
    fits = [
        FunctaEncoder(8, hidden_dim=8, max_iter=2, channel_axis=-1, random_state=0).fit(
            Y, operator=masks, likelihood=likelihood
        )
        for likelihood in (Categorical([1, 2], Gaussian(std=0.1)), Gaussian(std=0.1))
    ]
    np.testing.assert_array_equal(*(fit.transform(values.reshape(60, *SHAPE, 3)) for fit in fits))
    with pytest.raises(ValueError, match="takes labels for values"):
        fits[0].fit(
            np.abs(Y), operator=masks, likelihood=Categorical([1, 2], Poisson(link="transmission"))
        )


ONE = Identity([[0.0, 0.0]])
WRONG = {
    "sums up to 2": ([[[0.0, 1.0, 1.0]]], Categorical([1, 2])),
    "-1 at the least": ([[[0.0, -1.0, 1.0]]], Categorical([1, 2])),
    "all labels of a point": ([[[0.0, np.nan, 1.0]]], Categorical([1, 2])),
    "channels of the field, 0 to 2": ([[[0.0, 0.0, 1.0]]], Categorical([1, 3])),
    "numbers of channels": ([[[0.0, 0.0, 1.0]]], Categorical([1.5])),
    "each once, .* got \\[1, 1\\]": ([[[0.0, 0.0, 1.0]]], Categorical([1, 1])),
    "or None, got \\[\\]": ([[[0.0, 0.0, 1.0]]], Categorical([])),
    "not be of labels": ([[[0.0, 0.0, 1.0]]], Categorical([1], "categorical")),
    "must hold counts": ([[[-1.0, 0.0, 1.0]]], Categorical([1, 2], "poisson")),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(encoder, message):
    values, likelihood = WRONG[message]
    with pytest.raises(ValueError, match=message):
        encoder.transform(values, operator=ONE, likelihood=likelihood)
