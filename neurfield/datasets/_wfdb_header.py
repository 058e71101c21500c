"""What a WFDB header says, checked before anything is read from the files that it names."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurfield.datasets._files import existing, reading, require
from neurfield.errors import FileError, MissingFileError
from neurfield.limits import check_unpacked

_MOST_BYTES = 2**22  # a header has a line a signal or segment
_MOST_IN_LINE = 1000
_MOST_SIGNALS = 1024  # the library takes a millisecond for each

#: Bits that one sample takes in the formats whose samples all take the same.
_BITS: dict[str, float] = {
    "8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12,
    "310": 32 / 3, "311": 32 / 3,
}  # fmt: skip
#: Bits of a sample's value; the lowest value that they hold marks an invalid sample.
VALUE_BITS = {
    "8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12,
    "310": 10, "311": 10, "508": 8, "516": 16, "524": 24,
}  # fmt: skip
_FLAC = ("508", "516", "524")
_NONE = "0"  # of signals without samples, as in the description of a record of several segments

_LETTERS = {chr(code) for code in (9, *range(32, 127))}
_TIME_AND_DATE = re.compile(r"(\d{1,2}:){0,2}\d{1,2}(\.\d+)?( \d{1,2}/\d{1,2}/\d{4})?")


@dataclass(frozen=True)
class Header:
    """A WFDB header of which every line was understood.

    Parameters
    ----------
    path : Path
        The header file.
    record : wfdb.Record or wfdb.MultiRecord
        What the library read.
    names : list of str
        Name of each signal; empty for a record of several segments.
    calibrated : list of bool
        Whether the header states each signal's gain.
    """

    path: Path
    record: Any
    names: list[str]
    calibrated: list[bool]

    @property
    def stem(self) -> Path:
        """Path of the record, as the library wants it."""
        return self.path.with_suffix("")

    @property
    def rate(self) -> float:
        """Frames per second."""
        return float(self.record.fs)

    @property
    def segmented(self) -> bool:
        """Whether the signals lie in segments, which are records of their own."""
        return hasattr(self.record, "seg_name")

    def origin(self) -> dict[str, Any]:
        """Return what the header says about the beginning of the record.

        ``start`` is date and time in ISO format, or the time of day where there is no date;
        ``counter_frequency`` and ``base_counter`` belong to the counter of a tape.
        """
        record = self.record
        start = getattr(record, "base_datetime", None) or record.base_time
        found = {
            "start": None if start is None else start.isoformat(),
            "counter_frequency": record.counter_freq,
            "base_counter": record.base_counter,
        }
        return {name: value for name, value in found.items() if value is not None}


def read_header(stem: Path) -> Header:
    """Read a header.

    Parameters
    ----------
    stem : Path
        The record, without the header's ending.

    Raises
    ------
    FileError
        If anything that the signals depend on is missing or is not understood.
    """
    syntax = require("wfdb.io.header", "readers")
    path = existing(stem.with_name(stem.name + ".hea"))
    if path.stat().st_size > _MOST_BYTES:
        raise FileError(path, f"is no WFDB header: one has at most {_MOST_BYTES} bytes")
    lines = _lines(path, syntax)
    _check_names_of_files(path, lines)
    first = syntax.rx_record.match(lines[0])
    if first is not None and not first["n_seg"] and len(lines) - 1 > _MOST_SIGNALS:
        raise FileError(path, f"lists {len(lines) - 1} signals; at most {_MOST_SIGNALS} are read")
    with reading(path, "a WFDB header"):
        # The library takes a time it does not know for the beginning of one that it does.
        record = require("wfdb", "readers").rdheader(str(stem))
    _check_record_line(path, lines[0], syntax, record)
    segmented = hasattr(record, "seg_name")
    stated = record.n_seg if segmented else record.n_sig
    if stated != len(lines) - 1:
        what = "segments" if segmented else "signals"
        raise FileError(path, f"states {stated} {what} and lists {len(lines) - 1}")
    if not stated:
        raise FileError(path, "has no signals")
    if segmented:
        return Header(path, record, [], [])
    gains = [_check_signal_line(path, k, line, syntax, record) for k, line in enumerate(lines[1:])]
    names = [
        name or f"record {record.record_name}, signal {k}" for k, name in enumerate(record.sig_name)
    ]
    return Header(path, record, names, [gain != 0 for gain in gains])


def check_data(header: Header, places: list[int]) -> None:
    """Refuse signal files that are missing, or that hold less than the header states.

    Parameters
    ----------
    header : Header
        Header of a record of one segment.
    places : list of int
        The signals to be read.

    Raises
    ------
    FileError
        If a file is missing, too short, or unpacks to more than it may.
    """
    record = header.record
    for file in dict.fromkeys(record.file_name[place] for place in places):
        held = [k for k, name in enumerate(record.file_name) if name == file]
        if record.sig_len == 0 or record.fmt[held[0]] == _NONE:
            raise FileError(header.path, f"states no samples for {header.names[held[0]]!r}")
        path = header.path.with_name(file)
        if not path.exists():
            raise MissingFileError(path, f"no such file; {header.path.name} says it holds signals")
        if not existing(path).is_file():
            raise FileError(path, "is a folder; it should hold signals of a WFDB record")
        if len({(record.fmt[k], record.byte_offset[k]) for k in held}) > 1:
            raise FileError(header.path, f"states several formats or offsets for {file}")
        per_frame = sum(record.samps_per_frame[k] for k in held)
        n_samples = None if record.sig_len is None else record.sig_len * per_frame
        if record.fmt[held[0]] in _FLAC:
            n_samples = _check_flac(path, n_samples, len(held))
        elif n_samples is not None:
            offset = record.byte_offset[held[0]] or 0
            needed = offset + int(n_samples * _BITS[record.fmt[held[0]]] / 8)
            size = path.stat().st_size
            if needed > size:
                raise FileError(
                    path,
                    f"holds {size} bytes, and {needed} are needed for the {record.sig_len} samples "
                    f"that {header.path.name} states; is it truncated?",
                )
        if n_samples is not None:
            check_unpacked(path, 8 * n_samples, "its signals")


def _check_flac(path: Path, n_samples: int | None, n_signals: int) -> int:
    """Return the number of samples in a FLAC file, all its signals together."""
    soundfile = require("soundfile", "readers")
    with reading(path, "signals packed as FLAC"):
        info = soundfile.info(str(path))
    held = int(info.frames) * int(info.channels)
    if n_samples is None:
        raise FileError(path, "its header does not state the number of samples; add it there")
    if info.channels != n_signals or held < n_samples:
        raise FileError(
            path,
            f"holds {info.channels} signals and {held} samples, and its header states {n_signals} "
            f"and {n_samples}",
        )
    return held


def _lines(path: Path, syntax: Any) -> list[str]:
    """Return the lines that are no comments."""
    # Letters that are not ASCII vanish in the library: 'µV' would become 'V'.
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    lines: list[str] = syntax.parse_header_content(text)[0]
    if not lines:
        raise FileError(path, "is an empty WFDB header")
    for line in lines:
        if not set(line) <= _LETTERS:
            shown = line.encode("ascii", "replace").decode()
            raise FileError(
                path, f"has a letter that is not ASCII in {shown:.80}; write 'uV' for microvolts"
            )
        if len(line) > _MOST_IN_LINE:
            raise FileError(path, f"has a line of {len(line)} letters: {line:.40}...")
    return lines


def _check_names_of_files(path: Path, lines: list[str]) -> None:
    """Refuse names that lead out of the record's own folder."""
    for line in lines[1:]:
        name = line.split(maxsplit=1)[0]
        if "/" in name or "\\" in name or ":" in name or name in (".", ".."):
            raise FileError(
                path, f"names the file {name!r:.80}; only files in the header's folder are read"
            )


