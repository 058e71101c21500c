"""BIDS data sets: files found by entity, with what the data set knows of their subjects."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from neurfield.datasets._bids_files import ENTITIES, BidsFile, bids_files, metadata, participants
from neurfield.datasets._files import existing, require
from neurfield.datasets._nibabel_volume import open_with_nibabel
from neurfield.datasets._stored_volume import Frames, StoredVolume, check_options, labelled
from neurfield.errors import FileError, MissingFileError

# Files that differ in these are no samples of one kind.
_NOT_MIXED = ("space", "resolution", "density", "description", "part")

# Suffixes of files whose values are labels.
_LABEL_MAPS = ("dseg", "mask")

# By how much repetition times in header and sidecar may differ; headers hold few digits.
_TOLERANCE = 0.01


def load_bids(
    root: str | os.PathLike[str],
    *,
    suffix: str = "T1w",
    datatype: str | None = None,
    label_column: str | None = None,
    derivative: str | None = None,
    clip: tuple[float, float] | None = (0.1, 99.9),
    scale: bool = True,
    lazy: bool = False,
    labels: bool | None = None,
    fourth: Literal["time", "channel"] | None = None,
    **entities: Any,
) -> list[xr.DataArray]:
    r"""Read volumes of a BIDS data set: ``sub-*/[ses-*/]anat/*_T1w.nii.gz`` and the like.

    Parameters
    ----------
    root : path-like
        Folder of the data set, which holds ``dataset_description.json``.
    suffix : str, default="T1w"
        End of the files' names: T1w, T2w, FLAIR, bold, dwi, dseg and so on.
    datatype : str, optional
        Folder of the files, such as anat or func; by default any.
    label_column : str, optional
        Column of ``participants.tsv`` that becomes the coordinate ``label``.
    derivative : str, optional
        Folder in ``derivatives`` to read from instead of the raw data.
    clip : (float, float) or None, default=(0.1, 99.9)
        Percentiles of each volume's values below and above which values are cut off.
    scale : bool, default=True
        Whether each volume's values, after clipping, are mapped to [0, 1].
    lazy : bool, default=False
        Whether to leave the values in the files until they are needed.
    labels : bool, optional
        Whether the volumes are label maps. By default files ending in dseg and mask are.
    fourth : {"time", "channel"}, optional
        What the fourth axis is, as in :func:`load_nifti`.
    **entities
        Values that files must have, one or a list each: ``subject="01"``, ``session``, ``task``,
        ``acquisition``, ``run=1``, ``space="MNI152NLin2009cAsym"``, ``description``, …; None for
        files without the entity.

    Returns
    -------
    list of DataArray, in order of the files' paths
        As :func:`load_nifti` returns them. Scalar coordinates hold each file's entities
        (``subject``, ``session``, …; the entity "label" as ``label_entity``) and the columns of
        ``participants.tsv``, those named like an axis or an entity as ``participant_…``. Times of
        frames are those of the sidecars: ``RepetitionTime``, ``VolumeTiming`` or
        ``FrameTimesStart``; ``attrs["units"]`` is their ``Units``.

    Raises
    ------
    FileNotFoundError
        If nothing is found.
    FileError
        If a file cannot be read; if header and sidecar disagree about time; or if the files are of
        several spaces, resolutions, densities, descriptions or parts, none of which was asked for.
    ValueError
        If there is no such entity or column, or the column has no value for a subject.

    Warns
    -----
    UserWarning
        If subjects have no such file; it names them.

    Examples
    --------
    >>> import tempfile
    >>> from neurfield.datasets import save_nifti
    >>> folder = tempfile.TemporaryDirectory()
    >>> anat = Path(folder.name, "sub-01", "anat")
    >>> anat.mkdir(parents=True)
    >>> _ = Path(folder.name, "dataset_description.json").write_text("{}")
    >>> _ = Path(folder.name, "participants.tsv").write_text("participant_id\tage\nsub-01\t34\n")
    >>> mm = {axis: 2.0 * np.arange(3) for axis in "xyz"}
    >>> volume = xr.DataArray(np.arange(27.0).reshape(3, 3, 3), mm)
    >>> save_nifti(volume, anat / "sub-01_T1w.nii.gz")
    >>> (read,) = load_bids(folder.name, label_column="age")
    >>> str(read["subject"].values), float(read["label"])
    ('01', 34.0)
    >>> folder.cleanup()
    """
    require("nibabel", "readers")
    check_options(clip, fourth)
    if unknown := sorted(set(entities) - set(ENTITIES)):
        raise ValueError(f"there is no entity {unknown[0]!r}; there are {', '.join(ENTITIES)}")
    base = _base(existing(root), derivative)
    known = participants(base) or participants(Path(root))
    if label_column is not None and label_column not in next(iter(known.values()), {}):
        columns = list(next(iter(known.values()), {}))
        raise ValueError(f"participants.tsv has no column {label_column!r}; it has {columns}")
    files = _asked(base, suffix, datatype, entities)
    _warn_of_missing(base, known, files, suffix, entities.get("subject"))
    facts = [_facts(file, known.get(file.entities["subject"], {}), label_column) for file in files]
    return [
        _read(file, base, clip, scale, lazy, labels, fourth).assign_coords(fact)
        for file, fact in zip(files, facts, strict=True)
    ]


def is_bids(folder: Path) -> bool:
    """Return whether a folder is the root of a BIDS data set."""
    return (folder / "dataset_description.json").is_file()


def _base(root: Path, derivative: str | None) -> Path:
    if derivative is None:
        return root
    base = root / "derivatives" / derivative
    if not base.is_dir():
        found = sorted(path.name for path in (root / "derivatives").glob("*") if path.is_dir())
        raise MissingFileError(base, f"no such derivative; there are {', '.join(found) or 'none'}")
    return base


def _asked(
    base: Path, suffix: str, datatype: str | None, entities: dict[str, Any]
) -> list[BidsFile]:
    """Return the files asked for, which all show the same kind of thing."""
    found = [file for file in bids_files(base) if datatype in (None, file.datatype)]
    files = [
        file
        for file in found
        if file.suffix == suffix and all(file.has(*entity) for entity in entities.items())
    ]
    if not files:
        others = sorted({f"{file.datatype}/*_{file.suffix}" for file in found})
        raise MissingFileError(
            base,
            f"holds no sub-*/**/*_{suffix}.nii(.gz) with {entities or 'any entities'}; "
            f"it holds {', '.join(others) or 'no NIfTI files of subjects'}",
        )
    for word in _NOT_MIXED:
        values = {file.entities.get(word) for file in files}
        if len(values) > 1:
            several = ", ".join(sorted(map(repr, values)))
            raise FileError(base, f"holds files of several: {word}={several}; ask for one of them")
    return files


def _warn_of_missing(
    base: Path,
    known: dict[str, Any],
    files: Sequence[BidsFile],
    suffix: str,
    asked: Any,
) -> None:
    subjects = {path.name.removeprefix("sub-") for path in base.glob("sub-*") if path.is_dir()}
    every = [BidsFile(base, {"subject": name}, "", "") for name in sorted(subjects | set(known))]
    wanted = {
        one.entities["subject"] for one in every if asked is None or one.has("subject", asked)
    }
    lacking = sorted(wanted - {file.entities["subject"] for file in files})
    if lacking:
        names = ", ".join(f"sub-{name}" for name in lacking)
        warnings.warn(
            f"{base}: {len(lacking)} of {len(wanted)} subjects have no such {suffix} file: {names}",
            stacklevel=3,
        )


def _facts(file: BidsFile, columns: dict[str, Any], label_column: str | None) -> dict[str, Any]:
    """Return the scalar coordinates of a file."""
    facts: dict[str, Any] = {
        "label_entity" if word == "label" else word: value for word, value in file.entities.items()
    }
    taken = {*facts, *ENTITIES, "x", "y", "z", "time", "channel", "label"}
    for name, value in columns.items():
        facts[f"participant_{name}" if name in taken else name] = "n/a" if value is None else value
    if label_column is not None:
        value = columns.get(label_column)
        if value is None or value != value:
            raise ValueError(
                f"participants.tsv has no {label_column!r} for sub-{file.entities['subject']}; "
                "subject=[...] reads others only"
            )
        facts["label"] = value
    return facts


def _read(
    file: BidsFile,
    base: Path,
    clip: tuple[float, float] | None,
    scale: bool,
    lazy: bool,
    labels: bool | None,
    fourth: Literal["time", "channel"] | None,
) -> xr.DataArray:
    said = metadata(file, base)
    stored = open_with_nibabel(file.path)
    if isinstance(said.get("Units"), str):
        stored = replace(stored, units=said["Units"])
    if labels is None and file.suffix in _LABEL_MAPS:
        labels = True
    times = None
    if len(stored.shape) == 4 and stored.shape[3] > 1 and fourth != "channel":
        stored, times = _timed(stored, said)
    volume = labelled(stored, clip=clip, scale=scale, lazy=lazy, labels=labels, fourth=fourth)
    return volume if times is None else volume.assign_coords(time=("time", times, {"units": "s"}))


def _timed(stored: StoredVolume, said: dict[str, Any]) -> tuple[StoredVolume, Any]:
    """Return the volume with the times that sidecars give: a step, or a time for each frame."""
    path, n_frames = stored.path, stored.shape[3]
    for name in ("VolumeTiming", "FrameTimesStart"):
        if name not in said:
            continue
        times = np.array(said[name]) if isinstance(said[name], list) else np.empty(0)
        if (
            times.shape != (n_frames,)
            or times.dtype.kind not in "iuf"
            or (np.diff(times) <= 0).any()
        ):
            raise FileError(path, f"{name} in its sidecar must be {n_frames} rising times")
        return replace(stored, frames=Frames(1.0, 0.0, "s", name)), times.astype(np.float64)
    step = said.get("RepetitionTime")
    if step is None:
        return stored, None
    if not isinstance(step, int | float) or not 0 < step < np.inf:
        raise FileError(path, f"RepetitionTime in its sidecar must be seconds, got {step!r}")
    frames = stored.frames
    if frames.unit == "s" and frames.step > 0 and abs(frames.step / step - 1) > _TOLERANCE:
        raise FileError(
            path,
            f"its header has frames every {frames.step:g} s ({frames.field}), its sidecar every "
            f"{step:g} s (RepetitionTime); correct one of them, or pass fourth='channel'",
        )
    return replace(stored, frames=Frames(float(step), frames.start, "s", "RepetitionTime")), None
