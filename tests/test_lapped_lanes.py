"""Lanes of lapped fields: threads that never share a parameter of which operations are recorded."""

import numpy as np
import torch

from neurfield import FunctaEncoder
from neurfield.fields import Lapped, LappedField


def test_a_twin_has_the_same_numbers_and_parameters_of_its_own():
    field = LappedField(1, 1, 8, (8,), 2, hidden_dim=4, features=3)
    for trains in (False, True):
        twin = field.twin(trains)
        for (name, own), (same, parameter) in zip(
            twin.named_parameters(), field.named_parameters(), strict=True
        ):
            assert name == same
            assert own is not parameter
            assert own.data_ptr() == parameter.data_ptr()
            assert own.requires_grad is trains
            assert parameter.requires_grad
    latents = torch.ones(2, 8)
    torch.testing.assert_close(twin(torch.zeros(3, 1), latents), field(torch.zeros(3, 1), latents))


def test_operations_are_recorded_on_no_parameter_of_the_field(monkeypatch):
    images = np.random.default_rng(0).normal(size=(12, 8, 8))
    encoder = FunctaEncoder(latent_dim=8, field=Lapped(cell=4, features=2), max_iter=2)
    encoder.fit(images)
    seen = []
    evaluate = LappedField.values_on_grid

    def watched(self, latents, cells=None):
        if torch.is_grad_enabled():
            seen.extend(self.parameters())
        return evaluate(self, latents, cells)

    monkeypatch.setattr(LappedField, "values_on_grid", watched)
    encoder.set_params(transform_steps=3).transform(images)
    assert seen
    assert not any(parameter.requires_grad for parameter in seen)
