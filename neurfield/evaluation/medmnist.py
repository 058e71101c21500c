"""What is asked of each set of MedMNIST, and the measures by which the sets are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score
from sklearn.utils import check_array

from neurfield.evaluation.classification import areas_under_curves, mean_area

Kind = Literal["binary-class", "multi-class", "multi-label, binary-class", "ordinal-regression"]


@dataclass(frozen=True)
class MedMNISTTask:
    """What is asked of one set of MedMNIST.

    Parameters
    ----------
    kind : str
        "binary-class", "multi-class", "multi-label, binary-class" or "ordinal-regression", the
        words of MedMNIST. Grades of an ordinal regression are measured like classes.
    n_outputs : int
        Classes, or labels where a sample has any number of them.
    n_axes : {2, 3}
        Images or volumes.
    """

    kind: Kind
    n_outputs: int
    n_axes: int

    @property
    def metrics(self) -> dict[str, str]:
        """What :func:`medmnist_scores` measures, in words."""
        return dict(_METRICS[self.kind])


_AGAINST_THE_REST = {
    "auc": "mean over classes, each against the rest",
    "accuracy": "of the class with the highest score",
}
_METRICS: dict[Kind, dict[str, str]] = {
    "binary-class": {
        "auc": "of the second class",
        "accuracy": "of the second class where its score is over 0.5",
    },
    "multi-class": _AGAINST_THE_REST,
    "multi-label, binary-class": {
        "auc": "mean over labels",
        "accuracy": "mean over labels, which a sample has where the score is over 0.5",
    },
    "ordinal-regression": _AGAINST_THE_REST,
}

#: What is asked of each of the 18 sets of MedMNIST v2, by its name in lower case.
MEDMNIST_TASKS: Mapping[str, MedMNISTTask] = MappingProxyType(
    {
        "pathmnist": MedMNISTTask("multi-class", 9, 2),
        "chestmnist": MedMNISTTask("multi-label, binary-class", 14, 2),
        "dermamnist": MedMNISTTask("multi-class", 7, 2),
        "octmnist": MedMNISTTask("multi-class", 4, 2),
        "pneumoniamnist": MedMNISTTask("binary-class", 2, 2),
        "retinamnist": MedMNISTTask("ordinal-regression", 5, 2),
        "breastmnist": MedMNISTTask("binary-class", 2, 2),
        "bloodmnist": MedMNISTTask("multi-class", 8, 2),
        "tissuemnist": MedMNISTTask("multi-class", 8, 2),
        "organamnist": MedMNISTTask("multi-class", 11, 2),
        "organcmnist": MedMNISTTask("multi-class", 11, 2),
        "organsmnist": MedMNISTTask("multi-class", 11, 2),
        "organmnist3d": MedMNISTTask("multi-class", 11, 3),
        "nodulemnist3d": MedMNISTTask("binary-class", 2, 3),
        "adrenalmnist3d": MedMNISTTask("binary-class", 2, 3),
        "fracturemnist3d": MedMNISTTask("multi-class", 3, 3),
        "vesselmnist3d": MedMNISTTask("binary-class", 2, 3),
        "synapsemnist3d": MedMNISTTask("binary-class", 2, 3),
    }
)


def medmnist_task(name: str) -> MedMNISTTask:
    """Return what is asked of a set of MedMNIST.

    Parameters
    ----------
    name : str
        Name of the set, in lower or upper case.

    Returns
    -------
    MedMNISTTask
        Kind of task, number of classes or labels, and measures.

    Raises
    ------
    ValueError
        If there is no such set.

    References
    ----------
    J. Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical
    image classification", Scientific Data 10, 41, 2023, Table 1.

    Examples
    --------
    >>> task = medmnist_task("ChestMNIST")
    >>> task.kind, task.n_outputs
    ('multi-label, binary-class', 14)
    >>> task.metrics["auc"]
    'mean over labels'
    """
    known = MEDMNIST_TASKS.get(name.lower())
    if known is None:
        raise ValueError(f"name must be one of {', '.join(MEDMNIST_TASKS)}, got {name!r}")
    return known


def medmnist_scores(name: str, y_true: ArrayLike, y_score: ArrayLike) -> dict[str, float]:
    """Measure predictions for a set of MedMNIST as its own evaluator does.

    Parameters
    ----------
    name : str
        Name of the set, in lower or upper case.
    y_true : array-like of shape (n_samples,), (n_samples, 1) or (n_samples, n_labels)
        Classes from 0 on; or labels, 0 or 1.
    y_score : array-like of shape (n_samples, n_outputs)
        Probability of each class or label, as ``predict_proba`` of :class:`MLPProbe` returns it.

    Returns
    -------
    dict
        ``auc`` and ``accuracy``, see ``medmnist_task(name).metrics``. The area is the mean over the
        classes or labels that some samples have and others have not, NaN where there is none.

    Raises
    ------
    ValueError
        If there is no such set, or a shape or a class does not belong to it.

    References
    ----------
    J. Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical
    image classification", Scientific Data 10, 41, 2023, Methods.

    Examples
    --------
    >>> medmnist_scores("breastmnist", [0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    {'auc': 1.0, 'accuracy': 0.67}
    """
    task = medmnist_task(name)
    scores = check_array(y_score, input_name="y_score")
    if scores.shape[1] != task.n_outputs:
        raise ValueError(
            f"y_score must have {task.n_outputs} columns for {name}, got shape {scores.shape}"
        )
    truth = _truth(name, task, y_true, len(scores))
    if task.kind == "multi-label, binary-class":
        found = scores > 0.5
        areas = areas_under_curves(truth, scores)
        return {"auc": mean_area(areas), "accuracy": float((found == truth).mean())}
    if task.kind == "binary-class":
        classes = scores[:, 1] > 0.5
        areas = areas_under_curves(truth[:, np.newaxis], scores[:, 1:])
    else:
        classes = scores.argmax(axis=1)
        areas = areas_under_curves(truth[:, np.newaxis] == np.arange(task.n_outputs), scores)
    return {"auc": mean_area(areas), "accuracy": float(accuracy_score(truth, classes))}


def _truth(name: str, task: MedMNISTTask, y_true: ArrayLike, n_samples: int) -> NDArray[np.int_]:
    """Return classes (n_samples,), or labels (n_samples, n_labels)."""
    several = task.kind == "multi-label, binary-class"
    truth = np.asarray(y_true)
    if not several and truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    expected = (n_samples, task.n_outputs) if several else (n_samples,)
    if truth.shape != expected:
        raise ValueError(f"y_true must have the shape {expected} for {name}, got {truth.shape}")
    most = 1 if several else task.n_outputs - 1
    if not np.isin(truth, np.arange(most + 1)).all():
        raise ValueError(f"y_true must hold whole numbers from 0 to {most} for {name}")
    return truth.astype(int)
