"""WFDB records, such as ECG: whole, in windows of fixed length, or beats cut around annotations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading, require
from neurfield.datasets.windows import (
    Beat,
    Recording,
    assemble,
    cut_beats,
    cut_windows,
    resample_leads,
    whole,
)

#: Records of the MIT-BIH database of different patients for training and for testing, as divided by
#: de Chazal et al., IEEE Trans. Biomed. Eng. 51(7), 2004.
# fmt: off
MITBIH_SPLITS = {
    "ds1": ("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122",
            "124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
    "ds2": ("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210",
            "212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234"),
}
# fmt: on

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "nV": 1e-9}

_MITBIH = {
    "licence": "ODC-By 1.0",
    "citation": (
        "G. B. Moody and R. G. Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE "
        "Engineering in Medicine and Biology 20(3), 45-50, 2001, doi:10.1109/51.932724"
    ),
}


def load_wfdb(
    records: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    mode: Literal["beats", "windows", "records"] = "beats",
    length: int = 187,
    frequency: float | None = 125.0,
    leads: int | str | Sequence[int | str] = 0,
    scale: bool | None = None,
    annotations: str = "atr",
    split: str | None = None,
) -> xr.DataArray | list[xr.DataArray]:
    """Read ECG (or other) signals from WFDB records.

    Parameters
    ----------
    records : path-like or iterable of path-like
        Records (their header file, or its path without the ending), or one folder, whose records
        are read in order of their names.
    mode : {"beats", "windows", "records"}, default="beats"
        Windows centred on the annotated beats; windows side by side from the start of the record;
        or whole records. The last two need no annotations.
    length : int, default=187
        Samples in a window, after resampling.
    frequency : float or None, default=125.0
        Samples per second to resample to; None keeps those of the records.
    leads : int, str or sequence of them, default=0
        Place or name of the lead. A place is that in the first record; in others the lead of that
        name is read. A sequence gives a ``channel`` dimension, even of one lead.
    scale : bool, optional
        Whether each signal is mapped to [0, 1], all its leads together. By default beats are;
        windows and records are not.
    annotations : str, default="atr"
        Ending of the annotation files.
    split : {"ds1", "ds2"}, optional
        Keep only the records of one half of the usual inter-patient division of MIT-BIH.

    Returns
    -------
    DataArray of shape (n_samples, length[, n_leads]), dims (sample, time[, channel]), float32
        For beats and windows. ``time`` in seconds, 0 at the annotation for beats and at the start
        for windows. Coordinates over ``sample``: ``sample``, record and place in it; ``record``;
        ``onset``, the second of the record at which ``time`` is 0; for beats ``label``, the AAMI
        class (N, S, V, F or Q), and ``label_name``; for windows of annotated records ``label_N``,
        ``label_S``, ``label_V``, ``label_F`` and ``label_Q``, the number of beats of each class
        within. Windows that would reach beyond the record are left out.
    list of DataArray, each of shape (n_times[, n_leads]), dims (time[, channel]), float32
        For whole records, each of its own length, ``time`` in seconds from its start. Where there
        are annotations, ``label`` over ``time`` has the AAMI class at each beat and is empty
        elsewhere.

    Raises
    ------
    FileNotFoundError
        If a record is not there, or a folder holds none.
    ValueError
        If a record cannot be read, has no such lead, or nothing could be cut.

    Notes
    -----
    AAMI classes follow ANSI/AAMI EC57. A record is resampled as a whole before it is cut, so a beat
    lies within half a sample of the centre. With `split`, ``attrs`` hold ``split`` and MIT-BIH's
    ``licence`` and ``citation``.
    """
    wfdb = require("wfdb", "readers")
    if mode not in ("beats", "windows", "records"):
        raise ValueError(f"mode must be 'beats', 'windows' or 'records', got {mode!r}")
    if length < 2:
        raise ValueError(f"length must be at least 2 samples, got {length}")
    if frequency is not None and not frequency > 0:
        raise ValueError(f"frequency must be positive or None, got {frequency}")
    scaled = mode == "beats" if scale is None else scale
    paths = _expand(records, split)
    origin = {} if split is None else {"split": split.lower(), **_MITBIH}
    recordings: list[Recording] = []
    for path in paths:
        like = recordings[0] if recordings else None
        recordings.append(_read(wfdb, path, leads, frequency, annotations, mode, like))
    if mode == "records":
        return [whole(one, leads, scaled).assign_attrs(origin) for one in recordings]
    first = recordings[0]
    for one in recordings:
        if one.frequency != first.frequency:
            raise ValueError(
                f"frequency must be given where records differ: {first.name} has "
                f"{first.frequency:g} samples per second, {one.name} {one.frequency:g}"
            )
    cut = cut_beats if mode == "beats" else cut_windows
    pieces = [piece for one in recordings for piece in cut(one, length)]
    if not pieces:
        raise ValueError(f"{paths[0]}: no {mode} of {length} samples could be cut")
    before = length // 2 if mode == "beats" else 0
    return assemble(pieces, first, before, leads, scaled).assign_attrs(origin)


def is_record(path: Path) -> bool:
    """Return whether a path is a WFDB record: a header, a file beside one, or a bare name."""
    return (
        path.suffix == ".hea"
        or path.with_name(path.name + ".hea").is_file()
        or (path.suffix in (".dat", ".atr") and path.with_suffix(".hea").is_file())
    )


def _expand(
    records: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], split: str | None
) -> list[Path]:
    """Return the records' paths without ending, as the library wants them."""
    if not isinstance(records, str | os.PathLike):
        paths = [_stem(Path(record)) for record in records]
    elif Path(records).is_dir():
        paths = sorted(header.with_suffix("") for header in Path(records).glob("*.hea"))
        if not paths:
            raise FileNotFoundError(f"{records}: no WFDB record (.hea) in this folder")
    else:
        paths = [_stem(Path(records))]
    if split is not None:
        if split.lower() not in MITBIH_SPLITS:
            raise ValueError(f"split must be one of {', '.join(MITBIH_SPLITS)}, got {split!r}")
        members = MITBIH_SPLITS[split.lower()]
        paths = [path for path in paths if path.name in members]
    if not paths:
        raise FileNotFoundError(f"{records}: no WFDB record" + (f" of {split}" if split else ""))
    return paths


