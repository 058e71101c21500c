"""Supervised training of a torch network behind scikit-learn's classifier interface."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurfield._compat import Interval, fit_context
from neurfield.device import resolve_device
from neurfield.waiting import short_waits

_AT_ONCE = 256  # samples of one forward pass without gradients


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Adam on the cross-entropy, with the weights of the best validation accuracy kept.

    Subclasses say which network it is and how they read their input, and describe the parameters.
    """

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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on labelled samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            See the class.
        y : array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        self
            The classifier, trained.
        """
        inputs, labels = self._read(X, y)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        device = resolve_device(self.device)
        draw = check_random_state(self.random_state)
        chosen, held_out = _split(targets, self.validation_fraction, draw)
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
        """Return the probability of each class.

        Parameters
        ----------
        X : as in :meth:`fit`
            Samples of the shape seen in fit.

        Returns
        -------
        float32 array of shape (n_samples, n_classes)
            One row per sample, which sums to 1, in the order of ``classes_``.
        """
        check_is_fitted(self)
        inputs, _ = self._read(X)
        return _logits(self.network_, inputs).softmax(dim=1).cpu().numpy()

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : as in :meth:`fit`
            Samples of the shape seen in fit.

        Returns
        -------
        array of shape (n_samples,)
            One of ``classes_`` for each sample.
        """
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

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
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        curve: list[float] = []
        best: dict[str, Tensor] = {}
        for _ in range(self.max_iter):
            network.train()
            for batch in _batches(torch.from_numpy(chosen), self.batch_size):
                optimizer.zero_grad()
                cross_entropy(network(inputs[batch]), targets[batch]).backward()
                optimizer.step()
            found = _logits(network.eval(), inputs[held_out]).argmax(dim=1)
            curve.append(float((found == targets[held_out]).double().mean()))
            if curve[-1] > max(curve[:-1], default=-1.0):
                best = copy.deepcopy(network.state_dict())
        network.load_state_dict(best)
        return curve


def _split(
    targets: NDArray[np.intp], fraction: float, draw: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions to train on and to choose by, the same fraction of each class."""
    order = draw.permutation(len(targets))
    parts = [order[targets[order] == target] for target in np.unique(targets)]
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
