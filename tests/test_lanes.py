"""Signals divided between threads."""

import threading

import pytest
import torch

from neurfield.learning import lanes


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def in_another_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("two_threads")
def test_one_thread_is_held_to_in_the_calling_thread_alone():
    if lanes._own_settings()[0] is None:
        pytest.skip("torch's libraries keep no setting for each thread here")
    with lanes.one_thread():
        assert torch.get_num_threads() == 1
        assert lanes.lane_count(torch.device("cpu")) == 2
        assert in_another_thread(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_setting_of_threads_is_as_before_after_an_error_in_a_lane():
    def fail(lane):
        assert torch.get_num_threads() == 1
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        lanes.in_lanes(fail, 2)
    assert torch.get_num_threads() == 2
    assert in_another_thread(torch.get_num_threads) == 2
