"""Attributes and labels as JSON, so that files hold what signals came with."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

_TYPE, _VALUE = "__type__", "value"
_NUMBERS, _TIMES = "biuf", "Mm"
_STORED = _NUMBERS + _TIMES + "US"


def to_json(value: Any) -> Any:
    """Return what JSON can hold, from which :func:`from_json` makes the same again.

    Parameters
    ----------
    value : object
        Python's plain types, containers of them, bytes, complex numbers, dates, and NumPy's arrays
        and scalars come back as they are; anything else becomes its text.

    Examples
    --------
    >>> from_json(to_json({"te": (3.5, None), "affine": np.eye(2, dtype=np.float32)}))
    {'te': (3.5, None), 'affine': array([[1., 0.], [0., 1.]], dtype=float32)}
    >>> to_json(slice(1, 3))
    'slice(1, 3, None)'
    """
    return _coded(value, [])


def from_json(plain: Any) -> Any:
    """Return the value that :func:`to_json` was given."""
    if isinstance(plain, list):
        return [from_json(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    kind = plain.get(_TYPE)
    if not isinstance(kind, str):
        return {name: from_json(item) for name, item in plain.items()}
    value = plain[_VALUE]
    if kind == "tuple":
        return tuple(from_json(item) for item in value)
    if kind == "dict":
        return {from_json(name): from_json(item) for name, item in value}
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "complex":
        return complex(*value)
    if kind in ("date", "datetime"):
        return (datetime if kind == "datetime" else date).fromisoformat(value)
    is_scalar = kind.endswith("()")
    array = _array(np.dtype(kind.removesuffix("()")), plain)
    return array[()] if is_scalar else array


def warn_of_text(attributes: Mapping[Any, Any], what: str) -> None:
    """Warn of attributes that a file will hold as text only.

    Parameters
    ----------
    attributes : mapping
        Of signals, or of an axis.
    what : str
        Whose they are, in words.
    """
    texts = [name for name, value in attributes.items() if _is_lost(value)]
    if texts:
        kinds = ", ".join(sorted({type(attributes[name]).__name__ for name in texts}))
        warnings.warn(
            f"the attributes {texts} of {what} are, or hold, objects that no file takes ({kinds}): "
            "save will write them as text",
            UserWarning,
            stacklevel=2,
        )


def _is_lost(value: Any) -> bool:
    lost: list[Any] = []
    _coded(value, lost)
    return bool(lost)


def _coded(value: Any, lost: list[Any], depth: int = 0) -> Any:
    """Return JSON's form of a value, and note what becomes text."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > 20:  # such as a list that holds itself
        lost.append(value)
        return str(value)
    if isinstance(value, list | tuple):
        items = [_coded(item, lost, depth + 1) for item in value]
        return items if isinstance(value, list) else {_TYPE: "tuple", _VALUE: items}
    if isinstance(value, Mapping):
        pairs = [[_coded(k, lost, depth + 1), _coded(v, lost, depth + 1)] for k, v in value.items()]
        if all(type(name) is str and name != _TYPE for name, _ in pairs):
            return dict(pairs)
        return {_TYPE: "dict", _VALUE: pairs}
    if isinstance(value, bytes):
        return {_TYPE: "bytes", _VALUE: base64.b64encode(value).decode()}
    if type(value) is complex:
        return {_TYPE: "complex", _VALUE: [value.real, value.imag]}
    if type(value) in (date, datetime):
        return {_TYPE: type(value).__name__, _VALUE: value.isoformat()}
    if isinstance(value, np.ndarray | np.generic):
        return _coded_array(value, lost, depth)
    lost.append(value)
    return str(value)


def _coded_array(value: np.ndarray | np.generic, lost: list[Any], depth: int) -> Any:
    array = np.asarray(value)
    kind = array.dtype.kind
    if kind in "Oc":
        return _coded(array.tolist(), lost, depth + 1)
    if kind not in _STORED or (array.dtype.itemsize > 8 and kind in _NUMBERS):
        lost.append(value)
        return str(value)
    plain = np.char.decode(array, "latin-1") if kind == "S" else array
    plain = array.astype(np.int64) if kind in _TIMES else plain
    name = {"U": "str", "S": "S"}.get(kind, array.dtype.name)
    ending = "()" if isinstance(value, np.generic) else ""
    return {_TYPE: name + ending, _VALUE: plain.tolist(), "shape": list(array.shape)}


def _array(dtype: np.dtype, plain: Mapping[str, Any]) -> np.ndarray:
    """Return an array; of text, as wide as the text is, whatever a file says."""
    value, kind = plain[_VALUE], dtype.kind
    if kind not in _STORED:
        raise ValueError(f"attributes of type {dtype} are not stored")
    held = str if kind in "US" else np.int64 if kind in _TIMES else dtype
    array = np.asarray(value, dtype=held).reshape(plain["shape"])
    if kind == "S":
        return np.char.encode(array, "latin-1")
    return array.astype(dtype) if kind in _TIMES else array
