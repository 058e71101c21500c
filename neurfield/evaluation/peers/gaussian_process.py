"""Gaps of single signals filled by a Gaussian process on their coordinates."""

from __future__ import annotations

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from neurfield.evaluation.peers.interpolation import Array, GapFiller

_FIRST_LENGTH = 3.0  # samples


class GaussianProcessFiller(GapFiller):
    """A Gaussian process for each channel of each signal: squared exponential and white noise.

    Lengths, variances and noise are those of the largest marginal likelihood, as scikit-learn finds
    them. Time grows with the cube of a signal's observed samples.

    Parameters
    ----------
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.

    References
    ----------
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, Algorithm 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> wave = np.sin(np.arange(20.0) / 3)
    >>> gappy = np.where(np.arange(20) % 5 == 2, np.nan, wave)
    >>> bool(np.abs(GaussianProcessFiller().fit_transform([gappy]) - wave).max() < 0.01)
    True
    """

    def _at(self, places: Array, values: Array, wanted: Array) -> Array:
        kernel = ConstantKernel() * RBF(_FIRST_LENGTH) + WhiteKernel(1e-2, (1e-8, 1e1))
        process = GaussianProcessRegressor(kernel, normalize_y=True)
        with warnings.catch_warnings():
            # A signal without noise, or one that is flat, has no best value within the bounds.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found: Array = process.fit(places, values).predict(wanted)
        return found
