"""Published configurations: what they set, how many weights they have, and that they train."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder, list_presets
from neurfield.fields import ModulatedSiren

FUNCTA = {
    "learner": "cavia",
    "n_layers": 15,
    "hidden_dim": 512,
    "omega": 30.0,
    "skip_connections": False,
    "inner_steps": 3,
    "learn_inner_lr": True,
    "transform_steps": 3,
    "meta_lr": 3e-6,
    "weight_decay": 0.0,
    "context_ratio": 1.0,
    "batch_size": 16,
}
COINPP = {
    "learner": "cavia",
    "n_layers": 10,
    "hidden_dim": 512,
    "omega": 50.0,
    "skip_connections": False,
    "inner_steps": 3,
    "inner_lr": 1e-2,
    "learn_inner_lr": False,
    "transform_steps": 10,
    "meta_lr": 3e-6,
    "weight_decay": 0.0,
    "context_ratio": 1.0,
}
REDUCED = {"n_layers": 4, "hidden_dim": 32, "latent_dim": 16, "batch_size": 16, "device": "cpu"}
REDUCED |= {"max_iter": 150, "meta_lr": 1e-3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:300] / 16


@pytest.mark.parametrize(("name", "expected"), [("functa", FUNCTA), ("coin++", COINPP)])
def test_presets_are_the_published_configurations(name, expected):
    encoder = FunctaEncoder.from_preset(name)
    assert {parameter: getattr(encoder, parameter) for parameter in expected} == expected


@pytest.mark.parametrize("name", list_presets())
def test_presets_pass_the_constraints_and_are_named_where_they_are_listed(name):
    encoder = FunctaEncoder.from_preset(name)
    encoder._validate_params()
    encoder._check_parameters()
    for listing in (list_presets, FunctaEncoder.from_preset):
        assert f'"{name}"' in listing.__doc__


@pytest.mark.parametrize(
    ("name", "n_weights"),
    [
        # 2·512+512, 13 (512²+512), 14·512 (128+1), 512·3+3
        ("functa", 1_536 + 13 * 262_656 + 924_672 + 1_539),
        # 2·512+512, 8 (512²+512), 9·512 (384+1), 512·3+3
        ("coin++", 1_536 + 8 * 262_656 + 1_774_080 + 1_539),
        # 2·256+256, 13 (256²+256), 14·256 (2048+1), 256·3+3
        ("medfuncta-2d-64", 768 + 13 * 65_792 + 7_343_616 + 771),
    ],
)
def test_number_of_weights_for_colour_images(name, n_weights):
    preset = FunctaEncoder.from_preset(name)
    field = ModulatedSiren(2, 3, preset.latent_dim, preset.hidden_dim, preset.n_layers)
    assert field.n_parameters == n_weights


@pytest.mark.parametrize("name", ["functa", "coin++"])
def test_a_reduced_preset_beats_the_mean_image(name, digits):
    train, new = digits[:200], digits[200:]
    encoder = FunctaEncoder.from_preset(name, **REDUCED).fit(train)
    mean = 10 * np.log10(1 / ((new - train.mean(axis=0)) ** 2).mean(axis=(1, 2))).mean()
    assert encoder.score(new) > mean + 3
    assert encoder.score(train) > encoder.psnr_curve_[0] + 8


def test_step_sizes_of_functa_move_and_stay_in_range(digits):
    fits = [
        FunctaEncoder.from_preset("functa", **(REDUCED | {"max_iter": n})).fit(digits)
        for n in (1, 40)
    ]
    start, end = (encoder.codec_.solver.inner_lr for encoder in fits)
    assert start.shape == end.shape == (16,)
    assert 0 <= float(end.min()) < float(end.max()) <= 1
    assert 0.004 <= float(start.min()) < float(start.max()) <= 0.101
    assert float((end - start).abs().min()) > 1e-4
