"""Signals divided between the threads of a CPU, each with its own part of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import torch

# Most parts at a time. Their threads take turns at starting operations.
_LANES = 8

_OMP_PAUSE_SOFT = 1  # omp_pause_soft: settings are kept

_pool: ThreadPoolExecutor | None = None
_blas_lock, _blas_users = threading.Lock(), 0
_blas_limits: Any = None


def lane_count(device: torch.device) -> int:
    """Return how many lanes work side by side on a device.

    Parameters
    ----------
    device : torch.device
    """
    if device.type != "cpu" or torch.compiler.is_compiling():
        return 1
    return min(_LANES, torch.get_num_threads())


def in_lanes(work: Callable[[int], Any], lanes: int) -> list[Any]:
    """Return what ``work`` makes of each lane's number, in order; lanes run side by side.

    A processor then has its own signals in its own cache, and no operation waits for the others'
    part of it, as it does when torch divides each one between the processors.

    Parameters
    ----------
    work : callable
        Called with the number of a lane, without gradients where there are several.
    lanes : int
    """
    global _pool
    if torch.compiler.is_compiling():
        return [work(lane) for lane in range(lanes)]
    threads = torch.get_num_threads()
    with _blas_threads(threads // lanes):
        if lanes == 1:
            return [work(0)]
        _dismiss_torch_threads()
        if _pool is None:
            _pool = ThreadPoolExecutor(_LANES, "lane", initializer=_divide_no_operation)
        try:
            return list(_pool.map(torch.no_grad()(work), range(lanes)))
        finally:  # Threads still to come would take over a lane's setting.
            torch.set_num_threads(threads)


@contextmanager
def _blas_threads(limit: int) -> Iterator[None]:
    """Hold the libraries of matrix products to some threads.

    Where several of the caller's threads are in here, the first sets the limit and the last lifts
    it: one after another they would take each other's limit for what there was before.
    """
    global _blas_users, _blas_limits
    with _blas_lock:
        _blas_users += 1
        if _blas_users == 1:
            _blas_limits = _blas().limit(limits=limit)
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if not _blas_users:
                _blas_limits.restore_original_limits()


@cache
def _blas() -> Any:
    """Return the libraries of matrix products that NumPy, SciPy and Numba call."""
    import scipy.linalg  # noqa: F401 - for its library to be there
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _dismiss_torch_threads() -> None:
    """End the threads between which torch divided operations; it starts others when it needs them.

    For some milliseconds after an operation they wait for the next one in a loop that keeps a
    processor busy, which a lane has to share with them.
    """
    for library in _openmp():
        library.omp_pause_resource_all(_OMP_PAUSE_SOFT)


@cache
def _openmp() -> list[Any]:
    """Return the libraries of threads that are loaded and can end them (OpenMP 5.0)."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="openmp").lib_controllers
    libraries = [controller.dynlib for controller in found]
    return [library for library in libraries if hasattr(library, "omp_pause_resource_all")]


def chunks(n_signals: int, most: int, lanes: int) -> list[slice]:
    """Divide signals into chunks of one size, as many for each lane: none waits for the others.

    Parameters
    ----------
    n_signals : int
    most : int
        Signals in a chunk.
    lanes : int
    """
    n_chunks = -(-n_signals // most)
    n_chunks = min(n_signals, -(-n_chunks // lanes) * lanes)
    bounds = [n_signals * i // n_chunks for i in range(n_chunks + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def lane_parts(n_signals: int, device: torch.device) -> list[slice]:
    """Divide signals into one part for each lane.

    Parameters
    ----------
    n_signals : int
    device : torch.device
    """
    return chunks(n_signals, n_signals, lane_count(device))


def _divide_no_operation() -> None:
    torch.get_num_threads()  # The first call in a thread takes over the setting of the process.
    torch.set_num_threads(1)


def _forget_threads() -> None:
    """Threads do not follow into a forked process, nor do those who hold a lock."""
    global _pool, _blas_lock, _blas_users
    _pool, _blas_lock, _blas_users = None, threading.Lock(), 0


os.register_at_fork(after_in_child=_forget_threads)
