"""Pickles read as data: no global of the file is imported, none of its code can run."""

from __future__ import annotations

import math
import pickle
import pickletools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


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


class InertUnpickler(pickle.Unpickler):
    """Build plain values, arrays and :class:`Record` objects; refuse every other global.

    Whatever a pickle calls is one of the few functions below, made for the purpose; nothing is
    looked up in any module.

    Parameters
    ----------
    file : binary file
        Standing at the start of a pickle.
    record_classes : iterable of str, default=()
        Foreign classes ("module.name") to read as records.
    functions : mapping of str to callable, optional
        Further globals, and what stands in for them.
    """

    def __init__(
        self,
        file: BinaryIO,
        record_classes: Iterable[str] = (),
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        _check_instructions(file)
        super().__init__(file)
        self._known: dict[str, Any] = {
            "collections.OrderedDict": _Dict,
            "_codecs.encode": _Function(_encode),
            "numpy.dtype": _Dtype,
            "numpy.ndarray": _Array,
        }
        for module in ("builtins", "__builtin__"):
            self._known[f"{module}.set"] = _Function(set)
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
                f"it asks for {module}.{name}; only arrays and plain values are read, and nothing "
                "was run"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what a pickle keeps outside of itself."""
        raise RefusedError(f"it points to something outside of itself: {pid!r:.80}")


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


def _check_instructions(file: BinaryIO) -> None:
    """Refuse a pickle that is cut off, or that reserves memory beyond its own size."""
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > end:
            raise RefusedError(f"it numbers its objects up to {argument}, more than it can hold")
        if instruction.name.startswith("EXT"):
            raise RefusedError(f"it asks for the registered extension {argument}")
    file.seek(start)


def _no_attributes(**attributes: Any) -> dict[str, Any]:
    return {"__slots__": (), **attributes}


class _Function:
    """A function that a pickle can call, and do nothing else with."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("it sets attributes of a function")


class _Dict(dict[Any, Any]):
    """An ordered dict; attributes that a pickle gives it, such as torch's versions, are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """The type of an array: a kind and size such as "f4", and the order of the bytes."""

    __slots__ = ("big_endian", "name")

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or np.dtype(name).kind not in "biuf":
            raise RefusedError(f"it holds an array of {name!r:.40}, which are no plain numbers")
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
        if math.prod(shape) * dtype.dtype().itemsize != len(content):
            raise RefusedError(
                f"it holds {len(content)} bytes for an array of shape {tuple(shape)}"
            )
        self._parts = tuple(shape), dtype.dtype(), bool(fortran), content

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


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 has no bytes of its own, and writes them as text in this one encoding.
    if encoding != "latin1":
        raise RefusedError(f"it encodes text as {encoding!r:.40}")
    return text.encode("latin1")


def plain_number(value: Any) -> bool:
    """Tell whether a value read from a pickle is one number."""
    return isinstance(value, int | float) and math.isfinite(value)


def plain_shape(value: Any) -> Sequence[int]:
    """Return a tuple of non-negative integers, or refuse."""
    if not isinstance(value, tuple) or not all(type(n) is int and n >= 0 for n in value):
        raise RefusedError(f"it holds an array of shape {value!r:.80}")
    return value
