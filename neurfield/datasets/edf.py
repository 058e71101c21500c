"""EDF and BDF recordings, such as EEG: whole, in windows, or around their events."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from neurfield.datasets._files import existing, reading, require
from neurfield.datasets.leads import Lead, as_list, join, places_of
from neurfield.datasets.windows import Event, Recording, arrange, check_cutting, names_of
from neurfield.errors import FileError, MissingFileError
from neurfield.limits import check_unpacked

_ENDINGS = (".edf", ".bdf")

#: Spellings of microvolts that are met in headers.
_MICROVOLTS = ("µV", "μV", "\x83\xcaV")


def load_edf(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    mode: Literal["windows", "events", "records"] = "windows",
    length: int = 256,
    frequency: float | None = None,
    leads: int | str | Sequence[int | str] = 0,
    unit: str | None = None,
    scale: bool = False,
) -> xr.DataArray | list[xr.DataArray]:
    """Read EEG (or other) signals from EDF, EDF+, BDF or BDF+ files.

    Parameters
    ----------
    files : path-like or iterable of path-like
        Files, or one folder, whose ``.edf`` and ``.bdf`` files are read in order of their names.
    mode : {"windows", "events", "records"}, default="windows"
        Windows side by side from the start of the recording; windows centred on the onsets of the
        annotations; or whole recordings.
    length : int, default=256
        Samples in a window, after resampling.
    frequency : float, optional
        Samples per second to resample to. By default that of the signals, which must be one.
    leads : int, str or sequence of them, default=0
        Place or name of the signal, annotations not counted. A place is that in the first file; in
        others the signal of that name is read. A sequence gives a ``channel`` dimension.
    unit : str, optional
        Unit of the values: ``V``, ``mV``, ``uV`` or ``nV`` of signals in any of these, or that
        which the files have. By default that of the first file.
    scale : bool, default=False
        Whether each signal is mapped to [0, 1], all its leads together.

    Returns
    -------
    DataArray of shape (n_samples, length[, n_leads]), dims (sample, time[, channel]), float32
        For windows and events. ``time`` in seconds, 0 at the onset for events and at the start for
        windows. Coordinates over ``sample``: ``sample``, file and place in it; ``record``, the
        file; ``onset``, the second of the recording at which ``time`` is 0; ``start``, the date and
        time of it; ``label``, the text of the event, or of the annotation that takes up most of the
        window; ``duration`` of events in seconds. Windows that would reach beyond the recording
        are left out.
    list of DataArray, each of shape (n_times[, n_leads]), dims (time[, channel]), float32
        For whole recordings, ``time`` in seconds from the start, which is ``attrs["start"]``.
        ``label`` over ``time`` has the text of the annotation at that time.

    Raises
    ------
    MissingFileError
        If a file is not there, or a folder holds none.
    FileError
        If a file cannot be read, is truncated or has gaps between its data records (EDF+D), has no
        such signal or not in that unit, or nothing could be cut.
    ValueError
        If an option has none of the values allowed, or the signals have several rates and
        `frequency` is not given.

    Notes
    -----
    A signal whose header gives no range of values is not calibrated: its values are in ``adu``,
    steps of the converter, with a warning. A header that leaves the number of data records open, as
    of a recording that was never closed, draws a warning too.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import save_edf
    >>> folder = tempfile.TemporaryDirectory()
    >>> lead = xr.DataArray([0.0, 1.0, 0.5, 0.0], {"time": [0.0, 0.01, 0.02, 0.03]}, "time")
    >>> save_edf(lead.assign_attrs(units="mV"), folder.name + "/r1.edf")
    >>> windows = load_edf(folder.name, length=2, unit="uV")
    >>> windows.values.round().tolist(), windows["sample"].values.tolist()
    ([[0.0, 1000.0], [500.0, 0.0]], ['r1.edf/0', 'r1.edf/2'])
    >>> folder.cleanup()
    """
    require("edfio", "eeg")
    check_cutting(mode, ("windows", "events", "records"), length, frequency)
    as_list(leads)
    recordings: list[Recording] = []
    paths = _expand(files)
    for path, name in zip(paths, names_of(paths), strict=True):
        like = recordings[0] if recordings else None
        recordings.append(_read(path, name, leads, frequency, unit, like))
    return arrange(recordings, mode, length, leads, scale, prevailing)


def is_edf(path: Path) -> bool:
    """Return whether a path has the name of an EDF or BDF file."""
    return path.suffix.lower() in _ENDINGS and not path.is_dir()


def prevailing(events: list[Event], begin: float, end: float) -> dict[str, Any]:
    """Return the label of the event that takes up most of a window, of moments the first."""
    if not events:
        return {"label": ""}

    def share(event: Event) -> float:
        return min(event.onset + event.duration, end) - max(event.onset, begin)

    return {"label": max(events, key=share).labels["label"]}


def _expand(files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    if not isinstance(files, str | os.PathLike):
        paths = [existing(path) for path in files]
    elif Path(files).is_dir():
        paths = sorted(path for path in Path(files).iterdir() if is_edf(path))
    else:
        paths = [existing(files)]
    if not paths:
        where = files if isinstance(files, str | os.PathLike) else "files"
        raise MissingFileError(where, "no EDF or BDF file")
    return paths


def _read(
    path: Path,
    name: str,
    leads: int | str | Sequence[int | str],
    frequency: float | None,
    unit: str | None,
    like: Recording | None,
) -> Recording:
    file = _open(path)
    names = [_text(signal.label) for signal in file.signals]
    places = places_of(path, names, leads, None if like is None else like.leads)
    taken = [_lead(path, file.signals[place], names[place]) for place in places]
    if unit is not None:
        taken = [lead.in_unit(path, unit, "was asked for") for lead in taken]
    elif like is not None:
        where = "in the first file"
        units = zip(taken, like.units, strict=True)
        taken = [lead.in_unit(path, wanted, where) for lead, wanted in units]
    rates = dict.fromkeys(f"{lead.rate:g}" for lead in taken)
    if frequency is None and len(rates) > 1:
        raise ValueError(
            f"{path}: frequency must be given, because the signals asked for have "
            f"{' and '.join(rates)} samples per second"
        )
    values, rate = join(path, taken, frequency)
    return Recording(
        name=name,
        path=path,
        values=values,
        frequency=rate,
        leads=[lead.name for lead in taken],
        units=[lead.unit for lead in taken],
        events=_events(path, file),
        origin=_origin(file),
    )


def _open(path: Path) -> Any:
    """Return the library's object for a file of which all data records are there, without gaps."""
    edfio = require("edfio", "eeg")
    kind = path.suffix.lower()
    if kind not in _ENDINGS:
        raise FileError(path, "expected a name that ends in .edf or .bdf")
    if path.is_dir():
        raise FileError(path, "is a folder; expected an EDF or BDF file")
    # Of a BDF file the library makes four bytes of three, several times over.
    check_unpacked(path, path.stat().st_size)
    with reading(path, f"an {kind[1:].upper()} file"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Headers are ASCII by the book and have letters of Latin-1 or UTF-8 in practice.
        read = edfio.read_edf if kind == ".edf" else edfio.read_bdf
        file = read(path, header_encoding="latin-1")
        continuous = file.is_continuous
        if not file.signals:
            raise FileError(path, "has no signals")
        if not (np.isfinite(file.data_record_duration) and file.data_record_duration > 0):
            raise FileError(path, "the duration of its data records must be positive")
    # The library says so in warnings, and goes on with what is there.
    for warning in said:
        message = str(warning.message)
        if "header indicates -1 data records" in message:
            warnings.warn(f"{path}: {message}", stacklevel=2)
        elif "data record" in message:
            raise FileError(path, f"is truncated, or its header is wrong: {message}")
    if not continuous:
        raise FileError(
            path,
            "has gaps between its data records (EDF+D); cut it into files without gaps first, for "
            "example in EDFbrowser",
        )
    return file


def _lead(path: Path, signal: Any, name: str) -> Lead:
    unit = _text(signal.physical_dimension)
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


def _text(field: str) -> str:
    """Return a field, read as Latin-1, as what it is if it was written as UTF-8."""
    try:
        return field.encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        return field.strip()


def _events(path: Path, file: Any) -> list[Event] | None:
    """Return the annotations, None for files of a kind that has none."""
    if "+" not in file.reserved[:4]:
        return None
    with reading(path, "a recording with annotations"):
        return [
            Event(
                f"{mark.onset:g}",
                float(mark.onset),
                float(mark.duration or 0),
                {"label": mark.text, "duration": float(mark.duration or 0)},
            )
            for mark in file.annotations
        ]


def _origin(file: Any) -> dict[str, Any]:
    """Return when the recording began, if the header says so in a way that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two dates that differ, the longer one is taken
        try:
            return {"start": file.startdatetime.isoformat()}
        except (ValueError, OverflowError):
            return {}
