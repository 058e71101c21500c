"""What single settings are worth: one table each, all else being equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import MEASURES, curves, heat_map, points
from neurfield.evaluation.tables.fits import (
    REDUCED_META_LR,
    encoder_of,
    encoder_parameters,
    measure_encoder,
    measure_with_memory,
    published,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What gives the published learner a hundred steps that show something.
REDUCED_CAVIA: dict[str, float] = {
    "max_iter": 100,
    "batch_size": 24,
    "meta_lr": REDUCED_META_LR,
}
_REDUCED_VARPRO: dict[str, float] = {"max_iter": 150}


class ContextRatios(Table):
    """The published learner with ever smaller reduced contexts, for a fixed number of steps.

    ``kept_mib`` is the memory of the graph of one meta-step, differentiated all at once.
    """

    name = "gamma"
    title = "Reduced contexts"
    row_keys = ("gamma",)
    ratios = (1.0, 0.5, 0.25, 0.1, 0.05)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        return [
            {
                "gamma": ratio,
                **_encoder_cell(data, budget, "cavia", seed, learner__context_ratio=ratio),
            }
            for ratio in self.ratios
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return measure_with_memory(settings, data)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        measures = {
            **MEASURES,
            "kept_mib": "memory kept (MiB)",
            "seconds_per_100_steps": "time per 100 steps (s)",
        }
        curves(figure, rows, "gamma", "γ", measures)


class Omegas(Table):
    """A grid over ω_1 and δ = ω_K/ω_1, for both learners and a fixed number of steps."""

    name = "omega"
    title = "Frequencies"
    row_keys = ("method", "omega_1", "delta")
    reduced = (10.0, 20.0, 30.0, 50.0), (1.0, 2.0, 4.0, 8.0)
    full = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        firsts, factors = self.full if budget.full else self.reduced
        return [
            {
                "omega_1": first,
                "delta": factor,
                **_encoder_cell(data, budget, learner, seed, omega=[first, first * factor]),
            }
            for learner in ("varpro", "cavia")
            for first in firsts
            for factor in factors
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return measure_encoder(encoder_of(settings), data)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        methods = list(dict.fromkeys(row["method"] for row in rows))
        firsts = sorted({row["omega_1"] for row in rows})
        factors = sorted({row["delta"] for row in rows})
        width, height = 1.8 + 0.75 * len(factors), 1.4 + 0.55 * len(firsts)
        figure.set_size_inches(width * len(methods), height)
        panels = figure.subplots(1, len(methods), squeeze=False)[0]
        for axis, method in zip(panels, methods, strict=True):
            values = np.full((len(firsts), len(factors)), np.nan)
            for row in rows:
                if row["method"] == method:
                    place = firsts.index(row["omega_1"]), factors.index(row["delta"])
                    values[place] = row["psnr"]
            image = heat_map(axis, values)
            axis.set_xticks(range(len(factors)), [f"{factor:g}" for factor in factors])
            axis.set_yticks(range(len(firsts)), [f"{first:g}" for first in firsts])
            axis.set(xlabel="δ = ω_K / ω_1", ylabel="ω_1", title=method)
            figure.colorbar(image, ax=axis, label="PSNR (dB)")


class Schedules(Table):
    """A constant and a cosine-annealed learning rate, for both learners."""

    name = "schedule"
    title = "Learning-rate schedules"
    row_keys = ("method", "lr_schedule")

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        return [
            {
                "lr_schedule": schedule,
                **_encoder_cell(data, budget, learner, seed, lr_schedule=schedule),
            }
            for learner in ("varpro", "cavia")
            for schedule in ("constant", "cosine")
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return measure_encoder(encoder_of(settings), data)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [f"{row['method']}, {row['lr_schedule']}" for row in rows]
        points(figure, rows, labels, MEASURES)


class Components(Table):
    """Each learner as it is, and with one of its parts taken away."""

    name = "components"
    title = "Parts taken away"
    row_keys = ("method", "without")
    shared: ClassVar[tuple[tuple[str, dict[str, Any]], ...]] = (
        ("", {}),
        ("skip connections", {"field__skip_connections": False}),
        ("ω-schedule", {"omega": 30.0}),
    )
    own: ClassVar[dict[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
        "varpro": (
            ("scaled residuals", {"field__residual_scale": 1.0}),
            ("steps after the closed form", {"transform_steps": 1}),
            ("falling learning rate", {"lr_schedule": "constant"}),
        ),
        "cavia": (
            ("context reduction", {"learner__context_ratio": 1.0}),
            ("half of the inner steps", {"learner__inner_steps": 5}),
            ("half of the test-time steps", {"transform_steps": 10}),
        ),
    }

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        return [
            {"without": part, **_encoder_cell(data, budget, learner, seed, **change)}
            for learner in ("varpro", "cavia")
            for part, change in self.shared + self.own[learner]
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return measure_encoder(encoder_of(settings), data, neighbors=True)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [
            f"{row['method']} without {row['without']}" if row["without"] else row["method"]
            for row in rows
        ]
        points(figure, rows, labels, {**MEASURES, "knn_accuracy": "k-NN accuracy"})


def _encoder_cell(data: TableData, budget: Budget, learner: str, seed: int, **change: Any) -> Cell:
    """Return the settings of one fit; in full, the published learner is its published preset."""
    method, reduced = learner, _REDUCED_VARPRO
    if learner == "cavia":
        method = published(data.n_axes) if budget.full else learner
        reduced = REDUCED_CAVIA
    parameters = encoder_parameters(method, budget, reduced, **change)
    return {"method": method, "parameters": parameters, "seed": seed}
