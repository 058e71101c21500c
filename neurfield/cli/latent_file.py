"""Latents in files: the numbers, and what is needed to decode each signal on its own grid."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import existing_file, reading, require
from neurfield.datasets._gridded_sizes import netcdf_engine
from neurfield.datasets._numpy_file import NumpyFile
from neurfield.errors import FileError
from neurfield.provenance import FINGERPRINT, fingerprint_of

ENDINGS = (".npz", ".nc", ".csv")
_MOST_NAMES = 20  # of arrays that an error lists
_DIMS: dict[str, tuple[str, ...]] = {
    "latents": ("sample", "feature"),
    "features": ("feature",),
    "axes": ("axis",),
    "sizes": ("sample", "axis"),
    "affines": ("sample", "row", "column"),
    "labels": ("sample",),
    "names": ("sample",),
}

#: What coordinates over signals, as ``save_latents`` writes them, are called here.
_KEYS: dict[Any, str] = {"label": "labels", "sample": "names"}


@dataclass
class LatentSet:
    """Latents of a set of signals.

    Parameters
    ----------
    latents : float array of shape (n_samples, latent_dim)
        One row per signal.
    features : list of str, optional
        Names of the columns.
    labels : array of shape (n_samples,), optional
        Class of each signal.
    names : list of str, optional
        Name of each signal, such as the file it came from.
    grids : list of dict, optional
        Coordinates of each signal by axis, where every signal stands on a grid of its own.
    affines : float array of shape (n_samples, 4, 4), optional
        Affine of each volume.
    fingerprint : str, optional
        Of the field that the latents are of. A ``.csv`` file has no place for it.
    """

    latents: NDArray[np.floating[Any]]
    features: list[str] = field(default_factory=list)
    labels: NDArray[Any] | None = None
    names: list[str] | None = None
    grids: list[dict[str, NDArray[np.float64]]] | None = None
    affines: NDArray[np.float64] | None = None
    fingerprint: str | None = None

    def write(self, path: Path) -> None:
        """Write to a ``.npz``, ``.nc`` or ``.csv`` file; the last is a table of latents alone."""
        if path.suffix == ".csv":
            with replacing(path) as temporary, open(temporary, "w", newline="") as file:
                csv.writer(file).writerows(self._rows())
            return
        arrays = self._to_arrays()
        if path.suffix == ".npz":
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            return
        require("netCDF4", "readers")
        fingerprint = arrays.pop(FINGERPRINT, None)
        dataset = xr.Dataset({name: (_dims_of(name), array) for name, array in arrays.items()})
        if fingerprint is not None:
            dataset["latents"].attrs[FINGERPRINT] = str(fingerprint)
        # Characters side by side: of text of any length, a damaged file can claim gigabytes.
        texts = {name: {"dtype": "S1"} for name, array in arrays.items() if array.dtype.kind == "U"}
        with replacing(path) as temporary:
            dataset.to_netcdf(temporary, encoding=texts)

    @classmethod
    def read(cls, path: Path) -> LatentSet:
        """Read what :meth:`write` or :func:`neurfield.datasets.save_latents` wrote.

        Raises
        ------
        FileError
            If the file is not there, cannot be read, holds no latents, or says where signals stand
            in a way that does not fit them.
        """
        if existing_file(path).suffix not in ENDINGS:
            raise FileError(path, f"latents must be in a file, one of {', '.join(ENDINGS)}")
        if path.suffix == ".csv":
            found = cls._from_csv(path)
        else:
            arrays, held = _read_npz(path) if path.suffix == ".npz" else _read_netcdf(path)
            if "latents" not in arrays or arrays["latents"].ndim != 2:
                raise FileError(
                    path,
                    "holds no two-dimensional array 'latents' as 'neurfield transform' writes it; "
                    f"it holds {held or 'nothing'}",
                )
            found = cls._from_arrays(arrays, path)
        if found.latents.dtype.kind not in "iuf":
            raise FileError(path, f"latents must be real numbers, got {found.latents.dtype}")
        if not found.latents.size or not np.isfinite(found.latents).all():
            raise FileError(path, "latents must be finite, got none, NaN or infinity")
        return found

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as plain arrays; ragged grids as one long array per axis."""
        arrays: dict[str, NDArray[Any]] = {"latents": self.latents}
        if self.features:
            arrays["features"] = np.array(self.features)
        if self.labels is not None:
            labels = np.asarray(self.labels)
            arrays["labels"] = labels.astype(str) if labels.dtype.kind in "OT" else labels
        if self.names is not None:
            arrays["names"] = np.array(self.names)
        if self.grids is not None:
            axes = list(self.grids[0])
            arrays["axes"] = np.array(axes)
            arrays["sizes"] = np.array([[len(grid[axis]) for axis in axes] for grid in self.grids])
            for axis in axes:
                arrays[f"positions_{axis}"] = np.concatenate([grid[axis] for grid in self.grids])
        if self.affines is not None:
            arrays["affines"] = self.affines
        if self.fingerprint is not None:
            arrays[FINGERPRINT] = np.array(self.fingerprint)
        return arrays

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: Path) -> LatentSet:
        n_samples = len(arrays["latents"])
        shapes = {"labels": (n_samples,), "names": (n_samples,), "affines": (n_samples, 4, 4)}
        for name, shape in shapes.items():
            if name in arrays and arrays[name].shape != shape:
                raise FileError(
                    path,
                    f"{name!r} has the shape {arrays[name].shape}, and its latents ask for {shape}",
                )
        fingerprint = arrays.get(FINGERPRINT)
        return cls(
            latents=arrays["latents"],
            features=[str(name) for name in np.atleast_1d(arrays.get("features", []))],
            labels=arrays.get("labels"),
            names=[str(name) for name in arrays["names"]] if "names" in arrays else None,
            grids=_grids_of(arrays, path) if "axes" in arrays else None,
            affines=arrays.get("affines"),
            fingerprint=None if fingerprint is None else str(fingerprint),
        )

    def _rows(self) -> list[list[str]]:
        """Return the lines of the table, numbers with all digits that float32 has."""
        facts = {"sample": self.names, "label": self.labels}
        facts = {name: column for name, column in facts.items() if column is not None}
        features = self.features or [f"latent{i}" for i in range(self.latents.shape[1])]
        rows = [[*facts, *features]]
        for index, latent in enumerate(self.latents):
            known = [str(column[index]) for column in facts.values()]  # type: ignore[index]
            rows.append([*known, *(f"{number:.9g}" for number in latent)])
        return rows

    @classmethod
    def _from_csv(cls, path: Path) -> LatentSet:
        # Line by line: as text, a table takes many times the room of its numbers.
        facts: dict[str, list[str]] = {"sample": [], "label": []}
        latents = []
        with reading(path, "a table of latents"), open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if len(set(header)) < len(header):
                raise FileError(path, "two of its columns have one name")
            features = [name for name in header if name not in facts]
            for row in rows:
                if len(row) != len(header):
                    raise FileError(
                        path,
                        f"line {rows.line_num} has {len(row)} columns, and the first {len(header)}",
                    )
                known = dict(zip(header, row, strict=True))
                for name, column in facts.items():
                    column.append(known.pop(name, ""))
                latents.append(_numbers(path, rows.line_num, known))
        return cls(
            latents=np.array(latents, dtype=np.float32).reshape(len(latents), len(features)),
            features=features,
            labels=np.array(facts["label"]) if "label" in header else None,
            names=facts["sample"] if "sample" in header else None,
        )


