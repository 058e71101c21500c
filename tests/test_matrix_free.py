"""Steps solved by products with the Jacobian against those with a matrix for each signal."""

import numpy as np
import pytest
import torch

from neurfield import memory
from neurfield.fields import ModulatedSiren, SpatialSiren
from neurfield.learning import Context
from neurfield.learning.lanes import each_in_lanes
from neurfield.learning.solvers import LevenbergMarquardt, matrix_free
from neurfield.learning.workspace import Workspace

P, N = 12, 60
FIELDS = {
    "by hand": lambda: ModulatedSiren(2, 2, P, 16, 4, (3.0, 6.0), residual_scale=0.6),
    "autograd": lambda: SpatialSiren(2, 2, P, hidden_dim=16, n_layers=3, grid=(2, 2), omega=5.0),
}


@pytest.fixture(params=FIELDS)
def field(request):
    torch.manual_seed(0)
    return FIELDS[request.param]().double()


@pytest.fixture(params=["full", "with gaps"])
def context(request, field):
    """Signals that the field can nearly describe, so that they have one minimum."""
    rng = np.random.default_rng(0)
    coords = torch.tensor(rng.uniform(-1, 1, (N, 2)))
    latents, noise = rng.normal(0.0, 0.2, (3, P)), rng.normal(0.0, 0.02, (3, N, 2))
    with torch.no_grad():
        values = field(coords, torch.tensor(latents)) + torch.tensor(noise)
    if request.param == "full":
        return Context(coords, values)
    observed = torch.tensor((rng.random((3, N, 2)) < 0.7).astype(float))
    return Context(coords, values * observed, observed)


@pytest.fixture
def by_products(monkeypatch):
    """Let the smallest latents be found by products, too."""
    monkeypatch.setattr(matrix_free, "_LEAST_LATENTS", 0)
    monkeypatch.setattr(matrix_free, "_WORTH", 0)


def solver(steps, mean=None):
    precision = torch.diag(torch.linspace(1e-3, 1e-2, P, dtype=torch.float64))
    return LevenbergMarquardt(steps, precision, 2.0 * N, mean)


def solved(field, context, steps, mean=None):
    found = solver(steps, mean)
    return found.solve(field, context, found.share(field, context))


@pytest.mark.parametrize("mean", [None, torch.linspace(-0.1, 0.1, P, dtype=torch.float64)])
def test_the_closed_form_is_the_same(field, context, mean, monkeypatch):
    expected = solved(field, context, 1, mean)
    monkeypatch.setattr(matrix_free, "_LEAST_LATENTS", 0)
    monkeypatch.setattr(matrix_free, "_WORTH", 0)
    monkeypatch.setattr(matrix_free, "_IN_CLOSED_FORM", (200, 1e-14))
    torch.testing.assert_close(solved(field, context, 1, mean), expected, rtol=1e-6, atol=1e-8)
    monkeypatch.setitem(memory.AT_ONCE, "shared", (1, 1))  # only the factor is shared
    assert isinstance(solver(1, mean).share(field, context), matrix_free.SharedFactor)
    torch.testing.assert_close(solved(field, context, 1, mean), expected, rtol=1e-6, atol=1e-8)


def test_many_steps_end_in_the_same_minimum(field, context, monkeypatch):
    expected = solved(field, context, 40)
    monkeypatch.setattr(matrix_free, "_LEAST_LATENTS", 0)
    monkeypatch.setattr(matrix_free, "_WORTH", 0)
    torch.testing.assert_close(solved(field, context, 40), expected, rtol=1e-4, atol=1e-5)


def test_each_step_lowers_the_objective(field, context, by_products):
    strength = solver(1).strength(context)

    def objective(latents):
        penalty = ((latents @ solver(1).precision) * latents).sum(dim=1)
        with torch.no_grad():
            return context.mse(field(context.coords, latents)) + strength * penalty

    before = objective(field.zero_latents(3))
    for steps in (2, 3, 5):
        after = objective(solved(field, context, steps))
        assert (after < before).all()
        before = after


def test_signals_do_not_depend_on_each_other(field, context, by_products):
    together = solved(field, context, 3)
    for i in range(3):
        alone = solved(field, context.alone(i, N), 3)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)


def test_coordinates_of_their_own_change_nothing(field, context, by_products):
    own = Context(context.coords.expand(3, N, 2).contiguous(), context.values, context.weights)
    expected = solved(field, context, 3)
    torch.testing.assert_close(solved(field, own, 3), expected, rtol=1e-6, atol=1e-8)


def test_only_long_latents_are_found_by_products():
    def costs_too_much(latent_dim, channels=3):
        field = ModulatedSiren(2, channels, latent_dim, 128, 7)
        return matrix_free.needs_products(field, 64 * 64)

    assert not costs_too_much(64)
    assert not costs_too_much(256)
    assert costs_too_much(1024)
    assert costs_too_much(2048)
    assert not costs_too_much(8192, channels=1)  # fewer values than latents


@pytest.mark.parametrize("name", FIELDS)
def test_products_in_threads_do_not_get_in_each_others_way(name):
    torch.manual_seed(0)
    field = FIELDS[name]().float()
    coords = torch.rand(N, 2)
    signals = torch.rand(24, 1, N, 2)
    latents, directions = 0.1 * torch.randn(24, 1, P), torch.randn(24, 10, 1, P)

    def multiplied(i):
        products = matrix_free.Products(field.twin(), Context(coords, signals[i]), Workspace())
        products.move(latents[i])
        return torch.stack([products.normal(direction) for direction in directions[i]])

    found = [torch.empty(0)] * 24

    def of_item(i, lane):
        found[i] = multiplied(i)

    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        each_in_lanes(of_item, 24)
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        for i in range(24):
            torch.testing.assert_close(found[i], multiplied(i))
