"""The peak signal-to-noise ratio, wherever one is told or compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TINY = 1e-20  # keeps the PSNR of a perfect reconstruction finite


def psnr_of(mse: ArrayLike, squared_peak: float = 1.0) -> NDArray[np.float64]:
    """Return the PSNR of mean squared errors: 10 log₁₀(peak² / MSE), in dB.

    Parameters
    ----------
    mse : array-like
        Mean squared errors, in squared units of the peak; one below 1e-20 counts as that.
    squared_peak : float, default=1.0
        Square of the range that the values may have; 1 where errors are relative to the range.

    Returns
    -------
    float64 array of the shape of `mse`
        Higher is better.

    Examples
    --------
    >>> psnr_of([0.01, 0.0])
    array([ 20., 200.])
    """
    bounded = np.maximum(np.asarray(mse, dtype=np.float64), _TINY)
    return np.asarray(10.0 * np.log10(squared_peak / bounded))
