"""Signals divided between the threads of a CPU, each with its own part of them."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from neurfield.learning.forks import no_fork
from neurfield.memory import carried

# Most parts at a time. Their threads take turns at starting operations.
_LANES = 8

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()
_blas_lock, _blas_users = threading.Lock(), 0
_blas_limits: Any = None


class _Here(threading.local):
    """Of each thread: how many others its lanes may have, where its own operations have none."""

    threads = 0


_here = _Here()


def lane_count(device: torch.device) -> int:
    """Return how many lanes work side by side on a device.

    Parameters
    ----------
    device : torch.device
        On a CPU as many as torch has threads, at most 8; one on others, and in compiled code.
    """
    if device.type != "cpu" or torch.compiler.is_compiling():
        return 1
    return min(_LANES, _here.threads or torch.get_num_threads())


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch's operations in the thread that calls for them; lanes stay as many.

    torch divides an operation between threads that wait for each other at its end. Beside other
    busy processes one of them is always late, so that thousands of small operations take many
    times as long; and what comes out may depend on how an operation was divided. Other threads
    keep their setting.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    _here.threads = threads
    put_back = _hold_to_one_thread()
    try:
        yield
    finally:
        put_back()
        _here.threads = 0


def in_lanes(work: Callable[[int], Any], lanes: int) -> list[Any]:
    """Return what ``work`` makes of each lane's number, in order; lanes run side by side.

    A processor then has its own signals in its own cache, and no operation waits for the others'
    part of it, as it does when torch divides each one between the processors.

    Parameters
    ----------
    work : callable
        Called with the number of a lane, without gradients where there are several.
    lanes : int
        How many, as :func:`lane_count` gives it; a single one is the caller's thread.
    """
    if torch.compiler.is_compiling():
        return [work(lane) for lane in range(lanes)]

    def guarded(lane: int) -> Any:
        with no_fork():
            return work(lane)

    return _side_by_side(guarded, lanes)


def _side_by_side(work: Callable[[int], Any], lanes: int) -> list[Any]:
    threads = torch.get_num_threads()
    with _blas_threads(threads if lanes == 1 else 1):
        if lanes == 1:
            return [work(0)]
        with one_thread():  # Threads of torch that wait for work would do so on the lanes' time.
            return list(_lanes_pool().map(carried(torch.no_grad()(work)), range(lanes)))


def each_in_lanes(work: Callable[[int, int], None], n_items: int) -> None:
    """Work through items one by one, in the lanes of a CPU, each in one thread.

    Parameters
    ----------
    work : callable
        Called with the numbers of an item and of the lane it is in, without gradients.
    n_items : int
        Items in all; lane i of k takes items i, i + k, i + 2k and so on, in this order.
    """
    with one_thread():
        lanes = max(1, min(n_items, lane_count(torch.device("cpu"))))

        def work_through(lane: int) -> None:
            for item in range(lane, n_items, lanes):
                with no_fork():  # Forks wait for one item, and not for all of them.
                    work(item, lane)

        _side_by_side(torch.no_grad()(work_through), lanes)


def _lanes_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_LANES, "lane", initializer=_divide_no_operation)
        return _pool


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


def _hold_to_one_thread() -> Callable[[], None]:
    """Let operations of the calling thread run in it alone; return what takes that back.

    The setting of :func:`torch.set_num_threads` belongs to the process: threads still to come would
    take it over. So the libraries below torch are asked, which keep one for each thread.
    """
    threads = torch.get_num_threads()  # The first call in a thread takes over the process's.
    of_openmp, of_mkl = _own_settings()
    if of_openmp is None:
        torch.set_num_threads(1)
        return lambda: torch.set_num_threads(threads)
    of_openmp(1)
    before = 0 if of_mkl is None else of_mkl(1)

    def put_back() -> None:
        of_openmp(threads)
        if of_mkl is not None:
            of_mkl(before)

    return put_back


@cache
def _own_settings() -> tuple[Any, Any]:
    """Return what sets the calling thread's number of threads in OpenMP and in MKL, or None."""
    folder = Path(torch.__file__).parent / "lib"
    for path in sorted(folder.glob("*torch_cpu.*")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        of_openmp = getattr(library, "omp_set_num_threads", None)
        return of_openmp, getattr(library, "MKL_Set_Num_Threads_Local", None)
    return None, None


def chunks(n_signals: int, most: int, lanes: int) -> list[slice]:
    """Divide signals into chunks of one size, as many for each lane: none waits for the others.

    Parameters
    ----------
    n_signals : int
        Signals in all, at least one.
    most : int
        Most signals in a chunk.
    lanes : int
        Their number divides that of the chunks, unless each chunk is one signal.
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
        Signals in all, at least one; fewer than lanes have a part each.
    device : torch.device
        Whose lanes share the signals.
    """
    return chunks(n_signals, n_signals, lane_count(device))


def _divide_no_operation() -> None:
    _hold_to_one_thread()


def _begin_anew() -> None:
    """Do without threads in a forked process: they do not follow, nor do those who hold a lock.

    OpenMP would wait for ever for its threads to take their part of an operation.
    """
    global _pool, _pool_lock, _blas_lock, _blas_users
    _pool, _pool_lock, _blas_lock, _blas_users = None, threading.Lock(), threading.Lock(), 0
    torch.set_num_threads(1)
    _here.threads = 0


os.register_at_fork(after_in_child=_begin_anew)
