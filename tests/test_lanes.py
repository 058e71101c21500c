"""Signals divided between threads."""

import os
import time
from pathlib import Path

import pytest
import torch

from neurfield.learning import lanes

_TASKS = Path("/proc/self/task")  # a folder for each thread of the process


@pytest.mark.skipif(not _TASKS.exists(), reason="needs Linux's list of threads")
def test_threads_of_torch_do_not_wait_beside_lanes():
    if not lanes._openmp():
        pytest.skip("needs an OpenMP library that can end its threads")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        matrix = torch.randn(1000, 1000)
        expected = matrix.sum(dim=1)
        lanes.in_lanes(lambda lane: time.sleep(0.1), 2)  # starts the lanes' own threads
        matrix.sum(dim=1)  # and this one torch's
        waiting = len(os.listdir(_TASKS))
        inside = lanes.in_lanes(lambda lane: len(os.listdir(_TASKS)), 2)
        assert max(inside) < waiting
        assert torch.get_num_threads() == 2
        torch.testing.assert_close(matrix.sum(dim=1), expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)
