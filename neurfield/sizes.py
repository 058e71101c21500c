"""Sizes that are given once for all axes, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def along_axes(sizes: int | Sequence[int], n_axes: int) -> tuple[int, ...]:
    """Return one size for each axis; a sequence is taken as it is, of whatever length.

    Parameters
    ----------
    sizes : int or sequence of int
        One size for all axes, or one for each.
    n_axes : int
        Number of axes, which a single size is repeated for.

    Examples
    --------
    >>> along_axes(4, 2), along_axes([4, 6], 2)
    ((4, 4), (4, 6))
    """
    return tuple(sizes) if isinstance(sizes, Sequence | np.ndarray) else (sizes,) * n_axes
