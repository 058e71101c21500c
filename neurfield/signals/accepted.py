"""What may hold signals, and which values they may have."""

from __future__ import annotations

from typing import Any

import numpy as np

_CONTAINERS = "an array, a DataFrame, an xarray object, or a list of arrays or DataArrays"


def as_container(X: Any) -> Any:
    """Return signals in arrays of NumPy where they came as tensors, and refuse what holds none.

    Parameters
    ----------
    X : object
        What a caller passes as signals. Tensors of torch lose their gradients, not their values.

    Raises
    ------
    ValueError
        If nothing in it can be read as an array of numbers.
    """
    if isinstance(X, list | tuple):
        items = [_of_tensor(item) for item in X]
        return _checked_items(items)
    X = _of_tensor(X)
    if not hasattr(X, "shape") and not hasattr(X, "__array__") and not hasattr(X, "dims"):
        raise ValueError(f"X must be {_CONTAINERS}, got {type(X).__name__}: {X!r:.60}")
    if type(X).__name__ == "DataTree":
        raise ValueError(f"X must be {_CONTAINERS}, got a DataTree; pass one of its Datasets")
    if getattr(getattr(X, "dtype", None), "kind", "") == "O" and not hasattr(X, "dims"):
        _check_objects(X)
    return X


def real(values: Any, what: str) -> Any:
    """Return values that are real numbers, in a type that the field can compute with.

    Parameters
    ----------
    values : array of NumPy or dask, or DataArray
        Those of more than 64 bits become float64.
    what : str
        Whose values they are, in words.

    Raises
    ------
    ValueError
        If they are complex numbers, dates, text or objects.
    """
    kind = values.dtype.kind
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: {what} have dtype {values.dtype}; "
            "neurfield.datasets.complex_to_channels makes channels of real and imaginary parts"
        )
    if kind in "mM":
        raise ValueError(
            f"{what} must be real numbers, got dtype {values.dtype}; divide durations by a unit, "
            'such as np.timedelta64(1, "s"), and subtract a date from dates before'
        )
    if kind not in "biuf":
        raise ValueError(f"{what} must be real numbers, got dtype {values.dtype}")
    return values.astype(np.float64) if values.dtype.itemsize > 8 else values


def _of_tensor(X: Any) -> Any:
    if not (hasattr(X, "detach") and hasattr(X, "cpu")):
        return X
    if X.device.type == "meta":
        raise ValueError(f"X must hold values, got a tensor on the device {str(X.device)!r}")
    held = X.detach().cpu()
    return np.asarray(held.float() if str(held.dtype) == "torch.bfloat16" else held)


def _check_objects(X: Any) -> None:
    """Refuse an array, or a column, whose items are signals instead of numbers."""
    for item in np.asarray(X).flat[:1]:
        if hasattr(item, "__array__") or isinstance(item, list | tuple):
            raise ValueError(
                f"X must be {_CONTAINERS}, got an array of objects with {type(item).__name__} in "
                "it; pass a list of arrays, [np.asarray(x) for x in X]"
            )


def _checked_items(items: list[Any]) -> Any:
    """Return a list of signals, or the array that nested lists are; refuse all others."""
    for i, item in enumerate(items):
        is_number = isinstance(item, int | float | np.number)
        if not (is_number or hasattr(item, "__array__") or isinstance(item, list | tuple)):
            dense = "; use its method toarray()" if hasattr(item, "toarray") else ""
            raise ValueError(
                f"X must be {_CONTAINERS}, got a list with {type(item).__name__} as X[{i}]{dense}"
            )
    if any(isinstance(item, np.ndarray) or hasattr(item, "dims") for item in items):
        return items  # signals of their own shapes
    try:
        return np.asarray(items)
    except ValueError as error:
        raise ValueError(
            "X must be an array, but its nested lists are not all of one length; for signals of "
            "different shapes pass a list of arrays, [np.asarray(x) for x in X]"
        ) from error
