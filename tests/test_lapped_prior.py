"""Lapped fields with gaps: the prior across cells, and the standard deviation of values."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import save_file

from neurfield import FunctaEncoder
from neurfield.fields import Lapped, LappedField
from neurfield.fields.lapped import Cells
from neurfield.learning.lapped import spread as spread_module
from neurfield.learning.lapped.gaps import Seen
from neurfield.learning.lapped.prior import CellPrior, learn_prior
from neurfield.learning.lapped.solver import LappedSolver
from neurfield.learning.lapped.spread import spread_of

SIZES = {1: (40,), 2: (12, 16), 3: (6, 4, 8)}


def decaying(n):
    """Return correlations that decay with the distance of cells along an axis."""
    return 0.8 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def prior_of(d):
    """Return a prior of one latent a cell, of which correlations decay along each of d axes."""
    covariance = np.ones((1, 1))
    for _ in range(d):
        covariance = np.kron(covariance, decaying(2))
    return CellPrior(torch.zeros(1, dtype=torch.float64), torch.as_tensor(covariance), 2.0)


def waves(n, shape, seed):
    """Draw smooth signals that are alike everywhere, with a little noise."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    signals = 0.05 * rng.normal(size=(n, *shape))
    for signal in signals:
        for _ in range(8):
            direction = rng.normal(size=len(shape))
            direction *= rng.uniform(0.1, 0.3) / np.linalg.norm(direction)
            phase = sum(rate * axis for rate, axis in zip(direction, axes, strict=True))
            signal += rng.normal() * np.sin(phase + rng.uniform(0, 2 * np.pi))
    return signals


@pytest.fixture(scope="module")
def fitted():
    encoder = FunctaEncoder(
        24 * 3,
        field=Lapped(cell=4, features=4),
        hidden_dim=8,
        max_iter=2,
        batch_size=16,
        transform_steps=1,
        device="cpu",
        random_state=0,
    )
    return encoder.fit(waves(300, (96,), 0))


@pytest.fixture(scope="module")
def X():
    return waves(60, (96,), 1)


@pytest.fixture(scope="module")
def holes(X):
    gaps = X.copy()
    gaps[:, 40:52] = np.nan
    return gaps


# --- the prior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_markov_signals_have_their_own_precision(d):
    cells = Cells(SIZES[d], (2,) * d)
    covariance = np.ones((1, 1))
    for n in cells.counts:
        covariance = np.kron(covariance, decaying(n))
    found = prior_of(d).blocks(cells).dense().numpy()
    np.testing.assert_allclose(found, 2.0 * np.linalg.inv(covariance), atol=1e-8)


@pytest.mark.parametrize("whole", [(False, False), (True, False)])
def test_the_precision_is_positive_whatever_the_covariance(whole):
    rng = np.random.default_rng(0)
    size = 2 * 2 ** whole.count(False)
    root = torch.as_tensor(rng.normal(size=(size, size)))
    prior = CellPrior(torch.zeros(2, dtype=torch.float64), root @ root.T, 1.0)
    cells = Cells((4, 20), (4, 4), whole)
    matrix = prior.blocks(cells).dense()
    torch.testing.assert_close(matrix, matrix.T)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_the_prior_is_learnt_from_vectors():
    rng = np.random.default_rng(0)
    cells = Cells((12, 12), (2, 2))
    root = np.linalg.cholesky(np.kron(decaying(6), decaying(6)))
    vectors = torch.as_tensor(1.5 + rng.normal(size=(4000, 36)) @ root.T)[..., None]
    weight = torch.ones(4000, 36, dtype=torch.float64)
    vectors[:1000, :5] = 1e3  # not observed
    weight[:1000, :5] = 0.0
    prior = learn_prior(vectors, cells, 2.0, weight)
    assert float(prior.mean) == pytest.approx(1.5, abs=0.02)
    torch.testing.assert_close(prior.covariance, prior_of(2).covariance, atol=0.03, rtol=0)


def test_pieces_of_one_cell_say_nothing_of_neighbours():
    vectors = torch.as_tensor(np.random.default_rng(0).normal(size=(50, 3, 2)))
    prior = learn_prior(vectors, Cells((4, 12), (4, 4), (False, False)), 1.0, vectors[..., 0] ** 0)
    blocks = prior.blocks(Cells((8, 12), (4, 4), (False, False))).blocks
    assert prior.covariance.shape == (8, 8)
    assert not blocks[1, 0].any()
    assert blocks[0, 1].any()


# --- holes ----------------------------------------------------------------------------------------


def error(encoder, gaps, X):
    hidden = np.isnan(gaps)
    return np.square(encoder.inverse_transform(encoder.transform(gaps)) - X)[hidden].mean()


