"""Names, sidecars and participants of BIDS data sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurfield.datasets._files import reading
from neurfield.datasets.nifti import is_nifti
from neurfield.errors import FileError

#: Entities of BIDS by the words that options and coordinates have, in the order of file names.
ENTITIES = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acquisition": "acq",
    "ceagent": "ce",
    "tracer": "trc",
    "stain": "stain",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "modality": "mod",
    "echo": "echo",
    "flip": "flip",
    "inversion": "inv",
    "mtransfer": "mt",
    "part": "part",
    "processing": "proc",
    "hemisphere": "hemi",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "segmentation": "seg",
    "resolution": "res",
    "density": "den",
    "label": "label",
    "description": "desc",
}

_WORDS = {key: word for word, key in ENTITIES.items()}
_NOT_KNOWN = "n/a"
_MOST = 2**26  # bytes of a table or a sidecar


@dataclass(frozen=True)
class BidsFile:
    """A file whose name follows BIDS.

    Parameters
    ----------
    path : Path
        The file.
    entities : mapping of str to str
        Values by the words of ``ENTITIES``.
    suffix : str
        What is measured: T1w, bold, dseg.
    datatype : str
        Name of its folder: anat, func.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    datatype: str

    def has(self, word: str, asked: Any) -> bool:
        """Return whether an entity has the value, or one of the values, that is asked for.

        Numbers match with or without leading zeros, and None a file without the entity.
        """
        values = asked if isinstance(asked, list | tuple | set | frozenset) else [asked]
        found = self.entities.get(word)
        return any(_is_same(found, value, ENTITIES[word]) for value in values)


def bids_files(base: Path) -> Iterator[BidsFile]:
    """Yield the NIfTI files of a raw or derived data set, in order of their paths.

    Raises
    ------
    FileError
        If a file lies in the folder of another subject or session.
    """
    found = [path for depth in ("*/*", "*/*/*") for path in base.glob(f"sub-*/{depth}")]
    for path in sorted(found):
        if not is_nifti(path):
            continue
        keys, suffix = _parts(path.name.removesuffix(".gz").removesuffix(".nii"))
        folders = path.relative_to(base).parts
        if f"sub-{keys.get('sub')}" != folders[0] or (
            folders[1].startswith("ses-") and f"ses-{keys.get('ses')}" != folders[1]
        ):
            raise FileError(path, "is named for another subject or session than its folder")
        yield BidsFile(path, _in_words(keys), suffix, path.parent.name)


def metadata(file: BidsFile, base: Path) -> dict[str, Any]:
    """Return what JSON files say of a file: those in its folder, and in all above it up to `base`.

    Nearer ones override farther ones (the inheritance principle).

    Parameters
    ----------
    file : BidsFile
        Below `base`.
    base : Path
        Root of the data set.
    """
    known: dict[str, Any] = {}
    folders = [folder for folder in file.path.parents if folder.is_relative_to(base)]
    for folder in reversed(folders):
        matches = []
        for path in folder.glob(f"*{file.suffix}.json"):
            keys, suffix = _parts(path.stem)
            entities = _in_words(keys)
            if suffix == file.suffix and entities.items() <= file.entities.items():
                matches.append((len(entities), path))
        for _, path in sorted(matches):
            known |= _read_json(path)
    return known


def participants(base: Path) -> dict[str, dict[str, Any]]:
    """Return the columns of ``participants.tsv`` by subject, whose name is without "sub-".

    Empty if there is no such table. Columns of numbers are floats, with NaN for n/a; of others, n/a
    is None.

    Raises
    ------
    FileError
        If the table is damaged or names a participant twice.
    """
    path = base / "participants.tsv"
    if not path.is_file():
        return {}
    _check_length(path)
    with reading(path, "a table of participants"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        header, *rows = (row for row in table if row)
    if "participant_id" not in header or len(set(header)) < len(header):
        raise FileError(path, f"needs a column participant_id, and each once; it has {header}")
    if any(len(row) != len(header) for row in rows):
        raise FileError(path, f"has rows of other lengths than its {len(header)} columns")
    columns = {
        name: _typed([row[place] for row in rows])
        for place, name in enumerate(header)
        if name != "participant_id"
    }
    place = header.index("participant_id")
    names = [row[place].removeprefix("sub-") for row in rows]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise FileError(path, f"has several rows for {', '.join(twice)}")
    return {
        name: {column: values[index] for column, values in columns.items()}
        for index, name in enumerate(names)
    }


def _parts(stem: str) -> tuple[dict[str, str], str]:
    """Return the values in a name by their keys, such as "sub", and its suffix."""
    *pairs, suffix = stem.split("_")
    return dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix


def _in_words(keys: dict[str, str]) -> dict[str, str]:
    return {_WORDS.get(key, key): value for key, value in keys.items()}


def _typed(values: list[str]) -> list[Any]:
    """Return a column as numbers, if what is known of it are numbers, otherwise as text."""
    known = [value for value in values if value not in ("", _NOT_KNOWN)]
    try:
        numbers = iter([float(value) for value in known])
    except ValueError:
        return [None if value in ("", _NOT_KNOWN) else value for value in values]
    return [float("nan") if value in ("", _NOT_KNOWN) else next(numbers) for value in values]


def _is_same(found: str | None, asked: Any, key: str) -> bool:
    if found is None or asked is None:
        return found is asked
    text = str(asked).removeprefix(f"{key}-")
    if isinstance(asked, int) and found.isdecimal():
        return int(found) == asked
    return found == text


def _read_json(path: Path) -> dict[str, Any]:
    _check_length(path)
    with reading(path, "a sidecar"):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise FileError(path, f"must hold names and values, got a {type(content).__name__}")
    return content


def _check_length(path: Path) -> None:
    if path.stat().st_size > _MOST:
        raise FileError(path, f"is longer than {_MOST} bytes, which no such file is")
