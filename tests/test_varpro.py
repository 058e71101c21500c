"""The default learner's meta-step: its gradient goes through every solve."""

import copy
import shutil

import pytest
import torch

from neurfield.fields import ModulatedSiren
from neurfield.learning import Context, MetaBatch
from neurfield.learning.learners.varpro import VarProStep, geometric_mean
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


# One step is differentiated exactly; more of them are exact where they have converged and the prior
# does not move the minimum.
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("inner_steps", "damping", "precision"), [(1, 1e-2, 1e-5), (150, 1e-9, 1e-4)]
)
def test_the_meta_gradient_agrees_with_finite_differences(inner_steps, damping, precision, gaps):
    field, batch = problem(gaps)
    step = VarProStep(field, inner_steps, damping, full_field_signals=3)
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
        assert (above - below) / (2 * h) == pytest.approx(slope, rel=precision, abs=1e-8)


def test_further_inner_steps_lead_to_the_solver_s_minimum():
    field, batch = problem(gaps=False)
    context = batch.context
    tangent = Tangent.at_origin(field, context.coords)
    prior = (1e-3 * tangent.mean_diagonal() * torch.eye(P, dtype=torch.float64)).detach()
    found = LevenbergMarquardt(60, prior, context.values[0].numel()).solve(field, context)
    expected = context.mse(field(context.coords, found)).mean()
    step = VarProStep(field, 40, 1e-3, full_field_signals=B).double()
    step(MetaBatch(context))
    assert float(step.mse) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_and_eager_agree():
    field, batch = problem(gaps=False)
    step = VarProStep(field, 2, 1e-2, full_field_signals=3).double()
    compiled = copy.deepcopy(step)
    compiled.compile()
    losses = [step(batch), compiled(batch)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for parameter, other in zip(step.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


def test_the_loss_weighs_signals_as_their_mean_psnr_does():
    errors = torch.tensor([1e-2, 1e-3, 3e-4], dtype=torch.float64, requires_grad=True)
    geometric_mean(errors).backward()
    psnr_weights = errors.grad * errors.detach()  # gradient with respect to log error
    assert psnr_weights.max() < 5 * psnr_weights.min()  # 33 with the plain mean
    assert float(geometric_mean(torch.zeros(3))) < 1e-19
