"""The table of formats names tests that are there."""

import ast
import re

import pytest
from conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "guide" / "formats.md"
COLUMNS = ["Format", "values", "units", "geometry", "gaps", "labels", "round trip"]
NAMED = re.compile(r"`(test_\w+)\.py::(\w+)`")


def tables():
    """Return the cells of every row below a head with the columns of the table."""
    rows = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if cells and cells != COLUMNS and not set(line) <= set("|- "):
            rows.append(cells)
    return rows


def functions_of(module):
    tree = ast.parse((REPOSITORY / "tests" / f"{module}.py").read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", tables(), ids=lambda row: row[0])
def test_every_cell_names_a_test_or_says_why_not(row):
    assert len(row) == len(COLUMNS)
    for column, cell in zip(COLUMNS[1:], row[1:], strict=True):
        named = NAMED.findall(cell)
        assert named or re.fullmatch(r"— \(.+\)", cell), f"{column}: {cell!r} names no test"
        for module, test in named:
            assert test in functions_of(module), f"{column}: {module}.py has no {test}"


def test_the_table_is_not_empty():
    assert len(tables()) > 10