def _check_record_line(path: Path, line: str, syntax: Any, record: Any) -> None:
    words = line.split()
    first = " ".join(words[:4])
    understood = syntax.rx_record.match(first)
    if len(words) < 2 or understood is None or understood.end() != len(first):
        raise FileError(path, f"its first line is not that of a WFDB record: {line:.80}")
    if not (np.isfinite(record.fs) and record.fs > 0):
        raise FileError(path, f"samples per second must be positive, got {record.fs:g}")
    rest = " ".join(words[4:])
    if rest and not _TIME_AND_DATE.fullmatch(rest):
        warnings.warn(
            f"{path}: {rest[:80]!r} is no time and date as WFDB has them (12:30:00 31/12/2020); "
            "the start of the record is left out",
            stacklevel=2,
        )
        record.base_time = record.base_date = record.base_datetime = None


def _check_signal_line(path: Path, place: int, line: str, syntax: Any, record: Any) -> float:
    """Return the gain as stated, 0 where none is."""
    # The library passes over what it does not know and calls the rest of the line the name.
    words = line.split(None, 8)
    name = words[8].strip() if len(words) == 9 else None
    if (record.sig_name[place] or None) != name:
        raise FileError(
            path,
            f"the line of signal {place} is not understood: {line:.120}; expected file, format, "
            "gain(baseline)/units, resolution, zero, initial value, checksum, block size and name",
        )
    fmt = record.fmt[place]
    if fmt not in (*_BITS, *_FLAC, _NONE):
        known = ", ".join((*_BITS, *_FLAC))
        raise FileError(path, f"signal {place} has the format {fmt}; known are {known}")
    if record.samps_per_frame[place] < 1:
        raise FileError(path, f"signal {place} has no samples in a frame")
    if not np.isfinite(record.adc_gain[place]):
        raise FileError(path, f"the gain of signal {place} must be finite")
    stated = syntax.rx_signal.match(line)["adc_gain"]
    return float(stated) if stated else 0.0
