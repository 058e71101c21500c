"""The published classifier of latents."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data
from torch import Tensor, nn
from torch.optim import AdamW

from neurfield.evaluation.training import NetworkClassifier

_WIDTHS = (1024, 512)
_DROPOUT = 0.3


class MLPProbe(NetworkClassifier):
    """Three linear layers, P → 1024 → 512 → classes, with ReLU and dropout of 0.3 between them.

    The classifier of latents that MedFuncta publishes, trained by AdamW with torch's own weight
    decay of 0.01, as the paper says; its released code takes Adam. Features are taken as they are.

    Parameters
    ----------
    max_iter : int, default=50
        Epochs.
    batch_size : int, default=32
        Samples in a step.
    learning_rate : float, default=1e-3
        Step size of AdamW.
    validation_fraction : float in [0, 1), default=0.1
        Fraction of each class, of several labels a sample that of all samples, held out to choose
        the best epoch by. Where this leaves none, the training samples serve.
    device : str, default="auto"
        "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, of the split, of dropout and of the order of the samples.

    Attributes
    ----------
    classes_ : array of shape (n_classes,) or (n_labels,)
        Classes seen in fit; of several labels a sample, their places.
    multilabel_ : bool
        Whether fit was given several labels a sample.
    validation_curve_ : list of float
        Accuracy on the held-out samples after each epoch, the mean over labels.
    n_parameters_ : int
        Weights of the network.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, 2025, classification experiments.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> probe = MLPProbe(max_iter=10, random_state=0).fit(X, y)
    >>> probe.predict(X[:2]), probe.n_parameters_
    (array([0, 0]), 531459)
    """

    _optimizer = AdamW

    def _read(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, NDArray[Any]]:
        labels: Any = None
        if y is None:
            values = validate_data(self, X, reset=False, dtype="float32")
        else:
            values, labels = validate_data(self, X, y, dtype="float32", multi_output=True)
        return torch.from_numpy(values), labels

    def _network(self, shape: torch.Size, n_classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        n_in = shape[0]
        for n_out in _WIDTHS:
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(_DROPOUT)]
            n_in = n_out
        return nn.Sequential(*layers, nn.Linear(n_in, n_classes))
