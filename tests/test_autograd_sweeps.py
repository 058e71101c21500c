"""Automatic differentiation of any field, and what is derived by hand against it, in float64."""

import copy

import pytest
import torch
from inner_loops import assert_same_gradients
from own_field import TanhField
from sweep_entries import block, entries
from torch.autograd import gradcheck

from neurfield.fields import LowRankSiren, ModulatedSiren, SpatialSiren
from neurfield.fields.autograd import AutogradLinearization, AutogradSweeps
from neurfield.fields.base import Field
from neurfield.fields.siren_layers import SineLayers
from neurfield.learning import Context, MetaBatch
from neurfield.learning.field_errors import FieldErrors
from neurfield.learning.learners.cavia import CaviaStep
from neurfield.learning.solvers import GradientDescent, normal_equations


def whose_latents_are_its_shifts(d, c):
    field = ModulatedSiren(d, c, 3 * 6, 6, 4, (3.0, 9.0), residual_scale=0.6)
    with torch.no_grad():
        field.modulation.weight.copy_(torch.eye(3 * 6))
        field.modulation.bias.zero_()
    return field


SWEPT = {
    "skips": lambda d, c: ModulatedSiren(d, c, 5, 6, 4, (3.0, 9.0)),
    "scaled residuals": lambda d, c: ModulatedSiren(d, c, 5, 6, 4, (3.0, 9.0), residual_scale=0.6),
    "no skips": lambda d, c: ModulatedSiren(d, c, 5, 6, 4, (3.0, 9.0), skip_connections=False),
    "one sine": lambda d, c: ModulatedSiren(d, c, 5, 6, 2, 5.0),
    "low rank": lambda d, c: LowRankSiren(d, c, 3, 7, 6, 4, (3.0, 9.0), residual_scale=0.6),
    "shifts as latents": whose_latents_are_its_shifts,
}
LINEARIZED = {
    **SWEPT,
    "scales": lambda d, c: ModulatedSiren(d, c, 5, 6, 4, (3.0, 9.0), modulation="shift_scale"),
    "scales without skips": lambda d, c: ModulatedSiren(
        d, c, 5, 6, 4, (3.0, 9.0), modulation="shift_scale", skip_connections=False
    ),
    "spatial": lambda d, c: SpatialSiren(d, c, 2**d * 3, 2, "linear", 6, 4, (3.0, 9.0)),
    "nearest": lambda d, c: SpatialSiren(d, c, 2**d * 3, 2, "nearest", 6, 4, (3.0, 9.0)),
}
SIZES = pytest.mark.parametrize(("d", "channels"), [(1, 1), (2, 3), (3, 2)])
SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared points", "own points"])


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


def normal(*shape):
    return 0.5 * torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("gaps", [False, True], ids=["all observed", "gaps"])
@SHARED
@SIZES
@pytest.mark.parametrize("name", SWEPT)
def test_each_entry_of_sweeps_by_hand(name, d, channels, shared, gaps):
    field = SWEPT[name](d, channels).double()
    part = block(d, channels, shared, gaps)
    given = (*normal(2, 5, field.latent_dim), normal(5, 20, channels))
    by_hand, reference = field.sweeps(200), AutogradSweeps(field, 200)
    assert type(by_hand._layers) is SineLayers
    found = entries(field, by_hand, part, *given)
    expected = entries(field, reference, part, *given)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11, msg=key)


@SHARED
@SIZES
@pytest.mark.parametrize("name", LINEARIZED)
def test_each_entry_of_linearizations_by_hand(name, d, channels, shared):
    field = LINEARIZED[name](d, channels).double()
    coords, cotangent = block(d, channels, shared, False).coords, normal(5, 20, channels)
    for latents in (normal(5, field.latent_dim), field.zero_latents(1)):
        by_hand = field.linearize(coords, latents)
        reference = AutogradLinearization(field, coords, latents)
        torch.testing.assert_close(by_hand.values, reference.values)
        torch.testing.assert_close(by_hand.jacobian(), reference.jacobian())
        torch.testing.assert_close(by_hand.vjp(cotangent), reference.vjp(cotangent))


