"""How long threads that have nothing to do keep a processor busy."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LARGE = 2**20  # numbers; enough for torch to divide an operation on them between threads
_MOST_TEAMS = 4


@contextmanager
def short_waits() -> Iterator[None]:
    """Have the threads that torch divides operations between give way at once, inside a ``with``.

    GNU's OpenMP lets them wait for each other in a loop, for milliseconds as long as it has no more
    threads than there are processors. Beside other busy processes one thread is always late, and
    the others wait on the time of those that they need. So teams of sleeping threads stand by
    meanwhile, which make them more. Other kinds of OpenMP take no notice.
    """
    threads, processors = torch.get_num_threads(), os.cpu_count() or 1
    n_teams = math.ceil(max(1, processors + 1 - threads) / (threads - 1)) if threads > 1 else 0
    if n_teams > _MOST_TEAMS:
        n_teams = 0
    ready, over = threading.Semaphore(0), threading.Event()

    def stand_by() -> None:
        try:
            torch.ones(_LARGE).exp_()
        finally:
            ready.release()
        over.wait()

    teams = [threading.Thread(target=stand_by, daemon=True) for _ in range(n_teams)]
    try:
        for thread in teams:
            thread.start()
        for _ in teams:
            ready.acquire()
        yield
    finally:
        over.set()
        for thread in teams:
            if thread.is_alive():
                thread.join()
