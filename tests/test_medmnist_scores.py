"""The measures of MedMNIST's evaluator, for its four kinds of task."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.neural_network import MLPClassifier

from neurfield.evaluation import (
    MEDMNIST_TASKS,
    classification_scores,
    medmnist_scores,
    medmnist_task,
)


def predictions(rng, name, n_samples=60):
    """Return labels and scores for a set, some scores at the threshold."""
    task = medmnist_task(name)
    scores = rng.integers(1, 8, (n_samples, task.n_outputs)) / 8
    if task.kind == "multi-label, binary-class":
        return rng.integers(0, 2, scores.shape), scores
    scores /= scores.sum(axis=1, keepdims=True)
    return rng.permutation(np.arange(n_samples) % task.n_outputs), scores


# --- Presets -------------------------------------------------------------------------------------


def test_all_18_sets_have_a_preset():
    axes = [task.n_axes for task in MEDMNIST_TASKS.values()]
    assert (axes.count(2), axes.count(3)) == (12, 6)
    assert medmnist_task("RetinaMNIST").kind == "ordinal-regression"
    assert medmnist_task("ChestMNIST").n_outputs == 14
    for name, task in MEDMNIST_TASKS.items():
        assert medmnist_task(name) is task
        assert set(task.metrics) == {"auc", "accuracy"}
        assert (task.kind == "binary-class") == (task.n_outputs == 2)
        assert name.endswith("3d") == (task.n_axes == 3)


def test_presets_are_what_the_package_says():
    info = pytest.importorskip("medmnist.info").INFO
    said = {name: (facts["task"], len(facts["label"])) for name, facts in info.items()}
    assert said == {name: (task.kind, task.n_outputs) for name, task in MEDMNIST_TASKS.items()}


def test_presets_cannot_be_changed():
    task = medmnist_task("pathmnist")
    with pytest.raises(FrozenInstanceError):
        task.n_outputs = 3
    with pytest.raises(TypeError, match="does not support item assignment"):
        MEDMNIST_TASKS["pathmnist"] = task
    task.metrics["auc"] = "another"
    assert task.metrics["auc"] == "mean over classes, each against the rest"


# --- Measures ------------------------------------------------------------------------------------


def test_labels_are_measured_one_by_one(rng):
    truth, scores = predictions(rng, "chestmnist")
    assert (scores == 0.5).any()
    found = medmnist_scores("chestmnist", truth, scores)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores, average="macro"))
    each = [accuracy_score(truth[:, i], scores[:, i] > 0.5) for i in range(14)]
    assert found["accuracy"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("name", [n for n, t in MEDMNIST_TASKS.items() if t.kind == "binary-class"])
def test_two_classes_are_measured_by_the_second(rng, name):
    truth, scores = predictions(rng, name)
    assert (scores == 0.5).any()
    found = medmnist_scores(name, truth[:, None], scores)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores[:, 1]))
    assert found["accuracy"] == accuracy_score(truth, scores[:, 1] > 0.5)


@pytest.mark.parametrize("name", ["retinamnist", "dermamnist", "organmnist3d", "fracturemnist3d"])
def test_grades_and_classes_are_measured_against_the_rest(rng, name):
    truth, scores = predictions(rng, name)
    found = medmnist_scores(name, truth, scores)
    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert found["auc"] == pytest.approx(expected)
    assert found["accuracy"] == accuracy_score(truth, scores.argmax(axis=1))


@pytest.mark.parametrize("name", ["chestmnist", "breastmnist", "retinamnist", "organmnist3d"])
def test_measures_are_those_of_the_package(rng, name):
    evaluator = pytest.importorskip("medmnist.evaluator")
    kind = medmnist_task(name).kind
    truth, scores = predictions(rng, name)
    expected = evaluator.getAUC(truth, scores, kind), evaluator.getACC(truth, scores, kind)
    assert tuple(medmnist_scores(name, truth, scores).values()) == pytest.approx(expected)


def test_what_no_sample_or_every_one_is_does_not_count(rng):
    truth, scores = predictions(rng, "chestmnist")
    truth[:, 3], truth[:, 5] = 0, 1
    others = [i for i in range(14) if i not in (3, 5)]
    found = medmnist_scores("chestmnist", truth, scores)
    expected = roc_auc_score(truth[:, others], scores[:, others], average="macro")
    assert found["auc"] == pytest.approx(expected)
    assert np.isnan(medmnist_scores("breastmnist", [1, 1], [[0, 1], [1, 0]])["auc"])


@pytest.mark.parametrize("name", ["chestmnist", "breastmnist", "retinamnist"])
def test_scores_of_a_classifier_are_the_same(rng, name):
    labels, _ = predictions(rng, name, 100)
    X = rng.normal(size=(100, 6)) + labels.reshape(100, -1)[:, :1]
    several = labels.ndim == 2
    model = MLPClassifier(max_iter=400, random_state=0) if several else LogisticRegression()
    found = classification_scores(model, X[:60], labels[:60], X[60:], labels[60:])
    expected = medmnist_scores(name, labels[60:], model.predict_proba(X[60:]))
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_what_does_not_belong_to_a_set_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of pathmnist, .*, got 'mnist'"):
        medmnist_scores("mnist", [0], [[1, 0]])
    with pytest.raises(ValueError, match=r"y_score must have 14 columns .*got shape \(1, 2\)"):
        medmnist_scores("chestmnist", [[0, 1]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"y_true must have the shape \(1, 14\) .*got \(1,\)"):
        medmnist_scores("chestmnist", [0], np.zeros((1, 14)))
    with pytest.raises(ValueError, match=r"whole numbers from 0 to 1 for BreastMNIST"):
        medmnist_scores("BreastMNIST", [2], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="y_score contains NaN"):
        medmnist_scores("breastmnist", [1], [[np.nan, 0.5]])
