"""DICOM waveforms, such as ECG: leads by name, in physical units, with time in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import reading, require
from neurfield.datasets.dicom.finding import Header, headers
from neurfield.datasets.dicom.leads import Lead, choose, lead_of, names_of
from neurfield.errors import FileError

_WHAT = "a DICOM waveform"

# How samples are stored that stand for themselves; others, as of voice, are companded.
_LINEAR = ("SB", "UB", "SS", "US", "SL", "UL", "SV", "UV")


def load_dicom_waveforms(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    leads: int | str | Sequence[int | str] | None = None,
    group: int | str | None = None,
) -> list[xr.DataArray]:
    """Read ECG and other waveforms from DICOM files, one signal for each group of leads.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files; or one folder, whose DICOM waveforms, those in folders below it too, are read. A
        warning lists which other files were passed over.
    leads : int, str or sequence of them, optional
        Places or names of leads, all by default. A place is that in the first group read; in others
        the lead of that name is read. One alone is a scalar ``channel``, without a dimension.
    group : int or str, optional
        Place or label (MultiplexGroupLabel, such as ``"RHYTHM"`` or ``"MEDIAN BEAT"``) of the group
        to read of each file; all by default, one signal each.

    Returns
    -------
    list of DataArray of shape (n_times[, n_leads]), dims (time[, channel]), float32
        Samples × sensitivity × correction factor + baseline, in the unit of the first signal;
        padding is NaN. ``time`` is in seconds, counted as the file counts it, with the time offset
        of the group; ``channel`` has the names of the sources, ``"I"`` for "Lead I (Einthoven)".
        ``attrs`` hold ``filename``, ``group``, its label, ``originality``, ``modality``,
        ``frequency``, ``start``, the local date and time of time 0, and ``units``, if known.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    MissingFileError
        If a file is not there, or a folder holds no DICOM waveform.
    FileError
        If a file cannot be read, lacks a lead or group, or its leads are of several units.
    ValueError
        If `leads` is empty, or `paths` name a file twice.

    References
    ----------
    DICOM PS3.3, C.10.9 "Waveform Module".

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> path = get_testdata_file("waveform_ecg.dcm")
    >>> (ecg,) = load_dicom_waveforms(path, leads=["II", "V5"], group="RHYTHM")
    >>> ecg.sizes, ecg["channel"].values.tolist(), ecg.attrs["units"]
    (Frozen({'time': 10000, 'channel': 2}), ['II', 'V5'], 'uV')
    >>> float(ecg["time"][-1]), ecg["time"].attrs["units"]
    (9.999, 's')
    """
    require("pydicom", "dicom")
    if isinstance(leads, Sequence) and not leads:
        raise ValueError(f"leads must name one lead or more, got {leads!r}")
    signals: list[xr.DataArray] = []
    like: list[Lead] | None = None
    for header in headers(paths, "waveform"):
        for item in _groups(header, group):
            taken = choose(header.path, item.leads, leads, like)
            like = like or taken
            unit, alone = like[0].unit, isinstance(leads, int | str)
            signals.append(_signal(header, item, taken, unit, alone))
    return signals


class _Group(NamedTuple):
    """One multiplex group: leads that were sampled together."""

    label: str
    originality: str
    start: float  # seconds
    frequency: float  # samples per second
    leads: list[Lead]
    samples: NDArray[np.float64]  # (n_times, n_leads), as stored


def _groups(header: Header, asked: int | str | None) -> list[_Group]:
    with reading(header.path, _WHAT):
        sequence = list(header.dataset.get("WaveformSequence") or [])
        labels = [str(item.get("MultiplexGroupLabel") or "") for item in sequence]
    places = [
        place
        for place, label in enumerate(labels)
        if asked is None or place == asked or label == asked
    ]
    if not places:
        what = "no WaveformSequence" if not labels else f"no group {asked!r}"
        raise FileError(header.path, f"has {what}; its groups are {labels}")
    with reading(header.path, _WHAT):
        return [_read_group(header, sequence[place], place) for place in places]


def _read_group(header: Header, item: Any, place: int) -> _Group:
    path = header.path
    frequency = float(item.get("SamplingFrequency") or 0)
    if not 0 < frequency < np.inf:
        raise FileError(path, f"SamplingFrequency of group {place} must be positive: {frequency}")
    definitions = list(item.get("ChannelDefinitionSequence") or [])
    n_leads = int(item.NumberOfWaveformChannels)
    if len(definitions) != n_leads or not n_leads:
        raise FileError(
            path,
            f"group {place} has {n_leads} channels (NumberOfWaveformChannels), but "
            f"ChannelDefinitionSequence describes {len(definitions)}",
        )
    names = names_of(path, definitions)
    return _Group(
        str(item.get("MultiplexGroupLabel") or ""),
        str(item.get("WaveformOriginality") or ""),
        float(item.get("MultiplexGroupTimeOffset") or 0) / 1000,
        frequency,
        [
            lead_of(path, definition, k, name)
            for k, (definition, name) in enumerate(zip(definitions, names, strict=True))
        ],
        _samples(header, item, place, n_leads),
    )


def _samples(header: Header, item: Any, place: int, n_leads: int) -> NDArray[np.float64]:
    """Return the samples as stored, NaN where they only fill up."""
    from pydicom.waveforms.numpy_handler import WAVEFORM_DTYPES

    path, kind = header.path, str(item.WaveformSampleInterpretation)
    n_bits, n_times = int(item.WaveformBitsAllocated), int(item.NumberOfWaveformSamples)
    _, is_little_endian = header.dataset.original_encoding
    swapped = n_bits == 8 and not is_little_endian  # words of two samples, or not: it depends
    if kind not in _LINEAR or (n_bits, kind) not in WAVEFORM_DTYPES or swapped:
        raise FileError(
            path,
            f"samples of group {place} are stored as {kind} of {n_bits} bits "
            "(WaveformSampleInterpretation), which is not supported; convert it to EDF",
        )
    dtype = np.dtype(WAVEFORM_DTYPES[n_bits, kind]).newbyteorder("<" if is_little_endian else ">")
    n_bytes = n_times * n_leads * dtype.itemsize
    stored = item.WaveformData
    if n_times < 1 or len(stored) < n_bytes:
        raise FileError(
            path,
            f"group {place} needs {n_bytes} bytes (NumberOfWaveformSamples × channels), but "
            f"WaveformData has {len(stored)}; is it truncated?",
        )
    samples = np.frombuffer(stored[:n_bytes], dtype).reshape(n_times, n_leads)
    values = samples.astype(np.float64)
    padding = item.get("WaveformPaddingValue")
    if isinstance(padding, bytes):
        padding = np.frombuffer(padding[: dtype.itemsize], dtype)[0]
    if padding is not None:
        values[samples == padding] = np.nan
    return values


def _start_of(header: Header) -> dict[str, str]:
    """Return when time 0 was, if the file says so to the second, as recordings have it."""
    from pydicom.valuerep import DT

    with reading(header.path, _WHAT):
        stated = str(header.dataset.get("AcquisitionDateTime") or "")
        moment = DT(stated) if len(stated) >= len("YYYYMMDDHHMMSS") else None
    return {} if moment is None else {"start": moment.replace(tzinfo=None).isoformat()}


def _signal(
    header: Header, group: _Group, taken: list[Lead], unit: str | None, alone: bool
) -> xr.DataArray:
    skews = {lead.skew / group.frequency + lead.delay for lead in taken}
    if len(skews) > 1:
        raise FileError(
            header.path,
            f"its leads were sampled at different moments, {sorted(skews)} s apart "
            "(ChannelSampleSkew, ChannelTimeSkew); read them one by one with leads=",
        )
    columns = [lead.in_unit(header.path, group.samples[:, lead.place], unit) for lead in taken]
    values = np.stack(columns, axis=1).astype(np.float32)
    time = group.start + skews.pop() + np.arange(len(values)) / group.frequency
    attrs = {
        "filename": header.path.name,
        "group": group.label,
        "originality": group.originality,
        "modality": str(header.dataset.get("Modality") or ""),
        "frequency": group.frequency,
        **_start_of(header),
    }
    if unit is not None:
        attrs["units"] = unit
    signal = xr.DataArray(
        values,
        dims=("time", "channel"),
        coords={"time": ("time", time, {"units": "s"}), "channel": [lead.name for lead in taken]},
        name="waveform",
        attrs=attrs,
    )
    return signal.isel(channel=0) if alone else signal
