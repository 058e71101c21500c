"""Patches that are read from whole signals when they are asked for."""

from __future__ import annotations

import numpy as np

from neurfield.signals.groups import SignalGroup
from neurfield.signals.lazy import BlockCache, LazySource, LazyValues


class PatchValues(LazyValues):
    """Patches of the signals of a source, which are read from it when they are asked for.

    Parameters
    ----------
    source : LazySource
        Whole signals, of shape (n, *shape, c).
    rows : int array of shape (m,)
        Which signal each patch is cut from.
    starts : int array of shape (m, d)
        Index of each patch's first point.
    offsets : tuple of d int arrays
        Indices of a patch's points, from its first one on.
    counts : int array of shape (m,), optional
        Number of observed values of each patch; None = they are counted.
    """

    def __init__(
        self,
        source: LazySource,
        rows: np.ndarray,
        starts: np.ndarray,
        offsets: tuple[np.ndarray, ...],
        counts: np.ndarray | None = None,
    ) -> None:
        super().__init__(source, rows)
        self.starts, self.offsets = starts, offsets
        self._counts = counts

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what an array of all patches would hold."""
        return (len(self.rows), *(len(part) for part in self.offsets), self.source.shape[-1])

    @property
    def is_surveyed(self) -> bool:
        """True: whole signals are checked before they are cut, and a patch may be empty."""
        return True

    @property
    def observed(self) -> np.ndarray:
        """Number of observed values of each patch, by a pass over all of them."""
        if self._counts is None:
            self._counts = np.concatenate(
                [
                    np.sum(~np.isnan(self[rows]), axis=tuple(range(1, len(self.shape))))
                    for rows in np.array_split(np.arange(len(self)), self._n_passes)
                ]
            )
        return self._counts

    @property
    def _n_passes(self) -> int:
        return max(1, int(np.prod(self.shape)) >> 20)

    def take(self, rows: np.ndarray) -> PatchValues:
        """Return some of the patches, given in ascending order, without reading them."""
        counts = None if self._counts is None else self._counts[rows]
        return PatchValues(self.source, self.rows[rows], self.starts[rows], self.offsets, counts)

    def moved(self, rows: np.ndarray, starts: np.ndarray) -> PatchValues:
        """Return patches elsewhere in the signals of some of these.

        Parameters
        ----------
        rows : int array of shape (k,)
            Whose signals to read from: one of these patches for each that is returned.
        starts : int array of shape (k, d)
            Index of the first point of each along the axes of its signal.
        """
        return PatchValues(self.source, self.rows[rows], starts, self.offsets)

    def at_points(self, rows: np.ndarray, where: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return some patches at some points, given by their m indices along each axis."""
        if not where:
            shape = self.shape[1:]
            everywhere = np.unravel_index(np.arange(int(np.prod(shape[:-1]))), shape[:-1])
            return self.at_points(rows, everywhere).reshape(len(rows), *shape)
        starts = self.starts[rows].T[:, :, None]
        places = [
            start + part[index]
            for start, part, index in zip(starts, self.offsets, where, strict=True)
        ]
        return super().at_points(rows, tuple(places))


def source_of(group: SignalGroup) -> tuple[LazySource, np.ndarray]:
    """Return where whole signals are read from, and which of them make up a group."""
    values = group.values
    if isinstance(values, LazyValues):
        return values.source, values.rows
    held = values
    bounds = [0, len(held)]  # one block, which is there already
    source = LazySource(
        lambda start, stop: held[start:stop], held.shape, held.dtype, bounds, BlockCache()
    )
    return source, np.arange(len(held))
