"""Files that are mapped into memory: their pages are given back once they have been read."""

from __future__ import annotations

import mmap

import numpy as np


def map_of(values: object) -> mmap.mmap | None:
    """Return the map that an array looks at, if its pages may be given back at any time.

    Parameters
    ----------
    values : object
        An array, or a view of one, that `np.memmap` has made; for anything else there is none, and
        none for maps of which changes are kept in memory alone, as with ``mode="c"``.
    """
    is_private = False
    while isinstance(values, np.ndarray):
        is_private |= isinstance(values, np.memmap) and values.mode == "c"
        values = values.base
    if is_private or not isinstance(values, mmap.mmap):
        return None
    return values if hasattr(mmap, "MADV_DONTNEED") else None


def let_go(values: object) -> None:
    """Give back the memory that a mapped file takes; it is read again where it is needed.

    Pages that were read stay with the process until others need the memory. They count as its own,
    so that limits on it, of a container or a batch system, are reached by reading alone.

    Parameters
    ----------
    values : object
        As :func:`map_of` takes them; nothing happens where there is no map.

    Examples
    --------
    >>> let_go(np.zeros(3))
    """
    if (found := map_of(values)) is not None:
        found.madvise(mmap.MADV_DONTNEED)
