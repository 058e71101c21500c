"""The two tables of PTB-XL: its records, and the statements that cardiologists make about them."""

from __future__ import annotations

import ast
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from neurfield.datasets._files import existing, reading
from neurfield.errors import FileError

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"

#: Kinds of statements: the column that marks them, and the one with their class, if not their own.
KINDS = {
    "diagnostic_superclass": ("diagnostic", "diagnostic_class"),
    "diagnostic_subclass": ("diagnostic", "diagnostic_subclass"),
    "diagnostic": ("diagnostic", None),
    "form": ("form", None),
    "rhythm": ("rhythm", None),
}

_MOST_BYTES = 2**27  # the tables have 5 MB
_MOST_LETTERS = 10_000  # of the statements about one record
_OLDEST = 300  # stands for all ages over 89
_SEXES = {0: "male", 1: "female"}

_Value = TypeVar("_Value")


class _Row(NamedTuple):
    """A row of a table."""

    path: Path
    line: int
    fields: dict[str, str]

    def read(self, name: str, convert: Callable[[str], _Value]) -> _Value:
        """Return a field as `convert` makes it, or say which one is wrong."""
        try:
            return convert(self.fields[name])
        except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
            raise FileError(
                self.path,
                f"line {self.line}, column {name!r}: {self.fields[name]!r:.80} is not what is "
                "expected there",
            ) from error


class Entry(NamedTuple):
    """A record, as the table has it."""

    number: int
    path: Path  # without ending
    patient: int
    age: float  # years, NaN where it is not known
    sex: str
    fold: int
    start: str
    classes: tuple[str, ...]


def read_tables(folder: Path, frequency: int, label: str) -> tuple[list[Entry], list[str]]:
    """Return all records of the table, and the names of all classes that they may have.

    Parameters
    ----------
    folder : Path
        The folder of the database.
    frequency : {100, 500}
        Samples per second of the records.
    label : str
        Kind of statements, one of ``KINDS``.

    Raises
    ------
    FileError
        If a table is missing or a field in it is none of the values expected.
    """
    path = existing(folder / DATABASE)
    class_of = _statements(folder, label)
    file = "filename_lr" if frequency == 100 else "filename_hr"
    columns = (
        *("ecg_id", "patient_id", "age", "sex", "strat_fold", "recording_date", "scp_codes"),
        file,
    )
    entries = []
    for row in _rows(path, columns):
        codes = row.read("scp_codes", _codes)
        age = row.read("age", lambda text: float(text or "nan"))
        entries.append(
            Entry(
                number=row.read("ecg_id", _whole),
                path=row.read(file, lambda text: _inside(folder, text)),
                patient=row.read("patient_id", _whole),
                age=float("nan") if age >= _OLDEST else age,
                sex=row.read("sex", lambda text: _SEXES[_whole(text)]),
                fold=row.read("strat_fold", _whole),
                start=row.fields["recording_date"].replace(" ", "T"),
                classes=tuple(sorted({class_of[code] for code in codes if code in class_of})),
            )
        )
    if not entries:
        raise FileError(path, "has no records")
    return entries, sorted(set(class_of.values()))


def _statements(folder: Path, label: str) -> dict[str, str]:
    """Return the class of each statement of a kind."""
    marked, named = KINDS[label]
    path = existing(folder / STATEMENTS)
    found = {}
    for row in _rows(path, ("", marked, *([named] if named else []))):
        if row.read(marked, lambda text: float(text or 0)):
            found[row.fields[""]] = row.read(named or "", _named)
    return found


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[_Row]:
    """Yield the rows of a table, which must have these columns."""
    if path.stat().st_size > _MOST_BYTES:
        raise FileError(path, f"is no table of PTB-XL: it has more than {_MOST_BYTES} bytes")
    with reading(path, "a table of PTB-XL"), path.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream, strict=True)
        absent = [name for name in columns if name not in (table.fieldnames or ())]
        if absent:
            raise FileError(path, f"has no column {absent[0]!r}")
        for row in table:
            if None in row or None in row.values():
                raise FileError(
                    path,
                    f"line {table.line_num}: expected {len(table.fieldnames or ())} fields, got "
                    "another number",
                )
            yield _Row(path, table.line_num, row)


def _codes(text: str) -> list[str]:
    """Return the codes of the statements, which the table has as a dictionary of Python's."""
    if len(text) > _MOST_LETTERS:
        raise ValueError
    return [str(code) for code in dict(ast.literal_eval(text))]


def _named(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _whole(text: str) -> int:
    number = float(text)  # some releases have 15709.0
    if not number.is_integer():  # nor finite
        raise ValueError
    return int(number)


def _inside(folder: Path, text: str) -> Path:
    """Return the path of a record, which must lie in the folder."""
    path = Path(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or ":" in text:
        raise ValueError
    return folder / path
