"""transform on each of dask's schedulers: a chunk of signals in, a chunk of latents out."""

import pickle

import numpy as np
import pytest
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.fields import Lapped

dask = pytest.importorskip("dask")

CHUNKS = (7, 7, 6)


@pytest.fixture(scope="module")
def waves():
    """Return labelled curves in memory."""
    rng = np.random.default_rng(0)
    x = np.arange(32.0)
    values = np.sin(x / 5 + rng.uniform(0, 6, (20, 1))) + 0.1 * rng.normal(size=(20, 32))
    return xr.DataArray(values, {"x": x, "label": ("sample", np.arange(20) % 3)}, ("sample", "x"))


@pytest.fixture(scope="module")
def encoders(waves):
    """Return a fitted encoder of each family."""
    shared = {"max_iter": 3, "device": "cpu", "random_state": 0}
    return {
        "siren": FunctaEncoder(4, field="siren", hidden_dim=8, n_layers=3, **shared).fit(waves),
        "lapped": FunctaEncoder(8 * 3, field=Lapped(cell=4, hidden_dim=8), **shared).fit(waves),
    }


def assert_as_in_memory(encoders, waves, compute):
    """Compare what a scheduler makes of both families' latents with those of arrays in memory."""
    lazy = {name: enc.transform(waves.chunk(sample=7)) for name, enc in encoders.items()}
    for name, Z in lazy.items():
        assert Z.chunks[0] == CHUNKS, name
    for Z, enc in zip(compute(*lazy.values()), encoders.values(), strict=True):
        np.testing.assert_allclose(Z, enc.transform(waves), atol=1e-5)
        np.testing.assert_array_equal(Z.label, waves.label)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_of_one_machine(encoders, waves, scheduler):
    def compute(*arrays):
        return dask.compute(*arrays, scheduler=scheduler, num_workers=2)

    assert_as_in_memory(encoders, waves, compute)


def test_a_cluster_of_processes(encoders, waves):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")
    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(**workers, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_as_in_memory(encoders, waves, dask.compute)
        import torch

        assert set(client.run(torch.get_num_threads).values()) == {1}


def test_the_scheduler_counts_the_chunks(encoders, waves):
    from dask.callbacks import Callback

    done = []
    Z = encoders["siren"].transform(waves.chunk(sample=7)).variable.data
    with Callback(posttask=lambda key, *_: done.append(key)), dask.config.set(scheduler="sync"):
        dask.compute(Z)
    name = Z.name
    assert sum(isinstance(key, tuple) and key[0] == name for key in done) == len(CHUNKS)


def test_what_workers_are_sent_is_small(encoders):
    for encoder in encoders.values():
        n_weights = encoder.codec_.field.n_parameters
        assert len(pickle.dumps(encoder.codec_)) < 8 * n_weights + 40_000
