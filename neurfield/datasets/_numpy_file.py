"""NumPy's two file formats, read one array at a time, and mapped into memory where asked."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import reading

MmapMode = Literal["r", "c"] | None

_WHAT = "a NumPy .npz or .npy file"
_ENDING = ".npy"


class NumpyFile(Mapping[str, NDArray[np.generic]]):
    """The arrays of a ``.npz`` file by name; a ``.npy`` file holds one, called ``values``.

    An array is read when it is asked for, so a damaged or missing one does not stand in the way of
    the others.

    Parameters
    ----------
    path : Path
        File, which must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, _WHAT):
            with open(path, "rb") as file:
                self._zipped = file.read(2) == b"PK"
            if self._zipped:
                with zipfile.ZipFile(path) as archive:
                    found = archive.namelist()
                self._names = [name.removesuffix(_ENDING) for name in found]
            else:
                self._names = ["values"]
                np.load(path, mmap_mode="r", allow_pickle=False)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            loaded = np.load(self.path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded:
                return np.asarray(loaded[name])

    def ndim(self, name: str) -> int:
        """Return the number of axes of an array from its header alone."""
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            if not self._zipped:
                return int(np.load(self.path, mmap_mode="r", allow_pickle=False).ndim)
            with zipfile.ZipFile(self.path) as archive, archive.open(name + _ENDING) as member:
                return len(_read_header(member)[0])

    def mapped(self, name: str, mode: Literal["r", "c"]) -> NDArray[np.generic]:
        """Return an array that stays on disk until its values are used.

        A compressed array has no place of its own in the file to map. It is unpacked once, into
        ``<file>_<name>.npy`` beside the file, which later calls find again.
        """
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            if not self._zipped:
                return _mapped_npy(self.path, mode)
            with zipfile.ZipFile(self.path) as archive:
                member = archive.getinfo(name + _ENDING)
            if member.compress_type == zipfile.ZIP_STORED:
                return _mapped_member(self.path, member, mode)
        unpacked = self.path.with_name(f"{self.path.stem}_{name}{_ENDING}")
        if not _is_newer(unpacked, self.path):
            with replacing(unpacked) as temporary, open(temporary, "wb") as file:
                file.writelines(self._blocks(member))
        with reading(unpacked, "an array unpacked earlier"):
            return _mapped_npy(unpacked, mode)

    def _blocks(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the content of a compressed array, a megabyte at a time."""
        with (
            reading(self.path, f"{_WHAT} ({member.filename})"),
            zipfile.ZipFile(self.path) as archive,
            archive.open(member) as packed,
        ):
            while block := packed.read(1 << 20):
                yield block


def _mapped_npy(path: Path, mode: Literal["r", "c"]) -> NDArray[np.generic]:
    return np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))


def _mapped_member(
    path: Path, member: zipfile.ZipInfo, mode: Literal["r", "c"]
) -> NDArray[np.generic]:
    """Map an array that lies uncompressed within a zip file."""
    with open(path, "rb") as file:
        # The local header repeats the name and has extras of its own; their lengths stand at 26.
        file.seek(member.header_offset + 26)
        n_name, n_extra = struct.unpack("<HH", file.read(4))
        file.seek(member.header_offset + 30 + n_name + n_extra)
        shape, fortran, dtype = _read_header(file)
        order: Literal["F", "C"] = "F" if fortran else "C"
        if dtype.hasobject:
            raise ValueError("pickled objects are never loaded")
        mapped = np.memmap(path, dtype, mode, offset=file.tell(), shape=shape, order=order)
    return np.asarray(mapped)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _is_newer(path: Path, other: Path) -> bool:
    return path.is_file() and path.stat().st_mtime >= other.stat().st_mtime
