"""NumPy's two file formats, read one array at a time, and mapped into memory where asked."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._files import existing_file, reading
from neurfield.errors import FileError
from neurfield.limits import check_unpacked

MmapMode = Literal["r", "c"] | None

_WHAT = "a NumPy .npz or .npy file"
_ENDING = ".npy"
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # that NumPy writes
_MOST_HEADER = 1 << 14  # bytes; NumPy takes none of more than 10 000


class NumpyFile(Mapping[str, NDArray[np.generic]]):
    """The arrays of a ``.npz`` file by name; a ``.npy`` file holds one, called ``values``.

    An array is read when it is asked for, so a damaged or missing one does not stand in the way of
    the others, and only if its header agrees with the bytes that are there.

    Parameters
    ----------
    path : Path
        File, open until the end of the ``with`` block that this is used in.
    """

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path)
        self._archive: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._unpacked = 0
        with reading(path, _WHAT):
            with open(path, "rb") as file:
                is_zipped = file.read(2) == b"PK"
                if not is_zipped:
                    file.seek(0)
                    self._alone = _Header.read(file, path.stat().st_size)
            if is_zipped:
                self._archive = zipfile.ZipFile(path)
                self._members = self._by_name(self._archive)

    def _by_name(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(_ENDING)
            if name in members:
                raise FileError(self.path, f"holds two arrays {name:.80}; write it again")
            members[name] = member
        return members

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def __contains__(self, name: object) -> bool:
        return name == "values" if self._archive is None else name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(("values",) if self._archive is None else self._members)

    def __len__(self) -> int:
        return 1 if self._archive is None else len(self._members)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self:
            raise KeyError(name)
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            self.header(name)
            if self._archive is None:
                return np.asarray(np.load(self.path, allow_pickle=False))
            self._count(name)
            with self._archive.open(self._members[name]) as member:
                return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    def header(self, name: str) -> _Header:
        """Return shape and type of an array, from its header alone, which must fit its bytes."""
        if self._archive is None:
            return self._alone
        member = self._members[name]
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            if member.compress_type not in _PACKINGS:
                raise ValueError("it is packed in a way that NumPy does not write")
            with self._archive.open(member) as content:
                return _Header.read(content, member.file_size)

    def mapped(self, name: str, mode: Literal["r", "c"]) -> NDArray[np.generic]:
        """Return an array that stays on disk until its values are used.

        A compressed array has no place of its own in the file to map. It is unpacked once, into
        ``<file>_<name>.npy`` beside the file, which later calls find again.
        """
        with reading(self.path, f"{_WHAT} (array {name!r})"):
            header = self.header(name)
            if self._archive is None:
                return header.mapped(self.path, mode, 0)
            member = self._members[name]
            if member.compress_type == zipfile.ZIP_STORED:
                return header.mapped(self.path, mode, _start_of(self.path, member))
        unpacked = self.path.with_name(f"{self.path.stem}_{Path(name).name}{_ENDING}")
        if not _is_newer(unpacked, self.path):
            self._count(name)
            with replacing(unpacked) as temporary, open(temporary, "wb") as file:
                file.writelines(self._blocks(member))
        with reading(unpacked, "an array unpacked earlier"), open(unpacked, "rb") as file:
            return _Header.read(file, unpacked.stat().st_size).mapped(unpacked, mode, 0)

    def _count(self, name: str) -> None:
        """Refuse to unpack more than the limit, over all that has been unpacked."""
        self._unpacked += self._members[name].file_size
        check_unpacked(self.path, self._unpacked, f"array {name!r:.80}")

    def _blocks(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the content of a compressed array, a megabyte at a time."""
        assert self._archive is not None
        with (
            reading(self.path, f"{_WHAT} ({member.filename})"),
            self._archive.open(member) as packed,
        ):
            while block := packed.read(1 << 20):
                yield block


class _Header(NamedTuple):
    """What stands before the numbers of an array, and how many bytes that takes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int

    @classmethod
    def read(cls, file: IO[bytes], n_bytes: int) -> _Header:
        """Read the header of an array that takes `n_bytes` with it, which it must agree with."""
        content = io.BytesIO(file.read(_MOST_HEADER))
        version = np.lib.format.read_magic(content)
        read = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read = np.lib.format.read_array_header_1_0
        header = cls(*read(content), content.tell())
        announced = header.size + math.prod(header.shape) * header.dtype.itemsize
        if header.dtype.hasobject:
            raise ValueError("pickled objects are never loaded")
        if min(header.shape, default=0) < 0 or announced != n_bytes:
            raise ValueError(
                f"its header announces shape {header.shape} and {header.dtype}, {announced} bytes, "
                f"but it has {n_bytes}"
            )
        if 0 in header.shape and sum(header.shape) > n_bytes:
            raise ValueError(f"its header announces shape {header.shape}, which holds no values")
        return header

    def mapped(self, path: Path, mode: Literal["r", "c"], start: int) -> NDArray[np.generic]:
        """Map the array whose header begins at byte `start` of a file."""
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        offset = start + self.size
        return np.asarray(np.memmap(path, self.dtype, mode, offset, self.shape, order))


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the content of a member begins that lies uncompressed within a zip file."""
    with open(path, "rb") as file:
        # The local header repeats the name and has extras of its own; their lengths stand at 26.
        file.seek(member.header_offset + 26)
        n_name, n_extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(n_name) + int(n_extra)


def _is_newer(path: Path, other: Path) -> bool:
    return path.is_file() and path.stat().st_mtime >= other.stat().st_mtime
