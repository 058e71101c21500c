"""Fields whose latent is a grid of vectors, or whose shifts are of low rank."""

import numpy as np
import pytest
import torch

from neurfield.fields import LowRankSiren, ModulatedSiren, SpatialSiren
from neurfield.learning.base import MetaBatch
from neurfield.learning.context import Context
from neurfield.learning.learners.cavia import CaviaStep
from neurfield.learning.learners.varpro import VarProStep


def spatial(d=2, c=2, grid=3, channels=2, interpolation="linear", seed=0, **options):
    n_cells = int(np.prod(np.broadcast_to(grid, d)))
    generator = torch.Generator().manual_seed(seed)
    shape = {"hidden_dim": 6, "n_layers": 4, "omega": (3.0, 5.0), "generator": generator}
    field = SpatialSiren(d, c, n_cells * channels, grid, interpolation, **(shape | options))
    return field.double()


def low_rank(d=2, c=2, r=3, D=7, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    shape = {"hidden_dim": 6, "n_layers": 4, "omega": (3.0, 7.0), "generator": generator}
    field = LowRankSiren(d, c, r, D, **(shape | options)).double()
    with torch.no_grad():
        field.common.normal_(generator=torch.Generator().manual_seed(1))
        field.basis.add_(0.1 * torch.randn_like(field.basis))
    return field


def draw(field, n_points=11, n_signals=3, own=False, seed=1):
    rng = np.random.default_rng(seed)
    shape = (n_signals, n_points) if own else (n_points,)
    x = torch.tensor(rng.uniform(-1, 1, (*shape, field.in_dim)))
    return x, torch.tensor(rng.normal(size=(n_signals, field.latent_dim)))


FIELDS = {
    **{
        f"spatial-{interpolation}-{d}d": (lambda d=d, i=interpolation: spatial(d, interpolation=i))
        for d in (1, 2, 3)
        for interpolation in ("linear", "nearest")
    },
    "spatial-own-sizes": lambda: spatial(2, grid=(1, 4), skip_connections=True, residual_scale=0.4),
    "low-rank": low_rank,
    "low-rank-skips": lambda: low_rank(skip_connections=True, residual_scale=0.5),
}


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


@pytest.fixture(params=FIELDS)
def field(request):
    return FIELDS[request.param]()


@pytest.mark.parametrize("own", [False, True])
def test_jacobian_and_vjp_agree_with_autograd(field, own):
    x, phi = draw(field, own=own)
    linearization = field.linearize(x, phi)
    torch.testing.assert_close(linearization.values, field(x, phi))
    one_by_one = torch.autograd.functional.jacobian(lambda z: field(x, z).sum(0), phi)
    expected = one_by_one.permute(2, 0, 1, 3)  # signals do not interact
    torch.testing.assert_close(linearization.jacobian(), expected)
    cotangent = torch.randn(3, 11, field.out_dim, dtype=torch.float64)
    pulled = torch.einsum("bncp,bnc->bp", expected, cotangent)
    torch.testing.assert_close(linearization.vjp(cotangent), pulled)


def test_a_linearization_at_one_latent_serves_all_signals(field):
    x, _ = draw(field)
    cotangent = torch.randn(3, 11, field.out_dim, dtype=torch.float64)
    shared = field.linearize(x, field.zero_latents(1)).vjp(cotangent)
    apart = field.linearize(x, field.zero_latents(3)).vjp(cotangent)
    torch.testing.assert_close(shared, apart)


def test_coordinates_of_each_signal_are_its_own(field):
    x, phi = draw(field, own=True)
    together = field(x, phi)
    for b in range(3):
        torch.testing.assert_close(together[b], field(x[b], phi[b : b + 1])[0])
    at_origin = field.linearize(x, field.zero_latents(1))
    assert at_origin.jacobian().shape == (3, 11, field.out_dim, field.latent_dim)


def test_config_makes_the_same_field(field):
    twin = type(field)(**field.config()).double()
    twin.load_state_dict(field.state_dict())
    x, phi = draw(field)
    torch.testing.assert_close(twin(x, phi), field(x, phi), rtol=0, atol=0)


def test_a_meta_gradient_agrees_with_finite_differences(field):
    x, _ = draw(field)
    values = torch.rand(3, 11, field.out_dim, dtype=torch.float64)
    batch = MetaBatch(Context(x, values))
    step = CaviaStep(field, inner_steps=2, inner_lr=0.1).double()
    step(batch).backward()
    for name, parameter in field.named_parameters():
        direction = torch.randn_like(parameter)
        slopes = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-6 * direction)
                slopes.append(step(batch).item())
                parameter.sub_(sign * 1e-6 * direction)
        found = float((parameter.grad * direction).sum())
        assert found == pytest.approx((slopes[0] - slopes[1]) / 2e-6, rel=1e-5, abs=1e-8), name


