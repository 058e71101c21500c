"""Samples with several labels each: classifiers, their measures, and the table of them."""

import csv
import json

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.datasets import load_npz
from neurfield.evaluation import (
    CNNClassifier,
    MLPProbe,
    classification_scores,
    neighbors_by_validation,
)
from neurfield.evaluation.tables import make_data


@pytest.fixture(scope="module")
def labelled():
    """Return 300 samples of 6 features and 3 labels, which the features tell."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    return X, (X[:, :3] + 0.3 * X[:, 3:] > [0, 0.5, 1]).astype(int)


def probe(**options):
    return MLPProbe(device="cpu", random_state=0, **options)


# --- Networks ------------------------------------------------------------------------------------


def test_the_probe_learns_several_labels(labelled):
    X, y = labelled
    model = probe(max_iter=8)
    scores = classification_scores(model, X[:200], y[:200], X[200:], y[200:])
    probabilities, found = model.predict_proba(X[200:]), model.predict(X[200:])
    assert probabilities.shape == found.shape == (100, 3)
    np.testing.assert_array_equal(found, probabilities > 0.5)
    np.testing.assert_allclose(
        probabilities, torch.sigmoid(model.network_(torch.tensor(X[200:]).float())).detach()
    )
    assert model.multilabel_
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(X[200:], y[200:]) == accuracy_score(y[200:], found)  # all labels of a sample
    assert scores["auc"] == pytest.approx(roc_auc_score(y[200:], probabilities, average="macro"))
    assert scores["accuracy"] == pytest.approx(1 - hamming_loss(y[200:], found))
    assert scores["macro_f1"] == pytest.approx(f1_score(y[200:], found, average="macro"))
    assert scores["auc"] > 0.97
    assert max(model.validation_curve_) > 0.9


def test_labels_may_be_sparse_and_must_be_0_or_1(labelled):
    X, y = labelled
    dense, sparse = (probe(max_iter=1).fit(X, labels) for labels in (y, csr_array(y)))
    np.testing.assert_array_equal(dense.predict_proba(X), sparse.predict_proba(X))
    with pytest.raises(ValueError, match=r"y must hold 0 and 1 for each label, got \[1 2\]"):
        probe().fit(X, y + 1)
    with pytest.raises(ValueError, match="1d array"):
        probe().fit(X, y + np.arange(3))


def test_networks_on_signals_learn_several_labels(rng):
    pytest.importorskip("monai")
    X, y = rng.random((6, 16, 16)), rng.integers(0, 2, (6, 14))
    network = CNNClassifier("efficientnet-b0", max_iter=1, device="cpu", random_state=0).fit(X, y)
    assert network.predict_proba(X).shape == network.predict(X).shape == (6, 14)
    assert set(np.unique(network.predict(X))) <= {0, 1}


def test_the_probe_has_the_optimizer_of_the_paper(labelled, monkeypatch):
    X, y = labelled
    decays = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self: (
            decays.append((self.defaults["weight_decay"], self.defaults["lr"])),
            step(self),
        ),
    )
    probe(max_iter=2).fit(X, y[:, 0])
    assert set(decays) == {(0.01, 0.001)}
    assert len(decays) == 2 * -(-270 // 32)  # less what is held out


# --- Neighbours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_k_is_the_best_on_what_was_held_out(labelled, several):
    X, y = labelled
    y = y if several else y.sum(axis=1)
    search = neighbors_by_validation(y, random_state=0).fit(X, y)
    ((train, held_out),) = search.cv
    assert len(train) + len(held_out) == len(set(train) | set(held_out)) == 300
    assert 27 <= len(held_out) <= 30
    grid = [1, 3, 5, 7, 10, 15, 20, 50]
    right = [
        (KNeighborsClassifier(k).fit(X[train], y[train]).predict(X[held_out]) == y[held_out]).mean()
        for k in grid
    ]
    assert search.best_params_ == {"n_neighbors": grid[int(np.argmax(right))]}
    again = neighbors_by_validation(y[:250], random_state=0)
    scores = classification_scores(again, X[:250], y[:250], X[250:], y[250:])
    assert scores["n_neighbors"] == again.best_params_["n_neighbors"]
    fixed = KNeighborsClassifier(scores["n_neighbors"]).fit(X[:250], y[:250])
    np.testing.assert_array_equal(again.predict(X[250:]), fixed.predict(X[250:]))


def test_few_samples_have_few_neighbours(rng):
    X, y = rng.normal(size=(12, 2)), np.arange(12) % 3
    search = neighbors_by_validation(y, random_state=0)
    assert search.param_grid == {"n_neighbors": [1, 3, 5, 7, 10]}
    assert [len(part) for part in search.cv[0]] == [10, 2]
    search.fit(X, y)


def test_a_label_that_training_samples_lack(rng):
    X, y = rng.normal(size=(40, 2)), rng.integers(0, 2, (40, 3))
    y[:30, 1] = 0
    nearest = KNeighborsClassifier(3)
    scores = classification_scores(
        nearest, X[:30], y[:30], X[30:], y[30:], label_names=["a", "b", "c"]
    )
    for place, name in ((0, "a"), (2, "c")):
        probabilities = nearest.predict_proba(X[30:])[place][:, 1]
        assert scores[f"auc_{name}"] == pytest.approx(roc_auc_score(y[30:, place], probabilities))
    assert scores["auc_b"] == 0.5
    assert scores["accuracy_b"] == pytest.approx(np.mean(y[30:, 1] == 0))
    with pytest.raises(ValueError, match=r"label_names must be 3 names, got \['a'\]"):
        classification_scores(nearest, X, y, X, y, label_names=["a"])
    with pytest.raises(ValueError, match=r"as many labels, got shapes \(40, 3\) and \(40, 2\)"):
        classification_scores(nearest, X, y, X, y[:, :2])


# --- The table -----------------------------------------------------------------------------------


@pytest.fixture
def chest_like(tmp_path, rng):
    """Write a file laid out like ChestMNIST's: 28 × 28, 14 labels."""
    arrays = {}
    for split, n_samples in (("train", 40), ("test", 20)):
        labels = rng.integers(0, 2, (n_samples, 14)).astype(np.uint8)
        images = rng.integers(0, 40, (n_samples, 28, 28))
        for place in range(14):
            images[:, 2 * place : 2 * place + 2] += 100 * labels[:, place, None, None]
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.astype(np.uint8), labels
    np.savez(tmp_path / "scans.npz", **arrays)
    return tmp_path / "scans.npz"


