"""EDF and BDF recordings, such as EEG: whole, in windows, or around their events."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from neurfield.datasets._edf_file import (
    ENDINGS,
    events_of,
    lead_of,
    open_file,
    open_recording,
    start_of,
    text_of,
)
from neurfield.datasets._files import existing, require
from neurfield.datasets.leads import as_list, in_units, join, places_of
from neurfield.datasets.windows import Event, Recording, arrange, check_cutting, names_of
from neurfield.errors import FileError, MissingFileError


def load_edf(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    mode: Literal["windows", "events", "records"] = "windows",
    length: int = 256,
    frequency: float | None = None,
    leads: int | str | Sequence[int | str] = 0,
    unit: str | None = None,
    scale: bool = False,
    annotations: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
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
        others the signal of that name is read. One alone is a scalar ``channel``; a sequence
        gives a dimension.
    unit : str, optional
        Unit of the values: ``V``, ``mV``, ``uV`` or ``nV`` of signals in any of these, or that
        which the files have. By default that of the first file.
    scale : bool, default=False
        Whether each signal is mapped to [0, 1], all its leads together.
    annotations : path-like or iterable of path-like, optional
        EDF+ file with the annotations of the recording, such as a hypnogram; of several recordings
        one for each. By default those in the recordings themselves.

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
    notes = [None] * len(paths) if annotations is None else _listed(annotations)
    if len(notes) != len(paths):
        raise ValueError(
            f"annotations must be one file for each recording, got {len(notes)} for {len(paths)}"
        )
    for path, name, note in zip(paths, names_of(paths), notes, strict=True):
        like = recordings[0] if recordings else None
        recordings.append(_read(path, name, note, leads, frequency, unit, like))
    return arrange(recordings, mode, length, leads, scale, prevailing)


def is_edf(path: Path) -> bool:
    """Return whether a path has the name of an EDF or BDF file."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def prevailing(events: list[Event], begin: float, end: float) -> dict[str, Any]:
    """Return the label of the event that takes up most of a window, of moments the first."""
    if not events:
        return {"label": ""}

    def share(event: Event) -> float:
        return min(event.onset + event.duration, end) - max(event.onset, begin)

    return {"label": max(events, key=share).labels["label"]}


def _listed(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str | os.PathLike[str]]:
    return [files] if isinstance(files, str | os.PathLike) else list(files)


def _expand(files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(files, str | os.PathLike) and Path(files).is_dir():
        paths = sorted(path for path in Path(files).iterdir() if is_edf(path))
    else:
        paths = [existing(path) for path in _listed(files)]
    if not paths:
        where = files if isinstance(files, str | os.PathLike) else "files"
        raise MissingFileError(where, "no EDF or BDF file")
    return paths


def _read(
    path: Path,
    name: str,
    notes: str | os.PathLike[str] | None,
    leads: int | str | Sequence[int | str],
    frequency: float | None,
    unit: str | None,
    like: Recording | None,
) -> Recording:
    file = open_recording(path)
    names = [text_of(signal.label) for signal in file.signals]
    places = places_of(path, names, leads, None if like is None else like.leads)
    taken = [lead_of(path, file.signals[place], names[place]) for place in places]
    taken = in_units(path, taken, unit, None if like is None else like.units)
    rates = dict.fromkeys(f"{lead.rate:g}" for lead in taken)
    if frequency is None and len(rates) > 1:
        raise ValueError(
            f"{path}: frequency must be given, because the signals asked for have "
            f"{' and '.join(rates)} samples per second"
        )
    values, rate = join(path, taken, frequency)
    start = start_of(file)
    return Recording(
        name=name,
        path=path,
        values=values,
        frequency=rate,
        leads=[lead.name for lead in taken],
        units=[lead.unit for lead in taken],
        events=events_of(path, file) if notes is None else _notes(path, start, notes),
        origin={} if start is None else {"start": start.isoformat()},
    )


def _notes(
    path: Path, start: datetime.datetime | None, notes: str | os.PathLike[str]
) -> list[Event]:
    """Return the annotations of another file, their onsets from the start of the recording."""
    source = existing(notes)
    file = open_file(source)
    begun = start_of(file)
    if start is None or begun is None:
        raise FileError(source, f"this file or {path.name} does not say when it begins")
    events = events_of(source, file, (begun - start).total_seconds())
    if events is None:
        raise FileError(source, "has no annotations; expected an EDF+ or BDF+ file")
    return events
