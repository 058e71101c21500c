"""What a field that somebody else writes has for nothing."""

import pytest
import torch
from own_field import TanhField
from torch import nn

from neurfield.fields import ModulatedSiren
from neurfield.fields.autograd import AutogradSweeps
from neurfield.learning import Context
from neurfield.learning.learners.cavia import hardest_points


def test_the_config_is_read_from_attributes():
    field = TanhField(2, 1, 4, 6)
    assert field.config() == {"in_dim": 2, "out_dim": 1, "latent_dim": 4, "width": 6}
    twin = type(field)(**field.config())
    twin.load_state_dict(field.state_dict())
    coords, latents = torch.rand(9, 2), torch.rand(3, 4)
    torch.testing.assert_close(twin(coords, latents), field(coords, latents), rtol=0, atol=0)


def test_an_argument_that_was_not_kept_is_named():
    class Forgetful(TanhField):
        def __init__(self, in_dim, out_dim, latent_dim, speed):
            super().__init__(in_dim, out_dim, latent_dim)

    with pytest.raises(TypeError, match=r"Forgetful takes arguments .*, \['speed'\]: keep each"):
        Forgetful(2, 1, 4, 1.0).config()


def test_sizes_come_from_the_weights_unless_they_are_set():
    field = TanhField(2, 1, 4, 6)
    assert (field.hidden_dim, field.modulation_size) == (6, 3 * 6 + 1)
    field.hidden_dim, field.modulation_size = 8, 50
    assert (field.hidden_dim, field.modulation_size) == (8, 50)

    class Weightless(TanhField):
        def __init__(self):
            nn.Module.__init__(self)

    assert (Weightless().hidden_dim, Weightless().modulation_size) == (1, 1)


def test_what_a_field_cannot_do_is_said():
    field = TanhField(2, 1, 4)
    assert not field.can_reparametrize
    assert ModulatedSiren(2, 1, 4).can_reparametrize
    with pytest.raises(NotImplementedError, match="TanhField cannot rename its latent"):
        field.reparametrize(torch.eye(4))
    context = Context(torch.rand(9, 2), torch.rand(3, 9, 1))
    with pytest.raises(NotImplementedError, match=r"TanhField .* override Field\.hidden"):
        hardest_points(field, context, torch.zeros(3, 4), 0.5)


def test_sweeps_are_by_autograd():
    for field in (TanhField(2, 1, 4), ModulatedSiren(2, 1, 4, modulation="shift_scale")):
        assert not field.has_sweeps
        assert isinstance(field.sweeps(10), AutogradSweeps)
