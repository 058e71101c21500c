"""Arrays whose values are read, or computed, when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neurfield.datasets._files import require


def lazy_array(
    read: Callable[[], NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike = np.float32
) -> Any:
    """Return a dask array of one block.

    Parameters
    ----------
    read : callable
        Returns the values.
    shape : tuple of int
        Shape of what it will return.
    dtype : dtype, default=float32
        Dtype of what it will return.

    Raises
    ------
    ImportError
        If dask is not installed.
    """
    dask = require("dask", "readers")
    array = require("dask.array", "readers")
    # Not pure: the same file may hold other values the next time it is read.
    return array.from_delayed(dask.delayed(read, pure=False)(), shape, dtype=np.dtype(dtype))


def complete(pending: Any) -> None:
    """Run the tasks of a write; when it returns or raises, none of them is running any more.

    Dask's own threads go on with their tasks after one has failed or an interrupt has come, and
    would write into a store that is being removed.

    Parameters
    ----------
    pending : dask Delayed
        What xarray returns for a write with ``compute=False``.
    """
    config = require("dask", "readers").config
    if config.get("scheduler", None) not in (None, "threads", "threading"):
        pending.compute()  # of processes or a cluster, which end their tasks themselves
        return
    n_cores = require("dask.system", "readers").CPU_COUNT
    pool = ThreadPoolExecutor(config.get("num_workers", None) or n_cores)
    try:
        # Given to this call alone: dask's settings are those of all threads.
        pending.compute(pool=pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