# --- a grid of vectors ----------------------------------------------------------------------------


def test_nearest_reading_is_a_modulated_siren_in_each_cell():
    field = spatial(2, grid=(2, 3), interpolation="nearest")
    x, phi = draw(field, n_points=60)
    found = field(x, phi)
    plain = ModulatedSiren(2, 2, 2, 6, 4, (3.0, 5.0), skip_connections=False).double()
    plain.load_state_dict(field.state_dict())
    for n, (y_n, x_n) in enumerate(x.tolist()):
        row, column = int((y_n + 1) / 2 * 2), int((x_n + 1) / 2 * 3)
        vector = phi.view(3, 2, 3, 2)[:, row, column]
        local = [[(y_n + 1) * 2 - 2 * row - 1, (x_n + 1) * 3 - 2 * column - 1]]
        expected = plain(torch.tensor(local, dtype=torch.float64), vector)
        torch.testing.assert_close(found[:, n], expected[:, 0])


def test_linear_reading_interpolates_between_the_centres_of_cells():
    field = spatial(2, grid=(2, 4))
    centres = torch.tensor([[y, x] for y in (-0.5, 0.5) for x in (-0.75, -0.25, 0.25, 0.75)])
    torch.testing.assert_close(field.cell_weights(centres), torch.eye(8))
    between = field.cell_weights(torch.tensor([[0.0, -0.5], [1.0, -0.375]]))
    expected = torch.zeros(2, 8)
    expected[0, [0, 1, 4, 5]] = 0.25
    expected[1, 4], expected[1, 5] = 0.25, 0.75
    torch.testing.assert_close(between, expected)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_cells_share_each_point_inside_and_outside_of_the_extent(d):
    for interpolation in ("linear", "nearest"):
        field = spatial(d, interpolation=interpolation)
        weights = field.cell_weights(3.0 * torch.randn(500, d, dtype=torch.float64))
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(500, dtype=torch.float64))


def test_the_linear_field_is_continuous_across_cells_and_the_nearest_is_not():
    borders = torch.linspace(-1, 1, 13, dtype=torch.float64)[1:-1]  # centres and edges of 3 cells
    across = [torch.stack([borders + s * 1e-9, 0.1 + 0 * borders], -1) for s in (-1, 1)]
    jumps = {}
    for interpolation in ("linear", "nearest"):
        field = spatial(2, grid=3, interpolation=interpolation)
        _, phi = draw(field)
        left, right = (field(x, phi).detach() for x in across)
        jumps[interpolation] = float((left - right).abs().max())
    assert jumps["linear"] < 1e-6
    assert jumps["nearest"] > 1e-3


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_the_derivative_by_coordinates_agrees_with_finite_differences(interpolation):
    field = spatial(2, interpolation=interpolation)
    x, phi = draw(field)
    for axis in range(2):
        direction = torch.zeros_like(x)
        direction[:, axis] = 1.0
        slope = torch.func.jvp(lambda at: field(at, phi), (x,), (direction,))[1]
        apart = field(x + 1e-6 * direction, phi) - field(x - 1e-6 * direction, phi)
        torch.testing.assert_close(slope, apart / 2e-6, rtol=1e-5, atol=1e-6)


