"""Quality over the seconds and the meta-steps of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import curves
from neurfield.evaluation.tables.fits import (
    LEFT_ALONE,
    check_methods,
    encoder_methods,
    encoder_of,
    latent_dim_of,
    measure_encoder,
    method_parameters,
    published,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS = 60.0
_N_MARKS, _FIRST = 5, 1 / 16  # how many, and the first as a part of the last
_MEASURES = {"psnr": "PSNR (dB)", "mse": "MSE", "ssim": "SSIM", "lpips": "LPIPS"}


class Curves(Table):
    """Quality after fits of so many seconds, each of them whole.

    Every mark is a fit of its own, whose learning-rate schedule ends there: what a user gets who
    stops then. ``meta_steps`` is how far it came.
    """

    name = "curves"
    title = "Quality over seconds"
    row_keys = ("method", "seconds")

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        check_methods(budget.methods, [*LEFT_ALONE, *encoder_methods(data.n_axes)])
        methods = budget.methods or ["default", "functa", "coin++", published(data.n_axes)]
        latent_dim = latent_dim_of(budget)
        longest = budget.max_time or _SECONDS
        cells: list[Cell] = []
        for method in methods:
            for mark in np.geomspace(_FIRST * longest, longest, _N_MARKS):
                seconds = float(f"{mark:.3g}")
                parameters = method_parameters(
                    method, replace(budget, max_time=seconds), latent_dim, data
                )
                cells += [
                    {"method": method, "seconds": seconds, "parameters": parameters, "seed": seed}
                    for seed in budget.seeds
                ]
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        encoder = encoder_of(settings)
        return measure_encoder(encoder, data)

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        curves(figure, rows, "fit_seconds", "seconds of the fit", _MEASURES, by="method")
