"""Values that stay on disk, or in a graph of tasks, until some signals are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from neurfield.memory import at_once
from neurfield.signals.mapped import let_go, map_of


@dataclass(frozen=True)
class Survey:
    """What one pass over the values finds out.

    Parameters
    ----------
    observed : int array of shape (n,)
        Number of values of each signal that are not NaN.
    sample : array of shape (m, c)
        Every k-th point of the data set, from which scaling is measured.
    """

    observed: np.ndarray
    sample: np.ndarray


class BlockCache:
    """The blocks read last, up to a number of bytes; one block at least.

    Parameters
    ----------
    capacity : int, optional
        Bytes; by default what there is memory for when a block is read, 128 MiB at most.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    @property
    def capacity(self) -> int:
        """Bytes that may be kept."""
        return at_once("cached") if self._capacity is None else self._capacity

    def get(self, key: tuple[int, int], read: Callable[[], np.ndarray], n_bytes: int) -> np.ndarray:
        """Return a block of the given size, read anew where it was not kept."""
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        held = sum(block.nbytes for block in self._blocks.values())
        while self._blocks and held + n_bytes > self.capacity:
            held -= self._blocks.popitem(last=False)[1].nbytes
        self._blocks[key] = read()
        return self._blocks[key]


class LazySource:
    """Signals that are read block by block.

    Parameters
    ----------
    read : callable
        Takes two positions and returns the signals from the first to before the second, as an
        array of shape (n, *shape, c).
    shape : tuple of int
        (n, *shape, c), of all signals.
    dtype : numpy dtype
        Type of the values that `read` returns.
    bounds : sequence of int
        Where blocks begin, and n.
    cache : BlockCache
        Of the whole data set.
    every : int, default=1
        How thinly a survey samples the points.
    graph : dask array of shape (n, *shape, c), optional
        The same values, where they come from dask.
    """

    def __init__(
        self,
        read: Callable[[int, int], np.ndarray],
        shape: tuple[int, ...],
        dtype: np.dtype,
        bounds: Sequence[int] | np.ndarray,
        cache: BlockCache,
        every: int = 1,
        graph: Any = None,
    ) -> None:
        self.read, self.shape, self.dtype = read, shape, np.dtype(dtype)
        self.bounds, self.cache, self.every = np.asarray(bounds), cache, every
        self.graph = graph

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.bounds) - 1

    def block_bytes(self, block: int) -> int:
        """Return the size of a block."""
        rows = int(self.bounds[block + 1] - self.bounds[block])
        return rows * int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def block(self, block: int) -> np.ndarray:
        """Return the signals of a block."""
        start, stop = (int(bound) for bound in self.bounds[block : block + 2])
        key, size = (id(self), block), self.block_bytes(block)
        return self.cache.get(key, lambda: self.read(start, stop), size)

    @cached_property
    def survey(self) -> Survey:
        """Read everything once, and refuse infinities and signals of which nothing is observed."""
        observed, sample, passed = [], [], 0
        for block in range(self.n_blocks):
            values = self.block(block)
            start, stop = self.bounds[block : block + 2]
            observed.append(count_observed(values, np.arange(start, stop)))
            points = values.reshape(-1, self.shape[-1])
            sample.append(points[-passed % self.every :: self.every].copy())
            passed += len(points)
        return Survey(np.concatenate(observed), np.concatenate(sample))