def without_neighbours(encoder):
    """Return the encoder with a prior of the same vectors that knows each cell alone."""
    other = copy.copy(encoder)
    other.codec_ = copy.copy(encoder.codec_)
    prior, k = encoder.codec_.solver.prior, encoder.field_.cell_latents
    covariance = torch.block_diag(*prior.covariance.split(k)[0].split(k, dim=1)[:1] * 2)
    state = prior.state() | {"covariance": covariance}
    other.codec_.solver = LappedSolver(1, encoder.codec_.solver.precision, **state)
    return other


def test_holes_of_several_cells_are_filled_from_around(fitted, X, holes):
    found = error(fitted, holes, X)
    hidden = np.isnan(holes)
    assert found < 0.5 * np.square(X - X.mean())[hidden].mean()
    assert found < 0.7 * error(without_neighbours(fitted), holes, X)


def test_signals_without_gaps_lose_nothing_but_noise(fitted, X):
    other = copy.copy(fitted)
    other.codec_ = copy.copy(fitted.codec_)
    other.codec_.solver = LappedSolver(1, fitted.codec_.solver.precision)
    assert fitted.score(X) > other.score(X) - 0.5


@pytest.mark.parametrize("steps", [1, 3])
def test_the_closed_form_is_that_of_the_gaussian(fitted, X, holes, steps):
    encoder = copy.copy(fitted).set_params(transform_steps=steps)
    if steps > 1:  # a linear field has nothing to gain
        encoder.codec_ = copy.deepcopy(fitted.codec_)
        with torch.no_grad():
            encoder.codec_.field.detail.table.zero_()
    field, solver, units = encoder.field_, encoder.codec_.solver, encoder.codec_.units
    cells = field.cells
    seen = Seen.of(cells, torch.as_tensor(~np.isnan(holes[:3]))[:, None].float())
    J = field.linear_part(torch.eye(72), cells).detach()[:, 0].double().numpy()
    Q, mean = solver.prior.blocks(cells).dense().numpy(), np.tile(solver.prior.mean, cells.n_cells)
    Z = encoder.transform(holes[:3])
    for i in range(3):
        w = (seen.density * seen.trust)[i, 0].double().numpy()
        damped = (seen.coverage[i][:, None] * solver.precision).flatten().double().numpy()
        y = units.values(np.nan_to_num(holes[i])[:, None])[:, 0] - float(field.mean.detach())
        expected = np.linalg.solve((J * w) @ J.T + np.diag(damped) + Q, (J * w) @ y + Q @ mean)
        np.testing.assert_allclose(Z[i], expected, atol=2e-3 * np.abs(expected).max())


# --- standard deviations --------------------------------------------------------------------------


def covered(encoder, gaps, X):
    hidden = np.isnan(gaps) if np.isnan(gaps).any() else np.ones(X.shape, dtype=bool)
    R, std = encoder.inverse_transform(encoder.transform(gaps), return_std=True, observed=gaps)
    assert std.shape == R.shape
    return np.mean(np.abs(R - X)[hidden] < 1.645 * std[hidden])


def test_intervals_hold_nine_of_ten_values(fitted, X, holes):
    at_random = np.where(np.random.default_rng(3).random(X.shape) < 0.5, np.nan, X)
    assert 0.85 <= covered(fitted, X, X) <= 0.95
    assert 0.85 <= covered(fitted, at_random, X) <= 0.95
    assert 0.85 <= covered(fitted, holes, X) <= 0.97


