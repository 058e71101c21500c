"""The default learner's meta-step: its gradient goes through every solve."""

import pytest
import torch

from neurfield.fields import ModulatedSiren
from neurfield.learning import Context, MetaBatch
from neurfield.learning.learners.varpro import VarproStep, geometric_mean
from neurfield.learning.solvers import LevenbergMarquardt, Tangent

P, N, B = 3, 14, 4


def problem(gaps):
    generator = torch.Generator().manual_seed(0)
    field = ModulatedSiren(
        2, 2, P, 6, 4, (2.0, 4.0), residual_scale=0.5, output_scale=4.0, generator=generator
    ).double()
    coords = torch.rand(N, 2, generator=generator, dtype=torch.float64) * 2 - 1
    values = torch.rand(B, N, 2, generator=generator, dtype=torch.float64)
    weights = (torch.rand(B, N, 2, generator=generator) < 0.8).double() if gaps else None
    context = Context(coords, values if weights is None else values * weights, weights)
    subsets = torch.stack([torch.randperm(N, generator=generator)[:9] for _ in range(3)])
    return field, MetaBatch(context, subsets)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_the_meta_gradient_agrees_with_finite_differences(inner_steps, gaps):
    field, batch = problem(gaps)
    step = VarproStep(field, inner_steps, 1e-2, 0.3, full_field_signals=3)
    step.double()
    step(batch).backward()
    generator = torch.Generator().manual_seed(1)
    h = 1e-6
    for parameter in field.parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        slope = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter += h * direction
            above = float(step(batch))
            parameter -= 2 * h * direction
            below = float(step(batch))
            parameter += h * direction
        assert (above - below) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_one_inner_step_is_the_closed_form_and_two_are_a_step_of_the_solver_more():
    field, batch = problem(gaps=False)
    context = batch.context
    tangent = Tangent.at_origin(field, context.coords)
    damping = 1e-3  # with which the solver's first damped step starts, too
    prior = damping * tangent.mean_diagonal() * torch.eye(P, dtype=torch.float64)
    for steps in (1, 2):
        whole = MetaBatch(context)
        step = VarproStep(field, steps, damping, 0.0, full_field_signals=B).double()
        latents = LevenbergMarquardt(steps, prior.detach(), context.values[0].numel()).solve(
            field, context
        )
        expected = geometric_mean(context.mse(field(context.coords, latents)))
        assert float(step(whole).detach()) == pytest.approx(float(expected.detach()), rel=1e-9)


def test_the_loss_weighs_signals_as_their_mean_psnr_does():
    errors = torch.tensor([1e-2, 1e-3, 3e-4], dtype=torch.float64, requires_grad=True)
    geometric_mean(errors).backward()
    psnr_weights = errors.grad * errors.detach()  # gradient with respect to log error
    assert psnr_weights.max() < 5 * psnr_weights.min()  # 33 with the plain mean
    assert float(geometric_mean(torch.zeros(3))) < 1e-19
