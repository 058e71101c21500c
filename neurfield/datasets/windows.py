"""Pieces of long recordings: resampled, cut, labelled by the annotations within them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

#: Beat classes of the AAMI recommendation EC57, and the annotation symbols that belong to each.
AAMI_CLASSES = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}

#: What the AAMI classes stand for.
AAMI_NAMES = {
    "N": "normal or bundle branch block",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion of ventricular and normal",
    "Q": "paced or unknown",
}

_CLASS_OF = {symbol: name for name, symbols in AAMI_CLASSES.items() for symbol in symbols}


class Beat(NamedTuple):
    """An annotated beat: its place in the recording as stored, and its AAMI class."""

    sample: int
    label: str

    @classmethod
    def of_symbol(cls, sample: int, symbol: str) -> Beat | None:
        """Return the beat of an annotation symbol, None if it marks something else."""
        return cls(sample, _CLASS_OF[symbol]) if symbol in _CLASS_OF else None


@dataclass(frozen=True)
class Recording:
    """One recording, resampled.

    Parameters
    ----------
    name : str
        Name of the record, the start of the names of its windows.
    values : float32 array of shape (n_times, n_leads)
        NaN where nothing was observed.
    rate : float
        Samples per second as stored, to which `beats` refer.
    frequency : float
        Samples per second of `values`.
    leads, units : list of str
        Name and unit of each lead.
    beats : list of Beat or None
        None if there are no annotations.
    """

    name: str
    values: NDArray[np.float32]
    rate: float
    frequency: float
    leads: list[str]
    units: list[str]
    beats: list[Beat] | None

    def places(self) -> NDArray[np.intp]:
        """Return the places of the beats in `values`."""
        ratio = self.frequency / self.rate
        return np.array([round(beat.sample * ratio) for beat in self.beats or []], dtype=np.intp)


class Piece(NamedTuple):
    """One window cut from a recording."""

    name: str
    values: NDArray[np.float32]  # (length, n_leads)
    onset: float  # seconds from the start of the recording to time 0 of the window
    labels: dict[str, Any]  # coordinates over sample


def resample_leads(
    signal: NDArray[np.float64], rate: float, frequency: float
) -> NDArray[np.float32]:
    """Return the leads (n_times, n_leads) at another number of samples per second."""
    if frequency == rate:
        return signal.astype(np.float32)
    from scipy.signal import resample_poly

    ratio = (Fraction(frequency) / Fraction(rate)).limit_denominator(10_000)
    # Ends are continued by a line, otherwise the filter rings against an imagined zero outside.
    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, axis=0, padtype="line")
    return np.asarray(resampled, dtype=np.float32)


def cut_beats(recording: Recording, length: int) -> Iterator[Piece]:
    """Cut a window around each beat; those that would reach beyond the recording are left out."""
    for beat, place in zip(recording.beats or [], recording.places(), strict=True):
        start = place - length // 2
        if start >= 0 and start + length <= len(recording.values):
            yield Piece(
                f"{recording.name}/{beat.sample}",
                recording.values[start : start + length],
                beat.sample / recording.rate,
                {"label": beat.label, "label_name": AAMI_NAMES[beat.label]},
            )


def cut_windows(recording: Recording, length: int) -> Iterator[Piece]:
    """Cut windows side by side, each with the number of beats of each class within it."""
    places = recording.places()
    classes = np.array([beat.label for beat in recording.beats or []])
    for start in range(0, len(recording.values) - length + 1, length):
        within = classes[(places >= start) & (places < start + length)]
        counts = {f"label_{name}": int((within == name).sum()) for name in AAMI_CLASSES}
        yield Piece(
            f"{recording.name}/{start}",
            recording.values[start : start + length],
            start / recording.frequency,
            {} if recording.beats is None else counts,
        )


def whole(
    recording: Recording, leads: int | str | Sequence[int | str], scaled: bool
) -> xr.DataArray:
    """Return a whole recording, its beats marked along time."""
    values = unit_range(recording.values[None])[0] if scaled else recording.values
    time = np.arange(len(values)) / recording.frequency
    coords: dict[str, Any] = {"time": ("time", time, {"units": "s"})}
    if recording.beats is not None:
        marks = np.full(len(values), "", dtype="<U1")
        places = recording.places()
        inside = places < len(values)
        marks[places[inside]] = np.array([beat.label for beat in recording.beats])[inside]
        coords["label"] = ("time", marks)
    attrs = {**_attrs(recording, scaled), "record": recording.name, "filename": recording.name}
    return _labelled(values, ["time"], coords, leads, attrs)


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
    """
    values = np.stack([piece.values for piece in pieces])
    observed = np.flatnonzero(~np.isnan(values).all(axis=(1, 2)))
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
    annotated = [piece.labels for piece in pieces if piece.labels]
    for name in annotated[0] if len(annotated) == len(pieces) else ():
        coords[name] = ("sample", [labels[name] for labels in annotated])
    return _labelled(values, ["sample", "time"], coords, leads, _attrs(like, scaled))


def unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map each window (n, length, n_leads) to [0, 1], all its leads together."""
    low = np.nanmin(values, axis=(1, 2), keepdims=True)
    span = np.nanmax(values, axis=(1, 2), keepdims=True) - low
    return np.asarray((values - low) / np.where(span > 0, span, 1), dtype=np.float32)


def _attrs(recording: Recording, scaled: bool) -> dict[str, Any]:
    return {"units": "1" if scaled else recording.units[0], "frequency": recording.frequency}


def _labelled(
    values: NDArray[np.float32],
    dims: list[str],
    coords: dict[str, Any],
    leads: int | str | Sequence[int | str],
    attrs: dict[str, Any],
) -> xr.DataArray:
    """Return the array, with a dimension of channels only if a sequence of leads was asked for."""
    if isinstance(leads, int | str):
        values = values[..., 0]
    else:
        dims = [*dims, "channel"]
        coords["channel"] = [str(lead) for lead in leads]
    return xr.DataArray(values, dims=dims, coords=coords, name="signal", attrs=attrs)
