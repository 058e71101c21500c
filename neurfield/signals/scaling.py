"""From the caller's values to numbers of order one, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_VALUES = 4_000_000  # enough for percentiles; larger data sets are sampled evenly


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
            NaN is passed over. The 0.5 and 99.5 percentiles go to 0 and 1, so that a few
            outliers do not flatten everything else.

        Raises
        ------
        ValueError
            If a channel has no observed value.
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
            low, high = np.percentile(observed, [0.5, 99.5])
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
        scaled = values - self.offset
        scaled /= self.scale  # no second copy: a batch may be a good part of what memory there is
        return scaled

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Bring scaled values back to the caller's units."""
        values = scaled * self.scale
        values += self.offset
        return values
