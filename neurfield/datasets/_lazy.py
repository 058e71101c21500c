"""Arrays that are read from their file when their values are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets._files import require


def lazy_array(read: Callable[[], NDArray[Any]], shape: tuple[int, ...]) -> Any:
    """Return a dask array of one block.

    Parameters
    ----------
    read : callable
        Returns the values, float32.
    shape : tuple of int
        Shape of what it will return.

    Raises
    ------
    ImportError
        If dask is not installed.
    """
    dask = require("dask", "readers")
    array = require("dask.array", "readers")
    # Not pure: the same file may hold other values the next time it is read.
    return array.from_delayed(dask.delayed(read, pure=False)(), shape, dtype=np.float32)
