"""Finished tables as files: CSV, Markdown, PNG and SVG."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.atomic import replacing

if TYPE_CHECKING:
    from neurfield.evaluation.tables.base import Row, Table

_PICTURES = ("png", "svg")
_BODY = "<!-- rows -->"  # where a description ends
_DECIBELS, _FRACTIONS = ("psnr",), ("ssim", "lpips", "accuracy", "f1", "auc")
_FOR_DRAWING = "_"  # begins the names of figures that only pictures show
_HIDDEN = ("cells",)  # of the Markdown table; all columns stand in the CSV
_FEW = 10.0  # from where on decimals say nothing


@dataclass(frozen=True)
class Origin:
    """Where the figures of a table come from.

    Parameters
    ----------
    command : str
        Computes the table again.
    data : tuple of str
        What was learnt from and measured on, a line each.
    machines : tuple of str
        Where cells were computed.
    """

    command: str
    data: tuple[str, ...]
    machines: tuple[str, ...]


def write_table(table: Table, rows: Sequence[Row], origin: Origin, folder: Path) -> list[Path]:
    """Write rows as CSV and Markdown, and what :meth:`Table.draw` makes of them as PNG and SVG.

    Parameters
    ----------
    table : Table
        Whose rows they are.
    rows : sequence of dict
        Settings and figures by name; those with an ``error`` are not drawn.
    origin : Origin
        Stands in the Markdown file.
    folder : Path
        Where to write.

    Returns
    -------
    list of Path
        The files.
    """
    # A figure of its own, not pyplot's: no window system is needed and no global state is touched.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    table.draw([row for row in rows if "error" not in row], figure)
    paths = [folder / f"{table.name}.{ending}" for ending in ("csv", "md", *_PICTURES)]
    told = [{k: v for k, v in row.items() if not k.startswith(_FOR_DRAWING)} for row in rows]
    _write_csv(told, paths[0])
    with replacing(paths[1]) as temporary:
        temporary.write_text(markdown(table, told, origin))
    for path in paths[2:]:
        ending = path.suffix[1:]
        # The same rows make the same file, whenever it is written.
        plain = {"Date": None} if ending == "svg" else {}
        with replacing(path) as temporary, rc_context({"svg.hashsalt": table.name}):
            figure.savefig(temporary, format=ending, dpi=150, metadata=plain)
    return paths


def markdown(table: Table, rows: Sequence[Row], origin: Origin) -> str:
    """Return a table in Markdown: what it compares, the command, the machine, and the rows.

    Parameters
    ----------
    table : Table
        Whose rows they are.
    rows : sequence of dict
        Settings and figures by name.
    origin : Origin
        Where they come from.
    """
    parts = [
        f"# {table.title}",
        table.about(),
        _BODY,
        f"```sh\n{origin.command}\n```",
        "\n".join(f"- {line}" for line in (*origin.data, *origin.machines)),
        _grid(rows),
        f"![{table.title}]({table.name}.svg)",
    ]
    return "\n\n".join(parts) + "\n"


def body(path: Path, place: str) -> str:
    """Return what a Markdown file of a table has below its title and description.

    Parameters
    ----------
    path : Path
        What :func:`write_table` wrote.
    place : str
        What to set before the names of pictures.
    """
    text = path.read_text().partition(_BODY)[2].strip()
    return text.replace(f"]({path.stem}.svg)", f"]({place}{path.stem}.svg)")


def _grid(rows: Sequence[Row]) -> str:
    names = dict.fromkeys(name for row in rows for name in row)
    shown = [n for n in names if n not in _HIDDEN and not n.endswith("_std") and n != "error"]
    if any("error" in row for row in rows):
        shown.append("not possible")
    lines = [shown, ["---"] * len(shown)]
    for row in rows:
        cells = {**row, "not possible": row.get("error", "")}
        lines.append([_text(name, cells.get(name, ""), row.get(f"{name}_std")) for name in shown])
    return "\n".join(f"| {' | '.join(_escaped(line))} |" for line in lines)


def _escaped(line: Iterable[str]) -> Iterable[str]:
    return (text.replace("_", " ").replace("|", "\\|") for text in line)


def _text(name: str, value: Any, spread: float | None) -> str:
    """Return a figure with as many decimals as mean something, and its spread over seeds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return ""
    if any(part in name for part in _DECIBELS):
        form = ".2f"
    elif any(part in name for part in _FRACTIONS):
        form = ".3f"
    else:
        form = ".0f" if float(value).is_integer() or abs(value) >= _FEW else ".3g"
    said = f"{value:{form}}"
    return f"{said} ± {spread:{form}}" if spread else said


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
