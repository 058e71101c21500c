"""How well classes can be told apart, by any scikit-learn classifier."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

_NEIGHBORS, _FOLDS = 5, 5


def classification_scores(
    classifier: Any,
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    y_test: ArrayLike,
) -> dict[str, float]:
    """Fit a classifier and measure it on samples it has not seen.

    Parameters
    ----------
    classifier : estimator
        With ``predict_proba``; it is fitted in place.
    X : array-like of shape (n_samples, ...)
        Samples to fit.
    y : array-like of shape (n_samples,)
        Their classes.
    X_test : array-like of shape (n_samples, ...)
        Samples to measure on.
    y_test : array-like of shape (n_samples,)
        Their classes.

    Returns
    -------
    dict
        ``accuracy``; ``macro_f1``, the mean F1 of the classes; ``auc``, the area under the ROC
        curve, the mean over classes of each against the rest (NaN where the test samples are of one
        class); ``fit_seconds``; and ``parameters``, the weights of a network, 0 for others.
    """
    start = time.perf_counter()
    classifier.fit(X, y)
    seconds = time.perf_counter() - start
    found = classifier.predict(X_test)
    probabilities = classifier.predict_proba(X_test)
    return {
        "parameters": int(getattr(classifier, "n_parameters_", 0)),
        "fit_seconds": seconds,
        "accuracy": float(accuracy_score(y_test, found)),
        "macro_f1": float(f1_score(y_test, found, average="macro")),
        "auc": _auc(np.asarray(y_test), probabilities, classifier.classes_),
    }


def cross_validated_neighbors(latents: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, Any]:
    """Classify latents by their nearest neighbours, in a stratified cross-validation.

    Parameters
    ----------
    latents : array of shape (n_samples, latent_dim)
        One row per signal.
    labels : array of shape (n_samples,)
        Class of each signal.

    Returns
    -------
    dict
        Accuracy and macro F1 over all held-out folds, or the reason why there are none.
    """
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


def _auc(labels: NDArray[Any], probabilities: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the mean area under the ROC curves of the classes that the labels have."""
    present = [i for i, value in enumerate(classes) if 0 < np.mean(labels == value) < 1]
    if not present:
        return float("nan")
    areas = [roc_auc_score(labels == classes[i], probabilities[:, i]) for i in present]
    return float(np.mean(areas))
