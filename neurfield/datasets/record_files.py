"""Writing recordings back into the formats they came from: WFDB, EDF and BDF."""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._edf_file import ENDINGS
from neurfield.datasets._files import require
from neurfield.datasets._staging import moving_into
from neurfield.datasets.aami import AAMI_CLASSES
from neurfield.errors import FileError, MissingFileError

_FORMATS = ("16", "24", "32", "212")
_MOST_BYTES_IN_RECORD = 61_440  # EDF's data records have no more


@dataclass(frozen=True)
class _Record:
    """What both formats hold."""

    values: NDArray[np.float64]  # (n_times, n_leads)
    frequency: float
    names: list[str]
    units: list[str]
    start: datetime.datetime | datetime.time | None
    marks: list[tuple[float, float, str]]  # onset and duration in seconds, text


def save_wfdb(signal: xr.DataArray, path: str | os.PathLike[str], *, fmt: str = "16") -> None:
    """Write one recording as a WFDB record, an existing one replaced.

    Parameters
    ----------
    signal : DataArray of shape (n_times[, n_leads]), dims (time[, channel])
        As :func:`load_wfdb` gives whole records, or as an encoder decodes them; NaN is written as
        an invalid sample. ``time`` in seconds, evenly spaced. ``attrs["units"]``, or ``unit`` over
        ``channel``, is the unit; ``attrs["start"]``, an ISO date and time, is that of time 0.
        A scalar ``channel`` names a lead alone. ``label`` over ``time``, if there, holds AAMI
        classes, which are written as annotations.
    path : path-like
        Path of the record, with or without ``.hea``; its signals and annotations lie beside it.
    fmt : {"16", "24", "32", "212"}, default="16"
        WFDB's storage format. Gain and baseline are chosen so that the whole range of a lead fits;
        it is divided into 2**16 steps, 2**24, 2**32 or 2**12.

    Raises
    ------
    MissingFileError
        If there is no folder to write into.
    FileError
        If there are annotations of another record of that name, which would seem to be of this one.
    ValueError
        If the format cannot hold the signal.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import load_wfdb
    >>> folder = tempfile.TemporaryDirectory()
    >>> lead = xr.DataArray([0.0, 1.0, 0.5], {"time": [0.0, 0.01, 0.02]}, "time")
    >>> save_wfdb(lead.assign_attrs(units="mV"), folder.name + "/r1")
    >>> (read,) = load_wfdb(folder.name + "/r1", mode="records", frequency=None)
    >>> read.values.round(3).tolist(), read.attrs["units"], read.attrs["frequency"]
    ([0.0, 1.0, 0.5], 'mV', 100.0)
    >>> folder.cleanup()
    """
    wfdb = require("wfdb", "readers")
    if fmt not in _FORMATS:
        raise ValueError(f"fmt must be one of {', '.join(_FORMATS)}, got {fmt!r}")
    target = Path(path)
    target = target.with_suffix("") if target.suffix == ".hea" else target
    if not re.fullmatch(r"[-\w]+", target.name, re.ASCII):
        raise ValueError(f"path: a WFDB record is named by letters, digits, - and _, got {target}")
    record = _record_of(signal)
    for name, values in zip(record.names, record.values.T, strict=True):
        if np.isnan(values).all():
            raise ValueError(f"signal: nothing was observed of {name!r}; leave it out")
    units = [unit or "NU" for unit in record.units]
    odd = [text for text in units if not re.fullmatch(r"[\w^?%/-]+", text, re.ASCII)]
    if odd:
        raise ValueError(f"signal: WFDB has no unit {odd[0]!r}; write 'uV' for microvolts")
    for _, _, text in record.marks:
        if text not in AAMI_CLASSES:
            raise ValueError(
                f"signal: label must hold AAMI classes ({', '.join(AAMI_CLASSES)}) to be written "
                f"as annotations, got {text!r}; drop it with drop_vars('label')"
            )
    if not target.parent.is_dir():
        raise MissingFileError(target.parent, f"no such folder to write {target.name} into")
    notes = target.with_name(f"{target.name}.atr")
    if notes.exists() and not record.marks:
        raise FileError(notes, "is there already and would seem to belong to what is written")
    dated = isinstance(record.start, datetime.datetime)
    start = {"base_datetime" if dated else "base_time": record.start}
    folder = target.parent
    # The header comes last: without it there is no record.
    with moving_into(folder, beside=folder, is_last=lambda f: f.suffix == ".hea") as staging:
        wfdb.wrsamp(
            target.name,
            fs=record.frequency,
            units=units,
            sig_name=record.names,
            p_signal=record.values,
            fmt=[fmt] * len(units),
            write_dir=str(staging),
            **({} if record.start is None else start),
        )
        if record.marks:
            wfdb.wrann(
                target.name,
                "atr",
                np.array([round(onset * record.frequency) for onset, _, _ in record.marks]),
                symbol=[text for _, _, text in record.marks],
                write_dir=str(staging),
            )


