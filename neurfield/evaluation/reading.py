"""Signals as peers and networks take them, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array


def channels_last(
    estimator: BaseEstimator,
    X: ArrayLike,
    channel_axis: int | None,
    dtype: str = "float64",
    missing: bool = False,
) -> NDArray[Any]:
    """Return signals with one axis for samples, theirs, and one for channels in any case.

    Parameters
    ----------
    estimator : BaseEstimator
        Named in errors.
    X : array-like of shape (n_samples, *shape), with channels along `channel_axis`
        Signals of one to three axes.
    channel_axis : int or None
        Which axis of `X` holds channels; None = one channel.
    dtype : str, default="float64"
        Of the result.
    missing : bool, default=False
        Whether NaN may mark values that were not observed.

    Returns
    -------
    array of shape (n_samples, *shape, n_channels)
        The signals.

    Raises
    ------
    ValueError
        If they have other numbers of axes, or values that are not finite.
    """
    finite: Any = "allow-nan" if missing else True
    values = check_array(
        X, allow_nd=True, dtype=dtype, ensure_all_finite=finite, estimator=estimator
    )
    return with_channels_last(values, channel_axis)


def with_channels_last(values: NDArray[Any], channel_axis: int | None) -> NDArray[Any]:
    """Return values with one axis for samples, one to three of the signals, and one for channels.

    Parameters
    ----------
    values : array of shape (n_samples, *shape), with channels along `channel_axis`
        Signals.
    channel_axis : int or None
        Which axis holds channels; None = one channel.

    Raises
    ------
    ValueError
        If they have other numbers of axes.
    """
    found = values[..., None] if channel_axis is None else np.moveaxis(values, channel_axis, -1)
    if not 3 <= found.ndim <= 5:
        raise ValueError(
            "X must hold signals of one to three axes (and channels, if channel_axis is given), "
            f"got shape {values.shape}"
        )
    return found


def check_shape(values: NDArray[Any], expected: tuple[int, ...]) -> None:
    """Refuse signals of another shape than those seen in fit.

    Parameters
    ----------
    values : array of shape (n_samples, *shape, n_channels)
        Signals.
    expected : tuple of int
        Shape and channels in fit.

    Raises
    ------
    ValueError
        If they differ.
    """
    if values.shape[1:] != expected:
        raise ValueError(
            f"X must hold signals of shape {expected[:-1]} with {expected[-1]} channel(s) as in "
            f"fit, got {values.shape[1:-1]} with {values.shape[-1]}"
        )


def as_given(values: NDArray[Any], channel_axis: int | None) -> NDArray[Any]:
    """Return signals of shape (n_samples, *shape, n_channels) as the caller has them.

    Parameters
    ----------
    values : array of shape (n_samples, *shape, n_channels)
        Signals.
    channel_axis : int or None
        Which axis of the result holds channels; None = there is none for them.
    """
    return values[..., 0] if channel_axis is None else np.moveaxis(values, -1, channel_axis)
