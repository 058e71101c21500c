"""Lanes of lapped fields: threads that never share a parameter of which operations are recorded."""

import numpy as np
import torch

from neurfield import FunctaEncoder
from neurfield.fields import Lapped, LappedField


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