def save_edf(signal: xr.DataArray, path: str | os.PathLike[str]) -> None:
    """Write one recording as an EDF+ or BDF+ file; an existing one is replaced whole or not at all.

    Parameters
    ----------
    signal : DataArray of shape (n_times[, n_signals]), dims (time[, channel])
        As :func:`load_edf` gives whole recordings, or as an encoder decodes them, all values
        finite; otherwise as :func:`save_wfdb` takes it.
    path : path-like
        File to write, ending in ``.edf`` or ``.bdf``. The range of each signal is divided into
        2**16 or 2**24 steps.

    Raises
    ------
    FileNotFoundError
        If there is no folder to write into.
    ValueError
        If the format cannot hold the signal: gaps, names of more than 16 letters, units of more
        than 8, a number of samples that cannot be divided into data records.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import load_edf
    >>> folder = tempfile.TemporaryDirectory()
    >>> lead = xr.DataArray([0.0, 1.0, 0.5], {"time": [0.0, 0.01, 0.02]}, "time")
    >>> save_edf(lead.assign_attrs(units="uV"), folder.name + "/r1.edf")
    >>> (read,) = load_edf(folder.name + "/r1.edf", mode="records")
    >>> read.values.round(3).tolist(), read.attrs["units"], read.attrs["frequency"]
    ([0.0, 1.0, 0.5], 'uV', 100.0)
    >>> folder.cleanup()
    """
    edfio = require("edfio", "eeg")
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in ENDINGS:
        raise ValueError(f"path must end in .edf or .bdf, got {target}")
    record = _record_of(signal)
    if not np.isfinite(record.values).all():
        raise ValueError("signal: EDF holds no gaps; write finite values only")
    make = edfio.EdfSignal if kind == ".edf" else edfio.BdfSignal
    signals = []
    for name, unit, values in zip(record.names, record.units, record.values.T, strict=True):
        try:
            signals.append(
                make(
                    values,
                    record.frequency,
                    label=name,
                    physical_dimension="uV" if unit == "µV" else unit,
                )
            )
        except ValueError as error:
            raise ValueError(f"signal: EDF cannot hold {name!r}: {error}") from error
    start: Any = record.start
    dated = isinstance(start, datetime.datetime)
    try:
        file = (edfio.Edf if kind == ".edf" else edfio.Bdf)(
            signals,
            data_record_duration=_record_duration(record, 2 if kind == ".edf" else 3),
            recording=edfio.Recording(startdate=start.date()) if dated else None,
            starttime=start.time() if dated else start,
            annotations=[
                edfio.EdfAnnotation(onset, duration, text) for onset, duration, text in record.marks
            ],
        )
    except ValueError as error:
        raise ValueError(f"signal: EDF cannot hold it: {error}") from error
    with replacing(target) as temporary:
        file.write(temporary)


