"""The heartbeat tables of Kachuee et al.: one beat a row, its class at the end."""

from __future__ import annotations

import os
import warnings

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading
from neurfield.datasets.aami import AAMI_NAMES

_LENGTH, _FREQUENCY = 187, 125.0
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
        filled up with zeros after the end of the beat, then the class. Files whose name begins
        with ``ptbdb`` have the two classes of PTB, others the five of AAMI.
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
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file cannot be read, a row has more or fewer numbers, or a class is unknown.

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
    with reading(source, "a table of numbers separated by commas"), warnings.catch_warnings():
        warnings.simplefilter("error")  # of an empty file, NumPy only warns
        table = np.loadtxt(source, delimiter=",", dtype=np.float32, ndmin=2)
    if table.shape[1] != _LENGTH + 1:
        raise ValueError(
            f"{source}: expected {_LENGTH + 1} numbers a row ({_LENGTH} values and the class), "
            f"got {table.shape[1]}"
        )
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


def _padded(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a row has only zeros up to its end; rows of zeros alone have no padding."""
    last = np.where(values != 0, np.arange(values.shape[1]), -1).max(axis=1, keepdims=True)
    return np.asarray((np.arange(values.shape[1]) > last) & (last >= 0))


def _classes(
    source: os.PathLike[str], column: NDArray[np.float32], n_classes: int
) -> NDArray[np.intp]:
    wrong = np.flatnonzero(~np.isin(column, np.arange(n_classes)))
    if len(wrong):
        raise ValueError(
            f"{source}: the class at the end of row {wrong[0] + 1} must be one of 0 to "
            f"{n_classes - 1}, got {column[wrong[0]]:g}"
        )
    return column.astype(np.intp)
