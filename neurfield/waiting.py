"""How long threads that have nothing to do keep a processor busy."""

from __future__ import annotations

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
    n_teams = -(-max(1, processors + 1 - threads) // max(1, threads - 1))
    if threads == 1 or n_teams > _MOST_TEAMS:
        yield
        return
    over = threading.Event()
    gathered = [threading.Event() for _ in range(n_teams)]

    def stand_by(team: threading.Event) -> None:
        torch.ones(_LARGE).exp_()
        team.set()
        over.wait()

    teams = [threading.Thread(target=stand_by, args=(team,), daemon=True) for team in gathered]
    for thread in teams:
        thread.start()
    for team in gathered:
        team.wait()
    try:
        yield
    finally:
        over.set()
        for thread in teams:
            thread.join()