@SHARED
def test_a_linearization_of_any_field(shared):
    field = TanhField(2, 3, 4, 6).double()
    coords, latents, cotangent = block(2, 3, shared, False).coords, normal(5, 4), normal(5, 20, 3)
    linearization = field.linearize(coords, latents)
    together = torch.autograd.functional.jacobian(lambda z: field(coords, z).sum(0), latents)
    expected = together.permute(2, 0, 1, 3)  # signals do not interact
    torch.testing.assert_close(linearization.jacobian(), expected)
    pulled = torch.einsum("bncp,bnc->bp", expected, cotangent)
    torch.testing.assert_close(linearization.vjp(cotangent), pulled)


def test_a_linearization_can_be_differentiated_again():
    field = TanhField(1, 2, 3, 4).double()
    coords, cotangent = torch.rand(4, 1, dtype=torch.float64), normal(2, 4, 2)
    latents = normal(2, 3).requires_grad_()

    def parts(latents, weight):
        twin = copy.deepcopy(field)
        del twin.inner.weight
        twin.inner.weight = weight
        found = twin.linearize(coords, latents)
        return found.values, found.jacobian(), found.vjp(cotangent)

    assert gradcheck(parts, (latents, field.inner.weight.detach().clone().requires_grad_()))


@pytest.mark.parametrize("gaps", [False, True], ids=["all observed", "gaps"])
@SHARED
def test_sweeps_of_any_field_are_its_derivatives(shared, gaps):
    field, part = TanhField(2, 2, 4, 6).double(), block(2, 2, shared, gaps)
    latents, direction, cotangent = *normal(2, 5, 4), normal(5, 20, 2)
    found = entries(field, AutogradSweeps(field, 100), part, latents, direction, cotangent)
    weights = 1.0 if part.weights is None else part.weights

    def losses(z):
        return ((field(part.coords, z) - part.values) * weights).square().sum((1, 2)) / part.counts

    latents.requires_grad_()
    (slope,) = torch.autograd.grad(losses(latents).sum(), latents, create_graph=True)
    torch.testing.assert_close(found["losses"], losses(latents).detach())
    torch.testing.assert_close(found["gradient"], slope.detach())
    parameters = dict(field.named_parameters())
    first = torch.autograd.grad(losses(latents).sum(), list(parameters.values()))
    along = (slope * direction).sum()
    second = torch.autograd.grad(along, [latents, *parameters.values()], materialize_grads=True)
    torch.testing.assert_close(found["bent"], second[0])
    for name, one, two in zip(parameters, first, second[1:], strict=True):
        torch.testing.assert_close(found[f"collected {name}"], one)
        torch.testing.assert_close(found[f"bent {name}"], two)


def test_weights_that_are_frozen_have_no_gradient():
    field, part = TanhField(2, 1, 4, 6).double(), block(2, 1, True, False)
    field.inner.requires_grad_(False)
    given = (*normal(2, 5, 4), normal(5, 20, 1))
    found = entries(field, AutogradSweeps(field, 100), part, *given)
    assert not found["collected inner.weight"].any()
    assert found["collected place.weight"].any()


@pytest.mark.parametrize("second_order", [True, False])
def test_learners_and_solvers_find_the_same_by_either_sweeps(second_order, monkeypatch):
    field = SWEPT["scaled residuals"](2, 2).double()
    part = block(2, 2, True, True)
    values = part.values * part.weights
    context = Context(part.coords, values, part.weights)
    subsets = torch.stack([torch.randperm(20)[:12] for _ in range(3)])
    latents = normal(5, 5)

    def found(field):
        CaviaStep(field, 3, 0.1, second_order=second_order)(MetaBatch(context, subsets)).backward()
        FieldErrors()(field, context, latents).sum().backward()
        with torch.no_grad():
            equations = normal_equations(field, context, latents)
        return *equations, GradientDescent(3, 0.1).solve(field, context)

    twin = copy.deepcopy(field)
    by_hand = found(field)
    monkeypatch.setattr(ModulatedSiren, "sweeps", Field.sweeps)
    torch.testing.assert_close(found(twin), by_hand)
    assert_same_gradients(field, twin)
