"""What the process keeps: no public call changes the settings of its caller, not even one that
raises."""

import os
import random
import signal
import warnings

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from neurfield import FunctaEncoder, NeuralField
from neurfield.learning import Cavia


def state_of_the_process():
    """Return all that libraries and the interpreter let anyone change for everyone."""
    return {
        "torch threads": torch.get_num_threads(),
        "torch interop threads": torch.get_num_interop_threads(),
        "library threads": sorted(
            (pool["filepath"], pool["num_threads"]) for pool in threadpool_info()
        ),
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": repr(np.random.get_state(legacy=False)),
        "python generator": random.getstate(),
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "matrix products": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "floating point errors": np.geterr(),
        "ctrl-c": signal.getsignal(signal.SIGINT),
        "folder": os.getcwd(),
    }


X = np.random.default_rng(0).random((24, 12))
HOLES = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
SMALL = {
    "latent_dim": 3,
    "hidden_dim": 8,
    "n_layers": 3,
    "max_iter": 3,
    "batch_size": 8,
    "device": "cpu",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def fitted():
    encoder = FunctaEncoder(**SMALL).fit(X)
    encoder.inverse_transform(encoder.transform(X), return_std=True, observed=X)
    return encoder


def _interrupted(progress):
    raise RuntimeError("a callback that fails")


def _one_field():
    return NeuralField(hidden_dim=8, n_layers=3, max_iter=3, random_state=0).fit(X[0])


CALLS = {
    "fit": lambda enc: FunctaEncoder(**SMALL).fit(X),
    "fit cavia": lambda enc: FunctaEncoder(**SMALL, learner=Cavia(inner_steps=2)).fit(X),
    "fit float64": lambda enc: FunctaEncoder(**SMALL, precision="float64").fit(X),
    "fit with time": lambda enc: FunctaEncoder(**SMALL, max_time=5.0).fit(X),
    "fit early": lambda enc: FunctaEncoder(**SMALL, early_stopping=True).fit(X),
    "fit loud": lambda enc: FunctaEncoder(**SMALL, verbose=1).fit(X),
    "fit patches": lambda enc: FunctaEncoder(**SMALL, patch_size=6).fit(X),
    "partial_fit": lambda enc: FunctaEncoder(**SMALL).partial_fit(X).partial_fit(X),
    "transform": lambda enc: enc.transform(X),
    "transform gaps": lambda enc: enc.transform(HOLES),
    "inverse_transform": lambda enc: enc.inverse_transform(enc.transform(X), grid=(30,)),
    "derivative": lambda enc: enc.inverse_transform(enc.transform(X), derivative="x"),
    "deviation": lambda enc: enc.inverse_transform(
        enc.transform(HOLES), return_std=True, observed=HOLES
    ),
    "score": lambda enc: enc.score(X),
    "one field": lambda enc: _one_field().predict(),
    "raises in fit": lambda enc: FunctaEncoder(**SMALL).fit(np.full((4, 3), np.inf)),
    "raises in a callback": lambda enc: FunctaEncoder(**SMALL, callbacks=[_interrupted]).fit(X),
    "raises in a parameter": lambda enc: FunctaEncoder(**{**SMALL, "latent_dim": 0}).fit(X),
    "raises in transform": lambda enc: enc.transform(X[:, :5]),
    "raises in inverse_transform": lambda enc: enc.inverse_transform(np.zeros((2, 9))),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_leaves_the_process_as_it_was(fitted, name, threads):
    torch.set_num_threads(threads)
    np.random.seed(3)
    torch.manual_seed(3)
    before = state_of_the_process()
    try:
        CALLS[name](fitted)
    except (ValueError, RuntimeError):
        assert name.startswith("raises")
    else:
        assert not name.startswith("raises")
    after = state_of_the_process()
    assert {key for key in before if before[key] != after[key]} == set()
