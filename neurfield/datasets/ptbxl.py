"""PTB-XL, the 12-lead ECG database of PhysioNet, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import require
from neurfield.datasets._lazy import lazy_array
from neurfield.datasets._ptbxl_tables import DATABASE, KINDS, Entry, read_tables
from neurfield.datasets._wfdb_header import read_header
from neurfield.datasets._wfdb_signals import read_leads
from neurfield.datasets.leads import as_list, labels_of, places_of
from neurfield.errors import FileError, MissingFileError

_SECONDS = 10
_FREQUENCIES = (100, 500)

#: Folds of each split, as the authors recommend them.
PTBXL_SPLITS = {"train": tuple(range(1, 9)), "val": (9,), "test": (10,)}

_ORIGIN = {
    "licence": "CC BY 4.0",
    "citation": (
        "P. Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, "
        "Scientific Data 7, 154, 2020, doi:10.1038/s41597-020-0495-6"
    ),
}


def load_ptbxl(
    folder: str | os.PathLike[str],
    *,
    frequency: Literal[100, 500] = 100,
    leads: int | str | Sequence[int | str] | None = None,
    split: Literal["train", "val", "test"] | None = None,
    folds: Sequence[int] | None = None,
    label: str = "diagnostic_superclass",
    limit: int | None = None,
    chunks: int | None = None,
    verify: bool = True,
) -> xr.DataArray:
    r"""Read the records of PTB-XL: 12 leads of 10 seconds each.

    Parameters
    ----------
    folder : path-like
        The folder of the database, with ``ptbxl_database.csv`` and ``scp_statements.csv`` in it.
    frequency : {100, 500}, default=100
        Samples per second; the database has its records in both.
    leads : int, str or sequence of them, optional
        Place or name of the lead. By default all twelve. One lead that is not in a sequence is a
        scalar ``channel``, without a dimension.
    split : {"train", "val", "test"}, optional
        Folds 1 to 8, 9 or 10, as the authors recommend them. No two share a patient.
    folds : sequence of int, optional
        Folds to read instead.
    label : str, default="diagnostic_superclass"
        Which statements are labels: those of ``diagnostic_superclass``, ``diagnostic_subclass``,
        ``diagnostic``, ``form`` or ``rhythm``.
    limit : int, optional
        Read the first records only.
    chunks : int, optional
        Leave the records in their files until they are needed, as a dask array with blocks of so
        many. By default all are read at once: 1 GB of all records at 100 samples per second, 5 GB
        at 500.
    verify : bool, default=True
        As :func:`load_wfdb` has it.

    Returns
    -------
    DataArray of shape (n_samples[, n_leads], n_times), dims (sample[, channel], time), float32
        In mV. ``time`` in seconds from the start. Coordinates over ``sample``: ``sample``, the
        number of the record; ``patient_id``; ``age`` in years, NaN where it is not known or over
        89; ``sex``, ``male`` or ``female``; ``strat_fold``; ``start``, the date and time; for each
        class ``label_`` and its name, 1 where a record has it and 0 elsewhere; ``label``, the
        classes of a record joined by ``+``, empty where it has none. ``attrs`` hold ``licence``
        and ``citation``.

    Raises
    ------
    MissingFileError
        If a table or a record is not there; the message names the first ones.
    FileError
        If a table or a record cannot be read, or a record is not one of 10 seconds at that rate.
    ValueError
        If an option has none of the values allowed.

    Examples
    --------
    A folder like that of PTB-XL, with one record:

    >>> import tempfile
    >>> from neurfield.datasets import save_wfdb
    >>> temporary = tempfile.TemporaryDirectory()
    >>> folder = Path(temporary.name)
    >>> time = np.arange(1000) / 100
    >>> save_wfdb(
    ...     xr.DataArray(np.sin(time), {"time": time}, "time", attrs={"units": "mV"}),
    ...     folder / "1_lr",
    ... )
    >>> _ = (folder / DATABASE).write_text(
    ...     "ecg_id,patient_id,age,sex,strat_fold,recording_date,scp_codes,filename_lr\n"
    ...     "1,15709,56,1,3,1984-11-09 09:17:34,{'NORM': 100.0},1_lr\n"
    ... )
    >>> _ = (folder / "scp_statements.csv").write_text(
    ...     ",diagnostic,diagnostic_class\nNORM,1,NORM\n"
    ... )
    >>> records = load_ptbxl(folder, split="train")
    >>> records.shape, records["label"].values.tolist(), records["sex"].values.tolist()
    ((1, 1, 1000), ['NORM'], ['female'])
    >>> temporary.cleanup()
    """
    require("wfdb", "readers")
    if frequency not in _FREQUENCIES:
        raise ValueError(f"frequency must be 100 or 500, got {frequency}")
    frequency = 100 if frequency == 100 else 500  # whole, whatever number was given
    if label not in KINDS:
        raise ValueError(f"label must be one of {', '.join(KINDS)}, got {label!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if chunks is not None and chunks < 1:
        raise ValueError(f"chunks must be at least 1, got {chunks}")
    if leads is not None:
        as_list(leads)
    chosen = _folds(split, folds)
    source = Path(folder)
    entries, classes = read_tables(source, frequency, label)
    taken = [entry for entry in entries if chosen is None or entry.fold in chosen]
    if split is not None:
        _check_patients(source, entries, chosen or ())
    taken = taken if limit is None else taken[:limit]
    if not taken:
        raise FileError(source / DATABASE, f"has no records in the folds {chosen}")
    _check_there(source, taken)
    wanted = _lead_names(taken[0], leads)
    read = partial(_read, frequency=frequency, leads=wanted, verify=verify)
    values: Any
    if chunks is None:
        values = read(taken)
    else:
        blocks = [taken[start : start + chunks] for start in range(0, len(taken), chunks)]
        shape = (len(wanted), frequency * _SECONDS)
        arrays = [lazy_array(partial(read, block), (len(block), *shape)) for block in blocks]
        values = require("dask.array", "readers").concatenate(arrays)
    found = _labelled(values, taken, leads, wanted, frequency, classes)
    return found.assign_attrs(_ORIGIN if split is None else {"split": split, **_ORIGIN})


def is_ptbxl(folder: Path) -> bool:
    """Return whether a folder is that of PTB-XL."""
    return (folder / DATABASE).is_file()


def _folds(split: str | None, folds: Sequence[int] | None) -> tuple[int, ...] | None:
    if split is not None and folds is not None:
        raise ValueError("give either split or folds, not both")
    if split is not None and split not in PTBXL_SPLITS:
        raise ValueError(f"split must be one of {', '.join(PTBXL_SPLITS)}, got {split!r}")
    if folds is not None and (not folds or not set(folds) <= set(range(1, 11))):
        raise ValueError(f"folds must be numbers from 1 to 10, got {list(folds)}")
    return PTBXL_SPLITS[split] if split is not None else None if folds is None else tuple(folds)


def _check_patients(source: Path, entries: list[Entry], chosen: Sequence[int]) -> None:
    inside = {entry.patient for entry in entries if entry.fold in chosen}
    shared = inside & {entry.patient for entry in entries if entry.fold not in chosen}
    if shared:
        raise FileError(
            source / DATABASE, f"has patients in several splits: {sorted(shared)[:5]}; give folds"
        )


def _check_there(source: Path, entries: list[Entry]) -> None:
    absent = [
        entry.path.relative_to(source).as_posix()
        for entry in entries
        if not entry.path.with_name(entry.path.name + ".hea").is_file()
    ]
    if absent:
        more = ", ..." if len(absent) > 3 else ""
        raise MissingFileError(
            source,
            f"{len(absent)} of {len(entries)} records are missing: {', '.join(absent[:3])}{more}; "
            "read fewer with limit or folds, or get the other folder of records",
        )


def _lead_names(first: Entry, leads: int | str | Sequence[int | str] | None) -> list[str]:
    """Return the names of the leads that are read from every record."""
    names = read_header(first.path).names
    if leads is None:
        return names
    return [names[place] for place in places_of(first.path, names, leads)]


def _read(
    entries: list[Entry], frequency: int, leads: list[str], verify: bool
) -> NDArray[np.float32]:
    """Return the values of records (n_samples, n_leads, n_times)."""
    n_times = frequency * _SECONDS
    values = np.empty((len(entries), len(leads), n_times), np.float32)
    for sample, entry in zip(values, entries, strict=True):
        header = read_header(entry.path)
        for row, lead in zip(sample, read_leads(header, leads, None, verify), strict=True):
            if lead.rate != frequency or len(lead.values) != n_times:
                raise FileError(
                    header.path,
                    f"lead {lead.name!r} has {len(lead.values)} samples at {lead.rate:g} per "
                    f"second; expected {n_times} at {frequency}",
                )
            row[:] = lead.in_unit(entry.path, "mV", "in the other records").values
    return values


def _labelled(
    values: Any,
    entries: list[Entry],
    leads: int | str | Sequence[int | str] | None,
    names: list[str],
    frequency: int,
    classes: list[str],
) -> xr.DataArray:
    time = np.arange(frequency * _SECONDS) / frequency
    coords: dict[str, Any] = {
        "sample": [entry.number for entry in entries],
        "time": ("time", time, {"units": "s"}),
        "patient_id": ("sample", [entry.patient for entry in entries]),
        "age": ("sample", [entry.age for entry in entries], {"units": "years"}),
        "sex": ("sample", [entry.sex for entry in entries]),
        "strat_fold": ("sample", [entry.fold for entry in entries]),
        "start": ("sample", [entry.start for entry in entries]),
        "label": ("sample", ["+".join(entry.classes) for entry in entries]),
    }
    for name in classes:
        coords[f"label_{name}"] = ("sample", [int(name in entry.classes) for entry in entries])
    dims = ["sample", "channel", "time"]
    if isinstance(leads, int | str):
        values, dims = values[:, 0], ["sample", "time"]
        coords["channel"] = names[0]
    else:
        coords["channel"] = labels_of(names, names)
    attrs = {"units": "mV", "frequency": float(frequency)}
    return xr.DataArray(values, dims=dims, coords=coords, name="signal", attrs=attrs)
