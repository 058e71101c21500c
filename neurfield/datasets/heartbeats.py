"""The heartbeat tables of Kachuee et al.: one beat a row, its class at the end."""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading
from neurfield.datasets.aami import AAMI_NAMES
from neurfield.errors import FileError
from neurfield.limits import check_unpacked

_LENGTH, _FREQUENCY = 187, 125.0
_MOST_IN_LINE = 2**14  # 188 numbers of more digits than double precision has
_PTB_NAMES = {"normal": "normal", "abnormal": "myocardial infarction"}
_CITATION = (
    "M. Kachuee, S. Fazeli and M. Sarrafzadeh, ECG Heartbeat Classification: A Deep Transferable "
    "Representation, IEEE ICHI 2018, 443-444, doi:10.1109/ICHI.2018.00092"
)


def load_heartbeat_csv(
    path: str | os.PathLike[str], *, padding: float | None = None
) -> xr.DataArray:
    """Read a heartbeat table of Kachuee et al. (2018), made from the MIT-BIH or PTB database.

    Parameters
    ----------
    path : path-like
        File of 188 numbers a row without a heading: 187 values at 125 Hz, scaled to [0, 1] and
        filled up with zeros after the end of the beat, then the class; NaN is a value that was not
        observed. Files whose name begins with ``ptbdb`` have the two classes of PTB, others the
        five of AAMI. It may be packed as ``.csv.gz``.
    padding : float, optional
        Value to put in place of the zeros at the end of each row; NaN marks them as not observed.
        By default the zeros stay.

    Returns
    -------
    DataArray of shape (n_samples, 187), dims (sample, time), float32
        ``time`` in seconds from the start of the row, which is an R peak. Coordinates over
        ``sample``: ``sample``, the row; ``label`` (N, S, V, F or Q, as :func:`load_wfdb` has them;
        ``normal`` or ``abnormal`` of PTB); ``label_name``. ``attrs`` hold ``citation`` and
        ``split``, if the name of the file ends in ``_train`` or ``_test``.

    Raises
    ------
    MissingFileError
        If the file is not there.
    FileError
        If the file cannot be read, a row has more or fewer numbers, or a class is unknown; the
        message names line and column.

    References
    ----------
    M. Kachuee, S. Fazeli and M. Sarrafzadeh, "ECG Heartbeat Classification: A Deep Transferable
    Representation", IEEE International Conference on Healthcare Informatics, 2018.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> row = [1.0, 0.5] + [0.0] * 185 + [2.0]
    >>> np.savetxt(folder.name + "/mitbih_test.csv", [row], delimiter=",")
    >>> beats = load_heartbeat_csv(folder.name + "/mitbih_test.csv", padding=np.nan)
    >>> beats["label"].values, int(beats.count())
    (array(['V'], dtype='<U1'), 2)
    >>> folder.cleanup()
    """
    source = existing(path)
    table = _table(source)
    values = table[:, :-1].copy()
    if padding is not None:
        values[_padded(values)] = padding
    names = _PTB_NAMES if source.name.startswith("ptbdb") else AAMI_NAMES
    classes = _classes(source, table[:, -1], len(names))
    attrs = {"units": "1", "frequency": _FREQUENCY, "source": source.name, "citation": _CITATION}
    stem = source.name.split(".")[0]
    if stem.endswith(("_train", "_test")):
        attrs["split"] = stem.rpartition("_")[2]
    return xr.DataArray(
        values,
        dims=("sample", "time"),
        coords={
            "sample": np.arange(len(values)),
            "time": ("time", np.arange(_LENGTH) / _FREQUENCY, {"units": "s"}),
            "label": ("sample", np.array(list(names))[classes]),
            "label_name": ("sample", np.array(list(names.values()))[classes]),
        },
        name="signal",
        attrs=attrs,
    )


def _table(source: Path) -> NDArray[np.float32]:
    """Return the numbers of a file, one row a beat."""
    with reading(source, "a table of numbers separated by commas"), warnings.catch_warnings():
        warnings.simplefilter("error")  # of an empty file, NumPy only warns
        try:
            table = np.loadtxt(
                _lines(source), delimiter=",", dtype=np.float32, ndmin=2, comments=None
            )
        except ValueError as error:
            if isinstance(error, FileError):
                raise
            table = None
        if table is None or table.shape[1] != _LENGTH + 1 or np.isinf(table).any():
            _refuse(source)
    return np.asarray(table)


def _lines(source: Path) -> Iterator[str]:
    """Yield the lines of a file, which may be packed, as far as it holds no more than it may."""
    with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as stream:
        n_bytes, number = 0, 0
        while line := stream.readline(_MOST_IN_LINE + 1):
            number += 1
            if len(line) > _MOST_IN_LINE:
                raise FileError(source, f"line {number} is longer than {_MOST_IN_LINE} letters")
            n_bytes += len(line)
            if number % 1000 == 0:
                check_unpacked(source, n_bytes)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise FileError(source, f"line {number} is no text in UTF-8") from error


def _refuse(source: Path) -> NoReturn:
    """Raise the error that says which line, and which number in it, is wrong."""
    for number, line in enumerate(_lines(source), 1):
        words = line.split(",")
        if line.strip() and len(words) != _LENGTH + 1:
            raise FileError(
                source,
                f"expected {_LENGTH + 1} numbers a row ({_LENGTH} values and the class), got "
                f"{len(words)} in line {number}",
            )
        for column, word in enumerate(words if line.strip() else [], 1):
            if not _is_number(word):
                raise FileError(
                    source,
                    f"line {number}, column {column}: expected a finite number, got "
                    f"{word.strip()!r:.40}",
                )
    raise FileError(source, "could not be read as a table of numbers separated by commas")


def _is_number(word: str) -> bool:
    """Tell whether a word is a number that single precision holds; NaN is one."""
    try:
        return bool(abs(float(word)) <= np.finfo(np.float32).max) or word.strip().lower() == "nan"
    except ValueError:
        return False


def _padded(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a row has only zeros up to its end; rows of zeros alone have no padding."""
    last = np.where(values != 0, np.arange(values.shape[1]), -1).max(axis=1, keepdims=True)
    return np.asarray((np.arange(values.shape[1]) > last) & (last >= 0))


def _classes(source: Path, column: NDArray[np.float32], n_classes: int) -> NDArray[np.intp]:
    wrong = np.flatnonzero(~np.isin(column, np.arange(n_classes)))
    if len(wrong):
        raise FileError(
            source,
            f"the class at the end of row {wrong[0] + 1} must be one of 0 to {n_classes - 1}, got "
            f"{column[wrong[0]]:g}",
        )
    return column.astype(np.intp)
