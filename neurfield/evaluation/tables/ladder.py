"""What the parts of the published recipe add, one on top of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import MEASURES, points
from neurfield.evaluation.tables.fits import (
    REDUCED_META_LR,
    encoder_parameters,
    measure_with_memory,
    published,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REDUCED_STEPS, _REDUCED_BATCH, _FULL_BATCH = 100, 12, 24
_CONSTANT_OMEGA, _SCHEDULED_OMEGA = 30.0, (10.0, 80.0)
_RATIO = 0.25  # γ, which leaves room for a batch that is as many times larger
_MEASURES = {
    **MEASURES,
    "kept_mib": "memory kept (MiB)",
    "seconds_per_100_steps": "time per 100 steps (s)",
}


class Ladder(Table):
    """The published recipe, built up from a baseline one part after the other.

    The baseline has one ω for all layers, a constant learning rate and whole contexts. Each row
    keeps what the rows before it have added; the last one spends the memory that reduced contexts
    save on a larger batch. All take the same number of meta-steps. ``kept_mib`` is the memory of
    the graph of one meta-step, differentiated all at once.
    """

    name = "ladder"
    title = "The published recipe, part by part"
    row_keys = ("parts",)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        method = published(data.n_axes) if budget.full else "cavia"
        batch = _FULL_BATCH if budget.full else _REDUCED_BATCH
        reduced = {"max_iter": _REDUCED_STEPS, "meta_lr": REDUCED_META_LR}
        cells: list[Cell] = []
        for seed in budget.seeds:
            held: dict[str, Any] = {
                "omega": _CONSTANT_OMEGA,
                "lr_schedule": "constant",
                "learner__context_ratio": 1.0,
                "batch_size": batch,
            }
            for part, change in _parts(batch):
                held |= change
                parameters = encoder_parameters(method, budget, reduced, **held)
                cells.append(
                    {"parts": part, "method": method, "parameters": parameters, "seed": seed}
                )
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return measure_with_memory(settings, data)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        points(figure, rows, [row["parts"] for row in rows], _MEASURES)


def _parts(batch: int) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("baseline", {}),
        ("+ learning-rate schedule", {"lr_schedule": "cosine"}),
        ("+ ω-schedule", {"omega": list(_SCHEDULED_OMEGA)}),
        ("+ reduced contexts", {"learner__context_ratio": _RATIO}),
        ("+ a larger batch in their place", {"batch_size": round(batch / _RATIO)}),
    ]
