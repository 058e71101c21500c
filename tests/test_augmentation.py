"""Random deformations of the coordinates in training."""

import numpy as np
import pytest
import torch

from neurfield import FunctaEncoder
from neurfield.datasets import load_npz
from neurfield.learning import VarPro
from neurfield.learning.augmentation import deform

SPACING = torch.tensor([0.1, 0.2])


def test_a_deformation_is_one_affine_map_of_the_stated_size():
    coords = torch.rand(50, 2, dtype=torch.float64) * 2 - 1
    generator = torch.Generator().manual_seed(0)
    linear, shifts = [], []
    for _ in range(400):
        moved = deform(coords, SPACING, 1.0, generator)
        design = torch.cat([coords, torch.ones(50, 1, dtype=torch.float64)], dim=1)
        solution = torch.linalg.lstsq(design, moved).solution
        assert torch.allclose(design @ solution, moved, atol=1e-12)
        linear.append(solution[:2] - torch.eye(2))
        shifts.append(solution[2])
    assert torch.stack(linear).std() == pytest.approx(0.05, rel=0.1)
    assert torch.allclose(torch.stack(shifts).std(dim=0), 0.5 * SPACING.double(), rtol=0.15)


def test_strength_zero_moves_nothing():
    coords = torch.rand(5, 2)
    assert torch.equal(deform(coords, SPACING, 0.0, torch.Generator()), coords)


def bumps(n, rng):
    """Return smooth bumps of random place and width: what a stretch or a shift makes of another."""
    x = np.linspace(-1, 1, 40)
    centre, width = rng.uniform(-0.5, 0.5, (n, 1)), rng.uniform(0.15, 0.4, (n, 1))
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


@pytest.mark.slow
def test_deformations_help_where_x_rays_are_few(shared_data):
    images = load_npz(shared_data / "pneumoniamnist.npz", split="train").values / 255.0
    train, held_out = images[:150], images[1000:1200]
    scores = {
        strength: FunctaEncoder(
            latent_dim=128, max_iter=400, random_state=0, learner=VarPro(augmentation=strength)
        )
        .fit(train)
        .score(held_out)
        for strength in (0.0, 0.5)
    }
    print(scores)
    assert scores[0.5] > scores[0.0] + 0.3


def test_they_are_chosen_by_the_number_of_signals(small_encoder, rng):
    few, some, many = (small_encoder().fit(bumps(n, rng)) for n in (10, 40, 320))
    assert few.learner_.augmentation == 0.5
    assert some.learner_.augmentation == pytest.approx(0.2)
    assert many.learner_.augmentation == 0.1
