"""Complex signals as channels of real and imaginary parts, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

_PARTS = ("real", "imag")
_CHANNEL = "channel"


def complex_to_channels(X: Any) -> Any:
    """Return complex signals as real ones of two channels, which a field can describe.

    Parameters
    ----------
    X : complex array of shape (n, *shape), DataArray without channels, or list of either
        Such as MRI with its phase, or an analytic signal.

    Returns
    -------
    float array of shape (n, *shape, 2), DataArray with a last dimension ``channel``, or list
        The channels are "real" and "imag". Arrays need ``channel_axis=-1``.

    Raises
    ------
    ValueError
        If the values are not complex, or a DataArray has channels already.

    Examples
    --------
    >>> complex_to_channels(np.array([[1 + 2j, 3 - 4j]])).tolist()
    [[[1.0, 2.0], [3.0, -4.0]]]
    """
    if isinstance(X, list | tuple):
        return [complex_to_channels(x) for x in X]
    values = X if isinstance(X, xr.DataArray) else np.asanyarray(X)
    if values.dtype.kind != "c":
        raise ValueError(f"X must hold complex values, got dtype {values.dtype}")
    if not isinstance(values, xr.DataArray):
        stack = np.ma.stack if isinstance(values, np.ma.MaskedArray) else np.stack
        return stack([values.real, values.imag], axis=-1)
    if _CHANNEL in values.dims:
        raise ValueError(
            f'X must have no dimension "{_CHANNEL}", got the dimensions {values.dims}; give the '
            "channels one by one"
        )
    along = xr.Variable(_CHANNEL, list(_PARTS))
    both = xr.concat([values.real, values.imag], dim=along.to_index_variable())
    return both.transpose(..., _CHANNEL).assign_attrs(values.attrs).rename(values.name)


def channels_to_complex(decoded: Any) -> Any:
    """Return complex signals from real and imaginary parts, as ``inverse_transform`` gives them.

    Parameters
    ----------
    decoded : float array of shape (n, *shape, 2), DataArray with such channels, or list of either
        What was decoded, or :func:`complex_to_channels` returned.

    Returns
    -------
    complex array of shape (n, *shape), DataArray or list
        As they were before :func:`complex_to_channels`.

    Raises
    ------
    ValueError
        If there are not two channels, or they have other labels.

    Examples
    --------
    >>> channels_to_complex(complex_to_channels(np.array([[1 + 2j, 3 - 4j]])))
    array([[1.+2.j, 3.-4.j]])
    """
    if isinstance(decoded, list | tuple):
        return [channels_to_complex(x) for x in decoded]
    if isinstance(decoded, xr.DataArray):
        labels = decoded[_CHANNEL].to_numpy().tolist() if _CHANNEL in decoded.coords else None
        if labels is None or sorted(labels) != sorted(_PARTS):
            raise ValueError(f'decoded must have the channels {_PARTS}, got "{_CHANNEL}": {labels}')
        real, imaginary = (decoded.sel({_CHANNEL: part}, drop=True) for part in _PARTS)
        return (real + 1j * imaginary).assign_attrs(decoded.attrs).rename(decoded.name)
    values = np.asanyarray(decoded)
    if values.ndim < 2 or values.shape[-1] != 2:
        raise ValueError(f"decoded must have a last axis of two channels, got {values.shape}")
    return values[..., 0] + 1j * values[..., 1]
