"""What larger signals cost, with the published networks and by default."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

import torch

from neurfield.device import resolve_device
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData, resized
from neurfield.evaluation.tables.drawing import points
from neurfield.evaluation.tables.fits import (
    default_parameters,
    encoder_of,
    encoder_parameters,
    make_encoder,
    measure_cost,
    measure_encoder,
)
from neurfield.memory import held

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS, _FEWEST = 60.0, 10  # of training; meta-steps that are worth it
_PERIOD = 0.02  # seconds between two looks at the memory
_MEASURES = {
    "seconds_per_100_steps": "time per 100 steps (s)",
    "peak_mib": "peak memory (MiB)",
    "psnr": "PSNR (dB)",
}


class Resolutions(Table):
    """Published networks at their sizes, and the default with latents as long, in equal seconds.

    Signals are resampled to the size. ``peak_mib`` is how much memory the fit has at most beyond
    what the process had before. Where the time is not enough for ten meta-steps, a row has their
    cost alone.
    """

    name = "resolution"
    title = "Larger signals"
    row_keys = ("size", "method")
    #: The published configurations by the number of axes, and the points along each of these.
    sizes: ClassVar[dict[int, dict[str, int]]] = {
        1: {"medfuncta-1d": 187},
        2: {"medfuncta-2d-64": 64, "medfuncta-2d-128": 128, "medfuncta-2d-224": 224},
        3: {"medfuncta-3d-32": 32},
    }

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        seconds = budget.max_time or (None if budget.full else _SECONDS)
        timed = replace(budget, max_time=seconds)
        cells: list[Cell] = []
        for preset, size in self.sizes[min(data.n_axes, 3)].items():
            parameters = encoder_parameters(preset, replace(timed, full=True))
            latent_dim = make_encoder(preset, parameters, 0).latent_dim
            by_method = {
                preset: parameters,
                "default": default_parameters("default", timed, latent_dim),
            }
            for method, parameters in by_method.items():
                cells += [
                    {"size": size, "method": method, "parameters": parameters, "seed": seed}
                    for seed in budget.seeds
                ]
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        sized = resized(data, (settings["size"],) * data.n_axes)

        figures: Figures = {}
        seconds = settings["parameters"].get("max_time")
        with _PeakMemory() as memory:
            if settings["method"] != "default":
                figures = measure_cost(encoder_of(settings), sized)
            per_step = figures.get("seconds_per_100_steps", 0.0) / 100
            if seconds is None or _FEWEST * per_step < seconds:
                figures |= measure_encoder(encoder_of(settings), sized)
        return {**figures, "peak_mib": memory.most / 2**20}

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [f"{row['size']}, {row['method']}" for row in rows]
        points(figure, rows, labels, _MEASURES)


class _PeakMemory:
    """The most memory that the process holds within a block, beyond what it held before."""

    def __init__(self) -> None:
        self.device = resolve_device("auto")
        self.most, self._before = 0, 0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            self._before = held(self.device)
            self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.type == "cuda":
            self.most = torch.cuda.max_memory_allocated(self.device) - self._before
        else:
            self._done.set()
            self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(_PERIOD):
            self.most = max(self.most, held(self.device) - self._before)
