"""WFDB records, such as ECG: beats cut around annotations, or windows of fixed length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading, require

#: Beat classes of the AAMI recommendation EC57, and the annotation symbols that belong to each.
AAMI_CLASSES = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}

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

_CLASS_OF = {symbol: name for name, symbols in AAMI_CLASSES.items() for symbol in symbols}


class _Piece(NamedTuple):
    """One window cut from a record."""

    values: NDArray[np.float32]  # (length, n_leads)
    label: str
    onset: float  # seconds from the start of the record to time 0 of the window
    record: str


def load_wfdb(
    records: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    mode: Literal["beats", "windows"] = "beats",
    length: int = 187,
    frequency: float | None = 125.0,
    leads: int | str | Sequence[int | str] = 0,
    scale: bool | None = None,
    annotations: str = "atr",
    split: str | None = None,
) -> xr.DataArray:
    """Read ECG (or other) signals from WFDB records.

    Parameters
    ----------
    records : path-like or iterable of path-like
        Records (their header file, or its path without the ending), or one folder, whose records
        are read in order of their names.
    mode : {"beats", "windows"}, default="beats"
        Windows centred on the annotated beats; or windows side by side from the start of the
        record, which need no annotations.
    length : int, default=187
        Samples in a window, after resampling.
    frequency : float or None, default=125.0
        Samples per second to resample to; None keeps those of the records.
    leads : int, str or sequence of them, default=0
        Place or name of the lead. A sequence gives a ``channel`` dimension, even of one lead.
    scale : bool, optional
        Whether each window is mapped to [0, 1], all its leads together. By default beats are and
        windows are not.
    annotations : str, default="atr"
        Ending of the annotation files; used in the mode "beats".
    split : {"ds1", "ds2"}, optional
        Keep only the records of one half of the usual inter-patient division of MIT-BIH.

    Returns
    -------
    DataArray of shape (n_samples, length[, n_leads]), dims (sample, time[, channel]), float32
        ``time`` in seconds, 0 at the annotation for beats and at the start for windows. Coordinates
        over ``sample``: ``record``; ``onset``, the second of the record at which ``time`` is 0; and
        for beats ``label``, the AAMI class (N, S, V, F or Q). Windows that would reach beyond the
        record are left out.

    Raises
    ------
    FileNotFoundError
        If a record is not there, or a folder holds none.
    ValueError
        If a record cannot be read, has no such lead, or nothing could be cut.

    Notes
    -----
    AAMI classes follow ANSI/AAMI EC57. A record is resampled as a whole before it is cut, so a beat
    lies within half a sample of the centre.
    """
    wfdb = require("wfdb", "readers")
    if mode not in ("beats", "windows"):
        raise ValueError(f"mode must be 'beats' or 'windows', got {mode!r}")
    if length < 2:
        raise ValueError(f"length must be at least 2 samples, got {length}")
    scaled = mode == "beats" if scale is None else scale
    paths = _expand(records, split)
    pieces: list[_Piece] = []
    units = ""
    for path in paths:
        signal, rate, units = _read_record(wfdb, path, leads)
        resampled = _resample(signal, rate, frequency)
        cut_rate = rate if frequency is None else frequency
        if mode == "beats":
            where = _read_beats(wfdb, path, annotations, len(signal))
            pieces += _cut_beats(resampled, cut_rate, length, where, rate, path.name)
        else:
            pieces += _cut_windows(resampled, cut_rate, length, path.name)
    if not pieces:
        raise ValueError(f"{paths[0]}: no {mode} of {length} samples could be cut")
    return _assemble(pieces, cut_rate, length, mode, leads, units, scaled)


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


def _read_record(
    wfdb: Any, path: Path, leads: int | str | Sequence[int | str]
) -> tuple[NDArray[np.float64], float, str]:
    """Return the chosen leads (n_times, n_leads), samples per second and the unit of the values."""
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
        return record.p_signal[:, columns], float(record.fs), record.units[columns[0]]


def _read_beats(wfdb: Any, path: Path, ending: str, n_times: int) -> list[tuple[int, str]]:
    """Return (sample, AAMI class) of every annotated beat."""
    source = existing(path.with_name(f"{path.name}.{ending}"))
    # A complete file closes with a zero word, and the library does not miss it when it is cut off.
    if not source.read_bytes().endswith(b"\0\0"):
        raise ValueError(f"{source}: the annotation file is truncated, its closing mark is missing")
    with reading(source, "a WFDB annotation file"):
        annotation = wfdb.rdann(str(path), ending)
    return [
        (int(sample), _CLASS_OF[symbol])
        for sample, symbol in zip(annotation.sample, annotation.symbol, strict=True)
        if symbol in _CLASS_OF and 0 <= sample < n_times
    ]


def _resample(
    signal: NDArray[np.float64], rate: float, frequency: float | None
) -> NDArray[np.float32]:
    if frequency is None or frequency == rate:
        return signal.astype(np.float32)
    from scipy.signal import resample_poly

    ratio = (Fraction(frequency) / Fraction(rate)).limit_denominator(10_000)
    # Ends are continued by a line, otherwise the filter rings against an imagined zero outside.
    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, axis=0, padtype="line")
    return np.asarray(resampled, dtype=np.float32)


def _cut_beats(
    signal: NDArray[np.float32],
    frequency: float,
    length: int,
    beats: list[tuple[int, str]],
    rate: float,
    record: str,
) -> Iterator[_Piece]:
    for sample, label in beats:
        start = round(sample * frequency / rate) - length // 2
        if start >= 0 and start + length <= len(signal):
            yield _Piece(signal[start : start + length], label, sample / rate, record)


def _cut_windows(
    signal: NDArray[np.float32], frequency: float, length: int, record: str
) -> Iterator[_Piece]:
    for start in range(0, len(signal) - length + 1, length):
        yield _Piece(signal[start : start + length], "", start / frequency, record)


def _assemble(
    pieces: list[_Piece],
    frequency: float,
    length: int,
    mode: str,
    leads: int | str | Sequence[int | str],
    units: str,
    scaled: bool,
) -> xr.DataArray:
    values = np.stack([piece.values for piece in pieces])
    observed = np.flatnonzero(~np.isnan(values).all(axis=(1, 2)))
    values, pieces = values[observed], [pieces[index] for index in observed]
    if scaled:
        low = np.nanmin(values, axis=(1, 2), keepdims=True)
        span = np.nanmax(values, axis=(1, 2), keepdims=True) - low
        values = (values - low) / np.where(span > 0, span, 1)
    centre = length // 2 if mode == "beats" else 0
    time = (np.arange(length) - centre) / frequency
    coords: dict[str, Any] = {
        "time": ("time", time, {"units": "s"}),
        "record": ("sample", [piece.record for piece in pieces]),
        "onset": ("sample", [piece.onset for piece in pieces], {"units": "s"}),
    }
    if mode == "beats":
        coords["label"] = ("sample", [piece.label for piece in pieces])
    attrs = {"units": "1" if scaled else units, "frequency": frequency}
    if isinstance(leads, int | str):
        dims, values = ("sample", "time"), values[..., 0]
    else:
        dims = ("sample", "time", "channel")  # type: ignore[assignment]
        coords["channel"] = [str(lead) for lead in leads]
    return xr.DataArray(values, dims=dims, coords=coords, name="signal", attrs=attrs)
