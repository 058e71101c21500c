"""Sweeps compiled by Numba, in single precision, against autograd in double precision."""

import copy
import threading

import numpy as np
import pytest
import torch
from sweep_entries import as_float, block, entries

from neurfield.fields import ModulatedSiren, siren_layers
from neurfield.fields.autograd import AutogradSweeps
from neurfield.fields.sweeps import Block
from neurfield.learning import MetaBatch, lanes
from neurfield.learning.context import Context, random_subsets
from neurfield.learning.learners.cavia import CaviaStep

numba = pytest.importorskip("numba", reason='needs the extra "fast", for Numba')
fused = pytest.importorskip("neurfield.fields.fused.layers")
fused_sine = pytest.importorskip("neurfield.fields.fused.sine").sine_and_cosine

FIELDS = {
    "skips": lambda c: ModulatedSiren(2, c, 5, 12, 4, (3.0, 9.0), residual_scale=0.6),
    "no skips": lambda c: ModulatedSiren(2, c, 5, 12, 4, (3.0, 9.0), skip_connections=False),
    "one sine": lambda c: ModulatedSiren(2, c, 5, 12, 2, 5.0),
    "wide": lambda c: ModulatedSiren(2, c, 5, 600, 3, 5.0),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Compiled sweeps are taken where torch has one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@numba.njit
def sines_and_cosines(phases, sines, cosines):
    for i in range(phases.size):
        sines[i], cosines[i] = fused_sine(phases[i])


def evaluated(phases):
    phases = np.asarray(phases, dtype=np.float32)
    found = np.empty_like(phases), np.empty_like(phases)
    sines_and_cosines(phases, *found)
    return phases.astype(np.float64), *found


@pytest.mark.parametrize(("largest", "error"), [(10.0, 2e-7), (1e3, 2e-7), (1e5, 2e-6)])
def test_sine_and_cosine(largest, error):
    phases, sines, cosines = evaluated(np.linspace(-largest, largest, 100_001))
    np.testing.assert_allclose(sines, np.sin(phases), rtol=0, atol=error)
    np.testing.assert_allclose(cosines, np.cos(phases), rtol=0, atol=error)


def test_a_small_phase_keeps_its_relative_precision():
    phases, sines, _ = evaluated([0.0, 1e-30, -3e-5, 1e-3])
    np.testing.assert_allclose(sines, np.sin(phases), rtol=2e-7)


def test_phases_out_of_reach():
    _, sines, cosines = evaluated([np.nan, np.inf, -np.inf])
    assert np.isnan(sines).all()
    assert np.isnan(cosines).all()
    _, sines, cosines = evaluated([1e9, -1e20, 3e38])
    assert (np.abs(sines) <= 1.001).all()
    assert (np.abs(cosines) <= 1.001).all()


@pytest.mark.parametrize("gaps", [False, True], ids=["all observed", "gaps"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared points", "own points"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("product", [10**6, 12**2 * 7], ids=["large pieces", "pieces of 7 rows"])
@pytest.mark.parametrize("name", FIELDS)
def test_all_sweeps(name, product, channels, shared, gaps, monkeypatch):
    monkeypatch.setattr(fused, "_PRODUCT", product)
    torch.manual_seed(0)
    field = FIELDS[name](channels)
    part = block(2, channels, shared, gaps)
    given = (*torch.randn(2, 5, 5).double(), torch.randn(5, 20, channels).double())
    by_hand = field.sweeps(103)
    assert type(by_hand._layers) is fused.FusedSineLayers
    found = entries(field, by_hand, as_float(part), *(each.float() for each in given))
    exact = copy.deepcopy(field).double()
    expected = entries(exact, AutogradSweeps(exact, 103), part, *given)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = value.abs().max().item()
        torch.testing.assert_close(found[key].double(), value, rtol=0, atol=2e-5 * scale, msg=key)


@pytest.mark.parametrize("product", [10**6, 12**2 * 7], ids=["large pieces", "pieces of 7 rows"])
@pytest.mark.parametrize("name", FIELDS)
def test_signals_kept_apart_are_as_if_alone(name, product, monkeypatch):
    monkeypatch.setattr(fused, "_PRODUCT", product)
    torch.manual_seed(0)
    field = FIELDS[name](3)
    part, shifts = (
        as_float(block(2, 3, shared=True, gaps=True)),
        torch.randn(5, field.modulation_size),
    )
    sweeps = field.sweeps(100)
    assert sweeps.keep_apart()

    def found(signals):
        own = Block(part.coords, part.values[signals], part.weights[signals], part.counts[signals])
        tape = sweeps.tape()
        residual = sweeps.evaluate(tape, own, shifts[signals])
        jacobian = sweeps.jacobian(tape, own).clone()
        return residual.clone(), jacobian, sweeps.carry_back(tape, own, residual)

    for i in range(5):
        alone = found(slice(i, i + 1))
        for together, one in zip(found(slice(0, 5)), alone, strict=True):
            assert torch.equal(together[i], one[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_with_and_without_numba(threads, monkeypatch):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    context = Context(torch.rand(30, 2), torch.rand(6, 30, 1))
    generator = torch.Generator().manual_seed(0)
    batch = MetaBatch(context, random_subsets(context, 20, 3, generator))

    def gradients():
        field = ModulatedSiren(2, 1, 4, 16, 4, 9.0, generator=torch.Generator().manual_seed(1))
        CaviaStep(field, 3, 0.1)(batch).backward()
        return [parameter.grad for parameter in field.parameters()]

    compiled = gradients()
    monkeypatch.setattr(siren_layers, "_fused", lambda: None)
    torch.testing.assert_close(compiled, gradients(), rtol=1e-4, atol=1e-6)


def test_lanes_divide_no_matrix_product():
    blas = lanes._blas()
    torch.set_num_threads(2)
    before = [library["num_threads"] for library in blas.info()]
    seen = lanes.in_lanes(lambda lane: [one["num_threads"] for one in blas.info()], 2)
    assert all(threads == 1 for one in seen for threads in one)
    assert [library["num_threads"] for library in blas.info()] == before


def test_limits_of_matrix_products_are_lifted_by_the_last_of_several_threads():
    blas = lanes._blas()
    torch.set_num_threads(1)
    before = [library["num_threads"] for library in blas.info()]
    inside, outside = threading.Event(), threading.Event()

    def hold(lane):
        inside.set()
        assert outside.wait(timeout=60)

    holder = threading.Thread(target=lanes.in_lanes, args=(hold, 1))
    holder.start()
    assert inside.wait(timeout=60)
    lanes.in_lanes(lambda lane: None, 1)
    outside.set()
    holder.join()
    assert [library["num_threads"] for library in blas.info()] == before
