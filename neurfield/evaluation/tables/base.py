"""What a table is, and how it is computed cell by cell and written."""

from __future__ import annotations

import inspect
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neurfield.atomic import replacing
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.machine import machine
from neurfield.evaluation.tables.writing import Origin, write_table
from neurfield.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = dict[str, Any]
Figures = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """What the caller allows a table to take.

    Parameters
    ----------
    full : bool, default=False
        The published settings instead of a reduced form that takes minutes.
    latent_dim : int, optional
        P of all methods; by default 64 in the reduced form and the published one in full.
    max_time : float, optional
        Seconds of training of each fit.
    seeds : tuple of int, optional
        One cell each.
    parameters : mapping, optional
        Parameters of the encoder to use instead of the table's, in all cells.
    methods : sequence of str, optional
        Names of methods to leave others out.
    """

    full: bool = False
    latent_dim: int | None = None
    max_time: float | None = None
    seeds: tuple[int, ...] = (0,)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    methods: Sequence[str] | None = None


class Table(ABC):
    """One table: which cells it has, how one is computed, and how rows are drawn.

    Attributes
    ----------
    name : str
        Name on the command line.
    title : str
        Its heading.
    row_keys : tuple of str
        Settings that tell rows apart; figures are averaged over the rest, the seeds.
    needs_classes : bool
        Whether signals must have labels.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    row_keys: ClassVar[tuple[str, ...]]
    needs_classes: ClassVar[bool] = False

    @classmethod
    def about(cls) -> str:
        """Return what the table compares, in words: those of its docstring."""
        return inspect.getdoc(cls) or ""

    @abstractmethod
    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        """Return the settings of every cell, as values that JSON holds.

        Parameters
        ----------
        data : TableData
            Signals to learn from and to measure on, with labels where there are classes.
        budget : Budget
            How much time and how many seeds the table may take.
        """

    @abstractmethod
    def compute(self, settings: Cell, data: TableData) -> Figures:
        """Return the figures of one cell; those whose names begin with "_" are for drawing alone.

        Parameters
        ----------
        settings : dict
            One of what :meth:`cells` returned.
        data : TableData
            Signals to learn from and to measure on, with labels where there are classes.
        """

    @abstractmethod
    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        """Draw the finished table.

        Parameters
        ----------
        rows : sequence of dict
            Rows as :func:`run_table` returns them: settings and figures by name.
        figure : matplotlib Figure
            Drawn into.
        """


def run_table(
    table: Table,
    data: TableData,
    budget: Budget,
    folder: Path,
    report: Callable[[str], None] = print,
    command: str = "run_table",
) -> list[Row]:
    """Compute what is missing of a table, and write it.

    Parameters
    ----------
    table : Table
        Says which cells there are and how each is computed.
    data : TableData
        Signals to learn from and to measure on, with labels where there are classes.
    budget : Budget
        How much time and how many seeds the table may take.
    folder : Path
        Holds ``NAME.jsonl`` with one line per finished cell, which is not computed again with the
        same settings, data and version of this package; and the finished table as ``NAME.csv``,
        ``NAME.md``, ``NAME.png`` and ``NAME.svg``.
    report : callable, default=print
        Takes lines about the progress.
    command : str, default="run_table"
        What computes the table again, as the Markdown file says.

    Returns
    -------
    list of dict
        Rows, with the mean of every figure over the seeds, and its standard deviation as
        ``<figure>_std`` where there are two seeds or more.

    Raises
    ------
    ValueError
        If the data has no classes and the table needs them, or no cell at all was possible: then
        nothing is written.
    ImportError
        If matplotlib is not installed or cannot be imported.
    """
    require("matplotlib.figure", "plots")
    if table.needs_classes and not data.has_classes:
        raise ValueError(f"the table {table.name!r} needs signals with labels of two classes")
    store = CellStore(folder / f"{table.name}.jsonl")
    cells = table.cells(data, budget)
    here = machine()
    machines: dict[str, None] = {}
    results: list[tuple[Cell, Figures]] = []
    for number, settings in enumerate(cells, start=1):
        key = store.key(data.digest, settings)
        known = store.get(key)
        start = time.perf_counter()
        figures = _attempt(table, settings, data) if known is None else known
        if known is None and "error" not in figures:
            store.add(key, figures, here)
        seconds = time.perf_counter() - start
        report(_progress(number, len(cells), settings, figures, seconds, known is not None))
        results.append((settings, figures))
        if "error" not in figures:
            machines[store.machine_of(key)] = None
    if not machines:
        reasons = dict.fromkeys(figures["error"] for _, figures in results)
        raise ValueError(
            f"none of the {len(cells)} cells of {table.name!r} could be computed, so there is no "
            f"table: {'; '.join(reasons)}"
        )
    rows = summarise(results, table.row_keys)
    origin = Origin(command, data.described(), tuple(machines))
    write_table(table, rows, origin, folder)
    return rows


class CellStore:
    """Finished cells in a file of JSON lines, written whole after each.

    Parameters
    ----------
    path : Path
        File, which need not be there yet.

    Raises
    ------
    ValueError
        If a line of the file is no finished cell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells: dict[str, tuple[Figures, str]] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                cell = json.loads(line)
                found = cell["figures"], cell["machine"]
                self._cells[self._text(cell["key"])] = found
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}: line {number} is no finished cell ({error}); remove the file to "
                    "compute its cells anew"
                ) from error

    @staticmethod
    def key(digest: str, settings: Cell) -> Cell:
        """Return all that the figures of a cell depend on.

        Parameters
        ----------
        digest : str
            Of the data.
        settings : dict
            One of what :meth:`Table.cells` returned.
        """
        from neurfield import __version__

        return {"version": __version__, "data": digest, "settings": settings}

    def get(self, key: Cell) -> Figures | None:
        """Return the figures of a finished cell, or None.

        Parameters
        ----------
        key : dict
            What :meth:`key` returned.
        """
        found = self._cells.get(self._text(key))
        return None if found is None else found[0]

    def machine_of(self, key: Cell) -> str:
        """Return on which machine a finished cell was computed.

        Parameters
        ----------
        key : dict
            What :meth:`key` returned.
        """
        return self._cells[self._text(key)][1]

    def add(self, key: Cell, figures: Figures, machine: str) -> None:
        """Keep the figures of a cell, on disk too.

        Parameters
        ----------
        key : dict
            What :meth:`key` returned.
        figures : dict
            What :meth:`Table.compute` returned for these settings.
        machine : str
            Where they were computed.
        """
        self._cells[self._text(key)] = figures, machine
        lines = [
            json.dumps({"key": json.loads(text), "figures": found, "machine": where})
            for text, (found, where) in self._cells.items()
        ]
        with replacing(self.path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")

    @staticmethod
    def _text(key: Cell) -> str:
        return json.dumps(key, sort_keys=True)


def summarise(results: Sequence[tuple[Cell, Figures]], keys: Sequence[str]) -> list[Row]:
    """Return one row for each value of the keys, with means and spread over its cells."""
    groups: dict[str, list[tuple[Cell, Figures]]] = {}
    for settings, figures in results:
        groups.setdefault(json.dumps([settings[key] for key in keys]), []).append(
            (settings, figures)
        )
    rows = []
    for members in groups.values():
        row: Row = {key: members[0][0][key] for key in keys}
        row["cells"] = len(members)
        for name in dict.fromkeys(name for _, figures in members for name in figures):
            found = [figures[name] for _, figures in members if name in figures]
            if all(isinstance(value, int | float) for value in found):
                row[name] = float(np.mean(found))
                if len(found) > 1:
                    row[f"{name}_std"] = float(np.std(found, ddof=1))
            else:
                row[name] = found[0]
        rows.append(row)
    return rows


def _attempt(table: Table, settings: Cell, data: TableData) -> Figures:
    """Compute a cell; one that cannot be has a reason instead of figures."""
    try:
        return table.compute(settings, data)
    except (ValueError, RuntimeError, MemoryError, ImportError) as error:
        return {"error": " ".join(str(error).split()) or type(error).__name__}


def _progress(
    number: int, total: int, settings: Cell, figures: Figures, seconds: float, known: bool
) -> str:
    plain = (str, int, float, bool)
    said = ", ".join(f"{k}={v}" for k, v in settings.items() if isinstance(v, plain))
    if "error" in figures:
        outcome = f"not possible: {figures['error']}"
    else:
        shown = {k: v for k, v in figures.items() if isinstance(v, float) and math.isfinite(v)}
        outcome = ", ".join(f"{k} {v:.4g}" for k, v in list(shown.items())[:6])
    took = "finished before" if known else f"{seconds:.1f} s"
    return f"[{number}/{total}] {said}: {outcome} ({took})"
