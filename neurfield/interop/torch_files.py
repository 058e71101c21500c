"""What ``torch.save`` wrote, as tensors, plain values and records of foreign objects."""

from __future__ import annotations

import io
import os
import reprlib
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import torch
from torch import Tensor

from neurfield.errors import FileError, existing_file, reading
from neurfield.interop.inert import InertUnpickler, RefusedError, plain_shape

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_torch(path: str | os.PathLike[str], record_classes: Iterable[str] = ()) -> Any:
    """Read a file of ``torch.save``, new or legacy format, without running anything in it.

    Parameters
    ----------
    path : path-like
        File to read. Tensors come to the CPU, whatever device they were saved from.
    record_classes : iterable of str, optional
        Classes ("module.name") whose instances are read as
        :class:`neurfield.interop.inert.Record`: their attributes, without the class.

    Returns
    -------
    object
        Dicts, lists, tuples, numbers, strings, tensors and records, as they were saved.

    Raises
    ------
    MissingFileError
        If the file is not there.
    FileError
        If the file is cut off or of another kind, or if it asks for any other global, which the
        message names.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> torch.save({"modulations": torch.zeros(3)}, folder.name + "/datapoint_0.pt")
    >>> read_torch(folder.name + "/datapoint_0.pt")
    {'modulations': tensor([0., 0., 0.])}
    >>> folder.cleanup()
    """
    source = existing_file(path)
    with reading(source, "a file of torch.save"), open(source, "rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _read_zip(file, record_classes)
            file.seek(0)
            return _read_legacy(file, record_classes)
        except RefusedError as refusal:
            raise FileError(source, f"is refused: {refusal}") from None


class _TorchUnpickler(InertUnpickler):
    """An unpickler that finds the numbers of tensors in ``storage``, by key."""

    def __init__(self, file: BinaryIO, record_classes: Iterable[str], storages: _Storages) -> None:
        functions: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": _tensor,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
        }
        super().__init__(file, record_classes, functions)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class with its source code, which the legacy format adds
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            return super().persistent_load(pid)
        _, kind, key, _, size, *view = pid
        if not isinstance(kind, _StorageType) or type(size) is not int or size < 0:
            raise RefusedError(f"it describes the numbers of a tensor as {reprlib.repr(pid)}")
        if any(part is not None for part in view):
            raise RefusedError("it holds views of storages, as torch before 0.4 wrote them")
        if not isinstance(key, str):
            raise RefusedError(f"it names the numbers of a tensor {reprlib.repr(key)}")
        return self._storages.get(key, kind.dtype, size)


class _StorageType:
    """A type of numbers that a file names."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Storage:
    """The numbers of one or several tensors, flat."""

    __slots__ = ("values",)

    def __init__(self, values: Tensor) -> None:
        self.values = values


class _Storages:
    """Storages by key, each the same object whenever a file refers to it.

    Parameters
    ----------
    room : int
        Bytes that they can take in all: no more than the file has.
    """

    def __init__(self, room: int) -> None:
        self._found: dict[str, _Storage] = {}
        self._room = room

    def get(self, key: str, dtype: torch.dtype, size: int) -> _Storage:
        """Return the numbers of a storage, of `size` elements."""
        known = self._found.get(key)
        if known is None:
            self._room -= size * dtype.itemsize
            if self._room < 0:
                raise RefusedError(
                    f"it describes a tensor of {size} numbers, more than the file holds"
                )
            known = self._found[key] = _Storage(self.load(key, dtype, size))
        if known.values.dtype != dtype or len(known.values) != size:
            raise RefusedError(f"it describes storage {key!r:.40} in two ways")
        return known

    def load(self, key: str, dtype: torch.dtype, size: int) -> Tensor:
        """Return the numbers of a storage seen for the first time."""
        raise NotImplementedError


class _ZipStorages(_Storages):
    """Storages that are members of an archive."""

    def __init__(self, room: int, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(room)
        self._archive, self._folder = archive, folder

    def load(self, key: str, dtype: torch.dtype, size: int) -> Tensor:
        return _numbers(_member(self._archive, f"{self._folder}/data/{key}"), dtype, size)


class _LegacyStorages(_Storages):
    """Storages that follow the pickle: first their sizes are read, then their numbers."""

    def load(self, key: str, dtype: torch.dtype, size: int) -> Tensor:
        return torch.empty(size, dtype=dtype)

    def fill(self, key: str, file: BinaryIO) -> None:
        """Read the numbers of one storage."""
        values = self._found[key].values
        (size,) = struct.unpack("<q", file.read(8))
        if size != len(values):
            raise RefusedError(
                f"storage {key!r:.40} has {size} numbers, {len(values)} were announced"
            )
        values.copy_(_numbers(file.read(size * values.dtype.itemsize), values.dtype, size))


def _read_zip(file: BinaryIO, record_classes: Iterable[str]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("the archive has no member 'data.pkl'")
        folder = names[0].removesuffix("/data.pkl")
        order = f"{folder}/byteorder"
        if order in archive.namelist() and _member(archive, order) != sys.byteorder.encode():
            raise ValueError("its numbers have the byte order of another machine")
        content = io.BytesIO(_member(archive, names[0]))
        storages = _ZipStorages(_size(file), archive, folder)
        return _TorchUnpickler(content, record_classes, storages).load()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        # torch compresses nothing; a small file that unpacks to a huge one is no work of it.
        raise RefusedError(f"its member {name!r:.60} is compressed")
    return archive.read(name)


def _read_legacy(file: BinaryIO, record_classes: Iterable[str]) -> Any:
    magic, protocol, system = (InertUnpickler(file).load() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ValueError("it has no mark of torch")
    if system.get("little_endian") is not (sys.byteorder == "little"):
        raise ValueError("its numbers have the byte order of another machine")
    storages = _LegacyStorages(_size(file) - file.tell())
    content = _TorchUnpickler(file, record_classes, storages).load()
    for key in InertUnpickler(file).load():
        storages.fill(key, file)
    return content


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _numbers(content: bytes, dtype: torch.dtype, size: int) -> Tensor:
    if len(content) != size * dtype.itemsize:
        raise RefusedError(f"it holds {len(content)} bytes for {size} numbers of {dtype}")
    return (
        torch.frombuffer(bytearray(content), dtype=dtype) if size else torch.empty(0, dtype=dtype)
    )


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    _: Any = False,
    hooks: Any = None,
    *rest: Any,
) -> Tensor:
    if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or hooks or rest:
        raise RefusedError("it rebuilds a tensor from something else than its numbers")
    shape, strides = plain_shape(shape), plain_shape(strides)
    count = 1
    for n in shape:
        count *= n
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > len(storage.values) or (count and last >= len(storage.values)):
        raise RefusedError(
            f"it describes a tensor of shape {shape} over {len(storage.values)} numbers"
        )
    return storage.values.as_strided(shape, strides, offset)


def _parameter(data: Any, _: Any, hooks: Any) -> Tensor:
    if not isinstance(data, Tensor) or hooks:
        raise RefusedError("it rebuilds a parameter from something else than a tensor")
    return data
