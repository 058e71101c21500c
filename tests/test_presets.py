"""Published configurations: what they set, how many weights they have, and that they train."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder, list_presets
from neurfield.fields import ModulatedSiren
from neurfield.learning import Cavia, VarPro
from neurfield.planning import check_parameters

FUNCTA = {
    "learner__inner_steps": 3,
    "learner__learn_inner_lr": True,
    "learner__inner_lr": None,
    "learner__context_ratio": 1.0,
    "field__skip_connections": False,
    "n_layers": 15,
    "hidden_dim": 512,
    "omega": 30.0,
    "transform_steps": 3,
    "meta_lr": 3e-6,
    "weight_decay": 0.0,
    "batch_size": 16,
}
COINPP = {
    "learner__inner_steps": 3,
    "learner__inner_lr": 1e-2,
    "learner__learn_inner_lr": False,
    "learner__context_ratio": 1.0,
    "field__skip_connections": False,
    "n_layers": 10,
    "hidden_dim": 512,
    "omega": 50.0,
    "transform_steps": 10,
    "meta_lr": 3e-6,
    "weight_decay": 0.0,
}
REDUCED = {"n_layers": 4, "hidden_dim": 32, "latent_dim": 16, "batch_size": 16, "device": "cpu"}
REDUCED |= {"max_iter": 150, "meta_lr": 1e-3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:300] / 16


@pytest.mark.parametrize(("name", "expected"), [("functa", FUNCTA), ("coin++", COINPP)])
def test_presets_are_the_published_configurations(name, expected):
    encoder = FunctaEncoder.from_preset(name)
    assert isinstance(encoder.learner, Cavia)
    assert {name: encoder.get_params()[name] for name in expected} == expected


@pytest.mark.parametrize("name", list_presets())
def test_presets_pass_the_constraints_and_are_named_where_they_are_listed(name):
    encoder = FunctaEncoder.from_preset(name)
    encoder._validate_params()
    check_parameters(encoder)
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


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("learner", ["varpro", VarPro(damping=1e-2)])
def test_another_learner_takes_the_place_of_a_preset_s(name, learner, rng):
    small = {"hidden_dim": 8, "n_layers": 3, "batch_size": 4, "max_iter": 2, "device": "cpu"}
    X = rng.random((6, 8, 8)) if "1d" not in name else rng.random((6, 20))
    if "3d" in name:
        X = rng.random((6, 4, 4, 4))
    encoder = FunctaEncoder.from_preset(name, **small, learner=learner)
    if "spatial" in name:
        small = {"field__grid": 2, "latent_dim": 8}
    elif name == "coin++-patched":
        small = {"patch_size": 4, "latent_dim": 4}
    else:
        small = {"latent_dim": 2}
    encoder.set_params(**small).fit(X)
    assert isinstance(encoder.learner_, VarPro)
    assert encoder.learner_.damping == (1e-3 if learner == "varpro" else 1e-2)
    assert encoder.settings_.meta_lr == FunctaEncoder.from_preset(name).meta_lr
    _, std = encoder.inverse_transform(encoder.transform(X), return_std=True, observed=X)
    assert (std > 0).all()


def test_specs_of_a_preset_are_the_estimator_s_own():
    first = FunctaEncoder.from_preset("functa", learner__inner_steps=5, field__modulation="shift")
    first.field.set_params(skip_connections=True)
    second = FunctaEncoder.from_preset("functa")
    assert (second.learner.inner_steps, second.field.skip_connections) == (3, False)
    assert (first.learner.inner_steps, first.field.skip_connections) == (5, True)
