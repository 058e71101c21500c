"""Forks that wait until no thread of ours is within an operation."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Here(threading.local):
    """Of each thread: how many operations it is in, one inside the other."""

    depth = 0


_here = _Here()
_changed = threading.Condition()
_inside, _forking = 0, False


@contextmanager
def no_fork() -> Iterator[None]:
    """Have forks of other threads wait for what is done inside.

    Libraries of matrix products end their threads when the process forks, and wait for ever, in the
    parent, where another thread is calling them just then.
    """
    global _inside
    if _here.depth == 0:
        with _changed:
            _changed.wait_for(lambda: not _forking)
            _inside += 1
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
        if _here.depth == 0:
            with _changed:
                _inside -= 1
                _changed.notify_all()


def _begin() -> None:
    global _forking
    own = 1 if _here.depth else 0
    with _changed:
        _changed.wait_for(lambda: not _forking and _inside == own)
        _forking = True


def _end() -> None:
    global _forking
    with _changed:
        _forking = False
        _changed.notify_all()


def _begin_anew() -> None:
    """Count from nothing in the child, to which no other thread has followed."""
    global _changed, _inside, _forking
    _changed, _forking = threading.Condition(), False
    _inside = 1 if _here.depth else 0


os.register_at_fork(before=_begin, after_in_parent=_end, after_in_child=_begin_anew)