def test_less_is_sure_inside_of_a_hole(fitted, holes):
    Z = fitted.transform(holes)
    std = fitted.inverse_transform(Z, return_std=True, observed=holes)[1]
    assert (std[:, 46] > 2 * std[:, 20]).all()
    points = np.array([[20.0], [46.0], [46.5]])
    there = fitted.inverse_transform(Z, points=points, return_std=True, observed=holes)[1]
    np.testing.assert_allclose(there[:, :2], std[:, [20, 46]], rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_spread_is_that_of_the_gaussian(d, gaps):
    shape = {1: (23,), 2: (11, 8), 3: (6, 4, 7)}[d]
    k, side = 2, {1: 5, 2: 3, 3: 3}[d]
    n_cells = Cells.covering(shape, (side,) * d).n_cells
    generator = torch.Generator().manual_seed(0)
    field = LappedField(d, 2, n_cells * k, shape, side, 4, 2, generator=generator).double()
    cells, size = field.cells, 2**d * k
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    prior = CellPrior(torch.zeros(k, dtype=torch.float64), root @ root.T, 0.5)
    precision = torch.full((k,), 0.01, dtype=torch.float64)
    density = None
    weights, damped = torch.ones(2, *shape, dtype=torch.float64), precision.repeat(n_cells)
    if gaps:
        density = (torch.rand(2, *shape, generator=generator) < 0.5).double()
        seen = Seen.of(cells, density[None])
        weights = density * seen.trust[0]
        damped = (seen.coverage[0, :, None] * precision).flatten()
    eye = torch.eye(field.latent_dim, dtype=torch.float64)
    J = field.linear_part(eye, cells).detach().flatten(1)
    Q = prior.blocks(cells).dense()
    observed = J * weights.flatten() @ J.T
    covariance = torch.linalg.inv(observed + torch.diag(damped) + Q)
    found = spread_of(field, prior, precision, density)
    expected = torch.einsum("pn,pq,qn->n", J, covariance, J).reshape(found.variance.shape)
    torch.testing.assert_close(found.variance, expected)
    assert found.taken == pytest.approx(float((covariance * observed).sum()))


@pytest.mark.parametrize("shape", [(41, 37), (43, 40)])
def test_parts_of_a_large_signal_are_close_to_the_whole(monkeypatch, shape):
    n_cells = Cells.covering(shape, (3, 4)).n_cells
    generator = torch.Generator().manual_seed(0)
    field = LappedField(2, 1, n_cells, shape, (3, 4), 4, 2, generator=generator).double()
    precision = torch.full((1,), 0.01, dtype=torch.float64)
    density = torch.ones(1, *shape, dtype=torch.float64)
    density[:, 10:17, 20:30] = 0.0
    for seen in (None, density):
        whole = spread_of(field, prior_of(2), precision, seen)
        monkeypatch.setattr(spread_module, "_MOST_LATENTS", 36)
        parts = spread_of(field, prior_of(2), precision, seen)
        monkeypatch.undo()
        torch.testing.assert_close(parts.variance, whole.variance, rtol=0.15, atol=2e-3)
        apart = (parts.variance / whole.variance).log().abs()
        assert float(apart.median()) < 0.06  # a margin of one cell, on basis functions of noise
        assert parts.taken == pytest.approx(whole.taken, rel=0.1)


def test_signals_of_other_sizes_have_deviations(fitted):
    X = waves(20, (150,), 4)
    gaps = X.copy()
    gaps[:, 70:80] = np.nan
    Z = fitted.transform(list(gaps))
    assert len(Z[0]) == 38 * 3
    R, std = fitted.inverse_transform(Z, coords=list(gaps), return_std=True, observed=list(gaps))
    hidden = np.isnan(gaps)
    assert 0.8 <= np.mean(np.abs(np.array(R) - X)[hidden] < 1.645 * np.array(std)[hidden]) <= 0.98


def test_labelled_signals_on_a_coarser_grid(fitted, X):
    labelled = xr.DataArray(X, {"x": np.arange(96.0)}, ("sample", "x"))
    encoder = FunctaEncoder(**fitted.get_params(deep=False)).set_params(max_iter=1).fit(labelled)
    stds = []
    for some in (labelled, labelled[:, ::3]):
        Z = encoder.transform(some)
        stds.append(encoder.inverse_transform(Z, return_std=True, observed=some)[1])
    assert stds[1].dims == ("sample", "x")
    assert float(stds[1].mean()) > 1.05 * float(stds[0].mean())


# --- files ----------------------------------------------------------------------------------------


def test_prior_and_deviations_survive_pickling_and_saving(fitted, holes, tmp_path):
    Z = fitted.transform(holes)
    expected = fitted.inverse_transform(Z, return_std=True, observed=holes)
    fitted.save(tmp_path / "f")
    for other in (pickle.loads(pickle.dumps(fitted)), FunctaEncoder.load(tmp_path / "f")):
        np.testing.assert_array_equal(other.transform(holes), Z)
        found = other.inverse_transform(Z, return_std=True, observed=holes)
        np.testing.assert_array_equal(found, expected)


def test_a_file_without_a_prior(fitted, holes, tmp_path):
    fitted.save(tmp_path / "f")
    with safe_open(tmp_path / "f", framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    gone = ("solver.mean", "solver.covariance", "posterior.noise")
    document = json.loads(metadata["document"])
    del document["posterior"], document["solver"]["noise"]
    metadata |= {"document": json.dumps(document)}
    kept = {name: tensor for name, tensor in tensors.items() if name not in gone}
    save_file(kept, tmp_path / "old", metadata)
    old = FunctaEncoder.load(tmp_path / "old")
    Z = old.transform(holes)
    assert np.isfinite(old.inverse_transform(Z)).all()
    with pytest.raises(ValueError, match="return_std=True needs what fit learns"):
        old.inverse_transform(Z, return_std=True, observed=holes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("solver.covariance", torch.eye(5), "covariance must be"),
        ("solver.covariance", -torch.eye(6), "positive definite"),
        ("solver.mean", torch.full((3,), torch.nan), "mean must be finite"),
        ("posterior.noise", torch.ones(2, dtype=torch.float64), "noise must have shape"),
    ],
)
def test_files_of_numbers_that_no_fit_leaves(fitted, tmp_path, name, value, message):
    fitted.save(tmp_path / "f")
    with safe_open(tmp_path / "f", framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors | {name: value}, tmp_path / "bad", metadata)
    with pytest.raises(ValueError, match=message):
        FunctaEncoder.load(tmp_path / "bad")
