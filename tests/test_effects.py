"""Every option changes something, or is refused where it would change nothing."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone

from neurfield import FunctaEncoder
from neurfield.fields import FieldSpec, LowRank, Siren, Spatial
from neurfield.learning import Cavia, EarlyStopping, Learner, VarPro

BASE = {
    "latent_dim": 4,
    "hidden_dim": 8,
    "n_layers": 3,
    "max_iter": 3,
    "batch_size": 8,
    "meta_lr": 1e-3,
    "device": "cpu",
    "random_state": 0,
}
FIELDS = {"siren": Siren, "spatial": Spatial, "low-rank": LowRank}
LEARNERS = {"varpro": VarPro, "cavia": Cavia}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((20, 6, 8))


def make(**parameters):
    nested = {name: value for name, value in parameters.items() if "__" in name}
    own = {name: value for name, value in parameters.items() if "__" not in name}
    return clone(FunctaEncoder(**(BASE | own))).set_params(**nested)


def outcome(encoder, X):
    """Return all that a fit leaves, as bytes."""
    Z = encoder.fit(X).transform(X)
    curves = np.array(encoder.loss_curve_), np.array(encoder.validation_curve_)
    return [np.asarray(a).tobytes() for a in (Z, encoder.inverse_transform(Z), *curves)]


# Another value than that of BASE or the default, and what else it takes to show.
OF_ENCODER = {
    "latent_dim": (5, {}),
    "hidden_dim": (9, {}),
    "n_layers": (4, {}),
    "omega": (20.0, {}),
    "field": ("low-rank", {}),
    "learner": ("cavia", {}),
    "transform_steps": (1, {}),
    "meta_lr": (1e-2, {}),
    "batch_size": (4, {}),
    "max_iter": (5, {}),
    "lr_schedule": ("constant", {}),
    "weight_decay": (0.7, {}),
    "channel_axis": (1, {}),
    "isotropic": (True, {}),
    "patch_size": (4, {}),
    "early_stopping": (True, {}),
    "precision": ("float64", {}),
    "random_state": (1, {}),
}
# What has its effect elsewhere than in what is learnt, with a test of its own below.
ELSEWHERE = {"max_time", "checkpoint", "checkpoint_every", "callbacks", "device", "compile"}
ELSEWHERE |= {"memory_budget", "verbose", "warm_start"}
OF_FIELDS = {
    "siren": {
        "hidden_dim": 9,
        "n_layers": 4,
        "modulation": "shift_scale",
        "skip_connections": False,
        "residual_scale": 0.7,
        "output_scale": 2.0,
    },
    "spatial": {
        "grid": 1,
        "interpolation": "nearest",
        "hidden_dim": 9,
        "n_layers": 4,
        "skip_connections": False,
        "residual_scale": 0.7,
        "output_scale": 2.0,
    },
    "low-rank": {
        "intermediate_dim": 7,
        "hidden_dim": 9,
        "n_layers": 4,
        "skip_connections": False,
        "residual_scale": 0.7,
        "output_scale": 2.0,
    },
}
OF_LEARNERS = {
    "varpro": {"inner_steps": 2, "damping": 0.1, "augmentation": 0.0, "context_ratio": 0.4},
    "cavia": {
        "inner_steps": 2,
        "inner_lr": 0.1,
        "learn_inner_lr": True,
        "second_order": False,
        "context_ratio": 0.6,
        "context_selection": "gradient",
        "gradient_scaling": True,
        "recompute": True,
    },
}
OF_STOPPING = {"validation_fraction": 0.3, "n_iter_no_change": 1, "tol": 100.0}


def options(kind):
    return set(inspect.signature(kind).parameters)


def test_no_option_is_left_out():
    assert options(FunctaEncoder) == set(OF_ENCODER) | ELSEWHERE
    assert len(options(FunctaEncoder)) <= 28
    for of_kind, kinds in ((OF_FIELDS, FIELDS), (OF_LEARNERS, LEARNERS)):
        assert {name: set(values) for name, values in of_kind.items()} == {
            name: options(kind) for name, kind in kinds.items()
        }
    assert set(OF_STOPPING) == options(EarlyStopping)
    assert all(FieldSpec.named(name) is kind for name, kind in FIELDS.items())
    assert all(Learner.named(name) is kind for name, kind in LEARNERS.items())


@pytest.mark.parametrize("name", OF_ENCODER)
def test_parameters_of_the_encoder_change_what_is_learnt(name, X):
    value, more = OF_ENCODER[name]
    assert outcome(make(**more, **{name: value}), X) != outcome(make(**more), X)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize(
    ("field", "option"), [(field, option) for field in OF_FIELDS for option in OF_FIELDS[field]]
)
def test_options_of_fields_change_what_is_learnt(field, option, learner, X):
    more = {"field": FIELDS[field](), "learner": learner}
    if field == "spatial":
        more |= {"latent_dim": 16}  # of 4 × 4 cells
    value = OF_FIELDS[field][option]
    changed, plain = (make(**more, **other) for other in ({f"field__{option}": value}, {}))
    if option in ("hidden_dim", "n_layers"):  # which are to be given in one place
        with pytest.raises(ValueError, match=f"{option} is .* and the field's own is {value}"):
            changed.fit(X)
        default = inspect.signature(FunctaEncoder).parameters[option].default
        changed.set_params(**{option: default})
    assert outcome(changed, X) != outcome(plain, X)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("learner", "option"),
    [(learner, option) for learner in OF_LEARNERS for option in OF_LEARNERS[learner]],
)
def test_options_of_learners_change_what_is_learnt(learner, option, field, X, monkeypatch):
    more = {"field": field, "latent_dim": 16, "learner": learner}
    changed = make(**more, **{f"learner__{option}": OF_LEARNERS[learner][option]})
    if option == "recompute":  # takes time for memory, and leaves the loss
        assert [
            encoder.fit(X).learner_.meta_step(encoder.field_).recompute
            for encoder in (make(**more), changed)
        ] == [False, True]
        return
    assert outcome(changed, X) != outcome(make(**more), X)


@pytest.mark.parametrize("option", OF_STOPPING)
def test_options_of_early_stopping_change_when_it_stops(option):
    phases = np.random.default_rng(0).uniform(0, 6, (30, 1))
    X = np.sin(5 * np.linspace(0, 1, 12) + phases)  # of which it learns for long
    spec = EarlyStopping(tol=0.0, n_iter_no_change=2)
    if option == "n_iter_no_change":
        spec.tol = 100.0
    more = {"max_iter": 130, "early_stopping": spec}
    plain, changed = make(**more), make(**more)
    changed.set_params(**{f"early_stopping__{option}": OF_STOPPING[option]})
    assert outcome(changed, X) != outcome(plain, X)


def test_what_has_its_effect_elsewhere(X, tmp_path, capfd):
    assert make(max_time=1e-9, max_iter=1000).fit(X).n_iter_ == 1
    assert make(compile=None).fit(X).settings_.compile is False
    saved = []

    def look(progress):
        saved.append((tmp_path / "a.checkpoint").exists())

    make(checkpoint=tmp_path / "a.checkpoint", callbacks=[look]).fit(X)
    assert saved == [False, False, True]  # before the end, as of step 100 only
    (tmp_path / "a.checkpoint").unlink()
    make(checkpoint=tmp_path / "a.checkpoint", checkpoint_every=2, callbacks=[look]).fit(X)
    assert saved[3:] == [False, True, True]
    capfd.readouterr()
    make(verbose=1).fit(X)
    assert "3/3" in capfd.readouterr().err
    with pytest.raises(ValueError, match="device='abacus'"):
        make(device="abacus").fit(X)
    first, again = (make(warm_start=warm).fit(X).fit(X) for warm in (False, True))
    assert first.loss_curve_ != again.loss_curve_


# --- What would change nothing -------------------------------------------------------------------

NOTHING = {
    "step sizes that are learnt start at random": (
        {"learner": Cavia(inner_lr=0.1, learn_inner_lr=True)},
        r"inner_lr=0\.1 changes nothing with learn_inner_lr=True",
    ),
    "a scale of branches that are not there": (
        {"field": Siren(skip_connections=False, residual_scale=0.5)},
        r"residual_scale=0\.5 changes nothing with skip_connections=False",
    ),
    "the same of a grid": (
        {"field": Spatial(grid=1, skip_connections=False, residual_scale=0.5)},
        r"residual_scale=0\.5 changes nothing with skip_connections=False",
    ),
    "the same of a low rank": (
        {"field": LowRank(skip_connections=False, residual_scale=0.5)},
        r"residual_scale=0\.5 changes nothing with skip_connections=False",
    ),
    "two widths": (
        {"hidden_dim": 9, "field": Siren(hidden_dim=10)},
        "hidden_dim is 9 and the field's own is 10: give it in one place",
    ),
    "two numbers of layers": (
        {"n_layers": 4, "field": Siren(n_layers=5)},
        "n_layers is 4 and the field's own is 5: give it in one place",
    ),
    "how often nothing is saved": (
        {"checkpoint_every": 7},
        "checkpoint_every=7 changes nothing without checkpoint",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_changes_nothing_is_refused(name, method, X):
    parameters, message = NOTHING[name]
    encoder = make(**parameters)
    with pytest.raises(ValueError, match=message):
        getattr(encoder, method)(X)
    assert not hasattr(encoder, "codec_")


@pytest.mark.parametrize("option", sorted(OF_STOPPING))
def test_options_of_no_early_stopping_cannot_be_given(option):
    message = "options of early_stopping need early_stopping=True, got early_stopping=False"
    with pytest.raises(ValueError, match=message):
        make(**{f"early_stopping__{option}": OF_STOPPING[option]})


def cross(of_kind):
    """Yield each option with each choice that does not have it."""
    every = sorted({option for values in of_kind.values() for option in values})
    return [(choice, o) for choice, values in of_kind.items() for o in every if o not in values]


@pytest.mark.parametrize(
    ("parameter", "choice", "option"),
    [("field", *pair) for pair in cross(OF_FIELDS)]
    + [("learner", *pair) for pair in cross(OF_LEARNERS)],
)
def test_options_of_another_choice_cannot_be_given(parameter, choice, option):
    with pytest.raises(ValueError, match=f"Invalid parameter {option!r} for estimator"):
        make(**{parameter: choice}).set_params(**{f"{parameter}__{option}": 1})
    with pytest.raises(TypeError, match=option):
        (FIELDS | LEARNERS)[choice](**{option: 1})


def test_one_width_in_two_places_is_one_width(X):
    twice = make(hidden_dim=9, field=Siren(hidden_dim=9, n_layers=3))
    assert outcome(twice, X) == outcome(make(hidden_dim=9), X)
