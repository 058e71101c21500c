"""From the caller's values to numbers of order one, channel by channel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_VALUES = 4_000_000  # enough for percentiles; larger data sets are sampled evenly
_TAILS, _MIDDLE = (0.5, 99.5), (5.0, 95.0)  # percentiles
_FAR, _RARE = 5.0, 1e-3  # from where on values are outliers, in widths of the middle; their share
_WIDEST = np.finfo(np.float64).max / 4  # half the range that values may have, with room to decode
_TILED = 2**16  # most values of a signal that are scaled in one go
_MOST_FAR = 4.0  # times as far, from where on a warning is due
# A constant is a fill value where it is so common, and so far from other values in their ranges;
# labels of classes have fewer values.
_COMMON, _APART, _FEWEST = 0.01, 2.0, 8


def thinning(n_points: int) -> int:
    """Return k, where the scaling of so many points is measured from every k-th of them."""
    return max(1, n_points // _MOST_VALUES)


@dataclass(frozen=True)
class ValueScaler:
    """Robust affine scaling of each channel to about [0, 1].

    Parameters
    ----------
    offset, scale : array of shape (c,)
        The scaled value is ``(value - offset) / scale``.
    lower, upper : array of shape (c,)
        Least and greatest value seen, in the caller's units; their distance is the PSNR's range.
    """

    offset: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def identity(cls, n_channels: int) -> ValueScaler:
        """Return the scaling of values that lie in [0, 1] already."""
        zeros, ones = np.zeros(n_channels), np.ones(n_channels)
        return cls(zeros, ones, zeros, ones)

    @classmethod
    def from_values(cls, blocks: Sequence[np.ndarray]) -> ValueScaler:
        """Measure the range of each channel.

        Parameters
        ----------
        blocks : sequence of arrays of shape (..., c)
            NaN is passed over. The 0.5 and 99.5 percentiles go to 0 and 1. Outliers count neither
            here nor in the range: values five times as far out as the middle nine tenths are wide,
            where they are rarer than one in a thousand, and a constant far from everything else,
            such as a fill value, of which there is a warning.

        Raises
        ------
        ValueError
            If a channel has no observed value, or float64 cannot hold its range.
        """
        n_channels = blocks[0].shape[-1]
        flat = [block.reshape(-1, n_channels) for block in blocks]
        step = thinning(sum(len(block) for block in flat))
        sample = np.concatenate([block[::step] for block in flat]).astype(np.float64)
        offset, scale, lower, upper = (np.zeros(n_channels) for _ in range(4))
        for channel in range(n_channels):
            observed = sample[:, channel][~np.isnan(sample[:, channel])]
            if observed.size == 0:
                raise ValueError(f"channel {channel} of X has no observed value")
            _check_span(observed, channel)
            with np.errstate(over="ignore"):  # an infinite reach leaves nothing out
                observed = _without_outliers(_without_fills(observed, channel), channel)
            low, high = np.percentile(observed, _TAILS)
            least, most = observed.min(), observed.max()
            if high - low <= 1e-3 * (most - least):
                low, high = least, most
            offset[channel], scale[channel] = low, (high - low) if high > low else 1.0
            lower[channel], upper[channel] = least, most
        return cls(offset, scale, lower, upper)

    @property
    def data_range(self) -> np.ndarray:
        """Distance between greatest and least value of each channel (1 where they agree)."""
        distance = self.upper - self.lower
        return np.where(distance > 0, distance, 1.0)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale values of shape (..., c)."""
        offset, scale, shape = self.offset, self.scale, values.shape
        in_memory = type(values) is np.ndarray and values.flags.c_contiguous
        if in_memory and len(shape) > 2 and shape[-1] == len(offset):
            n_points = math.prod(shape[1:-1])
            if 0 < n_points * shape[-1] <= _TILED:
                # Over all of a signal at once, where numpy would start anew at each point.
                values = values.reshape(len(values), n_points * shape[-1])
                offset, scale = (np.tile(each, n_points) for each in (offset, scale))
        scaled = values - offset
        scaled /= scale  # no second copy: a batch may be a good part of what memory there is
        return scaled if values.shape == shape else scaled.reshape(shape)

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Bring scaled values back to the caller's units."""
        values = scaled * self.scale
        values += self.offset
        return values


def _check_span(observed: np.ndarray, channel: int) -> None:
    """Refuse values whose range overflows, as their scaled values would be NaN."""
    least, most = observed.min(), observed.max()
    if most / 2 - least / 2 > _WIDEST:
        raise ValueError(
            f"the values of X (channel {channel}) lie from {least:g} to {most:g}, farther apart "
            "than float64 can hold; divide them, or put NaN in the place of fill values"
        )


def _without_outliers(observed: np.ndarray, channel: int) -> np.ndarray:
    """Leave out values far from all others, where they are too few to be part of the signals.

    Those so far away that their squared error decides what is learnt are warned of.
    """
    low, high = np.percentile(observed, _MIDDLE)
    if low == high:  # Nearly all values are one: the others tell what is far.
        others = observed[observed != low]
        if others.size == 0:
            return observed
        low, high = np.percentile(np.append(others, low), _MIDDLE)
    reach = _FAR * (high - low)
    near = (observed >= low - reach) & (observed <= high + reach)
    n_far = observed.size - np.count_nonzero(near)
    if not 0 < n_far <= _RARE * observed.size:
        return observed
    least, most = observed.min(), observed.max()
    if max(low - least, most - high) > _MOST_FAR * reach:
        warnings.warn(
            f"{n_far} of {observed.size} values of X (channel {channel}) that were looked at lie "
            f"far from all others, the farthest at {least if low - least > most - high else most:g}"
            f" where nine tenths are between {low:g} and {high:g}; scaling and the range of PSNR "
            "are measured without them, but their errors count in fit: clip them, or put NaN in "
            "their place",
            UserWarning,
            stacklevel=2,
        )
    return observed[near]


def _without_fills(observed: np.ndarray, channel: int) -> np.ndarray:
    """Leave out a constant that stands far from all other values, and warn of it."""
    for value in (observed.min(), observed.max()):
        is_it = observed == value
        share = np.count_nonzero(is_it) / observed.size
        if not _COMMON <= share < 1.0:
            continue
        others = observed[~is_it]
        least, most = others.min(), others.max()
        gap = max(least - value, value - most)
        if gap <= _APART * (most - least) or np.unique(others[:10_000]).size < _FEWEST:
            continue
        warnings.warn(
            f"{share:.1%} of the values of X (channel {channel}) are {value:g}, far from all "
            f"others, which lie from {least:g} to {most:g}; if that stands for values that were "
            "not observed, put NaN in their place, or give a masked array or the attribute "
            "_FillValue. Scaling and the range of PSNR are measured without it",
            UserWarning,
            stacklevel=2,
        )
        return others
    return observed
