"""How long threads that have nothing to do keep a processor busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "GOMP_SPINCOUNT"
_ROUNDS = "2000"  # some ten microseconds, about as long as the next operation takes to come


@contextmanager
def short_waits() -> Iterator[None]:
    """Have libraries that are loaded inside wait for some microseconds before they give way.

    GNU's OpenMP, between whose threads torch divides operations, lets them wait for each other in a
    loop, for milliseconds unless it is told otherwise. Beside other busy processes one thread is
    always late, and the others wait on the time of those that it needs. It reads the variable of
    the environment once, when it is loaded; a choice of the caller's stands.
    """
    if _VARIABLE in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ[_VARIABLE] = _ROUNDS
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
