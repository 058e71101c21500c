"""What an EDF or BDF file holds: signals in their own unit and rate, annotations, its beginning."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from neurfield.datasets._files import reading, require
from neurfield.datasets.leads import Lead
from neurfield.datasets.windows import Event
from neurfield.errors import FileError

ENDINGS = (".edf", ".bdf")

#: Spellings of microvolts that are met in headers.
_MICROVOLTS = ("µV", "μV", "\x83\xcaV")


def open_recording(path: Path) -> Any:
    """Return the library's object for a file whose signals are all there, without gaps.

    Parameters
    ----------
    path : Path
        File that ends in ``.edf`` or ``.bdf``.

    Raises
    ------
    FileError
        If it cannot be read, has no signals, is truncated or has gaps.
    """
    file = open_file(path)
    with reading(path, "a recording"):
        if not file.signals:
            raise FileError(path, "has no signals; give a file of annotations as annotations=")
        if not (np.isfinite(file.data_record_duration) and file.data_record_duration > 0):
            raise FileError(path, "the duration of its data records must be positive")
        continuous = file.is_continuous
    if not continuous:
        raise FileError(
            path,
            "has gaps between its data records (EDF+D); cut it into files without gaps first, for "
            "example in EDFbrowser",
        )
    return file


def open_file(path: Path) -> Any:
    """Return the library's object for a file of which all data records are there."""
    edfio = require("edfio", "eeg")
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise FileError(path, "expected a name that ends in .edf or .bdf")
    if path.is_dir():
        raise FileError(path, "is a folder; expected an EDF or BDF file")
    with reading(path, f"an {kind[1:].upper()} file"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Headers are ASCII by the book and have letters of Latin-1 or UTF-8 in practice.
        read = edfio.read_edf if kind == ".edf" else edfio.read_bdf
        file = read(path, header_encoding="latin-1")
    # The library says so in warnings, and goes on with what is there.
    for warning in said:
        message = str(warning.message)
        if "header indicates -1 data records" in message:
            warnings.warn(f"{path}: {message}", stacklevel=2)
        elif "data record" in message:
            raise FileError(path, f"is truncated, or its header is wrong: {message}")
    return file


def lead_of(path: Path, signal: Any, name: str) -> Lead:
    """Return a signal, in steps of the converter where its header gives no range of values."""
    unit = text_of(signal.physical_dimension)
    unit = "uV" if unit in _MICROVOLTS else unit
    with reading(path, f"a recording with the signal {name!r}"):
        # Asked for here, because the library takes what it cannot read for steps of the converter.
        low, high = signal.physical_range
        first, last = signal.digital_range
        if not np.isfinite([low, high]).all():
            raise FileError(path, f"the range of the signal {name!r} must be finite")
        if low == high or first == last:
            warnings.warn(
                f"{path}: the signal {name!r} has no range of values, so they are steps of the "
                "converter (adu); write the range into the header to calibrate it",
                stacklevel=2,
            )
            values, unit = signal.digital.astype(np.float64), "adu"
        else:
            values = np.asarray(signal.data)
    return Lead(name, unit, float(signal.sampling_frequency), values)


def text_of(field: str) -> str:
    """Return a field, read as Latin-1, as what it is if it was written as UTF-8."""
    try:
        return field.encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        return field.strip()


def events_of(path: Path, file: Any, later: float = 0.0) -> list[Event] | None:
    """Return the annotations, None for files of a kind that has none.

    Parameters
    ----------
    path : Path
        The file, for messages.
    file : edfio.Edf or edfio.Bdf
        What the library read of it.
    later : float, default=0.0
        Seconds from the start of the recording to that of the file with annotations.
    """
    if "+" not in file.reserved[:4]:
        return None
    with reading(path, "a recording with annotations"):
        return [
            Event(
                str(number),
                float(mark.onset) + later,
                float(mark.duration or 0),
                {"label": mark.text, "duration": float(mark.duration or 0)},
            )
            for number, mark in enumerate(file.annotations)
        ]


def start_of(file: Any) -> datetime.datetime | None:
    """Return when the recording began, if the header says so in a way that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two dates that differ, the longer one is taken
        try:
            start: datetime.datetime = file.startdatetime
        except (ValueError, OverflowError):
            return None
    return start