class LazyValues:
    """Some signals of a source, indexed like an array of shape (n, *shape, c) by its first axis.

    Parameters
    ----------
    source : LazySource
        Where the signals are read from, block by block.
    rows : int array of shape (n,), optional
        Which signals of the source, ascending; None = all.
    """

    def __init__(self, source: LazySource, rows: np.ndarray | None = None) -> None:
        self.source = source
        self.rows = np.arange(source.shape[0]) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what an array would hold."""
        return (len(self.rows), *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.source.dtype

    @property
    def block_of(self) -> np.ndarray:
        """Number of the block that each signal is in, of shape (n,)."""
        return np.searchsorted(self.source.bounds, self.rows, side="right") - 1

    @property
    def is_surveyed(self) -> bool:
        """Whether the pass over all values has been made."""
        return "survey" in vars(self.source)

    @property
    def observed(self) -> np.ndarray:
        """Number of observed values of each signal, by a pass over all values."""
        return self.source.survey.observed[self.rows]

    @property
    def sample(self) -> np.ndarray:
        """Every k-th point, of shape (m, c), by a pass over all values of the source."""
        sample, n_signals = self.source.survey.sample, self.source.shape[0]
        if len(self) == n_signals:
            return sample
        n_points = int(np.prod(self.source.shape[1:-1]))
        signal_of = np.arange(len(sample)) * self.source.every // n_points
        return sample[np.isin(signal_of, self.rows)]

    def take(self, rows: np.ndarray) -> LazyValues:
        """Return some of the signals, given in ascending order, without reading them."""
        return LazyValues(self.source, self.rows[rows])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.at_points(rows, ())

    def at_points(self, rows: np.ndarray, where: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return some signals at some points.

        Parameters
        ----------
        rows : int array of shape (n,)
            Which of these signals, in any order; one may come twice.
        where : tuple of d int arrays of shape (m,) or (n, m)
            Indices of the points along each axis, the same for all signals or each one's own;
            none at all stands for all points.

        Returns
        -------
        array of shape (n, m, c), or of all points, (n, *shape, c)
            In the order of `rows`, with the dtype of the source.
        """
        wanted = self.rows[rows]
        block_of = np.searchsorted(self.source.bounds, wanted, side="right") - 1
        shape = self.source.shape[1:]
        if where:
            shape = (where[0].shape[-1], shape[-1])
        values = np.empty((len(wanted), *shape), dtype=self.dtype)
        for block in np.unique(block_of):
            inside = np.flatnonzero(block_of == block)
            chosen = wanted[inside] - self.source.bounds[block]
            held = self.source.block(int(block))
            own = [index[inside] if index.ndim > 1 else index for index in where]
            values[inside] = held[(chosen[:, None], *own)] if where else held[chosen]
        return values


Values = np.ndarray | LazyValues


def block_bounds(
    n_signals: int, values_per_signal: int, chunks: Sequence[int] | None = None
) -> np.ndarray:
    """Return where blocks begin, and the number of signals.

    Parameters
    ----------
    n_signals, values_per_signal : int
        Number of signals, and of the values of each, over all points and channels.
    chunks : sequence of int, optional
        Sizes of the pieces that can be read alone; small ones are read together.

    Examples
    --------
    >>> block_bounds(5, 2**20).tolist()
    [0, 1, 2, 3, 4, 5]
    >>> block_bounds(7, 2**19, chunks=[1, 1, 1, 4]).tolist()
    [0, 2, 3, 7]
    """
    most = max(1, at_once("read") // max(values_per_signal, 1))
    if chunks is None:
        return np.append(np.arange(0, n_signals, most), n_signals)
    bounds = [0]
    for end in np.cumsum(chunks).tolist():
        if len(bounds) > 1 and end - bounds[-2] <= most:
            bounds[-1] = end
        else:
            bounds.append(end)
    return np.array(bounds)


def row_blocks(values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Walk over an array of signals in pieces of bounded size."""
    most = max(1, at_once("read") // max(int(np.prod(values.shape[1:])), 1))
    for start in range(0, len(values), most):
        rows = slice(start, start + most)
        yield rows, values[rows]
        let_go(values)


def count_observed(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Count each signal's values that are not NaN.

    Parameters
    ----------
    values : array of shape (n, ...)
        One signal a row; only floating-point values can be NaN.
    positions : int array of shape (n,)
        Where the signals stand in the caller's order.

    Raises
    ------
    ValueError
        If a signal holds an infinity, or nothing but NaN.
    """
    size = int(np.prod(values.shape[1:]))
    observed = np.full(len(values), size)
    if values.dtype.kind != "f":
        return observed
    for rows, block in row_blocks(values):
        flat = block.reshape(len(block), -1)
        if (infinite := np.isinf(flat).any(axis=1)).any():
            raise ValueError(
                f"Input X contains infinity in signal(s) {positions[rows][infinite][:5].tolist()}; "
                "values must be finite, or NaN where nothing was observed"
            )
        observed[rows] = size - np.isnan(flat).sum(axis=1)
    if (empty := observed == 0).any():
        raise ValueError(
            f"Input X: signal(s) {positions[empty][:5].tolist()} are NaN everywhere; "
            "each signal needs at least one observed value"
        )
    return observed


def thinned(values: Values, every: int) -> np.ndarray:
    """Return every k-th point of some signals, of shape (m, c), without copying them all."""
    if isinstance(values, LazyValues):
        return values.sample
    if values.flags.c_contiguous and map_of(values) is None:
        return values.reshape(-1, values.shape[-1])[::every]
    sample, passed = [], 0
    for _, block in row_blocks(values):
        points = block.reshape(-1, values.shape[-1])
        sample.append(points[-passed % every :: every].copy())
        passed += len(points)
    return np.concatenate(sample)
