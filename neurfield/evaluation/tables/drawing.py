"""Pictures that several tables share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from neurfield.evaluation.tables.base import Row

_COLOUR = "#5668b0"

MEASURES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def points(
    figure: Figure, rows: Sequence[Row], labels: Sequence[str], measures: Mapping[str, str]
) -> None:
    """Draw one panel for each measure, with a point for each row and its spread over seeds.

    Parameters
    ----------
    figure : Figure
        Drawn into; its size is set by the numbers of rows and measures.
    rows : sequence of dict
        Rows of the table, from top to bottom.
    labels : sequence of str
        Their names.
    measures : mapping of str to str
        Columns to draw, and what they are called.
    """
    shown = {name: title for name, title in measures.items() if any(name in row for row in rows)}
    figure.set_size_inches(2.2 + 3.2 * max(1, len(shown)), 1.0 + 0.32 * max(1, len(rows)))
    if not shown:
        return
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, (name, title) in zip(panels, shown.items(), strict=True):
        values = [row.get(name, math.nan) for row in rows]
        axis.errorbar(values, range(len(rows)), xerr=_spread(rows, name), fmt="o", color=_COLOUR)
        axis.set_xlabel(title)
        axis.grid(axis="y", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].invert_yaxis()


def curves(
    figure: Figure,
    rows: Sequence[Row],
    x: str,
    title: str,
    measures: Mapping[str, str],
    by: str | None = None,
) -> None:
    """Draw one panel for each measure, with a curve over the column `x` and the spread over seeds.

    Parameters
    ----------
    figure : Figure
        Drawn into; its size is set by the number of measures.
    rows : sequence of dict
        Rows of the table.
    x, title : str
        Column of the abscissa, and what it is called.
    measures : mapping of str to str
        Columns to draw, and what they are called.
    by : str, optional
        Column for each value of which there is a curve, over a logarithmic axis.
    """
    shown = {name: label for name, label in measures.items() if any(name in row for row in rows)}
    figure.set_size_inches(3.2 * max(1, len(shown)), 2.8)
    if not shown:
        return
    kinds = [None] if by is None else list(dict.fromkeys(row[by] for row in rows))
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, (name, label) in zip(panels, shown.items(), strict=True):
        for kind in kinds:
            members = [row for row in rows if by is None or row[by] == kind]
            places = [row[x] for row in members]
            values = [row.get(name, math.nan) for row in members]
            colour = _COLOUR if by is None else None
            axis.errorbar(
                places, values, _spread(members, name), marker="o", color=colour, label=kind
            )
        axis.set(xlabel=title, ylabel=label)
        axis.spines[["top", "right"]].set_visible(False)
        if by is not None:
            axis.set_xscale("log")
    if by is not None:
        kinds_drawn = panels[0].get_legend_handles_labels()
        figure.legend(*kinds_drawn, loc="outside right upper", frameon=False, fontsize="small")


def heat_map(axis: Axes, values: NDArray[np.float64]) -> AxesImage:
    """Draw values as colours, each with its number.

    Parameters
    ----------
    axis : Axes
        Drawn into.
    values : array of shape (n_rows, n_columns)
        From the lowest row to the highest.
    """
    image = axis.imshow(values, origin="lower", aspect="auto", cmap="viridis")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (i, j), value in np.ndenumerate(values):
        colour = "black" if value > middle else "white"
        axis.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
    return image


def courses(
    figure: Figure,
    rows: Sequence[Row],
    labels: Sequence[str],
    places: Mapping[str, float],
    titles: tuple[str, str],
) -> None:
    """Draw one panel with a curve for each row, over a logarithmic axis, and its spread over seeds.

    Parameters
    ----------
    figure : Figure
        Drawn into.
    rows : sequence of dict
        Rows of the table.
    labels : sequence of str
        Their names.
    places : mapping of str to float
        Columns to draw, and where on the abscissa each stands.
    titles : (str, str)
        What abscissa and ordinate are called.
    """
    figure.set_size_inches(6.0, 3.6)
    axis = figure.subplots()
    for row, label in zip(rows, labels, strict=True):
        values = [row.get(name, math.nan) for name in places]
        spread = [row.get(f"{name}_std", 0.0) for name in places]
        axis.errorbar(list(places.values()), values, spread, marker="o", label=label)
    axis.set(xscale="log", xlabel=titles[0], ylabel=titles[1])
    axis.spines[["top", "right"]].set_visible(False)
    if rows:
        axis.legend(frameon=False)


def _spread(rows: Sequence[Row], name: str) -> list[Any]:
    return [row.get(f"{name}_std", 0.0) for row in rows]
