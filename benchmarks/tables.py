"""Print a table of results, and write it as CSV, alike in all benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurfield.evaluation.tables.machine import machine


def report(rows: Sequence[Mapping[str, Any]], csv_path: Path | None) -> None:
    """Print rows with the same keys, and write them to a file where one is asked for."""
    print_table(rows)
    if csv_path is not None:
        write_csv(csv_path, rows)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as aligned columns, under a line that says where they ran."""
    print(machine())
    cells = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
