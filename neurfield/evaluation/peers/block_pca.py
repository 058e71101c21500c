"""PCA of blocks: the same basis for each cell of a signal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from neurfield._compat import Interval, fit_context
from neurfield.evaluation.reading import as_given, channels_last, check_shape

_MOST_VALUES = 2**27  # of blocks that PCA is fitted to
_HELD_OUT = 0.25  # of signals, to choose the size of blocks by


class BlockPCA(TransformerMixin, BaseEstimator):
    """PCA of the blocks of signals, with as many components for each as n_components allow.

    Parameters
    ----------
    n_components : int, default=64
        P, most numbers in the code of a signal; each of B blocks has P // B of them.
    block_size : int or sequence of int, default=None
        Points of a block along each axis. By default that of one to many equal blocks along each
        axis which describes a quarter of the signals best, learnt from the others.
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.
    random_state : int, RandomState instance or None, default=None
        Source of the quarter held out, and of the random projections of PCA.

    Attributes
    ----------
    block_size_ : tuple of int
        Points of a block along each axis.
    n_latents_ : int
        Numbers in the code of a signal.
    pca_ : PCA
        Of blocks.

    Notes
    -----
    Where blocks do not divide a signal, it is continued by its mirror image.

    Examples
    --------
    >>> from neurfield.datasets import digits
    >>> images = digits().values
    >>> pca = BlockPCA(16, block_size=4, random_state=0).fit(images)
    >>> pca.transform(images[:2]).shape, pca.pca_.n_components_
    ((2, 16), 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "block_size": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "channel_axis": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        block_size: int | Sequence[int] | None = None,
        channel_axis: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.block_size = block_size
        self.channel_axis = channel_axis
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Learn the basis.

        Parameters
        ----------
        X : array-like of shape (n_samples, *shape), with channels along `channel_axis`
            Signals of one to three axes.
        y : ignored

        Returns
        -------
        self
            The estimator, fitted.

        Raises
        ------
        ValueError
            If there are more blocks than `n_components`, or too few signals to choose a size by.
        """
        signals = channels_last(self, X, self.channel_axis)
        draw = check_random_state(self.random_state)
        shape = signals.shape[1:-1]
        size = self._chosen(signals, draw) if self.block_size is None else self._given(shape)
        self.shape_in_: tuple[int, ...] = signals.shape[1:]
        self.block_size_ = size
        self.pca_ = self._fitted(signals, size, draw)
        self.n_latents_ = int(self.pca_.n_components_) * n_blocks(shape, size)
        self.n_parameters_ = int(self.pca_.components_.size + self.pca_.mean_.size)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the coefficients of all blocks of each signal.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals of the shape seen in fit.

        Returns
        -------
        float64 array of shape (n_samples, n_latents_)
            Those of one block together.
        """
        check_is_fitted(self)
        signals = channels_last(self, X, self.channel_axis)
        check_shape(signals, self.shape_in_)
        codes = self.pca_.transform(to_blocks(signals, self.block_size_))
        return np.asarray(codes).reshape(len(signals), -1)

    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Return the signals that codes describe.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_latents_)
            What :meth:`transform` returned.

        Returns
        -------
        float64 array of shape (n_samples, *shape)
            In the container's order of axes.
        """
        check_is_fitted(self)
        codes = np.asarray(Z).reshape(-1, self.pca_.n_components_)
        blocks = self.pca_.inverse_transform(codes)
        return as_given(from_blocks(blocks, self.shape_in_, self.block_size_), self.channel_axis)

    def _given(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        size = tuple(int(n) for n in np.broadcast_to(np.asarray(self.block_size), len(shape)))
        if (count := n_blocks(shape, size)) > self.n_components:
            raise ValueError(
                f"n_components must be at least one for each of {count} blocks, "
                f"got {self.n_components}"
            )
        return size

    def _chosen(self, signals: NDArray[Any], draw: np.random.RandomState) -> tuple[int, ...]:
        """Return the size of blocks that describes signals best which PCA has not seen."""
        order = draw.permutation(len(signals))
        n_held_out = max(1, int(_HELD_OUT * len(signals)))
        held_out, rest = signals[order[:n_held_out]], signals[order[n_held_out:]]
        if len(rest) < 2:
            raise ValueError(
                f"X must hold three signals or more to choose block_size by, got {len(signals)}"
            )
        errors = {}
        for size in _sizes(signals.shape[1:-1], self.n_components):
            fitted = self._fitted(rest, size, draw)
            blocks = to_blocks(held_out, size)
            found = fitted.inverse_transform(fitted.transform(blocks))
            errors[size] = float(np.square(found - blocks).mean())
        return min(errors, key=errors.__getitem__)

    def _fitted(
        self, signals: NDArray[Any], size: tuple[int, ...], draw: np.random.RandomState
    ) -> PCA:
        blocks = to_blocks(signals, size)
        blocks = blocks[:: max(1, blocks.size // _MOST_VALUES)]
        k = self.n_components // n_blocks(signals.shape[1:-1], size)
        return PCA(min(k, *blocks.shape), random_state=draw).fit(blocks)


def n_blocks(shape: Sequence[int], size: Sequence[int]) -> int:
    """Return how many blocks of a size cover a signal.

    Parameters
    ----------
    shape, size : sequence of int
        Points of a signal and of a block along each axis.
    """
    return math.prod(-(-n // side) for n, side in zip(shape, size, strict=True))


def to_blocks(signals: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """Return the blocks of signals as rows, those of one signal together.

    Parameters
    ----------
    signals : array of shape (n_samples, *shape, n_channels)
        Signals; where blocks do not divide them, their mirror images go on.
    size : sequence of int
        Points of a block along each axis.

    Returns
    -------
    array of shape (n_samples * n_blocks, prod(size) * n_channels)
        The blocks.

    Examples
    --------
    >>> to_blocks(np.arange(6.0).reshape(1, 6, 1), [3])
    array([[0., 1., 2.],
           [3., 4., 5.]])
    """
    axes = list(zip(signals.shape[1:-1], size, strict=True))
    ends = [(0, -n % side) for n, side in axes]
    signals = np.pad(signals, [(0, 0), *ends, (0, 0)], mode="symmetric")
    split = [part for n, side in axes for part in (-(-n // side), side)]
    parts = signals.reshape(len(signals), *split, signals.shape[-1])
    d = len(axes)
    order = [0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1]
    rows = math.prod(size) * signals.shape[-1]
    return np.ascontiguousarray(parts.transpose(order)).reshape(-1, rows)


def from_blocks(
    blocks: NDArray[Any], shape: Sequence[int], size: Sequence[int]
) -> NDArray[np.float64]:
    """Return signals put together from what :func:`to_blocks` returned.

    Parameters
    ----------
    blocks : array of shape (n_samples * n_blocks, prod(size) * n_channels)
        The blocks.
    shape : sequence of int
        Points of a signal along each axis, and its channels.
    size : sequence of int
        Points of a block along each axis.

    Returns
    -------
    array of shape (n_samples, *shape)
        The signals, channels last.

    Examples
    --------
    >>> from_blocks(to_blocks(np.arange(5.0).reshape(1, 5, 1), [3]), [5, 1], [3]).ravel()
    array([0., 1., 2., 3., 4.])
    """
    counts = [-(-n // side) for n, side in zip(shape[:-1], size, strict=True)]
    d = len(counts)
    parts = blocks.reshape(-1, *counts, *size, shape[-1])
    order = [0, *(axis for i in range(1, d + 1) for axis in (i, i + d)), 2 * d + 1]
    whole = [count * side for count, side in zip(counts, size, strict=True)]
    signals = parts.transpose(order).reshape(-1, *whole, shape[-1])
    return np.asarray(signals[(slice(None), *(slice(n) for n in shape[:-1]))])


def _sizes(shape: tuple[int, ...], n_components: int) -> Iterator[tuple[int, ...]]:
    """Yield sizes of blocks, from the whole signal down, as long as each has a component."""
    seen: set[tuple[int, ...]] = set()
    for count in range(1, max(shape) + 1):
        if count & (count - 1) and any(n % count for n in shape):
            continue  # powers of two, and whatever divides a signal without a rest
        size = tuple(-(-n // min(count, n)) for n in shape)
        if n_blocks(shape, size) > n_components:
            return
        if size not in seen:
            seen.add(size)
            yield size
