"""Signals beside what methods make of them, as pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurfield.evaluation.reconstruction import decoded, values_of
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData, in_range
from neurfield.evaluation.tables.fits import (
    LEFT_ALONE,
    check_methods,
    encoder_methods,
    encoder_of,
    latent_dim_of,
    method_parameters,
    published,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_SIGNALS, _N_CURVES = 3, 4
_ORIGINAL = "original"
_PANEL, _LABEL = 1.5, 0.25  # inches
_MOST_ERROR = 0.3  # of the range of values, at the end of the scale of errors


class Panels(Table):
    """Signals that were held out, what methods decode from their latents, and the errors.

    The picture has two rows a signal: values, with the PSNR in dB in the corner, and how far they
    are off, from white to black at three tenths of the range. Curves are drawn over their original,
    of volumes the slices through the middle of each axis stand side by side.
    """

    name = "panels"
    title = "Pictures"
    row_keys = ("method",)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        check_methods(budget.methods, [*LEFT_ALONE, *encoder_methods(data.n_axes)])
        methods = budget.methods or [published(data.n_axes), "functa", "default"]
        latent_dim = latent_dim_of(budget)
        cells: list[Cell] = []
        for method in methods:
            parameters = method_parameters(method, budget, latent_dim, data)
            seed = budget.seeds[0]
            cells.append({"method": method, "parameters": parameters, "seed": seed})
        return cells

    def compute(self, settings: Cell, data: TableData) -> Figures:
        n_signals = _N_CURVES if data.n_axes == 1 else _N_SIGNALS
        some = data.test[:n_signals]
        truth = np.stack(list(values_of(some)))
        encoder = encoder_of(settings)
        latents = encoder.fit(data.train).transform(some)
        found = np.stack(list(in_range(values_of(decoded(encoder, some, latents)))))
        axes = tuple(range(1, truth.ndim))
        errors = np.square(found - truth).mean(axis=axes)
        each = -10.0 * np.log10(np.maximum(errors, 1e-12))
        return {
            "psnr": float(each.mean()),
            "_psnr": each.tolist(),
            "_values": _packed(found),
            "_original": _packed(truth),
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        if not rows:
            return
        truth = _unpacked(rows[0]["_original"])
        values = {row["method"]: _unpacked(row["_values"]) for row in rows}
        each = {row["method"]: row["_psnr"] for row in rows}
        if truth.ndim == 3:  # samples, points, channels
            _draw_curves(figure, values, truth, each)
        else:
            _draw_images(figure, values, truth, each)


def _draw_curves(figure: Figure, values: dict[str, Any], truth: Any, each: dict[str, Any]) -> None:
    figure.set_size_inches(2.6 * len(truth), 1.5 * len(values) + _LABEL)
    panels = figure.subplots(len(values), len(truth), squeeze=False, sharex=True, sharey=True)
    for row, method in zip(panels, values, strict=True):
        row[0].set_ylabel(method, fontsize="small")
        for k, panel in enumerate(row):
            panel.plot(truth[k, :, 0], color="0.6", linewidth=2.5, label=_ORIGINAL)
            panel.plot(values[method][k, :, 0], color="C3", linewidth=1.0, label="decoded")
            _say(panel, each[method][k])
            panel.set_xticks([])
            panel.set_yticks([])
    panels[0, 0].legend(frameon=False, fontsize="x-small", loc="upper left")


def _draw_images(figure: Figure, values: dict[str, Any], truth: Any, each: dict[str, Any]) -> None:
    values = {_ORIGINAL: truth, **values}
    n_signals, width = len(truth), len(values)
    rows, columns = _flat(truth[0]).shape[:2]
    figure.set_size_inches(_PANEL * columns / rows * width, 2 * _PANEL * n_signals + _LABEL)
    panels = figure.subplots(2 * n_signals, width, squeeze=False)
    for j, (method, found) in enumerate(values.items()):
        panels[0, j].set_title(method, fontsize="small")
        for k in range(n_signals):
            above, below = panels[2 * k, j], panels[2 * k + 1, j]
            for panel in (above, below):
                panel.set_axis_off()
            _show(above, _flat(found[k]), 1.0, "gray")
            if method == _ORIGINAL:
                continue
            _say(above, each[method][k])
            error = np.abs(_flat(found[k]) - _flat(truth[k])).mean(axis=-1, keepdims=True)
            _show(below, error, _MOST_ERROR, "gray_r")


def _flat(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image; of a volume, the slices through its middle side by side."""
    if signal.ndim == 3:
        return signal
    slices = [signal.take(size // 2, axis) for axis, size in enumerate(signal.shape[:-1])]
    height = max(len(image) for image in slices)
    below = [((0, height - len(image)), (0, 0), (0, 0)) for image in slices]
    padded = [np.pad(*pair, constant_values=np.nan) for pair in zip(slices, below, strict=True)]
    return np.concatenate(padded, axis=1)


def _show(panel: Axes, image: NDArray[np.float64], most: float, colours: str) -> None:
    if image.shape[-1] == 3:
        panel.imshow(np.clip(image, 0.0, 1.0))
    else:
        panel.imshow(image.mean(axis=-1), vmin=0.0, vmax=most, cmap=colours)


def _say(panel: Axes, psnr: float) -> None:
    panel.text(
        0.97,
        0.03,
        f"{psnr:.1f}",
        transform=panel.transAxes,
        ha="right",
        va="bottom",
        fontsize="small",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
    )


def _packed(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return values as JSON holds them, in half precision."""
    text = base64.b64encode(values.astype("<f2").tobytes()).decode()
    return {"shape": list(values.shape), "float16": text}


def _unpacked(packed: dict[str, Any]) -> NDArray[np.float64]:
    values = np.frombuffer(base64.b64decode(packed["float16"]), "<f2")
    return values.reshape(packed["shape"]).astype(float)
