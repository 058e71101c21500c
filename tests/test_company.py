"""A signal's latents and what they decode to do not depend on what else is in the batch."""

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import (
    check_methods_sample_order_invariance,
    check_methods_subset_invariance,
)

from neurfield import FunctaEncoder
from neurfield.fields import LowRank, Siren, Spatial
from neurfield.learning import Cavia, VarPro

_CASES = {
    "closed form": {"transform_steps": 1},
    "closed form, few values": {"transform_steps": 1, "latent_dim": 80},
    "steps": {},
    "steps, few values": {"latent_dim": 80},
    "steps, a length that is no multiple of four": {"latent_dim": 7},
    "cavia": {"learner": Cavia(), "n_layers": 3},
    "spatial": {"field": Spatial(grid=2)},
    "low rank": {"field": LowRank(intermediate_dim=12)},
    "scales": {"field": Siren(modulation="shift_scale")},
    "patches": {"patch_size": 5},
}


@pytest.fixture(params=[1, 2], ids=lambda n: f"{n} thread(s)")
def threads(request):
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


def images(n=18, size=8):
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(n, 4, 4)).repeat(2, axis=1).repeat(2, axis=2)
    return (smooth + 0.1 * rng.normal(size=(n, 8, 8)))[:, :size, :size]


def with_gaps():
    values = images()
    values[::3, 2:4, 1:5] = np.nan
    return values


def encoder(**parameters):
    small = {"latent_dim": 8, "hidden_dim": 16, "max_iter": 4, "batch_size": 8, "n_layers": 4}
    return FunctaEncoder(**(small | {"device": "cpu", "random_state": 0} | parameters))


@cache
def fitted(name):
    return encoder(**_CASES[name]).fit(images())


def assert_alone_is_as_in_company(enc, signals):
    n = len(signals)
    take = (
        (lambda rows: [signals[i] for i in rows])
        if isinstance(signals, list)
        else (lambda rows: signals[rows])
    )
    together = enc.transform(signals)
    alone = np.concatenate([enc.transform(take([i])) for i in range(n)])
    np.testing.assert_array_equal(alone, together)
    order = np.random.default_rng(1).permutation(n)
    np.testing.assert_array_equal(enc.transform(take(order)), together[order])
    np.testing.assert_array_equal(enc.transform(take(order[: n // 2])), together[order[: n // 2]])
    return together


@pytest.mark.parametrize("values", [images, with_gaps], ids=["whole", "gaps"])
@pytest.mark.parametrize("name", _CASES)
def test_latents_and_values_are_the_same_in_any_company(name, values, threads):
    enc = fitted(name)
    latents = assert_alone_is_as_in_company(enc, values())
    decoded = enc.inverse_transform(latents)
    alone = [enc.inverse_transform(latents[i : i + 1])[0] for i in range(len(latents))]
    np.testing.assert_array_equal(alone, decoded)


@pytest.mark.parametrize("learner", [VarPro(), Cavia()], ids=["varpro", "cavia"])
def test_latents_of_signals_on_grids_of_their_own_do_not_depend_on_the_widest(learner, threads):
    import xarray as xr

    def on_grid(values, size):
        axis = np.linspace(0.0, 1.0, size)
        return xr.DataArray(values[:size, :size], {"y": axis, "x": axis}, ("y", "x"))

    signals = [on_grid(v, 5 + i % 4) for i, v in enumerate(images())]
    enc = encoder(learner=learner).fit(signals)
    assert_alone_is_as_in_company(enc, signals)


@pytest.mark.parametrize(
    "check", [check_methods_subset_invariance, check_methods_sample_order_invariance]
)
@pytest.mark.parametrize("learner", ["varpro", "cavia"])
def test_scikit_learn_finds_methods_to_take_signals_one_by_one(check, learner):
    check("FunctaEncoder", encoder(learner=learner, latent_dim=3, n_layers=3))
