"""Pieces of long recordings: cut, and labelled by the events within them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets.leads import labels_of
from neurfield.errors import FileError


class Event(NamedTuple):
    """Something marked in a recording."""

    name: str  # tells it from others of the recording
    onset: float  # seconds from the start of the recording
    duration: float  # seconds, 0 of a moment
    labels: dict[str, Any]  # coordinates over sample of a window around it; ``label`` among them


#: Labels of a window, from the events in it and the seconds at which it starts and ends.
Summary = Callable[[list[Event], float, float], dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """One recording, all its leads at one rate.

    Parameters
    ----------
    name : str
        Name of the recording, the start of the names of its windows.
    path : path-like
        The file it came from.
    values : float32 array of shape (n_times, n_leads)
        NaN where nothing was observed.
    frequency : float
        Samples per second of `values`.
    leads, units : list of str
        Name and unit of each lead.
    events : list of Event or None
        None if there are no annotations.
    origin : dict, optional
        Attributes that say when time 0 was; ``start`` in ISO format among them, if known. By
        default nothing is known.
    """

    name: str
    path: str | os.PathLike[str]
    values: NDArray[np.float32]
    frequency: float
    leads: list[str]
    units: list[str]
    events: list[Event] | None
    origin: dict[str, Any] = field(default_factory=dict)

    def place(self, seconds: float) -> int:
        """Return the sample nearest to a time."""
        return round(seconds * self.frequency)


class Piece(NamedTuple):
    """One window cut from a recording."""

    name: str
    values: NDArray[np.float32]  # (length, n_leads)
    onset: float  # seconds from the start of the recording to time 0 of the window
    labels: dict[str, Any]  # coordinates over sample


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each recording: that of its file, with folders where these repeat."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(root).as_posix() for path in paths]


def check_cutting(mode: str, modes: Sequence[str], length: int, frequency: float | None) -> None:
    """Refuse options that no recording could satisfy.

    Parameters
    ----------
    mode : str
        As asked for.
    modes : sequence of str
        Those there are.
    length : int
        Samples in a window.
    frequency : float or None
        Samples per second.

    Raises
    ------
    ValueError
        If one of them is none of the values allowed.
    """
    if mode not in modes:
        *others, last = map(repr, modes)
        raise ValueError(f"mode must be {', '.join(others)} or {last}, got {mode!r}")
    if length < 2:
        raise ValueError(f"length must be at least 2 samples, got {length}")
    if frequency is not None and not (frequency > 0 and np.isfinite(frequency)):
        raise ValueError(f"frequency must be positive or None, got {frequency}")


def arrange(
    recordings: Sequence[Recording],
    mode: str,
    length: int,
    leads: int | str | Sequence[int | str],
    scaled: bool,
    summary: Summary,
) -> xr.DataArray | list[xr.DataArray]:
    """Return recordings whole, in windows side by side, or in windows around their events.

    Parameters
    ----------
    recordings : sequence of Recording
        At least one; all with the same leads in the same units.
    mode : str
        ``records``, ``windows``, or anything else for windows around events.
    length : int
        Samples in a window.
    leads : int, str or sequence of them
        As asked for.
    scaled : bool
        Whether each signal is mapped to [0, 1].
    summary : callable
        Labels of a window side by side with others.

    Raises
    ------
    ValueError
        If rates differ among recordings that are to be cut, or nothing could be cut.
    """
    if mode == "records":
        return [whole(one, leads, scaled) for one in recordings]
    first = recordings[0]
    for one in recordings:
        if one.frequency != first.frequency:
            raise ValueError(
                f"frequency must be given where records differ: {first.name} has "
                f"{first.frequency:g} samples per second, {one.name} {one.frequency:g}"
            )
    pieces: list[Piece] = []
    for one in recordings:
        side_by_side = mode == "windows"
        pieces += cut_windows(one, length, summary) if side_by_side else cut_events(one, length)
    if not pieces:
        raise FileError(first.path, f"no {mode} of {length} samples could be cut")
    return assemble(pieces, first, 0 if mode == "windows" else length // 2, leads, scaled)


def cut_events(recording: Recording, length: int) -> Iterator[Piece]:
    """Cut a window around each event; those that would reach beyond the recording are left out."""
    for event in recording.events or []:
        start = recording.place(event.onset) - length // 2
        if start >= 0 and start + length <= len(recording.values):
            yield Piece(
                f"{recording.name}/{event.name}",
                recording.values[start : start + length],
                event.onset,
                {**_clock(recording, event.onset), **event.labels},
            )


def cut_windows(recording: Recording, length: int, summary: Summary) -> Iterator[Piece]:
    """Cut windows side by side from the start of a recording, the rest at its end left out."""
    events = recording.events or []
    onsets = np.array([event.onset for event in events])
    ends = onsets + np.array([event.duration for event in events])
    for start in range(0, len(recording.values) - length + 1, length):
        begin, end = start / recording.frequency, (start + length) / recording.frequency
        labels = _clock(recording, begin)
        if recording.events is not None:
            within = np.flatnonzero((onsets < end) & ((onsets >= begin) | (ends > begin)))
            labels |= summary([events[index] for index in within], begin, end)
        yield Piece(
            f"{recording.name}/{start}", recording.values[start : start + length], begin, labels
        )


def _clock(recording: Recording, seconds: float) -> dict[str, Any]:
    """Return the date and time of a moment of the recording, if they are known."""
    start = recording.origin.get("start", "")
    if "T" not in start:
        return {}
    moment = datetime.datetime.fromisoformat(start) + datetime.timedelta(seconds=seconds)
    return {"start": moment.isoformat(timespec="microseconds")}


def whole(
    recording: Recording, leads: int | str | Sequence[int | str], scaled: bool
) -> xr.DataArray:
    """Return a whole recording, its events marked along time."""
    values = unit_range(recording.values[None])[0] if scaled else recording.values
    time = np.arange(len(values)) / recording.frequency
    coords: dict[str, Any] = {"time": ("time", time, {"units": "s"})}
    if recording.events is not None:
        longest = max([1, *(len(str(event.labels["label"])) for event in recording.events)])
        marks = np.full(len(values), "", dtype=f"<U{longest}")
        for event in recording.events:
            first = recording.place(event.onset)
            last = max(recording.place(event.onset + event.duration), first + 1)
            marks[max(first, 0) : max(last, 0)] = event.labels["label"]
        coords["label"] = ("time", marks)
    attrs = {
        "frequency": recording.frequency,
        "record": recording.name,
        "filename": recording.name,
        **recording.origin,
    }
    return _labelled(values, ["time"], coords, recording, leads, scaled, attrs)


def assemble(
    pieces: list[Piece],
    like: Recording,
    before: int,
    leads: int | str | Sequence[int | str],
    scaled: bool,
) -> xr.DataArray:
    """Return windows as one array, without those in which nothing was observed.

    Parameters
    ----------
    pieces : list of Piece
        Windows of one length, from one recording or several.
    like : Recording
        One of those they were cut from, for the frequency and units.
    before : int
        Samples of a window before its time 0.
    leads : int, str or sequence of them
        As asked for.
    scaled : bool
        Whether each window is mapped to [0, 1].

    Raises
    ------
    FileError
        If nothing was observed in any window.
    """
    values = np.stack([piece.values for piece in pieces])
    observed = np.flatnonzero(~np.isnan(values).all(axis=(1, 2)))
    if not len(observed):
        raise FileError(like.path, "nothing was observed in any window of the leads asked for")
    values, pieces = values[observed], [pieces[index] for index in observed]
    if scaled:
        values = unit_range(values)
    time = (np.arange(values.shape[1]) - before) / like.frequency
    coords: dict[str, Any] = {
        "sample": [piece.name for piece in pieces],
        "time": ("time", time, {"units": "s"}),
        "record": ("sample", [piece.name.rpartition("/")[0] for piece in pieces]),
        "onset": ("sample", [piece.onset for piece in pieces], {"units": "s"}),
    }
    for name in dict.fromkeys(name for piece in pieces for name in piece.labels):
        labels = [piece.labels.get(name) for piece in pieces]
        if all(label is None or isinstance(label, str) for label in labels):
            labels = [label or "" for label in labels]
        if None not in labels:  # no number stands for one that is not known
            coords[name] = ("sample", labels)
    attrs = {"frequency": like.frequency}
    return _labelled(values, ["sample", "time"], coords, like, leads, scaled, attrs)


def unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map each window (n, length, n_leads) to [0, 1], all its leads together."""
    low = np.fmin.reduce(values, axis=(1, 2), keepdims=True)
    span = np.fmax.reduce(values, axis=(1, 2), keepdims=True) - low
    return np.asarray((values - low) / np.where(span > 0, span, 1), dtype=np.float32)


def _labelled(
    values: NDArray[np.float32],
    dims: list[str],
    coords: dict[str, Any],
    like: Recording,
    leads: int | str | Sequence[int | str],
    scaled: bool,
    attrs: dict[str, Any],
) -> xr.DataArray:
    """Return the array; one lead asked for alone is a scalar ``channel``, not a dimension."""
    if isinstance(leads, int | str):
        values = values[..., 0]
        coords["channel"] = like.leads[0]
    else:
        dims = [*dims, "channel"]
        coords["channel"] = labels_of(leads, like.leads)
    units = {"1"} if scaled else set(like.units)
    if len(units) == 1:
        attrs["units"] = units.pop()
    else:
        coords["unit"] = ("channel", like.units)
    return xr.DataArray(values, dims=dims, coords=coords, name="signal", attrs=attrs)
