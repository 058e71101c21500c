"""Gaps of single signals filled from what was observed around them."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import griddata
from sklearn.base import BaseEstimator, TransformerMixin

from neurfield._compat import fit_context
from neurfield.evaluation.reading import as_given, channels_last

Array = NDArray[np.float64]


class GapFiller(TransformerMixin, BaseEstimator):
    """What fills the gaps of each signal alone; subclasses say how.

    Parameters
    ----------
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"channel_axis": [Integral, None]}

    def __init__(self, *, channel_axis: int | None = None) -> None:
        self.channel_axis = channel_axis

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Check the signals; nothing is learnt from them.

        Parameters
        ----------
        X : array-like of shape (n_samples, *shape), with channels along `channel_axis`
            Signals of one to three axes; NaN marks values that were not observed.
        y : ignored

        Returns
        -------
        self
            The estimator.
        """
        channels_last(self, X, self.channel_axis, missing=True)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Return the signals with their gaps filled, and all else as it is.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals of any size.

        Returns
        -------
        float64 array of the shape of `X`
            Without NaN.

        Raises
        ------
        ValueError
            If there is no value to fill a signal from.
        """
        signals = channels_last(self, X, self.channel_axis, missing=True).copy()
        for number, signal in enumerate(signals):
            for channel in np.moveaxis(signal, -1, 0):
                is_gap = np.isnan(channel)
                if is_gap.all():
                    raise ValueError(f"X[{number}] must hold observed values, got NaN alone")
                if is_gap.any():
                    places = np.argwhere(~is_gap).astype(np.float64)
                    wanted = np.argwhere(is_gap).astype(np.float64)
                    channel[is_gap] = self._at(places, channel[~is_gap], wanted)
        return as_given(signals, self.channel_axis)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    @abstractmethod
    def _at(self, places: Array, values: Array, wanted: Array) -> Array:
        """Return values at places of shape (n, d), from those at others."""


class LinearInterpolator(GapFiller):
    """Linear interpolation between samples, over triangles or tetrahedra where there are more axes.

    Outside of all that was observed it takes the nearest value.

    Parameters
    ----------
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.

    Examples
    --------
    >>> LinearInterpolator().fit_transform([[np.nan, 1.0, np.nan, 2.0]])
    array([[1. , 1. , 1.5, 2. ]])
    """

    def _at(self, places: Array, values: Array, wanted: Array) -> Array:
        if places.shape[1] == 1:
            return np.asarray(np.interp(wanted[:, 0], places[:, 0], values))
        found = griddata(places, values, wanted, method="linear")
        outside = np.isnan(found)
        if outside.any():
            found[outside] = griddata(places, values, wanted[outside], method="nearest")
        return np.asarray(found)
