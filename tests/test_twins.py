"""Lanes have parameters of their own: operations on a field's own are recorded in no thread."""

import threading

import numpy as np
import pytest
import torch
from own_field import TanhField
from sweep_entries import as_float, block
from torch import nn

from neurfield import FunctaEncoder
from neurfield.fields import LappedField, LowRankSiren, ModulatedSiren, Spatial, SpatialSiren
from neurfield.fields.autograd import AutogradSweeps
from neurfield.fields.base import Field
from neurfield.learning import Cavia, Context, VarPro
from neurfield.learning.field_errors import FieldErrors

FIELDS = {
    "lapped": lambda: LappedField(1, 1, 8, (8,), 2, hidden_dim=4, features=3),
    "spatial": lambda: SpatialSiren(1, 1, 8, 4, "linear", 6, 3, (3.0, 9.0)),
    "low rank": lambda: LowRankSiren(1, 1, 8, 8, 6, 3, (3.0, 9.0)),
    "siren": lambda: ModulatedSiren(1, 1, 8, 6, 3, (3.0, 9.0)),
    "one's own": lambda: TanhField(1, 1, 8),
}


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("trains", [False, True])
def test_a_twin_has_the_same_numbers_and_parameters_of_its_own(name, trains):
    field = FIELDS[name]()
    twin = field.twin(trains)
    for (name, own), (same, parameter) in zip(
        twin.named_parameters(), field.named_parameters(), strict=True
    ):
        assert name == same
        assert own is not parameter
        assert own.data_ptr() == parameter.data_ptr()
        assert own.requires_grad is trains
        assert parameter.requires_grad
    latents, coords = torch.ones(2, 8), torch.zeros(3, 1)
    torch.testing.assert_close(twin(coords, latents), field(coords, latents))
    assert twin(coords, latents).requires_grad is trains


def test_what_is_frozen_or_shared_within_a_field_is_so_in_its_twin():
    field = TanhField(1, 1, 8)
    field.place.requires_grad_(False)
    field.again = nn.Linear(16, 16)
    field.again.weight = field.inner.weight
    twin = field.twin(trains=True)
    assert twin.again.weight is twin.inner.weight is not field.inner.weight
    assert not twin.place.weight.requires_grad
    assert twin.code.weight.requires_grad


def watched(monkeypatch, *classes):
    """Collect, for each call in a lane that records something, whether parameters take part."""
    seen = []
    for kind in classes:
        evaluate = kind.forward

        def forward(self, coords, latents, evaluate=evaluate):
            if torch.is_grad_enabled() and threading.current_thread().name.startswith("lane"):
                seen.append([p for p in self.parameters() if p.requires_grad])
            return evaluate(self, coords, latents)

        monkeypatch.setattr(kind, "forward", forward)
    return seen


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("learner", [VarPro(), Cavia()], ids=["varpro", "cavia"])
def test_linearizations_in_lanes_record_nothing_on_parameters(learner, monkeypatch):
    images = np.random.default_rng(0).normal(size=(6, 4, 4))
    options = {"hidden_dim": 4, "n_layers": 3, "max_iter": 2, "random_state": 0}
    encoder = FunctaEncoder(latent_dim=8, field=Spatial(grid=2), learner=learner, **options)
    encoder.fit(images)
    seen = watched(monkeypatch, SpatialSiren)
    monkeypatch.setattr(SpatialSiren, "linearize", Field.linearize)
    encoder.set_params(transform_steps=2).transform(images)
    assert seen
    assert not any(seen)


@pytest.mark.usefixtures("two_threads")
def test_sweeps_in_lanes_record_on_parameters_of_their_own(monkeypatch):
    monkeypatch.setattr(TanhField, "has_sweeps", True)
    field, values = TanhField(1, 1, 8), torch.rand(6, 5, 1)
    context, latents = Context(torch.rand(5, 1), values), torch.rand(6, 8)
    seen = watched(monkeypatch, TanhField)
    expected = torch.autograd.grad(
        context.mse(field(context.coords, latents)).sum(), list(field.parameters())
    )
    FieldErrors()(field, context, latents).sum().backward()
    assert len(seen) == 2  # lanes
    own = {id(parameter) for parameter in field.parameters()}
    ids = [{id(parameter) for parameter in parameters} for parameters in seen]
    assert len(ids[0]) == len(ids[1]) == len(own)
    assert not ids[0] & own
    assert not ids[1] & own
    assert not ids[0] & ids[1]
    for parameter, gradient in zip(field.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_sweeps_follow_the_weights_of_their_field():
    field, part = TanhField(1, 1, 8), block(1, 1, True, False)
    sweeps, latents = AutogradSweeps(field, 200), torch.rand(5, 8)
    part = as_float(part)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.mul_(0.5)
    sweeps.refresh(field)
    expected = field(part.coords, latents) - part.values
    torch.testing.assert_close(sweeps.evaluate(sweeps.tape(), part, latents), expected)
