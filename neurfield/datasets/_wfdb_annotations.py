"""Beats of WFDB annotation files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neurfield.datasets._files import existing, reading, require
from neurfield.datasets.aami import AAMI_CLASSES, AAMI_NAMES, CLASS_OF
from neurfield.datasets.windows import Event
from neurfield.errors import FileError

_FIELDS = ("subtype", "chan", "num", "aux_note")
_RHYTHM = "+"  # symbol of a change of rhythm, whose note begins with a bracket


def read_beats(path: Path, ending: str, rate: float, n_frames: int) -> list[Event]:
    """Return every annotated beat within a record.

    Parameters
    ----------
    path : Path
        The record, without ending.
    ending : str
        Ending of its annotation file.
    rate : float
        Frames per second of the record.
    n_frames : int
        Frames in the record.

    Raises
    ------
    FileError
        If the file is missing, cut off or cannot be read.
    """
    source = existing(path.with_name(f"{path.name}.{ending}"))
    # A complete file closes with a zero word, and the library does not miss it when it is cut off.
    if not source.read_bytes().endswith(b"\0\0"):
        raise FileError(source, "the annotation file is truncated, its closing mark is missing")
    with reading(source, "a WFDB annotation file"):
        marks = require("wfdb", "readers").rdann(str(path), ending)
        ratio = rate / float(marks.fs) if marks.fs else 1.0  # it may count in ticks of its own
        places = np.rint(np.asarray(marks.sample) * ratio).astype(np.int64)
        extra = _details(marks)
    beats = [k for k, symbol in enumerate(marks.symbol) if symbol in CLASS_OF]
    inside = [k for k in beats if 0 <= places[k] < n_frames]
    if len(inside) < len(beats):
        warnings.warn(
            f"{source}: {len(beats) - len(inside)} of {len(beats)} beats lie beyond the record and "
            "are left out; does the file belong to it?",
            stacklevel=2,
        )
    return [
        Event(str(places[k]), places[k] / rate, 0.0, {**_labels(marks.symbol[k]), **extra[k]})
        for k in inside
    ]


def count_beats(events: list[Event], begin: float, end: float) -> dict[str, Any]:
    """Return the number of beats of each class in a window."""
    found = [event.labels["label"] for event in events]
    return {f"label_{name}": found.count(name) for name in AAMI_CLASSES}


def _labels(symbol: str) -> dict[str, Any]:
    name = CLASS_OF[symbol]
    return {"label": name, "label_name": AAMI_NAMES[name], "symbol": symbol}


def without_empty(windows: xr.DataArray) -> xr.DataArray:
    """Return windows without those fields of annotations that none of their beats makes use of."""
    empty = [
        name
        for name in ("rhythm", *_FIELDS)
        if name in windows.coords and not any(windows[name].values.tolist())
    ]
    return windows.drop_vars(empty)


def _details(marks: Any) -> list[dict[str, Any]]:
    """Return for each mark what else is noted, and the rhythm that it lies in."""
    notes = [(note or "").rstrip("\0") for note in marks.aux_note]
    rhythm, found = "", []
    for k, (symbol, note) in enumerate(zip(marks.symbol, notes, strict=True)):
        if symbol == _RHYTHM and note.startswith("("):
            rhythm = note[1:]
        numbers = {name: int(getattr(marks, name)[k]) for name in _FIELDS[:3]}
        found.append({"rhythm": rhythm, **numbers, "aux_note": note})
    return found
