"""Signals of WFDB records, of one segment or several."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets._files import reading, require
from neurfield.datasets._wfdb_header import VALUE_BITS, Header, check_data, read_header
from neurfield.datasets.leads import Lead, places_of
from neurfield.errors import FileError
from neurfield.limits import check_unpacked


def read_leads(
    header: Header,
    leads: int | str | Sequence[int | str],
    like: Sequence[str] | None,
    verify: bool,
) -> list[Lead]:
    """Return leads of a record, each at its own rate and in its own unit.

    Parameters
    ----------
    header : Header
        Header of the record.
    leads : int, str or sequence of them
        As asked for.
    like : sequence of str, optional
        Names of these leads in the first record.
    verify : bool
        Whether sums that do not hold are refused.

    Raises
    ------
    FileError
        If a lead is absent, or anything about the signals does not hold.
    """
    if header.segmented:
        return _read_segmented(header, leads, like, verify)
    return _read_single(header, places_of(header.stem, header.names, leads, like), verify)


def _read_single(header: Header, places: list[int], verify: bool) -> list[Lead]:
    check_data(header, places)
    order = sorted(set(places))
    with reading(data_of(header, order[0]), "the signals of a WFDB record"):
        # The library shifts leads by one skew at most, so all of them are shifted here.
        record = require("wfdb", "readers").rdrecord(
            str(header.stem), channels=order, smooth_frames=False, ignore_skew=True
        )
    physical = record.e_p_signal
    for place, values in zip(order, physical, strict=True):
        _check_sum(header, place, values, verify)
    taken = []
    for place in places:
        column = order.index(place)
        per_frame = header.record.samps_per_frame[place]
        skew = (header.record.skew[place] or 0) * per_frame
        values, unit = _shifted(physical[column], skew), header.record.units[place]
        if not header.calibrated[place]:
            warnings.warn(
                f"{header.path}: signal {place} ({header.names[place]}) has no gain, so its values "
                "are steps of the converter (adu); write the gain into the header to calibrate it",
                stacklevel=2,
            )
            values, unit = values * header.record.adc_gain[place], "adu"
        taken.append(Lead(header.names[place], unit, header.rate * per_frame, values))
    return taken


def data_of(header: Header, place: int = 0) -> Path:
    """Return the file that holds a lead, or the header itself for a record of segments."""
    if header.segmented:
        return header.path
    return header.path.with_name(header.record.file_name[place])


def _shifted(values: NDArray[np.float64], skew: int) -> NDArray[np.float64]:
    """Return values moved to the front; those that were never recorded are missing at the end."""
    if not skew:
        return values
    moved = np.full(len(values), np.nan)
    moved[: max(len(values) - skew, 0)] = values[skew:]
    return moved


def _check_sum(header: Header, place: int, values: NDArray[np.float64], verify: bool) -> None:
    """Compare the sum of samples, modulo 65536, with that which the header states."""
    record = header.record
    stated = record.checksum[place]
    if not stated:  # headers written by hand have 0 there, which says nothing
        return
    # The library gives no samples as stored of all formats, but these follow from the values.
    gaps = np.isnan(values)
    samples = np.rint(values[~gaps] * record.adc_gain[place] + record.baseline[place])
    invalid = -(2 ** (VALUE_BITS[record.fmt[place]] - 1))
    found = int(samples.sum()) + invalid * int(gaps.sum())
    if (found - stated) % 65536 == 0:
        return
    path = data_of(header, place)
    wrong = (
        f"the samples of {header.names[place]!r} do not add up to the checksum in "
        f"{header.path.name} ({stated}), so some of them are wrong"
    )
    if verify:
        raise FileError(path, f"{wrong}; get the file again, or read it with verify=False")
    warnings.warn(f"{path}: {wrong}", stacklevel=2)


def _read_segmented(
    header: Header,
    leads: int | str | Sequence[int | str],
    like: Sequence[str] | None,
    verify: bool,
) -> list[Lead]:
    """Return leads of a record of several segments; where none holds a lead it is missing."""
    parts = list(_segments(header))
    described = _layout(header) or next((part for _, _, part in parts if part is not None), None)
    if described is None:
        raise FileError(header.path, "has no segment that says which leads there are")
    places = places_of(header.stem, described.names, leads, like)
    wanted = [described.names[place] for place in places]
    per_frame = [described.record.samps_per_frame[place] for place in places]
    units = [described.record.units[place] for place in places]
    n_frames = sum(length for _, length, _ in parts)
    _check_gaps(header, n_frames, parts, wanted, sum(per_frame))
    values = [np.full(n_frames * count, np.nan) for count in per_frame]
    for start, length, part in parts:
        held = [k for k, name in enumerate(wanted) if part is not None and name in part.names]
        if part is None or not held:
            continue
        # Names that come twice can be told apart only where all segments have the same leads.
        same = part.names == described.names
        where = [
            places[k] if same else places_of(part.stem, part.names, wanted[k])[0] for k in held
        ]
        for k, lead in zip(held, _read_single(part, where, verify), strict=True):
            if lead.rate != header.rate * per_frame[k] or len(lead.values) != length * per_frame[k]:
                raise FileError(
                    part.path,
                    f"lead {lead.name!r} has {len(lead.values)} samples, and "
                    f"{length * per_frame[k]} are expected after the segments before",
                )
            begin = start * per_frame[k]
            converted = lead.in_unit(part.path, units[k], "in the segments before").values
            values[k][begin : begin + len(converted)] = converted
    return [
        Lead(name, unit, header.rate * count, one)
        for name, unit, count, one in zip(wanted, units, per_frame, values, strict=True)
    ]


def _layout(header: Header) -> Header | None:
    """Return the header of no length that describes the leads, if the record begins with one."""
    name, length = header.record.seg_name[0], header.record.seg_len[0]
    return _segment(header, name) if length == 0 and name != "~" else None


def _segments(header: Header) -> Iterator[tuple[int, int, Header | None]]:
    """Yield first frame, number of frames and header of each segment, None of a gap."""
    read: dict[str, Header] = {}
    start = 0
    for name, length in zip(header.record.seg_name, header.record.seg_len, strict=True):
        if length == 0:
            continue
        part = None
        if name != "~":
            if name not in read:
                read[name] = _segment(header, name)
            part = read[name]
            if part.record.sig_len not in (None, length):
                raise FileError(
                    part.path,
                    f"holds {part.record.sig_len} samples, and {header.path.name} states {length}",
                )
        yield start, length, part
        start += length
    if header.record.sig_len not in (None, 0, start):
        raise FileError(
            header.path, f"states {header.record.sig_len} samples; its segments have {start}"
        )


def _segment(header: Header, name: str) -> Header:
    part = read_header(header.path.with_name(name))
    if part.segmented:
        raise FileError(header.path, f"its segment {name} has segments of its own")
    if part.rate != header.rate:
        raise FileError(
            part.path,
            f"has {part.rate:g} samples per second, and {header.path.name} {header.rate:g}",
        )
    return part


def _check_gaps(
    header: Header,
    n_frames: int,
    parts: list[tuple[int, int, Header | None]],
    names: list[str],
    per_frame: int,
) -> None:
    """Refuse gaps that no file stands for and that would fill the memory."""
    holding = {
        part.path: length
        for _, length, part in parts
        if part is not None and not set(names).isdisjoint(part.names)
    }
    missing = n_frames - sum(holding.values())
    check_unpacked(header.path, 8 * missing * per_frame, "the gaps between its segments")
