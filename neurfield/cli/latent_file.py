"""Latents in files: the numbers, and what is needed to decode each signal on its own grid."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
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

ENDINGS = (".npz", ".nc", ".csv")
_DIMS: dict[str, tuple[str, ...]] = {
    "latents": ("sample", "feature"),
    "features": ("feature",),
    "axes": ("axis",),
    "sizes": ("sample", "axis"),
    "affines": ("sample", "row", "column"),
    "labels": ("sample",),
    "names": ("sample",),
}


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
    """

    latents: NDArray[np.floating[Any]]
    features: list[str] = field(default_factory=list)
    labels: NDArray[Any] | None = None
    names: list[str] | None = None
    grids: list[dict[str, NDArray[np.float64]]] | None = None
    affines: NDArray[np.float64] | None = None

    def write(self, path: Path) -> None:
        """Write to a ``.npz``, ``.nc`` or ``.csv`` file; the last holds no grids or affines."""
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
        dataset = xr.Dataset({name: (_dims_of(name), array) for name, array in arrays.items()})
        # Characters side by side: of text of any length, a damaged file can claim gigabytes.
        texts = {name: {"dtype": "S1"} for name, array in arrays.items() if array.dtype.kind == "U"}
        with replacing(path) as temporary:
            dataset.to_netcdf(temporary, encoding=texts)

    @classmethod
    def read(cls, path: Path) -> LatentSet:
        """Read what :meth:`write` wrote.

        Raises
        ------
        MissingFileError
            If the file is not there.
        FileError
            If it cannot be read or holds no latents.
        """
        existing_file(path)
        if path.suffix not in ENDINGS:
            raise ValueError(f"{path}: latents must be in one of {', '.join(ENDINGS)}")
        with reading(path, "a file of latents"):
            if path.suffix == ".csv":
                return cls._from_csv(path)
            if path.suffix == ".npz":
                with NumpyFile(path) as file:
                    arrays = {name: file[name] for name in file if _is_known(name)}
            else:
                engine = netcdf_engine(path, is_lazy=False)
                with xr.open_dataset(path, engine=engine) as dataset:
                    arrays = {str(name): dataset[name].values for name in dataset.variables}
        if "latents" not in arrays or arrays["latents"].ndim != 2:
            raise FileError(
                path,
                "holds no two-dimensional array 'latents' as 'neurfield transform' writes it; of "
                f"what it writes, it holds {', '.join(arrays) or 'nothing'}",
            )
        with reading(path, "latents as 'neurfield transform' writes them"):
            return cls._from_arrays(arrays)

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
        return arrays

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LatentSet:
        grids = None
        if "axes" in arrays:
            axes = [str(axis) for axis in arrays["axes"]]
            parts = [
                np.split(arrays[f"positions_{axis}"], np.cumsum(sizes)[:-1])
                for axis, sizes in zip(axes, arrays["sizes"].T, strict=True)
            ]
            grids = [dict(zip(axes, grid, strict=True)) for grid in zip(*parts, strict=True)]
        return cls(
            latents=arrays["latents"],
            features=[str(name) for name in arrays.get("features", ())],
            labels=arrays.get("labels"),
            names=[str(name) for name in arrays["names"]] if "names" in arrays else None,
            grids=grids,
            affines=arrays.get("affines"),
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
        """Read the table line by line: as text, it takes many times the room of its numbers."""
        facts: dict[str, list[str]] = {"sample": [], "label": []}
        latents = []
        with open(path, newline="") as file:
            rows = csv.reader(file)
            header = next(rows)
            if len(set(header)) < len(header):
                raise ValueError("two columns have one name")
            features = [name for name in header if name not in facts]
            for row in rows:
                known = dict(zip(header, row, strict=True))
                for name, column in facts.items():
                    column.append(known.pop(name, ""))
                latents.append(np.array(list(known.values()), dtype=np.float32))
        return cls(
            latents=np.array(latents, dtype=np.float32).reshape(len(latents), len(features)),
            features=features,
            labels=np.array(facts["label"]) if "label" in header else None,
            names=facts["sample"] if "sample" in header else None,
        )


def _is_known(name: str) -> bool:
    """Tell whether an array is one that :meth:`LatentSet.write` writes; others are left unread."""
    return name in _DIMS or name.startswith("positions_")


def _dims_of(name: str) -> tuple[str, ...]:
    return _DIMS.get(name, (name.replace("positions", "points"),))