def test_a_change_of_coordinates_serves_all_cells_or_is_refused():
    field = spatial(2, grid=2, channels=3)
    x, phi = draw(field)
    before = field(x, phi)
    block = torch.randn(3, 3, dtype=torch.float64) + 3 * torch.eye(3)
    matrix = torch.kron(torch.eye(4), block)
    field.reparametrize(matrix)
    torch.testing.assert_close(field(x, phi @ matrix.T), before)
    with pytest.raises(ValueError, match="matrix must change the vector of every cell alike"):
        field.reparametrize(torch.randn(12, 12, dtype=torch.float64))


@pytest.mark.parametrize(
    ("latent_dim", "grid", "message"),
    [
        (10, 2, r"latent_dim must be divisible by the 4 cells of grid \(2 × 2\), got 10"),
        (12, (2, 3, 2), r"grid must have one number for each of the 2 axes.*\(2, 3, 2\)"),
        (12, (2, 0), r"grid must hold positive integers, got \(2, 0\)"),
        (12, (2, 1.5), r"grid must hold positive integers"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(latent_dim, grid, message):
    with pytest.raises(ValueError, match=message):
        SpatialSiren(2, 1, latent_dim, grid)


def test_entries_of_the_latent_are_named_after_cell_and_channel():
    names = spatial(2, grid=(2, 3), channels=2).latent_names(("y", "x"))
    assert names[:3] == ["y0_x0_c0", "y0_x0_c1", "y0_x1_c0"]
    assert names[-1] == "y1_x2_c1"
    assert len(set(names)) == 12


# --- shifts of low rank ---------------------------------------------------------------------------


def test_low_rank_shifts_are_the_published_formula():
    field = low_rank()
    x, z = draw(field)
    S, s = field.modulation.weight, field.modulation.bias
    plain = ModulatedSiren(2, 2, 3, 6, 4, (3.0, 7.0), skip_connections=False).double()
    state = {k: v for k, v in field.state_dict().items() if k not in ("basis", "common")}
    state |= {"modulation.weight": S @ field.basis, "modulation.bias": S @ field.common + s}
    plain.load_state_dict(state)
    torch.testing.assert_close(field(x, z), plain(x, z))


def test_the_basis_starts_orthonormal_and_is_penalised_for_leaving():
    field = LowRankSiren(2, 1, 4, 9, generator=torch.Generator().manual_seed(0)).double()
    assert field.penalty().item() < 1e-12
    with torch.no_grad():
        field.basis.mul_(2.0)  # BᵀB = 4 · 1
    assert field.penalty().item() == pytest.approx(4 * 3.0**2)
    assert ModulatedSiren(2, 1, 4).penalty() == 0.0


@pytest.mark.parametrize(
    "make_step",
    [
        lambda f: CaviaStep(f, 2, 0.1),
        lambda f: VarProStep(f, 1, 1e-3, 3),
        lambda f: VarProStep(f, 2, 1e-3, 3),
    ],
)
def test_the_meta_loss_has_the_penalty_and_the_reported_error_has_not(make_step, monkeypatch):
    field = low_rank()
    x, _ = draw(field)
    batch = MetaBatch(Context(x, torch.rand(3, 11, 2, dtype=torch.float64)))
    step = make_step(field).double()
    with_penalty, error = step(batch), step.mse.clone()
    penalty = field.penalty()
    monkeypatch.setattr(LowRankSiren, "penalty", lambda self: 0.0)
    torch.testing.assert_close(with_penalty - step(batch), penalty)
    torch.testing.assert_close(step.mse, error, rtol=0, atol=0)


def test_renaming_low_rank_latents_leaves_function_and_penalty():
    field = low_rank()
    x, z = draw(field)
    before, penalty = field(x, z), field.penalty().item()
    matrix = torch.randn(3, 3, dtype=torch.float64) + 3 * torch.eye(3)
    field.reparametrize(matrix)
    torch.testing.assert_close(field(x, z @ matrix.T), before)
    assert field.penalty().item() == penalty


def test_a_rank_beyond_the_intermediate_dimension_is_refused():
    with pytest.raises(ValueError, match="at most intermediate_dim=4, got 5"):
        LowRankSiren(2, 1, 5, 4)
