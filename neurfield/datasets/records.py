"""WFDB records, such as ECG: whole, in windows of fixed length, or beats cut around annotations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

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
        Place or name of the lead. A sequence gives a ``channel`` dimension, even of one lead.
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
    recordings = [_read(wfdb, path, leads, frequency, annotations, mode) for path in paths]
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
) -> Recording:
    signal, rate, units = _read_signal(wfdb, path, leads)
    beats = None
    if mode == "beats" or path.with_name(f"{path.name}.{annotations}").is_file():
        beats = _read_beats(wfdb, path, annotations, len(signal))
    target = rate if frequency is None else frequency
    return Recording(path.name, resample_leads(signal, rate, target), rate, target, units, beats)


def _read_signal(
    wfdb: Any, path: Path, leads: int | str | Sequence[int | str]
) -> tuple[NDArray[np.float64], float, list[str]]:
    """Return the chosen leads (n_times, n_leads), samples per second and the leads' units."""
    with reading(f"{path}.hea", "a WFDB header"):
        names = list(wfdb.rdheader(str(path)).sig_name)
    chosen = [leads] if isinstance(leads, int | str) else list(leads)
    channels = []
    for lead in chosen:
        known = lead in names if isinstance(lead, str) else 0 <= lead < len(names)
        if not known:
            raise ValueError(f"{path}: no lead {lead!r}; the record has {', '.join(names)}")
        channels.append(names.index(lead) if isinstance(lead, str) else lead)
    with reading(f"{path}.dat", "the signals of a WFDB record"):
        record = wfdb.rdrecord(str(path), channels=sorted(set(channels)))
        # The library returns channels in the order of the file, whatever order was asked for.
        columns = [record.sig_name.index(names[channel]) for channel in channels]
        units = [record.units[column] for column in columns]
        return record.p_signal[:, columns], float(record.fs), units


def _read_beats(wfdb: Any, path: Path, ending: str, n_times: int) -> list[Beat]:
    """Return every annotated beat within the record."""
    source = existing(path.with_name(f"{path.name}.{ending}"))
    # A complete file closes with a zero word, and the library does not miss it when it is cut off.
    if not source.read_bytes().endswith(b"\0\0"):
        raise ValueError(f"{source}: the annotation file is truncated, its closing mark is missing")
    with reading(source, "a WFDB annotation file"):
        annotation = wfdb.rdann(str(path), ending)
    marks = zip(annotation.sample, annotation.symbol, strict=True)
    beats = [Beat.of_symbol(int(sample), symbol) for sample, symbol in marks]
    return [beat for beat in beats if beat is not None and 0 <= beat.sample < n_times]
