"""Threads that wait for each other do not keep other processes from working, and leave no trace."""

import os
import threading

import pytest
import torch

from neurfield.waiting import short_waits


@pytest.fixture(params=[1, 2])
def n_threads(request, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: request.param)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def test_teams_stand_by_and_go(n_threads):
    before, environment = threading.active_count(), dict(os.environ)
    with short_waits():
        assert threading.active_count() == before + (n_threads > 1)
        assert dict(os.environ) == environment
    assert threading.active_count() == before
    assert torch.get_num_threads() == n_threads


def test_they_go_where_work_fails(n_threads):
    before = threading.active_count()
    with pytest.raises(KeyError), short_waits():
        raise KeyError
    assert threading.active_count() == before


def test_few_threads_of_many_processors_need_none(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    torch.set_num_threads(2)
    before = threading.active_count()
    try:
        with short_waits():
            assert threading.active_count() == before
    finally:
        torch.set_num_threads(1)