def _record_of(signal: xr.DataArray) -> _Record:
    """Return what is written of a signal, or say what both formats cannot hold."""
    if not set(signal.dims) <= {"time", "channel"} or "time" not in signal.dims:
        raise ValueError(
            "signal must have the dimensions (time[, channel]); of several take one: "
            f"signals[0]; got {signal.dims}"
        )
    if not np.issubdtype(signal.dtype, np.number) or np.iscomplexobj(signal):
        raise ValueError(f"signal must have real values, got {signal.dtype}")
    ordered = signal.transpose("time", ...)
    values = np.asarray(ordered.values, dtype=np.float64).reshape(ordered.sizes["time"], -1)
    if np.isinf(values).any():
        raise ValueError("signal must have finite values, or NaN; got infinities")
    alone = "channel" in ordered.coords and ordered["channel"].ndim == 0
    names = [str(ordered["channel"].item()) if alone else "signal"]
    if "channel" in ordered.dims:
        labels = (
            ordered["channel"].values if "channel" in ordered.coords else range(values.shape[1])
        )
        names = [str(label) for label in labels]
    unit = str(ordered.attrs.get("units", ""))
    units = [unit] * values.shape[1]
    if "unit" in ordered.coords and ordered["unit"].dims == ("channel",):
        units = [str(one) for one in ordered["unit"].values]
    frequency, first = _rate_of(ordered)
    return _Record(
        values, frequency, names, units, _start_of(ordered, first), _marks(ordered, frequency)
    )


def _rate_of(signal: xr.DataArray) -> tuple[float, float]:
    """Return samples per second, and the second of the first sample."""
    if "time" not in signal.coords or signal.sizes["time"] < 2:
        raise ValueError("signal must have a coordinate time, in seconds, of two values or more")
    time = np.asarray(signal["time"].values, dtype=np.float64)
    unit = signal["time"].attrs.get("units", "s")
    if unit != "s":
        raise ValueError(f"signal: time must be in seconds, got {unit!r}")
    step = (time[-1] - time[0]) / (len(time) - 1)
    if not (step > 0 and np.allclose(np.diff(time), step, rtol=1e-3, atol=0)):
        raise ValueError("signal: time must rise in even steps")
    frequency = 1 / step
    if abs(frequency - round(frequency)) < 1e-6 * frequency:
        frequency = float(round(frequency))  # seconds as they are counted have no exact step
    return frequency, float(time[0])


def _start_of(signal: xr.DataArray, first: float) -> datetime.datetime | datetime.time | None:
    """Return when the first sample was taken."""
    stated = signal.attrs.get("start")
    if stated is None or "T" not in stated:
        if abs(first) > 1e-9:
            raise ValueError(
                f"signal: time begins at {first:g}, which the format cannot say; let it begin at 0 "
                "or give the date and time of 0 as attrs['start']"
            )
        return None if stated is None else datetime.time.fromisoformat(stated)
    return datetime.datetime.fromisoformat(stated) + datetime.timedelta(seconds=first)


def _marks(signal: xr.DataArray, frequency: float) -> list[tuple[float, float, str]]:
    """Return runs of one label over time; one sample is a moment."""
    if "label" not in signal.coords or signal["label"].dims != ("time",):
        return []
    labels = signal["label"].values.astype(str)
    borders = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1), len(labels)]
    return [
        (
            start / frequency,
            (end - start) / frequency if end - start > 1 else 0.0,
            str(labels[start]),
        )
        for start, end in pairwise(borders)
        if labels[start]
    ]


def _record_duration(record: _Record, bytes_per_sample: int) -> float:
    """Return seconds in one of EDF's data records, which all samples must fill."""
    n_times, n_signals = record.values.shape
    most = max(_MOST_BYTES_IN_RECORD // (bytes_per_sample * n_signals), 1)
    sizes = [size for size in range(min(n_times, most), 0, -1) if n_times % size == 0]
    if record.frequency.is_integer() and n_times % record.frequency == 0:
        sizes.insert(0, int(record.frequency))  # a second is what readers know best
    for size in sizes:
        duration = size / record.frequency
        if len(f"{duration:.15g}") <= 8 and float(f"{duration:.15g}") == duration:
            return duration
    raise ValueError(
        f"{n_times} samples at {record.frequency:g} per second cannot be divided into data "
        "records; cut or pad it to whole seconds"
    )
