"""Sine and cosine of a layer's phases: values, derivatives of both orders."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from neurfield.fields.sine import sine, sine_and_cosine


def phases(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return 30 * torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7), (3, 2**10)])
def test_values(shape):
    phase = phases(*shape)
    found = sine_and_cosine(phase)
    for ours, function in zip(found, (torch.sin, torch.cos), strict=True):
        torch.testing.assert_close(ours.double(), function(phase.double()), rtol=0, atol=3e-7)


def test_transposed_phases():
    phase = phases(6, 5).T
    torch.testing.assert_close(sine_and_cosine(phase)[0], torch.sin(phase))


@pytest.mark.parametrize(
    "function", [sine, sine_and_cosine, lambda x: sine_and_cosine(x)[1]], ids=["sin", "both", "cos"]
)
def test_derivatives_of_both_orders(function):
    phase = phases(4, dtype=torch.float64).requires_grad_()
    assert gradcheck(function, (phase,))
    assert gradgradcheck(function, (phase,))


def test_forward_mode():
    phase, direction = phases(6), phases(6)
    (s, c), (ds, dc) = torch.func.jvp(sine_and_cosine, (phase,), (direction,))
    torch.testing.assert_close(ds, c * direction)
    torch.testing.assert_close(dc, -s * direction)
    torch.testing.assert_close(torch.func.jvp(sine, (phase,), (direction,))[1], c * direction)


def test_phases_without_a_number_stay_silent():
    found = sine_and_cosine(torch.tensor([0.0, float("inf"), float("nan")]))
    assert [torch.isnan(part).tolist() for part in found] == 2 * [[False, True, True]]
