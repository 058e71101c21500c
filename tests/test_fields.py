"""The modulated SIREN against its published formula, and its derivatives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurfield.fields import ModulatedSiren, omega_schedule

MODULATIONS = pytest.mark.parametrize("modulation", ["shift", "shift_scale"])


def make_field(d=2, c=1, *, P=5, L=6, K=4, omega=(3.0, 7.0), seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return ModulatedSiren(d, c, P, L, K, omega, generator=generator, **options).double()


def draw(d, n_points=11, n_signals=3, P=5, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n_points, d)), rng.normal(size=(n_signals, P))


def published_network(field, omegas, x, phi, skip, rho):
    """Evaluate one signal at one point, unit by unit, as the paper writes it."""
    weights = {name: tensor.numpy() for name, tensor in field.state_dict().items()}
    n_sine, width = len(omegas) - 1, len(weights["layers.0.bias"])
    h = x
    for k in range(n_sine):
        W, b = weights[f"layers.{k}.weight"], weights[f"layers.{k}.bias"]
        S = weights["modulation.weight"][k * width : (k + 1) * width]
        s = weights["modulation.bias"][k * width : (k + 1) * width]
        scale = np.ones(width)
        if len(weights["modulation.bias"]) > n_sine * width:
            rows = slice((n_sine + k) * width, (n_sine + k + 1) * width)
            scale += weights["modulation.weight"][rows] @ phi + weights["modulation.bias"][rows]
        a = np.array(
            [
                math.sin(omegas[k] * (scale[i] * (W[i] @ h + b[i]) + S[i] @ phi + s[i]))
                for i in range(width)
            ]
        )
        h = a if k == 0 or not skip else h + rho * a
    return weights["output.weight"] @ h + weights["output.bias"] + 0.5


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize(("skip", "rho"), [(True, 1.0), (True, 0.3), (False, 1.0)])
@MODULATIONS
def test_forward_is_the_published_formula(d, c, skip, rho, modulation):
    field = make_field(d, c, skip_connections=skip, residual_scale=rho, modulation=modulation)
    x, phi = draw(d)
    omegas = [3.0, 3.0 + 4.0 / 3.0, 3.0 + 8.0 / 3.0, 7.0]
    expected = [[published_network(field, omegas, xn, p, skip, rho) for xn in x] for p in phi]
    with torch.no_grad():
        found = field(torch.tensor(x), torch.tensor(phi))
    assert found.shape == (3, 11, c)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_residual_scale_has_no_part_without_skip_connections():
    x, phi = map(torch.tensor, draw(2))
    plain = make_field(skip_connections=False)
    scaled = make_field(skip_connections=False, residual_scale=0.1)
    torch.testing.assert_close(scaled(x, phi), plain(x, phi), rtol=0, atol=0)
    jacobians = [field.linearize(x, phi).jacobian() for field in (plain, scaled)]
    torch.testing.assert_close(*jacobians, rtol=0, atol=0)


@given(
    ends=st.tuples(st.floats(0.1, 200.0), st.floats(0.1, 200.0)),
    n_layers=st.integers(2, 20),
)
def test_omega_rises_linearly_from_end_to_end(ends, n_layers):
    omegas = omega_schedule(ends, n_layers)
    assert len(omegas) == n_layers
    step = (ends[1] - ends[0]) / (n_layers - 1)
    np.testing.assert_allclose(omegas, [ends[0] + k * step for k in range(n_layers)], atol=1e-9)


def test_published_omega_schedules():
    assert omega_schedule((10, 80), 15) == tuple(10.0 + 5.0 * k for k in range(15))
    assert omega_schedule((10, 80), 8) == tuple(10.0 + 10.0 * k for k in range(8))
    assert omega_schedule(30.0, 4) == (30.0,) * 4
    assert omega_schedule([10, 20], 2) == (10.0, 20.0)


@settings(max_examples=25)
@given(
    d=st.integers(1, 4),
    c=st.integers(1, 3),
    P=st.integers(1, 7),
    L=st.integers(1, 8),
    K=st.integers(2, 6),
    skip=st.booleans(),
    rho=st.floats(0.1, 2.0),
    modulation=st.sampled_from(["shift", "shift_scale"]),
    seed=st.integers(0, 99),
)
def test_jacobian_agrees_with_finite_differences(d, c, P, L, K, skip, rho, modulation, seed):
    options = {"skip_connections": skip, "residual_scale": rho, "modulation": modulation}
    field = make_field(d, c, P=P, L=L, K=K, seed=seed, **options)
    x, phi = map(torch.tensor, draw(d, n_points=4, n_signals=2, P=P, seed=seed))
    with torch.no_grad():
        linearization = field.linearize(x, phi)
        jacobian = linearization.jacobian()
        assert jacobian.shape == (2, 4, c, P)
        torch.testing.assert_close(linearization.values, field(x, phi), rtol=0, atol=1e-12)
        step = 1e-6
        for p in range(P):
            bump = torch.zeros(P, dtype=torch.float64)
            bump[p] = step
            slope = (field(x, phi + bump) - field(x, phi - bump)) / (2 * step)
            scale = 1.0 + float(jacobian.abs().max())
            torch.testing.assert_close(jacobian[..., p], slope, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("d", [1, 2, 3])
@MODULATIONS
def test_vjp_is_the_transposed_jacobian(d, skip, modulation):
    field = make_field(d, 3, skip_connections=skip, residual_scale=0.4, modulation=modulation)
    x, phi = map(torch.tensor, draw(d))
    linearization = field.linearize(x, phi)
    cotangent = torch.tensor(np.random.default_rng(2).normal(size=(3, 11, 3)))
    expected = torch.einsum("bncp,bnc->bp", linearization.jacobian(), cotangent)
    torch.testing.assert_close(linearization.vjp(cotangent), expected)


@MODULATIONS
def test_vjp_agrees_with_autograd(modulation):
    field = make_field(2, 2, modulation=modulation)
    x, phi = map(torch.tensor, draw(2))
    phi.requires_grad_()
    cotangent = torch.tensor(np.random.default_rng(2).normal(size=(3, 11, 2)))
    (expected,) = torch.autograd.grad((field(x, phi) * cotangent).sum(), phi)
    torch.testing.assert_close(field.linearize(x, phi).vjp(cotangent), expected)


@pytest.mark.parametrize(("n_points", "n_signals"), [(1, 1), (3, 3), (1, 4), (6, 1)])
@MODULATIONS
def test_as_many_points_as_signals_or_width_are_nothing_special(n_points, n_signals, modulation):
    field = make_field(modulation=modulation)
    x, phi = map(torch.tensor, draw(2, n_points=n_points, n_signals=n_signals))
    together = field(x, phi)
    assert together.shape == (n_signals, n_points, 1)
    linearization = field.linearize(x, phi)
    torch.testing.assert_close(linearization.values, together)
    for i in range(n_signals):
        for n in range(n_points):
            alone = field(x[n : n + 1].expand(5, 2), phi[i : i + 1])
            torch.testing.assert_close(together[i, n], alone[0, 0])


@MODULATIONS
def test_coordinates_of_each_signal_are_its_own(modulation):
    field = make_field(2, 1, modulation=modulation)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.uniform(-1, 1, (3, 7, 2)))
    phi = torch.tensor(rng.normal(size=(3, 5)))
    batched = field(x, phi)
    jacobian = field.linearize(x, phi).jacobian()
    for b in range(3):
        alone = field.linearize(x[b], phi[b : b + 1])
        torch.testing.assert_close(batched[b], alone.values[0])
        torch.testing.assert_close(jacobian[b], alone.jacobian()[0])


@MODULATIONS
def test_reparametrize_renames_latents_and_leaves_the_function(modulation):
    field = make_field(2, 3, modulation=modulation)
    x, phi = map(torch.tensor, draw(2))
    before = field(x, phi)
    matrix = torch.tensor(np.random.default_rng(3).normal(size=(5, 5))) + 3 * torch.eye(5)
    field.reparametrize(matrix)
    assert not torch.allclose(field(x, phi), before)
    torch.testing.assert_close(field(x, phi @ matrix.T), before)


def test_initial_weights_fill_their_published_ranges():
    d, P, L, K, omega = 2, 50, 200, 3, (10.0, 40.0)
    field = ModulatedSiren(d, 4, P, L, K, omega, generator=torch.Generator().manual_seed(0))
    bounds = {
        "layers.0": 1 / d,
        "layers.1": math.sqrt(6 / L) / 25.0,
        "output": math.sqrt(6 / L) / 40.0,
        "modulation": 1 / math.sqrt(P),  # torch.nn.Linear's own default
    }
    parameters = dict(field.named_parameters())
    assert {name.rsplit(".", 1)[0] for name in parameters} == set(bounds)
    for name, parameter in parameters.items():
        bound = bounds[name.rsplit(".", 1)[0]]
        largest = float(parameter.detach().abs().max())
        assert largest <= bound * (1 + 1e-6)
        if parameter.numel() >= 100:
            assert largest > 0.97 * bound
            assert abs(float(parameter.detach().mean())) < 0.2 * bound


def test_output_scale_multiplies_the_initial_output_weights_only():
    plain, scaled = make_field(), make_field(output_scale=20.0)
    for (name, w), other in zip(plain.named_parameters(), scaled.parameters(), strict=True):
        factor = 20.0 if name == "output.weight" else 1.0
        torch.testing.assert_close(other, factor * w)


@MODULATIONS
def test_config_makes_a_field_of_the_same_shape_and_formula(modulation):
    options = {"skip_connections": False, "residual_scale": 0.5, "output_scale": 2.0}
    field = make_field(3, 2, **options, modulation=modulation)
    twin = ModulatedSiren(**field.config()).double()
    twin.load_state_dict(field.state_dict())
    x, phi = map(torch.tensor, draw(3))
    torch.testing.assert_close(twin(x, phi), field(x, phi), rtol=0, atol=0)
    assert twin.n_parameters == field.n_parameters == sum(p.numel() for p in field.parameters())


def test_a_field_needs_a_sine_and_an_output_layer():
    with pytest.raises(ValueError, match=r"n_layers must be at least 2.*got 1"):
        make_field(K=1)


def test_a_field_modulates_shifts_or_scales_too():
    with pytest.raises(ValueError, match=r"modulation must be .*, got 'scale'"):
        make_field(modulation="scale")


def test_one_linearization_serves_many_signals_with_scales():
    field = make_field(2, 3, modulation="shift_scale")
    x = torch.tensor(draw(2)[0])
    linearization = field.linearize(x, field.zero_latents(1))
    cotangent = torch.tensor(np.random.default_rng(2).normal(size=(4, 11, 3)))
    jacobian = linearization.jacobian().expand(4, -1, -1, -1)
    expected = torch.einsum("bncp,bnc->bp", jacobian, cotangent)
    torch.testing.assert_close(linearization.vjp(cotangent), expected)


def test_scales_double_the_modulations():
    shift, both = (make_field(modulation=name) for name in ("shift", "shift_scale"))
    assert (shift.modulation_size, both.modulation_size) == (3 * 6, 2 * 3 * 6)
    assert both.n_parameters - shift.n_parameters == 3 * 6 * (5 + 1)


def test_latents_start_at_zero_in_the_precision_of_the_field():
    zero = make_field().zero_latents(3)
    assert zero.dtype == torch.float64
    torch.testing.assert_close(zero, torch.zeros(3, 5, dtype=torch.float64))