def test_the_table_of_a_file_with_several_labels(chest_like, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("monai")
    monkeypatch.setattr("neurfield.evaluation.tables.classifiers.REDUCED_EPOCHS", 1)
    monkeypatch.setattr("neurfield.evaluation.tables.classifiers._NETWORKS", ["efficientnet-b0"])
    options = ["hidden_dim=8", "n_layers=3", "max_iter=2", "device=cpu"]
    command = ["experiment", "classification", str(chest_like), "--splits", "train", "test"]
    command += ["-o", str(tmp_path / "out"), "--latent-dim", "14"]
    assert main([*command, *(f"--set={option}" for option in options)]) == 0
    assert "not possible" not in capsys.readouterr().out
    with open(tmp_path / "out" / "classification.csv", newline="") as file:
        rows = {(row["features"], row["classifier"]): row for row in csv.DictReader(file)}
    assert len(rows) == 7
    for row in rows.values():
        each = [float(row[f"auc_{place}"]) for place in range(14)]
        assert float(row["auc"]) == pytest.approx(np.mean(each))
        each = [float(row[f"accuracy_{place}"]) for place in range(14)]
        assert float(row["accuracy"]) == pytest.approx(np.mean(each))
    data = make_data(*(load_npz(chest_like, split=split) for split in ("train", "test")))
    train, test = data.flat()
    pca = PCA(14, random_state=0)
    model = KNeighborsClassifier(5).fit(pca.fit_transform(train), data.train_labels)
    probabilities = np.stack([p[:, 1] for p in model.predict_proba(pca.transform(test))], axis=1)
    expected = roc_auc_score(data.test_labels, probabilities, average="macro")
    assert expected > 0.9
    assert float(rows["pca", "knn"]["auc"]) == pytest.approx(expected)
    assert float(rows["pca", "knn-chosen"]["n_neighbors"]) in (1, 3, 5, 7, 10, 15, 20, 50)


def test_a_model_on_a_file_with_several_labels(chest_like, tmp_path, capsys):
    images = load_npz(chest_like, split="train")
    encoder = FunctaEncoder(4, hidden_dim=8, n_layers=3, max_iter=2, random_state=0, device="cpu")
    encoder.fit(images).save(tmp_path / "scans.field")
    command = ["evaluate", str(tmp_path / "scans.field"), str(chest_like), "--split", "train"]
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())["classification"]
    truth = np.stack([images[f"label_{place}"] for place in range(14)], axis=1)
    folds = KFold(5, shuffle=True, random_state=0)
    latents = encoder.transform(images)
    by_hand = cross_val_predict(KNeighborsClassifier(5), latents, truth, cv=folds)
    assert found["accuracy"] == pytest.approx(1 - hamming_loss(truth, by_hand))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, by_hand, average="macro"))
    assert found["majority"] == pytest.approx(np.mean([max(c, 1 - c) for c in truth.mean(axis=0)]))
    assert "5 nearest neighbours, 5 folds, 14 labels" in capsys.readouterr().out


def images_with(**coords):
    values = np.random.default_rng(0).random((8, 6, 6))
    over_samples = {name: ("sample", column) for name, column in coords.items()}
    return xr.DataArray(values, over_samples, ("sample", "y", "x"))


def test_labels_of_named_columns():
    mass, edema = np.array([0, 1] * 4), np.array([0, 0, 1, 1] * 2)
    names = np.array(list("abcdefgh"))
    data = make_data(images_with(label_mass=mass, label_edema=edema, label_name=names))
    assert data.label_names == ("mass", "edema")
    assert (data.train_labels.shape, data.test_labels.shape) == ((6, 2), (2, 2))
    assert data.has_classes
    same = images_with(label_mass=mass * 0, label_edema=edema * 0 + 1)
    assert not make_data(same).has_classes
    assert make_data(images_with(label=mass, label_edema=edema)).label_names == ()


def test_counts_and_labels_of_other_names_are_none():
    column = np.array([0, 1] * 4)
    counted = images_with(label_N=7 * column, label_V=column)
    assert make_data(counted).train_labels is None
    other = make_data(images_with(label_a=column, label_b=column), images_with(label_a=column))
    assert (other.train_labels, other.has_classes) == (None, False)
