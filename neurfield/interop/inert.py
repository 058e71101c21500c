"""Pickles read as data: no global of the file is imported, none of its code can run."""

from __future__ import annotations

import math
import pickle
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMBERS = re.compile(r"[<>|=]?[biuf]\d{1,2}")
_MOST_ARGUMENTS = 64  # of a call, and of axes that an array may have
_SMALL_READ = 1 << 16

# Python's own reading, instruction by instruction: of the one in C, only the look-up of globals can
# be replaced, and a few bytes suffice to keep it busy for ever with keys that it has to hash.
_Steps: Any = pickle._Unpickler


class RefusedError(ValueError):
    """A pickle asks for something that is neither an array nor a plain value."""


class Record:
    """What a pickle says of an object whose class is not loaded: its class's name and its state.

    Attributes
    ----------
    kind : str
        Module and name of the class, as the file gives them.
    state : object
        What the file says of the instance, mostly a dict of its attributes.
    """

    __slots__ = ("state",)
    kind: ClassVar[str] = ""
    state: Any

    def __new__(cls, *arguments: Any) -> Record:
        if arguments:
            raise RefusedError(f"it constructs a {cls.kind}, whose state alone is read")
        record = super().__new__(cls)
        record.state = None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class InertUnpickler(_Steps):
    """Build plain values, arrays and :class:`Record` objects; refuse every other global.

    Whatever a pickle calls is one of the few functions below, made for the purpose; nothing is
    looked up in any module. No instruction takes longer, or reserves more memory, than the bytes of
    the file that it is about: objects that a pickle refers to again and again are not copied, nor
    hashed, anew each time.

    Parameters
    ----------
    file : binary file
        Standing at the start of a pickle.
    record_classes : iterable of str, default=()
        Foreign classes ("module.name") to read as records.
    functions : mapping of str to callable, optional
        Further globals, and what stands in for them.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_Steps.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        record_classes: Iterable[str] = (),
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(_Bounded(file))
        self._taken: dict[int, Any] = {}  # by identity; held, so that none is reused
        self._known: dict[str, Any] = {
            "collections.OrderedDict": _Dict,
            "_codecs.encode": _Function(self._encode),
            "numpy.dtype": _Dtype,
            "numpy.ndarray": _Array,
        }
        for module in ("builtins", "__builtin__"):
            self._known[f"{module}.set"] = _Function(self._set)
        for module in _NUMPY_MODULES:
            self._known[f"{module}.scalar"] = _Function(_scalar)
            self._known[f"{module}._reconstruct"] = _Function(_blank_array)
        self._known["dill._dill._create_array"] = _Function(_dill_array)
        self._known |= {name: _Function(stand_in) for name, stand_in in (functions or {}).items()}
        for name in record_classes:
            self._known[name] = type(name.rpartition(".")[2], (Record,), _no_attributes(kind=name))

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a global, never the global itself."""
        found = self._known.get(f"{module}.{name}")
        if found is None:
            raise RefusedError(
                f"it asks for {module:.100}.{name:.100}; only arrays and plain values are read, "
                "and nothing was run"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what a pickle keeps outside of itself."""
        raise RefusedError(f"it points to something outside of itself: {reprlib.repr(pid)}")

    def get_extension(self, code: int) -> None:
        """Refuse a global that stands for a number in this process."""
        raise RefusedError(f"it asks for the registered extension {code}")

    def _setitem(self) -> None:
        _check_keys(self.stack[-3], self.stack[-2:-1])
        super().load_setitem()

    def _setitems(self) -> None:
        _check_keys(self.metastack[-1][-1], self.stack[::2])
        super().load_setitems()

    def _dict(self) -> None:
        _check_keys({}, self.stack[::2])
        super().load_dict()

    def _additems(self) -> None:
        _check_keys(self.metastack[-1][-1], self.stack)
        super().load_additems()

    def _frozenset(self) -> None:
        _check_keys(set(), self.stack)
        super().load_frozenset()

    def _build(self) -> None:
        if not isinstance(built := self.stack[-2], _Dict | Record | _Dtype | _Array):
            raise RefusedError(f"it sets attributes of a {type(built).__name__.strip('_').lower()}")
        super().load_build()

    def _reduce(self) -> None:
        _check_arguments(self.stack[-1])
        super().load_reduce()

    def _newobj(self) -> None:
        _check_arguments(self.stack[-1])
        super().load_newobj()

    def _refused(self) -> None:
        raise RefusedError("it has instructions that no file of plain values needs")

    dispatch |= {
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _additems,
        pickle.FROZENSET[0]: _frozenset,
        pickle.BUILD[0]: _build,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _newobj,
        pickle.NEWOBJ_EX[0]: _refused,
        pickle.BYTEARRAY8[0]: _refused,  # which would be reserved before it is read
    }

    def _set(self, items: Any = ()) -> set[Any]:
        if id(items) in self._taken:
            raise RefusedError("it makes several sets of one list")
        self._taken[id(items)] = items
        _check_keys(set(), items)
        return set(items)

    def _encode(self, text: Any, encoding: Any) -> bytes:
        # Protocol 2 has no bytes of its own, and writes them as text in this one encoding.
        if encoding != "latin1":
            raise RefusedError(f"it encodes text as {reprlib.repr(encoding)}")
        if id(text) not in self._taken:
            self._taken[id(text)] = text, text.encode("latin1")
        content: bytes = self._taken[id(text)][1]
        return content


def plain_array(value: Any, what: str) -> NDArray[Any]:
    """Return the NumPy array that a pickle holds.

    Parameters
    ----------
    value : object
        What :class:`InertUnpickler` returned.
    what : str
        Its name, for the error.

    Raises
    ------
    RefusedError
        If it is something else than an array of numbers.
    """
    if not isinstance(value, _Array):
        raise RefusedError(f"{what} must be a NumPy array, got {type(value).__name__.strip('_')}")
    return value.array()


class _Bounded:
    """A file that is asked for no more than it holds: what is asked for is reserved first."""

    def __init__(self, file: BinaryIO) -> None:
        start = file.tell()
        self._end = file.seek(0, 2)
        file.seek(start)
        self._file, self.readline = file, file.readline

    def read(self, size: int) -> bytes:
        if size > _SMALL_READ and size > self._end - self._file.tell():
            raise EOFError(f"it announces {size} bytes, more than are left")
        return self._file.read(size)


def _check_keys(target: Any, keys: Any) -> None:
    """Refuse to fill anything but a dict or a set, and keys that take long to hash or compare.

    The hash of text differs from run to run; those of tuples and of long integers are the same
    everywhere, so that a file can hold as many as it likes with the same hash.
    """
    if type(target) not in (dict, _Dict, set):
        raise RefusedError(f"it sets items of a {type(target).__name__.strip('_').lower()}")
    for key in keys:
        is_short = isinstance(key, str | bytes | float | None) or (
            isinstance(key, int) and key.bit_length() <= 64
        )
        if not is_short:
            raise RefusedError(
                f"it has a key of type {type(key).__name__.strip('_')}; keys must be text, numbers "
                "or None"
            )


def _check_arguments(arguments: Any) -> None:
    if len(arguments) > _MOST_ARGUMENTS:
        raise RefusedError(f"it calls a function with {len(arguments)} arguments")


def _no_attributes(**attributes: Any) -> dict[str, Any]:
    return {"__slots__": (), **attributes}


class _Function:
    """A function that a pickle can call, and do nothing else with."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class _Dict(dict[Any, Any]):
    """An ordered dict; attributes that a pickle gives it, such as torch's versions, are dropped."""

    __slots__ = ()

    def __init__(self, *arguments: Any) -> None:
        if arguments:
            raise RefusedError("it makes a dict of another object, as Python 2 did")
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """The type of an array: a kind and size such as "f4", and the order of the bytes."""

    __slots__ = ("big_endian", "name")

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
            raise RefusedError(
                f"it holds an array of {reprlib.repr(name)}, which are no plain numbers"
            )
        self.name, self.big_endian = name, sys.byteorder == "big"

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.big_endian = state[1] == ">"

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.name).newbyteorder(">" if self.big_endian else "<")


