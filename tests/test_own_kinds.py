"""A learner and a field of one's own, as the gallery has them, go wherever the built-in ones go."""

import ast
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from neurfield import FunctaEncoder
from neurfield.fields import FieldSpec, Siren
from neurfield.learning import Learner, VarPro
from neurfield.registry import Registered

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "extending"
MOST_LINES = 60
SIZE = {"latent_dim": 6, "max_iter": 10, "batch_size": 16, "device": "cpu", "random_state": 0}
SMALL = {"hidden_dim": 8, "n_layers": 3}


def definitions(name):
    """Return the import statements and the classes of an example, which are all that is run."""
    body = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]


@pytest.fixture(scope="module", autouse=True)
def known_here_alone():
    """Forget after this module what it has made known."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Learner, FieldSpec):
            patch.setattr(kind, "_known", dict(kind._known))
        yield


def imported(name):
    """Return the classes of an example, in a module that pickle finds."""
    pytest.importorskip("matplotlib")  # which the examples draw with
    module = ModuleType(f"own_kinds_{name}")
    sys.modules[module.__name__] = module
    code = compile(ast.Module(definitions(name), type_ignores=[]), name, "exec")
    exec(code, vars(module))
    return module


@pytest.fixture(scope="module")
def ridge(known_here_alone):
    module = imported("plot_own_learner")
    yield module.RidgeLearner
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:80] / 16.0


@pytest.mark.parametrize("name", ["plot_own_learner", "plot_own_field"])
def test_own_classes_are_short(name):
    classes = [node for node in definitions(name) if isinstance(node, ast.ClassDef)]
    assert classes
    assert sum(node.end_lineno - node.lineno + 1 for node in classes) <= MOST_LINES


def goes_everywhere(encoder, digits, tmp_path, option, values):
    """Fit, encode, decode, save, load, clone, pickle and search over an option of an encoder."""
    train, new = digits[:60], digits[60:]
    Z = encoder.fit(train).transform(new)
    assert Z.shape == (20, 6)
    decoded = encoder.inverse_transform(Z)
    assert np.mean((decoded - new) ** 2) < np.mean((train.mean(axis=0) - new) ** 2)
    assert encoder.inverse_transform(Z, grid=(5, 7)).shape == (20, 5, 7)
    encoder.save(tmp_path / "own.field")
    loaded = FunctaEncoder.load(tmp_path / "own.field")
    for twin in (loaded, pickle.loads(pickle.dumps(encoder))):
        np.testing.assert_array_equal(twin.transform(new), Z)
        np.testing.assert_array_equal(twin.inverse_transform(Z), decoded)
        assert twin.get_params()[option] == encoder.get_params()[option]
        assert twin.partial_fit(train).n_iter_ > encoder.n_iter_
    copied = clone(encoder)
    assert not hasattr(copied, "codec_")
    np.testing.assert_array_equal(copied.fit(train).transform(new), Z)
    search = GridSearchCV(clone(encoder), {option: values}, cv=2).fit(train)
    assert search.best_params_[option] in values
    first, second = search.cv_results_["mean_test_score"]
    assert np.isfinite([first, second]).all()
    assert first != second
    assert option in encoder.get_params()
    assert encoder._repr_html_()


def test_an_own_learner_goes_everywhere(ridge, digits, tmp_path):
    size = SIZE | {"hidden_dim": 32, "n_layers": 4, "omega": 8.0, "max_iter": 40}
    encoder = FunctaEncoder(**size, learner=ridge(ridge=1e-3))
    goes_everywhere(encoder, digits, tmp_path, "learner__ridge", [1e-4, 1.0])


def test_an_own_learner_is_known_by_its_name(ridge, digits):
    encoder = FunctaEncoder(**SIZE, **SMALL).set_params(learner="ridge")
    assert encoder.get_params()["learner__ridge"] == 1e-2
    named = encoder.fit(digits[:60]).transform(digits[60:])
    assert isinstance(encoder.learner_, ridge)
    given = FunctaEncoder(**SIZE, **SMALL, learner=ridge()).fit(digits[:60])
    np.testing.assert_array_equal(given.transform(digits[60:]), named)
    other = clone(encoder).set_params(learner__ridge=1.0).fit(digits[:60])
    assert not np.array_equal(other.transform(digits[60:]), named)


def test_an_own_learner_takes_the_place_of_a_preset_s(ridge, digits):
    for name in ("functa", "medfuncta-2d-64", "spatial-functa-linear", "lrm-functa"):
        encoder = FunctaEncoder.from_preset(name, learner="ridge", **SIZE, **SMALL)
        if name == "spatial-functa-linear":
            encoder.set_params(field__grid=1)
        encoder.set_params(transform_steps=2).fit(digits[:20])
        assert isinstance(encoder.learner_, ridge)
        assert encoder.transform(digits[:3]).shape == (3, 6)


def test_an_own_learner_has_no_deviations_and_says_so(ridge, digits):
    encoder = FunctaEncoder(**SIZE, **SMALL, learner="ridge").fit(digits[:20])
    with pytest.raises(ValueError, match="return_std=True needs what fit learns"):
        encoder.inverse_transform(encoder.transform(digits[:3]), return_std=True)


def test_options_that_an_own_learner_has_not_are_refused(ridge):
    with pytest.raises(ValueError, match=r"Invalid parameter .damping.*RidgeLearner"):
        FunctaEncoder(learner="ridge").set_params(learner__damping=1.0)


def test_a_file_of_a_learner_that_is_not_known_names_it(ridge, digits, tmp_path, monkeypatch):
    FunctaEncoder(**SIZE, **SMALL, learner="ridge").fit(digits[:20]).save(tmp_path / "own.field")
    monkeypatch.delitem(Learner._known, "ridge")
    with pytest.raises(ValueError, match=r"learner must be one of .*'ridge'.*module"):
        FunctaEncoder.load(tmp_path / "own.field")


# --- The registry --------------------------------------------------------------------------------


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(TypeError, match=r"learner 'varpro' is .*VarPro already; .*Other needs"):
        type("Other", (VarPro,), {"name": "varpro", "__module__": "elsewhere"})
    assert Learner.named("varpro") is VarPro
    with pytest.raises(TypeError, match=r"field 'siren' is .*Siren already"):
        type("Other", (Siren,), {"name": "siren", "__module__": "elsewhere"})


def test_a_class_that_is_defined_again_replaces_itself():
    cell = "from neurfield.learning import VarPro\nclass Again(VarPro):\n    name = 'again'"
    first, second = ({"__name__": "notebook"} for _ in range(2))
    exec(cell, first)
    exec(cell, second)
    assert Learner.named("again") is second["Again"]


def test_kinds_have_names_of_their_own():
    class Colour(Registered):
        kind = "colour"

    class Red(Colour):
        name = "varpro"

    assert Colour.known() == {"varpro": Red}
    assert Learner.named("varpro") is VarPro
    with pytest.raises(ValueError, match=r"colour must be one of \['varpro'\], got 'blue'"):
        Colour.named("blue")