def _stem(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix in (".hea", ".dat", ".atr") else path
    existing(stem.with_name(stem.name + ".hea"))
    return stem


def _read(
    wfdb: Any,
    path: Path,
    leads: int | str | Sequence[int | str],
    frequency: float | None,
    annotations: str,
    mode: str,
    like: Recording | None,
) -> Recording:
    with reading(f"{path}.hea", "a WFDB header"):
        header = wfdb.rdheader(str(path))
        known, rate = list(header.sig_name), float(header.fs)
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"{path}.hea: samples per second must be positive, got {rate:g}")
    taken = _read_leads(wfdb, path, known, leads, like)
    beats = None
    if mode == "beats" or path.with_name(f"{path.name}.{annotations}").is_file():
        # Beats refer to frames, of which leads of a higher rate have several samples.
        n_frames = round(len(taken[0].values) * rate / taken[0].rate)
        beats = _read_beats(wfdb, path, annotations, rate, n_frames)
    target = max(lead.rate for lead in taken) if frequency is None else frequency
    resampled = [resample_leads(lead.values[:, None], lead.rate, target) for lead in taken]
    n_times = min(len(values) for values in resampled)
    return Recording(
        name=path.name,
        values=np.concatenate([values[:n_times] for values in resampled], axis=1),
        rate=rate,
        frequency=target,
        leads=[lead.name for lead in taken],
        units=[lead.unit for lead in taken],
        beats=beats,
    )


class _Lead(NamedTuple):
    """One lead as stored."""

    name: str
    unit: str
    rate: float
    values: NDArray[np.float64]  # (n_times,)


def _read_leads(
    wfdb: Any,
    path: Path,
    known: list[str],
    leads: int | str | Sequence[int | str],
    like: Recording | None,
) -> list[_Lead]:
    """Return the chosen leads, in the units of another recording.

    Those that were asked for by their place are those of the same name in the other recording:
    records of one data set may hold their leads in another order.
    """
    chosen = [leads] if isinstance(leads, int | str) else list(leads)
    wanted = chosen if like is None else like.leads
    places = [
        _place(path, known, lead if isinstance(lead, str) else name, lead)
        for lead, name in zip(chosen, wanted, strict=True)
    ]
    order = sorted(set(places))
    with reading(f"{path}.dat", "the signals of a WFDB record"):
        record = wfdb.rdrecord(str(path), channels=order, smooth_frames=False)
    taken = []
    for k, place in enumerate(places):
        column = order.index(place)
        stored = record.units[column]
        unit = stored if like is None else like.units[k]
        values = _factor(path, known[place], stored, unit) * record.e_p_signal[column]
        per_frame = 1 if record.samps_per_frame is None else record.samps_per_frame[column]
        taken.append(_Lead(known[place], unit, float(record.fs) * per_frame, values))
    return taken


def _place(path: Path, names: list[str], wanted: int | str, asked: int | str) -> int:
    if isinstance(wanted, int):
        if 0 <= wanted < len(names):
            return wanted
    elif names.count(wanted) == 1:
        return names.index(wanted)
    elif wanted in names:
        places = [place for place, name in enumerate(names) if name == wanted]
        raise ValueError(
            f"{path}: {len(places)} leads are called {wanted!r}; give leads by their places, which "
            f"are {places}"
        )
    meant = "" if wanted == asked else f", which lead {asked} is in the first record"
    raise ValueError(f"{path}: no lead {wanted!r}{meant}; the record has {', '.join(names)}")


def _factor(path: Path, lead: str, unit: str, wanted: str) -> float:
    """Return what values are multiplied by to be in another unit."""
    if unit == wanted:
        return 1.0
    if unit in _VOLTS and wanted in _VOLTS:
        return _VOLTS[unit] / _VOLTS[wanted]
    raise ValueError(
        f"{path}: lead {lead!r} is in {unit!r}, and in {wanted!r} in the first record; records "
        "that are read together need one unit"
    )


def _read_beats(wfdb: Any, path: Path, ending: str, rate: float, n_times: int) -> list[Beat]:
    """Return every annotated beat within the record, by its place at the record's own rate."""
    source = existing(path.with_name(f"{path.name}.{ending}"))
    # A complete file closes with a zero word, and the library does not miss it when it is cut off.
    if not source.read_bytes().endswith(b"\0\0"):
        raise ValueError(f"{source}: the annotation file is truncated, its closing mark is missing")
    with reading(source, "a WFDB annotation file"):
        annotation = wfdb.rdann(str(path), ending)
    ratio = rate / float(annotation.fs) if annotation.fs else 1.0  # it may count in its own ticks
    places = np.rint(np.asarray(annotation.sample) * ratio)
    marks = zip(places, annotation.symbol, strict=True)
    beats = [Beat.of_symbol(int(sample), symbol) for sample, symbol in marks]
    return [beat for beat in beats if beat is not None and 0 <= beat.sample < n_times]
