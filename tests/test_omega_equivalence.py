"""In a sine layer, another ω is another learning rate: η_i / η_j = (ω_j / ω_i)².

sin(ω (W h + b + m)) is sin(ω' (W' h + b' + m')) for W' = W ω/ω' and so on, and gradient descent
keeps it so if the rate of W', b' and m' is η (ω/ω')². Friedrich et al., arXiv 2502.14401, appendix.
"""

import copy

import pytest
import torch
from inner_loops import problem

from neurfield.datasets import digits
from neurfield.evaluation.tables import TABLES, Budget, make_data, run_table
from neurfield.evaluation.tables.equivalence import at_other_omegas
from neurfield.learning.learners.cavia import CaviaStep

RATE, N_STEPS = 0.01, 6
SCHEDULE, OTHERS = (3.0, 6.0), [4.0, (2.0, 11.0)]


def regression(field, batch):
    """Return the error at given latents, as in the training of one network."""
    latents = torch.linspace(-1.0, 1.0, 3 * field.latent_dim, dtype=torch.float64).view(3, -1)
    context = batch.context
    return context.mse(field(context.coords, latents)).mean()


def meta_loss(field, batch):
    """Return the loss after inner steps on the latents, which are those of both networks."""
    return CaviaStep(field, inner_steps=3, inner_lr=0.1)(batch)


def trajectory(field, batch, loss_of, rates):
    """Return losses, and values at other points than those of the training, step by step."""
    points = torch.linspace(-0.9, 0.9, 14, dtype=torch.float64).view(7, 2)
    latents = torch.eye(field.latent_dim, dtype=torch.float64)
    losses, values = [], []
    for _ in range(N_STEPS):
        field.zero_grad()
        loss = loss_of(field, batch)
        loss.backward()
        with torch.no_grad():
            values.append(field(points, latents))
            for name, parameter in field.named_parameters():
                parameter -= rates[name] * parameter.grad
        losses.append(loss.detach())
    return torch.stack(losses), torch.stack(values)


@pytest.mark.parametrize("loss_of", [regression, meta_loss])
@pytest.mark.parametrize("omega", OTHERS)
@pytest.mark.parametrize("skips", [True, False])
def test_rates_make_up_for_omega(skips, omega, loss_of):
    field, batch = problem(2, 0.4, skip_connections=skips, residual_scale=0.7)
    assert field.omega == SCHEDULE
    twin, rates = at_other_omegas(field, omega, RATE)
    naive, one_rate = copy.deepcopy(twin), dict.fromkeys(rates, RATE)
    losses, values = trajectory(field, batch, loss_of, one_rate)
    of_twin = trajectory(twin, batch, loss_of, rates)
    torch.testing.assert_close(of_twin[0], losses, rtol=1e-10, atol=0)
    torch.testing.assert_close(of_twin[1], values, rtol=1e-10, atol=1e-12)
    # It is a matter of the rates: at one rate for all, the two part.
    parted = trajectory(naive, batch, loss_of, one_rate)[1]
    torch.testing.assert_close(parted[0], values[0], rtol=1e-10, atol=1e-12)
    assert float((parted[-1] - values[-1]).abs().max()) > 1e-4
    assert float((values[-1] - values[0]).abs().max()) > 1e-3


def test_the_table_says_so(tmp_path):
    pytest.importorskip("matplotlib")
    data = make_data(digits()[:40])
    rows = run_table(TABLES["equivalence"](), data, Budget(), tmp_path, lambda line: None)
    assert len(rows) == 2 * 3
    for scaled, one_rate in zip(rows[::2], rows[1::2], strict=True):
        assert scaled["omega"] == one_rate["omega"]
        assert scaled["difference"] < 1e-9
        assert one_rate["difference"] > 1e-3
