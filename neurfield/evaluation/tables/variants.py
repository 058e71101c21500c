"""What papers report as no better than the published learner, and the auto-decoder, beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sklearn.preprocessing import LabelEncoder

from neurfield import FunctaEncoder
from neurfield.evaluation.tables.ablations import REDUCED_CAVIA
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import MEASURES, points
from neurfield.evaluation.tables.fits import (
    encoder_of,
    encoder_parameters,
    measure_encoder,
    published,
)
from neurfield.evaluation.variants import AutoDecoder, ContrastiveCavia, Pyramid, QuantisedCavia
from neurfield.learning import Learner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AUTO_DECODER = "auto-decoder"
# Of Adam at test time, which takes more of them than a preset's gradient descent.
_STEPS_OF_ITS_OWN = {"transform_steps": None}
_Change = Callable[[FunctaEncoder, TableData], FunctaEncoder]


def _with(**parameters: Any) -> _Change:
    """Return what sets parameters of an encoder."""
    return lambda encoder, data: encoder.set_params(**parameters)


def _contrastive(encoder: FunctaEncoder, data: TableData) -> FunctaEncoder:
    if not data.has_classes:
        raise ValueError("it needs signals with labels of two classes")
    classes = LabelEncoder().fit_transform(data.train_labels).tolist()
    return encoder.set_params(learner=ContrastiveCavia(classes, **_options(encoder)))


def _quantised(encoder: FunctaEncoder, data: TableData) -> FunctaEncoder:
    return encoder.set_params(learner=QuantisedCavia(**_options(encoder)))


def _options(encoder: FunctaEncoder) -> dict[str, Any]:
    """Return the options of the encoder's learner."""
    return dict(Learner.of(encoder.learner).get_params(deep=False))


def _tapered(taper: float) -> _Change:
    """Return what replaces the network by one of the same depth and mean width."""
    return _with(field=Pyramid(taper))


_CHANGES: dict[str, _Change] = {
    "as published": _with(),
    "first-order gradients": _with(learner__second_order=False),
    "selected context": _with(learner__context_selection="gradient"),
    "successive portions": _with(learner__context_selection="sequential"),
    "contrastive loss": _contrastive,
    "quantised latents": _quantised,
    "narrowing layers": _tapered(0.5),
    "widening layers": _tapered(-0.5),
    _AUTO_DECODER: _with(learner=AutoDecoder()),
}


class Variants(Table):
    """The published learner as it is, changed in one way, and an auto-decoder in its place.

    All are given the same signals, network, number and size of batches, and learning rate of θ.
    ``contrastive loss`` needs classes.
    """

    name = "variants"
    title = "What papers found no better"
    row_keys = ("variant",)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        method = published(data.n_axes) if budget.full else "cavia"
        cells: list[Cell] = []
        for variant in _CHANGES:
            own = _STEPS_OF_ITS_OWN if variant == _AUTO_DECODER else {}
            parameters = encoder_parameters(method, budget, REDUCED_CAVIA, **own)
            cell = {"variant": variant, "method": method, "parameters": parameters}
            cells += [{**cell, "seed": seed} for seed in budget.seeds]
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        encoder = encoder_of(settings)
        changed = _CHANGES[settings["variant"]](encoder, data)
        return measure_encoder(changed, data, neighbors=True)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        measures = {
            **MEASURES,
            "knn_accuracy": "k-NN accuracy",
            "seconds_per_100_steps": "time per 100 steps (s)",
        }
        points(figure, rows, [row["variant"] for row in rows], measures)