class _Array:
    """An array in the making: shape, type and bytes as the pickle gives them."""

    __slots__ = ("_parts",)
    _parts: tuple[tuple[int, ...], np.dtype[Any], bool, bytes]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise RefusedError("it holds an array of objects")
        shape = plain_shape(shape)
        if math.prod(shape) * dtype.dtype().itemsize != len(content):
            raise RefusedError(f"it holds {len(content)} bytes for an array of shape {shape}")
        self._parts = shape, dtype.dtype(), bool(fortran), content

    def array(self) -> NDArray[Any]:
        shape, dtype, fortran, content = self._parts
        flat: NDArray[Any] = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
        return flat.reshape(shape, order="F" if fortran else "C")


def _blank_array(*_: Any) -> _Array:
    return _Array()


def _dill_array(_: Any, __: Any, state: Any, attributes: Any = None) -> _Array:
    # dill calls this with what pickle would have passed to _reconstruct and __setstate__.
    if attributes:
        raise RefusedError("it holds an array with attributes")
    array = _Array()
    array.__setstate__(state)
    return array


def _scalar(dtype: Any, content: Any) -> int | float | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
        raise RefusedError("it holds a scalar that is no plain number")
    value: int | float | bool = np.frombuffer(content, dtype.dtype(), count=1)[0].item()
    return value


def plain_number(value: Any) -> bool:
    """Tell whether a value read from a pickle is one number."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def plain_shape(value: Any) -> tuple[int, ...]:
    """Return a tuple of non-negative integers, or refuse."""
    is_short = isinstance(value, tuple) and len(value) <= _MOST_ARGUMENTS
    if not is_short or not all(type(n) is int and 0 <= n <= sys.maxsize for n in value):
        raise RefusedError(f"it holds an array of shape {reprlib.repr(value)}")
    shape: tuple[int, ...] = value
    return shape
