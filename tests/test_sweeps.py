"""Sweeps derived by hand against autograd: errors of the full field and normal equations."""

import copy

import pytest
import torch

from neurfield import memory
from neurfield.fields import LowRankSiren, ModulatedSiren, SpatialSiren
from neurfield.learning import Context, workspace
from neurfield.learning.field_errors import FieldErrors
from neurfield.learning.solvers import damped_step, normal_equations

FIELDS = {
    "skips": lambda c: ModulatedSiren(2, c, 5, 16, 4, (3.0, 9.0), residual_scale=0.6),
    "no skips": lambda c: ModulatedSiren(2, c, 5, 16, 4, (3.0, 9.0), skip_connections=False),
    "two layers": lambda c: ModulatedSiren(2, c, 5, 16, 2, 5.0),
    "low rank": lambda c: LowRankSiren(2, c, 5, hidden_dim=16, n_layers=3, omega=5.0),
    "without sweeps": lambda c: SpatialSiren(2, c, 4 * 4 * 3, hidden_dim=16, n_layers=3),
}
CONTEXTS = ["shared", "own", "shared, gaps", "own, gaps"]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[7 * 16, 2**18], ids=["blocks of 7 points", "one block"])
def activations(request, monkeypatch):
    monkeypatch.setitem(memory.AT_ONCE, "activations", (request.param,) * 2)


def problem(name, channels, kind):
    """Return a field, a context of seven signals, and latents, in float64."""
    torch.manual_seed(0)
    field = FIELDS[name](channels).double()
    coords = 2.0 * torch.rand(7, 20, 2, dtype=torch.float64) - 1.0
    values, weights = torch.rand(7, 20, channels, dtype=torch.float64), None
    if "gaps" in kind:
        weights = (torch.rand_like(values) > 0.4).double()
        values = values * weights
    context = Context(coords[0] if "shared" in kind else coords, values, weights)
    return field, context, 0.3 * torch.randn(7, field.latent_dim, dtype=torch.float64)


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FIELDS)
def test_errors_and_their_gradient(name, channels, kind, threads, activations):
    field, context, latents = problem(name, channels, kind)
    latents.requires_grad_()
    scale = torch.rand(7, dtype=torch.float64)
    wanted = [latents, *field.parameters()]
    expected = context.mse(field(context.coords, latents))
    gradients = torch.autograd.grad((scale * expected).sum(), wanted)
    errors_of = FieldErrors()
    for _ in range(2):  # the second call finds the first one's buffers
        found = errors_of(field, context, latents)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad((scale * found).sum(), wanted), gradients, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FIELDS)
def test_normal_equations_by_sweeps(name, channels, kind, activations):
    field, context, latents = problem(name, channels, kind)
    with torch.enable_grad():
        expected = normal_equations(field, context, latents)
    with torch.no_grad():
        found = normal_equations(field, context, latents)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_workspace_follows_the_weights():
    field, context, latents = problem("skips", 1, "shared")
    other, prior, kept = (
        copy.deepcopy(field),
        torch.eye(5, dtype=torch.float64),
        workspace.Workspace(),
    )
    other.reset_parameters()
    with torch.no_grad():
        for each in (field, other):
            step = damped_step(each, context, latents, prior, 1e-2, kept)
            fresh = damped_step(each, context, latents, prior, 1e-2)
            torch.testing.assert_close(step, fresh, rtol=0, atol=0)
