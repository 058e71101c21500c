"""Mapped files: read where they are, and given back."""

from pathlib import Path

import numpy as np
import pytest

from neurfield import FunctaEncoder
from neurfield.fields import Lapped
from neurfield.signals.mapped import map_of

MIB = 2**20


def of_files():
    """Return how many bytes of mapped files the process holds."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        pytest.skip("the system does not say what a process holds")
    found = [line.split()[1] for line in lines if line.startswith("RssFile")]
    if not found:
        pytest.skip("the system does not tell files apart")
    return 1024 * int(found[0])


@pytest.fixture
def path(tmp_path):
    signals = np.random.default_rng(0).normal(size=(1024, 2048)).astype(np.float32)
    np.save(tmp_path / "signals.npy", signals)
    return tmp_path / "signals.npy"


def test_pages_are_given_back_while_signals_are_read(path):
    signals = np.load(path, mmap_mode="r")
    spec = Lapped(cell=256, hidden_dim=8, features=2)
    encoder = FunctaEncoder(latent_dim=8, field=spec, max_iter=2, random_state=0)
    encoder.set_params(transform_steps=1).fit(np.array(signals[:64]))
    before = of_files()
    found = encoder.transform(signals)
    assert signals.nbytes == 8 * MIB
    assert of_files() - before < 3 * MIB
    np.testing.assert_array_equal(found[-50:], encoder.transform(np.array(signals[-50:])))
    encoder.fit(signals)
    assert of_files() - before < 3 * MIB


def test_only_maps_that_hold_what_the_file_holds_are_let_go(path):
    signals = np.load(path, mmap_mode="r")
    assert map_of(signals) is not None
    assert map_of(np.asarray(signals)[::2, None, 3:]) is map_of(signals)
    assert map_of(np.load(path, mmap_mode="c")) is None
    assert map_of(np.array(signals[:2])) is None
    assert map_of("no array") is None
