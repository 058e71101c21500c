"""Supervised training of a torch network behind scikit-learn's classifier interface."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import Adam, AdamW

from neurfield._compat import Interval, fit_context
from neurfield.device import resolve_device
from neurfield.waiting import short_waits

_AT_ONCE = 256  # samples of one forward pass without gradients


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Training on the cross-entropy, with the weights of the best validation accuracy kept.

    Of several labels a sample, the cross-entropy and the accuracy are means over the labels.
    Subclasses say which network it is and how they read their input, and describe the parameters.
    """

    _optimizer: ClassVar[type[Adam] | type[AdamW]] = Adam

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        max_iter: int = 50,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on labelled samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            See the class.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes; or several labels a sample, each of them 0 or 1.

        Returns
        -------
        self
            The classifier, trained.
        """
        inputs, labels = self._read(X, y)
        self.classes_, targets = _targets(labels)
        self.multilabel_ = targets.ndim == 2
        device = resolve_device(self.device)
        draw = check_random_state(self.random_state)
        chosen, held_out = validation_split(targets, self.validation_fraction, draw)
        # Weights and dropout draw from torch's own numbers, which are left as they were found.
        own = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with own, short_waits():
            torch.manual_seed(draw.randint(2**31 - 1))
            network = self._network(inputs.shape[1:], len(self.classes_)).to(device)
            data = inputs.to(device), torch.from_numpy(targets).to(device)
            self.validation_curve_ = self._train(network, *data, chosen, held_out)
        self.network_ = network.eval()
        self.n_parameters_ = sum(p.numel() for p in network.parameters())
        self.n_iter_ = len(self.validation_curve_)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of each class, or of each label.

        Parameters
        ----------
        X : as in :meth:`fit`
            Samples of the shape seen in fit.

        Returns
        -------
        float32 array of shape (n_samples, n_classes) or (n_samples, n_labels)
            One row per sample, in the order of ``classes_``; those of classes sum to 1.
        """
        check_is_fitted(self)
        inputs, _ = self._read(X)
        logits = _logits(self.network_, inputs)
        return (logits.sigmoid() if self.multilabel_ else logits.softmax(dim=1)).cpu().numpy()

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each sample, or the labels it has.

        Parameters
        ----------
        X : as in :meth:`fit`
            Samples of the shape seen in fit.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_labels)
            One of ``classes_`` for each sample; or 1 where a label's probability is over 0.5,
            and 0 elsewhere.
        """
        probabilities = self.predict_proba(X)
        if self.multilabel_:
            return (probabilities > 0.5).astype(int)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _read(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, NDArray[Any]]:
        """Validate the input; return it as the network takes it, and the labels."""
        raise NotImplementedError

    def _network(self, shape: torch.Size, n_classes: int) -> nn.Module:
        """Return a network with fresh weights for inputs of a shape."""
        raise NotImplementedError

    def _train(
        self,
        network: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        chosen: NDArray[np.intp],
        held_out: NDArray[np.intp],
    ) -> list[float]:
        """Train in place; return the validation accuracy after each epoch."""
        optimizer = self._optimizer(network.parameters(), lr=self.learning_rate)
        loss = binary_cross_entropy_with_logits if self.multilabel_ else cross_entropy
        curve: list[float] = []
        best: dict[str, Tensor] = {}
        for _ in range(self.max_iter):
            network.train()
            for batch in _batches(torch.from_numpy(chosen), self.batch_size):
                optimizer.zero_grad()
                loss(network(inputs[batch]), targets[batch]).backward()
                optimizer.step()
            logits = _logits(network.eval(), inputs[held_out])
            found = (logits > 0).to(targets.dtype) if self.multilabel_ else logits.argmax(dim=1)
            curve.append(float((found == targets[held_out]).double().mean()))
            if curve[-1] > max(curve[:-1], default=-1.0):
                best = copy.deepcopy(network.state_dict())
        network.load_state_dict(best)
        return curve


def _targets(labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the classes, and what a network is to learn: places among them, or 0 and 1."""
    if type_of_target(labels) != "multilabel-indicator":
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        classes, places = np.unique(labels, return_inverse=True)
        return classes, places
    indicators = labels.toarray() if issparse(labels) else labels
    if not np.isin(indicators, (0, 1)).all():
        raise ValueError(f"y must hold 0 and 1 for each label, got {np.unique(indicators)[:5]}")
    return np.arange(indicators.shape[1]), indicators.astype(np.float32)


def validation_split(
    y: NDArray[Any], fraction: float, draw: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions to train on and to choose by: the same fraction of each class.

    Of several labels a sample, the fraction is one of all samples. Where it leaves none to choose
    by, both are all samples.

    Parameters
    ----------
    y : array of shape (n_samples,) or (n_samples, n_labels)
        Classes, or labels.
    fraction : float in [0, 1)
        Of the samples, to choose by.
    draw : RandomState
        Source of the order.

    Returns
    -------
    tuple of two int arrays
        Positions.
    """
    order = draw.permutation(len(y))
    parts = [order] if y.ndim == 2 else [order[y[order] == value] for value in np.unique(y)]
    held_out = np.concatenate([part[: int(fraction * len(part))] for part in parts])
    if len(held_out) == 0:
        return order, order
    return np.setdiff1d(order, held_out), held_out


def _batches(positions: Tensor, size: int) -> list[Tensor]:
    """Return a random partition; a last batch of one, which no batch norm takes, joins another."""
    parts = list(positions[torch.randperm(len(positions))].split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        last = parts.pop()
        parts[-1] = torch.cat([parts[-1], last])
    return parts


@torch.no_grad()
def _logits(network: nn.Module, inputs: Tensor) -> Tensor:
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)) for part in inputs.split(_AT_ONCE)])
