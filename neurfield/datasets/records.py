"""WFDB records, such as ECG: whole, in windows of fixed length, or beats cut around annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import xarray as xr

from neurfield.datasets._files import existing, require
from neurfield.datasets._wfdb_annotations import count_beats, read_beats, without_empty
from neurfield.datasets._wfdb_header import read_header
from neurfield.datasets._wfdb_signals import data_of, read_leads
from neurfield.datasets.leads import as_list, in_units, join
from neurfield.datasets.windows import Recording, arrange, check_cutting, names_of
from neurfield.errors import MissingFileError

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

#: The first line of a header whose signals lie in segments.
_OF_SEGMENTS = re.compile(rb"^\s*[-\w]+/\d+\s", re.MULTILINE)

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
    unit: str | None = None,
    scale: bool | None = None,
    annotations: str = "atr",
    split: str | None = None,
    verify: bool = True,
) -> xr.DataArray | list[xr.DataArray]:
    """Read ECG (or other) signals from WFDB records.

    Parameters
    ----------
    records : path-like or iterable of path-like
        Records (their header file, or its path without the ending), or one folder, whose records
        are read in order of their names, segments of other records left to these.
    mode : {"beats", "windows", "records"}, default="beats"
        Windows centred on the annotated beats; windows side by side from the start of the record;
        or whole records. The last two need no annotations.
    length : int, default=187
        Samples in a window, after resampling.
    frequency : float or None, default=125.0
        Samples per second to resample to; None keeps those of the records.
    leads : int, str or sequence of them, default=0
        Place or name of the lead. A place is that in the first record; in others the lead of that
        name is read. One alone is a scalar ``channel``; a sequence, even of one lead,
        gives a dimension.
    unit : str, optional
        Unit of the values: ``V``, ``mV``, ``uV`` or ``nV`` of leads in any of these, or that which
        the records have. By default that of the first record.
    scale : bool, optional
        Whether each signal is mapped to [0, 1], all its leads together. By default beats are;
        windows and records are not.
    annotations : str, default="atr"
        Ending of the annotation files.
    split : {"ds1", "ds2"}, optional
        Keep only the records of one half of the usual inter-patient division of MIT-BIH.
    verify : bool, default=True
        Whether signals that do not add up to the checksum in their header are refused; otherwise
        they are read with a warning.

    Returns
    -------
    DataArray of shape (n_samples, length[, n_leads]), dims (sample, time[, channel]), float32
        For beats and windows. ``time`` in seconds, 0 at the annotation for beats and at the start
        for windows. Coordinates over ``sample``: ``sample``, record and place in it; ``record``;
        ``onset``, the second of the record at which ``time`` is 0; for beats ``label``, the AAMI
        class (N, S, V, F or Q), ``label_name``, ``symbol``, as annotated, and as far as any record
        has them ``rhythm``, ``subtype``, ``chan``, ``num`` and ``aux_note``; for windows of
        annotated records ``label_N``, ``label_S``, ``label_V``, ``label_F`` and ``label_Q``, the
        number of beats of each class within. ``start`` is the date and time of time 0, of records
        that state their own. Windows that would reach beyond the record are left out, and those in
        which nothing was observed.
    list of DataArray, each of shape (n_times[, n_leads]), dims (time[, channel]), float32
        For whole records, each of its own length, ``time`` in seconds from its start. Where there
        are annotations, ``label`` over ``time`` has the AAMI class at each beat and is empty
        elsewhere. ``attrs`` hold ``start``, the date and time of time 0 (the time alone where there
        is no date), ``counter_frequency`` and ``base_counter``, as far as the header states them.

    Raises
    ------
    MissingFileError
        If a record or its signals are not there, or a folder holds none.
    FileError
        If a record cannot be read, its checksum does not hold, it has no such lead or not in that
        unit, or nothing could be cut.
    ValueError
        If an option has none of the values allowed.

    Notes
    -----
    AAMI classes follow ANSI/AAMI EC57. A record is resampled as a whole before it is cut, so a beat
    lies within half a sample of the centre.

    Values are in physical units, ``attrs["units"]``; where leads differ, ``unit`` over ``channel``
    has them. Invalid samples, gaps between segments and leads that a segment lacks are NaN. A lead
    without a gain is not calibrated: its values are in ``adu``, steps of the converter, with a
    warning. Leads sampled later than the others are moved by the skew that the header states.

    With `split`, ``attrs`` hold ``split`` and MIT-BIH's ``licence`` and ``citation``.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import save_wfdb
    >>> folder = tempfile.TemporaryDirectory()
    >>> lead = xr.DataArray([0.0, 1.0, 0.5, 0.0], {"time": [0.0, 0.01, 0.02, 0.03]}, "time")
    >>> save_wfdb(lead.assign_attrs(units="mV"), folder.name + "/r1")
    >>> windows = load_wfdb(folder.name, mode="windows", length=2, frequency=None, unit="uV")
    >>> windows.values.round().tolist(), windows["sample"].values.tolist()
    ([[0.0, 1000.0], [500.0, 0.0]], ['r1/0', 'r1/2'])
    >>> folder.cleanup()
    """
    require("wfdb", "readers")
    check_cutting(mode, ("beats", "windows", "records"), length, frequency)
    scaled = mode == "beats" if scale is None else scale
    as_list(leads)
    paths = _expand(records, split)
    origin = {} if split is None else {"split": split.lower(), **_MITBIH}
    recordings: list[Recording] = []
    beats = mode == "beats"
    for path, name in zip(paths, names_of(paths), strict=True):
        like = recordings[0] if recordings else None
        one = _read(path, name, leads, frequency, unit, annotations, beats, verify, like)
        recordings.append(one)
    found = arrange(recordings, mode, length, leads, scaled, count_beats)
    if isinstance(found, list):
        return [record.assign_attrs(origin) for record in found]
    return without_empty(found).assign_attrs(origin)


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
        paths = _records_of(Path(records))
        if not paths:
            raise MissingFileError(Path(records), "no WFDB record (.hea) in this folder")
    else:
        paths = [_stem(Path(records))]
    if split is not None:
        if split.lower() not in MITBIH_SPLITS:
            raise ValueError(f"split must be one of {', '.join(MITBIH_SPLITS)}, got {split!r}")
        members = MITBIH_SPLITS[split.lower()]
        paths = [path for path in paths if path.name in members]
    if not paths:
        where = records if isinstance(records, str | os.PathLike) else "records"
        raise MissingFileError(where, "no WFDB record" + (f" of {split}" if split else ""))
    return paths


def _records_of(folder: Path) -> list[Path]:
    """Return the records of a folder that are not segments of others."""
    paths = sorted(header.with_suffix("") for header in folder.glob("*.hea"))
    segments: set[str] = set()
    for path in paths:
        if _OF_SEGMENTS.search(path.with_name(path.name + ".hea").read_bytes()):
            segments.update(read_header(path).record.seg_name)
    return [path for path in paths if path.name not in segments]


def _stem(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix in (".hea", ".dat", ".atr") else path
    existing(stem.with_name(stem.name + ".hea"))
    return stem


def _read(
    path: Path,
    name: str,
    leads: int | str | Sequence[int | str],
    frequency: float | None,
    unit: str | None,
    annotations: str,
    beats: bool,
    verify: bool,
    like: Recording | None,
) -> Recording:
    header = read_header(path)
    taken = read_leads(header, leads, None if like is None else like.leads, verify)
    taken = in_units(path, taken, unit, None if like is None else like.units)
    events = None
    if beats or path.with_name(f"{path.name}.{annotations}").is_file():
        # Beats refer to frames, of which leads of a higher rate have several samples.
        n_frames = round(len(taken[0].values) * header.rate / taken[0].rate)
        events = read_beats(path, annotations, header.rate, n_frames)
    values, rate = join(data_of(header), taken, frequency)
    return Recording(
        name=name,
        path=header.stem,
        values=values,
        frequency=rate,
        leads=[lead.name for lead in taken],
        units=[lead.unit for lead in taken],
        events=events,
        origin=header.origin(),
    )
