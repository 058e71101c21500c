"""Private API of the libraries this package builds on, all of it in one place, by public names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

# The newest series in which each private name below was found and tried by the tests, which fail
# when they run with a newer one: it has to be looked at, and then named here.
NEWEST_TESTED = {"pydicom": "3.0", "scikit-learn": "1.9", "xarray": "2026"}

try:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils._param_validation import (
        Interval,
        StrOptions,
        validate_parameter_constraints,
    )
    from sklearn.utils.validation import _check_sample_weight
except ImportError as error:
    raise ImportError(
        "neurfield checks parameters with functions of scikit-learn that are not part of its "
        f"public interface, up to scikit-learn {NEWEST_TESTED['scikit-learn']} as far as is known; "
        f"scikit-learn {version('scikit-learn')} is installed and does not have them: {error}"
    ) from error

try:
    from sklearn.utils._set_output import _get_output_config as output_config
except ImportError:  # then labels are the numbers of rows

    def output_config(method: str, estimator: Any = None) -> Any:
        """Tell nothing of the container that is asked for."""
        return {}


__all__ = [
    "Interval",
    "StrOptions",
    "check_sample_weight",
    "fit_context",
    "is_in_memory",
    "jpeg_parameters",
    "output_config",
    "validate_parameters",
    "validate_values",
]


def check_sample_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return weights as a float64 array of shape (n_samples,), a copy of what was given.

    Parameters
    ----------
    sample_weight : number or array-like of shape (n_samples,)
        One number stands for all.
    n_samples : int
        How many samples there are.

    Raises
    ------
    ValueError
        If there are more or fewer, or one is negative or not finite.
    """
    samples = np.broadcast_to(0.0, (n_samples, 1))
    found = _check_sample_weight(
        sample_weight, samples, dtype=np.float64, copy=True, ensure_non_negative=True
    )
    return np.asarray(found)


def jpeg_parameters(codestream: bytes) -> dict[str, Any]:
    """Return what the header of a JPEG or JPEG-LS codestream says, as far as pydicom reads it.

    Parameters
    ----------
    codestream : bytes
        From its first marker on.

    Returns
    -------
    dict
        "height", "width", "components" and more; empty where pydicom does not know the codec, or
        has no such function any more.
    """
    try:
        from pydicom.pixels.utils import _get_jpg_parameters
    except ImportError:
        return {}
    found: dict[str, Any] = _get_jpg_parameters(codestream)
    return found


def validate_parameters(estimator: BaseEstimator) -> None:
    """Check each parameter of an estimator against its class's ``_parameter_constraints``.

    Parameters
    ----------
    estimator : estimator
        Its nested estimators are looked at as values, not for their own parameters.

    Raises
    ------
    ValueError
        If a parameter satisfies none of its constraints; scikit-learn's InvalidParameterError,
        which is a TypeError too.
    """
    validate_parameter_constraints(
        estimator._parameter_constraints,
        estimator.get_params(deep=False),
        caller_name=type(estimator).__name__,
    )


def validate_values(
    values: Mapping[str, Any], constraints: Mapping[str, list[Any]], whose: str
) -> None:
    """Check values against those of some constraints that have their names.

    Parameters
    ----------
    values : mapping of str to object
        What is checked, by name.
    constraints : mapping of str to list
        As in ``_parameter_constraints``; those of other names are passed over.
    whose : str
        Name of what the values belong to, for the message.

    Raises
    ------
    ValueError
        As :func:`validate_parameters`.
    """
    known = {name: constraints[name] for name in values}
    validate_parameter_constraints(known, dict(values), caller_name=whose)


def times_written(tensor: torch.Tensor) -> int:
    """Return how often a tensor has been written to, by operations in place.

    Parameters
    ----------
    tensor : Tensor
        Of torch, which counts.

    Examples
    --------
    >>> tensor = torch.zeros(3)
    >>> before = times_written(tensor)
    >>> times_written(tensor.add_(1.0)) > before
    True
    """
    return tensor._version


def is_in_memory(variable: Any) -> bool:
    """Tell values in memory from those in an opened file or in a graph of tasks.

    Parameters
    ----------
    variable : xarray.Variable
        One that was read from a file counts as in memory once it is loaded. Where xarray does not
        tell, it counts as not in memory, which gives the same values, read in blocks.

    Returns
    -------
    bool
        True if looking at the values reads and computes nothing.
    """
    known = getattr(variable, "_in_memory", None)
    if known is not None:
        return bool(known)
    return variable.chunks is None and not variable.encoding


def like_its_blocks(values: Any) -> Any:
    """Return an empty array of the kind that the blocks of a dask array are of.

    Parameters
    ----------
    values : dask array, or anything else
        Nothing of it is computed.

    Returns
    -------
    array or None
        None for what has no blocks, or does not tell.
    """
    return getattr(values, "_meta", None)
