"""The comparison of classifiers on latents, on PCA coefficients and on the signals themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from neurfield.evaluation.convolutional import CNNClassifier
from neurfield.evaluation.neighbors import neighbors_by_validation
from neurfield.evaluation.probe import MLPProbe
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import points
from neurfield.evaluation.tables.fits import (
    check_methods,
    encoder_methods,
    encoder_parameters,
    labelled_scores,
    latent_dim_of,
    latents_of_length,
    make_encoder,
    minute_of,
    published,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ON_FEATURES = ("knn", "knn-chosen", "mlp")
_NETWORKS = ("resnet50", "efficientnet-b0")
REDUCED_EPOCHS = 3


class Classifiers(Table):
    """Nearest neighbours and the MLP on latents and on PCA coefficients; networks on signals.

    There are 5 neighbours, and as many as do best on a part of the training signals. Signals may
    have several labels each, which the data has as columns of 0 and 1.

    The MLP sees features divided by one number, their standard deviation over the training set, so
    that the scale of a representation is no advantage. In the reduced form encoders train for some
    seconds and networks on signals for 3 epochs; in full both have the published numbers of steps
    and 50 epochs.
    """

    name = "classification"
    title = "Classification"
    row_keys = ("features", "classifier")
    needs_classes = True

    def __init__(self) -> None:
        self._latest: tuple[Cell, tuple[NDArray[Any], NDArray[Any], float]] | None = None

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        latent_dim = latent_dim_of(budget)
        default = ["varpro", published(data.n_axes)] if budget.full else ["varpro"]
        epochs = 50 if budget.full else REDUCED_EPOCHS
        check_methods(budget.methods, encoder_methods(data.n_axes))
        cells: list[Cell] = []
        for seed in budget.seeds:
            for method in budget.methods or default:
                parameters = encoder_parameters(
                    method, budget, minute_of(method), **latents_of_length(method, latent_dim, data)
                )
                cells += [
                    {"features": method, "parameters": parameters, "classifier": name, "seed": seed}
                    for name in _ON_FEATURES
                ]
            cells += [
                {"features": "pca", "latent_dim": latent_dim, "classifier": name, "seed": seed}
                for name in _ON_FEATURES
            ]
            cells += [
                {"features": "pixels", "classifier": name, "epochs": epochs, "seed": seed}
                for name in _NETWORKS
            ]
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        classifier = _classifier(settings, data)
        if settings["features"] == "pixels":
            train, test = data.stacked()
            seconds = 0.0
        else:
            train, test, seconds = self._features(settings, data)
            if settings["classifier"] == "mlp":
                scale = float(train.std()) or 1.0
                train, test = train / scale, test / scale
        return {**labelled_scores(classifier, train, test, data), "encoder_seconds": seconds}

    def _features(
        self, settings: Cell, data: TableData
    ) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Return both parts in one representation, and the seconds it took to get there."""
        chosen = {name: value for name, value in settings.items() if name != "classifier"}
        # The classifiers of one representation come one after the other, and share it.
        if self._latest is None or self._latest[0] != chosen:
            start = time.perf_counter()
            if chosen["features"] == "pca":
                train, test = data.flat()
                pca = PCA(min(chosen["latent_dim"], *train.shape), random_state=chosen["seed"])
                train, test = pca.fit_transform(train), pca.transform(test)
            else:
                encoder = make_encoder(chosen["features"], chosen["parameters"], chosen["seed"])
                train, test = encoder.fit_transform(data.train), encoder.transform(data.test)
            self._latest = chosen, (train, test, time.perf_counter() - start)
        return self._latest[1]

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [f"{row['classifier']} on {row['features']}" for row in rows]
        points(figure, rows, labels, {"accuracy": "accuracy", "macro_f1": "macro F1", "auc": "AUC"})


def _classifier(settings: Cell, data: TableData) -> Any:
    name, seed = settings["classifier"], settings["seed"]
    if name == "knn":
        return KNeighborsClassifier(5)
    if name == "knn-chosen":
        assert data.train_labels is not None
        return neighbors_by_validation(data.train_labels, random_state=seed)
    if name == "mlp":
        return MLPProbe(random_state=seed)
    return CNNClassifier(name, channel_axis=-1, max_iter=settings["epochs"], random_state=seed)
