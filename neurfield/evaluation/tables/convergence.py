"""How fast networks of one signal learn it, kind by kind."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from torch import Tensor

from neurfield import NeuralField
from neurfield.evaluation.metrics import psnr
from neurfield.evaluation.reconstruction import compare, values_of
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData, in_range, signal_at
from neurfield.evaluation.tables.drawing import courses
from neurfield.evaluation.tables.fits import check_methods
from neurfield.evaluation.tables.singles import known_parameters
from neurfield.evaluation.tables.weights import sizes_within
from neurfield.learning import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS = {"reduced": 10.0, "full": 600.0}


class Convergence(Table):
    """PSNR over the seconds of a fit to one signal, the first to measure on.

    Each kind of network has at most as many weights as the signal has values, and is what
    ``NeuralField`` makes of it otherwise. Weights are set aside by the first iteration that ends at
    a mark or later, and evaluated on the whole signal after the fit, so that measuring takes none
    of its time. ``psnr`` and the other measures are those at the end.
    """

    name = "convergence"
    title = "Networks of one signal"
    row_keys = ("field",)
    fields: ClassVar[tuple[str, ...]] = ("siren", "fourier", "wire", "gaussian", "hash-grid")
    #: Fractions of the seconds.
    marks: ClassVar[tuple[float, ...]] = tuple(
        float(f"{mark:.2g}") for mark in np.geomspace(0.01, 1.0, 10)
    )

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        check_methods(budget.methods, self.fields)
        signal = signal_at(data, 0)
        n_channels = signal.sizes.get("channel", 1)
        shape = tuple(size for dim, size in signal.sizes.items() if dim != "channel")
        seconds = budget.max_time or _SECONDS["full" if budget.full else "reduced"]
        chosen = known_parameters(budget)
        return [
            {
                "field": field,
                "parameters": {
                    **sizes_within(field, shape, n_channels, signal.size),
                    "max_iter": 1_000_000,
                    "max_time": seconds,
                    **chosen,
                },
                "seed": seed,
            }
            for field in self.fields
            if budget.methods is None or field in budget.methods
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        signal, parameters = signal_at(data, 0), settings["parameters"]
        kept = _Kept([mark * parameters["max_time"] for mark in self.marks])
        network = NeuralField(
            settings["field"], **parameters, callbacks=[kept], random_state=settings["seed"]
        ).fit(signal)
        scores = compare(values_of([signal]), _decoded(network, signal), 0.0, 1.0).means()
        figures = {
            **scores,
            "parameters": network.field_.n_parameters,
            "iterations": network.n_iter_,
            "seconds": parameters["max_time"],
        }
        # A fit that ended before a mark stays as it is.
        figures |= {_column(mark): scores["psnr"] for mark in self.marks}
        (truth,) = values_of([signal])
        for mark, weights in zip(self.marks, kept.weights, strict=False):
            network.field_.load_state_dict(weights)
            (found,) = _decoded(network, signal)
            figures[_column(mark)] = float(psnr(truth[None], found[None])[0])
        return figures

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        seconds = rows[0]["seconds"] if rows else 1.0
        places = {_column(mark): mark * seconds for mark in self.marks}
        courses(figure, rows, [row["field"] for row in rows], places, ("seconds", "PSNR (dB)"))


class _Kept:
    """Copies of the weights when so many seconds of a fit are over."""

    def __init__(self, marks: Sequence[float]) -> None:
        self.marks = marks
        self.weights: list[dict[str, Tensor]] = []

    def __call__(self, progress: Progress) -> None:
        while len(self.weights) < len(self.marks):
            if progress.elapsed < self.marks[len(self.weights)]:
                return
            self.weights.append(copy.deepcopy(progress.field.state_dict()))


def _column(mark: float) -> str:
    return f"psnr_at_{mark:g}"


def _decoded(network: NeuralField, signal: xr.DataArray) -> Any:
    return in_range(values_of([network.predict().transpose(*signal.dims)]))