def _numbers(path: Path, line: int, known: Mapping[str, str]) -> NDArray[np.float32]:
    try:
        return np.array(list(known.values()), dtype=np.float32)
    except ValueError:
        for name, text in known.items():
            with reading(path, f"a table of latents (line {line}, column {name!r})"):
                float(text)
        raise


def _read_npz(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the arrays of a set of latents, and the names of the first that there are."""
    with NumpyFile(path) as file:
        held = ", ".join(islice(file, _MOST_NAMES))
        return {name: file[name] for name in file if _is_known(name)}, held


def _read_netcdf(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    engine = netcdf_engine(path, is_lazy=False)
    with reading(path, "a file of latents"), xr.open_dataset(path, engine=engine) as dataset:
        names = {name: _KEYS.get(name, str(name)) for name in dataset.variables}
        arrays = {ours: dataset[name].values for name, ours in names.items() if _is_known(ours)}
        if "latents" in dataset and (found := fingerprint_of(dataset["latents"])) is not None:
            arrays[FINGERPRINT] = np.array(found)
    return arrays, ", ".join(islice(map(str, names), _MOST_NAMES))


def _grids_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> list[dict[str, NDArray[Any]]]:
    """Return the grid of each signal from one long array per axis."""
    axes = [str(axis) for axis in np.atleast_1d(arrays["axes"])]
    needed = ["sizes", *(f"positions_{axis}" for axis in axes)]
    if absent := [name for name in needed if name not in arrays]:
        raise FileError(
            path,
            f"holds 'axes' but not {', '.join(map(repr, absent))}, which say with it where each "
            "signal stands; a file without 'axes' is decoded on the grid of the field",
        )
    sizes, shape = arrays["sizes"], (len(arrays["latents"]), len(axes))
    if sizes.shape != shape or sizes.dtype.kind not in "iu":
        raise FileError(
            path, f"'sizes' must be whole numbers of shape {shape}, got {sizes.dtype} {sizes.shape}"
        )
    parts = []
    for axis, lengths in zip(axes, sizes.T, strict=True):
        places = arrays[f"positions_{axis}"]
        if lengths.min() < 1 or places.shape != (lengths.sum(),) or not _are_places(places):
            raise FileError(
                path,
                f"'positions_{axis}' must hold as many finite coordinates as 'sizes' says, "
                f"{lengths.sum()}, got {places.dtype} of shape {places.shape}",
            )
        parts.append(np.split(places, np.cumsum(lengths)[:-1]))
    return [dict(zip(axes, grid, strict=True)) for grid in zip(*parts, strict=True)]


def _are_places(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iuf" and bool(np.isfinite(values).all())


def _is_known(name: str) -> bool:
    """Tell whether an array is one that :meth:`LatentSet.write` writes; others are left unread."""
    return name in _DIMS or name == FINGERPRINT or name.startswith("positions_")


def _dims_of(name: str) -> tuple[str, ...]:
    return _DIMS.get(name, (name.replace("positions", "points"),))
