"""How well classes can be told apart, by any scikit-learn classifier."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

_NEIGHBORS, _FOLDS = 5, 5


def classification_scores(
    classifier: Any,
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    y_test: ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Fit a classifier and measure it on samples it has not seen.

    Parameters
    ----------
    classifier : estimator
        With ``predict_proba``; it is fitted in place.
    X : array-like of shape (n_samples, ...)
        Samples to fit.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Their classes; or several labels a sample, each of them 0 or 1.
    X_test : array-like of shape (n_samples, ...)
        Samples to measure on.
    y_test : array-like of shape (n_samples,) or (n_samples, n_labels)
        Their classes, or labels.
    label_names : sequence of str, optional
        Names of the labels, where there are several; by default their places.

    Returns
    -------
    dict
        ``accuracy``; ``macro_f1``, the mean F1 of the classes; ``auc``, the area under the ROC
        curve, the mean over classes of each against the rest (NaN where the test samples are of one
        class); ``fit_seconds``; ``parameters``, the weights of a network, 0 for others; and what a
        search such as :func:`neighbors_by_validation` has chosen, by its name. Of several labels,
        a sample has those whose probability is over 0.5; accuracy, F1 and area are means over
        labels, and those of each are ``accuracy_<name>`` and ``auc_<name>``.

    Raises
    ------
    ValueError
        If the labels of both parts do not agree, or their names are of another number.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [[0, 0], [0, 1], [1, 1], [1, 0]]
    >>> nearest = KNeighborsClassifier(1)
    >>> scores = classification_scores(nearest, X, y, X, y, label_names=["mass", "edema"])
    >>> scores["auc"], scores["accuracy_edema"]
    (1.0, 1.0)
    """
    truth = np.asarray(y_test)
    if np.shape(y)[1:] != truth.shape[1:]:
        raise ValueError(
            f"y and y_test must have as many labels, got shapes {np.shape(y)} and {truth.shape}"
        )
    names = [str(place) for place in range(truth.shape[1])] if truth.ndim == 2 else []
    if label_names is not None and len(label_names) != len(names):
        raise ValueError(f"label_names must be {len(names)} names, got {list(label_names)}")
    start = time.perf_counter()
    classifier.fit(X, y)
    seconds = time.perf_counter() - start
    measured = (
        _label_scores(classifier, X_test, truth, label_names or names)
        if names
        else _class_scores(classifier, X_test, truth)
    )
    return {
        "parameters": int(getattr(classifier, "n_parameters_", 0)),
        "fit_seconds": seconds,
        **measured,
        **getattr(classifier, "best_params_", {}),
    }


def cross_validated_neighbors(latents: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, Any]:
    """Classify latents by their nearest neighbours, in a cross-validation.

    Parameters
    ----------
    latents : array of shape (n_samples, latent_dim)
        One row per signal.
    labels : array of shape (n_samples,) or (n_samples, n_labels)
        Class of each signal, by which folds are stratified; or several labels, 0 or 1.

    Returns
    -------
    dict
        Accuracy and macro F1 over all held-out folds, the mean over labels where a signal has
        several, or the reason why there are none.
    """
    if labels.ndim == 2:
        return _cross_validated_labels(latents, labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        return {"reason": "it takes two classes or more, of two signals or more each"}
    folds = StratifiedKFold(int(min(_FOLDS, counts.min())), shuffle=True, random_state=0)
    smallest = len(labels) - -(-len(labels) // folds.get_n_splits())
    classifier = KNeighborsClassifier(min(_NEIGHBORS, smallest))
    found = cross_val_predict(classifier, latents, labels, cv=folds)
    return {
        "neighbors": classifier.n_neighbors,
        "folds": folds.get_n_splits(),
        "classes": len(classes),
        "accuracy": float(accuracy_score(labels, found)),
        "macro_f1": float(f1_score(labels, found, average="macro")),
        "majority": float(counts.max() / len(labels)),
    }


def _cross_validated_labels(latents: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, Any]:
    if len(labels) < 2:
        return {"reason": "it takes two signals or more"}
    folds = KFold(min(_FOLDS, len(labels)), shuffle=True, random_state=0)
    smallest = len(labels) - -(-len(labels) // folds.get_n_splits())
    classifier = KNeighborsClassifier(min(_NEIGHBORS, smallest))
    found = cross_val_predict(classifier, latents, labels, cv=folds)
    shares = labels.mean(axis=0)
    return {
        "neighbors": classifier.n_neighbors,
        "folds": folds.get_n_splits(),
        "labels": labels.shape[1],
        "accuracy": float((found == labels).mean()),
        "macro_f1": float(f1_score(labels, found, average="macro", zero_division=0.0)),
        "majority": float(np.maximum(shares, 1 - shares).mean()),
    }


def areas_under_curves(truth: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each column; NaN where the truth is all one value.

    Parameters
    ----------
    truth : array of shape (n_samples, n_columns)
        True or 1 where a sample is of a column's class.
    scores : array of shape (n_samples, n_columns)
        The higher, the more it is taken to be.
    """
    areas = [
        roc_auc_score(column, score) if column.min() < column.max() else np.nan
        for column, score in zip(truth.T, scores.T, strict=True)
    ]
    return np.array(areas)


def mean_area(areas: NDArray[np.float64]) -> float:
    """Return the mean of the areas there are, or NaN where there is none."""
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def _class_scores(classifier: Any, X: ArrayLike, truth: NDArray[Any]) -> dict[str, float]:
    found = classifier.predict(X)
    of_class = truth[:, np.newaxis] == np.asarray(classifier.classes_)
    return {
        "accuracy": float(accuracy_score(truth, found)),
        "macro_f1": float(f1_score(truth, found, average="macro")),
        "auc": mean_area(areas_under_curves(of_class, classifier.predict_proba(X))),
    }


def _label_scores(
    classifier: Any, X: ArrayLike, truth: NDArray[Any], names: Sequence[str]
) -> dict[str, float]:
    probabilities = _label_probabilities(classifier, X)
    found = (probabilities > 0.5).astype(int)
    accuracies = (found == truth).mean(axis=0)
    areas = areas_under_curves(truth, probabilities)
    return {
        "accuracy": float(accuracies.mean()),
        "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0.0)),
        "auc": mean_area(areas),
        **{f"accuracy_{name}": float(one) for name, one in zip(names, accuracies, strict=True)},
        **{f"auc_{name}": float(one) for name, one in zip(names, areas, strict=True)},
    }


def _label_probabilities(classifier: Any, X: ArrayLike) -> NDArray[Any]:
    """Return (n_samples, n_labels): some classifiers have it so, others an array for each label."""
    found = classifier.predict_proba(X)
    if not isinstance(found, list):
        return np.asarray(found)
    # An array has a column for each value that its label had in fit, which may be one of 0 and 1.
    return np.column_stack(
        [
            probabilities @ (np.asarray(values) == 1)
            for probabilities, values in zip(found, classifier.classes_, strict=True)
        ]
    )
