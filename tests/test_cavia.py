"""The reference learner: exact second-order gradients, and the published outer step."""

import copy
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from inner_loops import VARIANTS, assert_same_gradients, cavia_by_autograd, problem

from neurfield import memory
from neurfield.fields import Field, ModulatedSiren
from neurfield.learning import (
    Context,
    ContextStore,
    MetaBatch,
    OuterLoop,
    Pass,
    Problem,
    Trainer,
    lanes,
)
from neurfield.learning.learners.cavia import Cavia, CaviaStep
from neurfield.learning.optimizers import lr_factor
from neurfield.signals import CoordinateFrame, Units, ValueScaler, read_signals

CASES = [(d, gamma) for d in (1, 2, 3) for gamma in (1.0, 0.4)]


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_meta_gradient_agrees_with_finite_differences(d, gamma):
    field, batch = problem(d, gamma)
    step = CaviaStep(field, inner_steps=3, inner_lr=0.1)
    step(batch).backward()
    rng = np.random.default_rng(1)
    width = 1e-5
    for name, parameter in field.named_parameters():
        gradient = parameter.grad.flatten()
        flat = parameter.data.view(-1)
        for entry in rng.choice(len(flat), size=min(6, len(flat)), replace=False):
            losses = []
            kept = flat[entry].item()
            for shift in (width, -width):
                flat[entry] = kept + shift
                losses.append(float(step(batch).detach()))
            flat[entry] = kept
            slope = (losses[0] - losses[1]) / (2 * width)
            assert float(gradient[entry]) == pytest.approx(slope, rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_meta_gradient_agrees_with_nested_autograd(d, gamma, gaps):
    field, batch = problem(d, gamma, gaps=gaps)
    twin = copy.deepcopy(field)
    loss = CaviaStep(field, inner_steps=3, inner_lr=0.1)(batch)
    loss.backward()
    expected = cavia_by_autograd(twin, batch, 3, 0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for parameter, other in zip(field.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("activations", [30, 2**18], ids=["blocks of 6 points", "one block"])
@pytest.mark.parametrize("gamma", [1.0, 0.4])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_meta_gradient_of_every_variant(variant, gamma, activations, recompute, monkeypatch):
    monkeypatch.setitem(memory.AT_ONCE, "activations", (activations,) * 2)
    field, batch = problem(2, gamma, **variant)
    twin = copy.deepcopy(field)
    loss = CaviaStep(field, 3, 0.1, recompute)(batch)
    loss.backward()
    expected = cavia_by_autograd(twin, batch, 3, 0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same_gradients(field, twin)


def test_a_field_without_sweeps_is_differentiated_by_autograd(monkeypatch):
    field, batch = problem(2, 0.4)
    twin = copy.deepcopy(field)
    CaviaStep(field, 3, 0.1)(batch).backward()
    monkeypatch.setattr(ModulatedSiren, "has_sweeps", Field.has_sweeps)
    CaviaStep(twin, 3, 0.1)(batch).backward()
    assert_same_gradients(field, twin)


def test_the_loss_can_be_had_without_its_gradient():
    field, batch = problem(2, 0.4)
    step = CaviaStep(field, 3, 0.1)
    with torch.no_grad():
        loss = step(batch)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, step(batch).detach(), rtol=0, atol=0)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_one_meta_step_leaves_nothing_to_the_next(precision):
    field, batch = problem(2, 0.4, channels=1)
    twin = copy.deepcopy(field).to(precision)
    context = Context(batch.context.coords.to(precision), batch.context.values.to(precision))
    batch = MetaBatch(context, batch.subsets)
    used = CaviaStep(field, 3, 0.1)
    used(problem(2, 1.0, channels=1, seed=1)[1]).backward()
    field.to(precision)
    used.zero_grad()
    used(batch).backward()
    CaviaStep(twin, 3, 0.1)(batch).backward()
    assert_same_gradients(field, twin, rtol=0, atol=0)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("activations", [30, 2**18], ids=["many chunks", "few chunks"])
def test_threads_change_no_more_than_the_order_of_sums(activations, recompute, monkeypatch):
    monkeypatch.setitem(memory.AT_ONCE, "activations", (activations,) * 2)
    field, batch = problem(2, 0.4, gaps=True)
    threads, gradients = torch.get_num_threads(), []
    step = CaviaStep(field, 3, 0.1, recompute)
    try:
        for n in (1, 2, 2, 5):
            torch.set_num_threads(n)
            step.zero_grad()
            step(batch).backward()
            assert torch.get_num_threads() == n
            gradients.append(torch.cat([p.grad.flatten() for p in field.parameters()]))
    finally:
        torch.set_num_threads(threads)
    one, two, again, five = gradients
    torch.testing.assert_close(two, again, rtol=0, atol=0)
    torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(five, one, rtol=1e-10, atol=1e-13)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_a_failing_lane_leaves_the_number_of_threads(two_threads):
    def fail(lane):
        raise RuntimeError(f"lane {lane}")

    with pytest.raises(RuntimeError, match="lane 0"):
        lanes.in_lanes(fail, 2)
    assert _threads_of_a_new_thread() == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_meta_steps_are_copied_without_their_threads(copied, two_threads):
    field, batch = problem(2, 1.0)
    step = CaviaStep(field, inner_steps=2, inner_lr=0.1)
    loss = step(batch)
    torch.testing.assert_close(copied(step)(batch), loss, rtol=0, atol=0)


def compiled_agrees(device, mode=None):
    field, batch = problem(1, 1.0, channels=1)
    field, context = field.float().to(device), batch.context
    batch = MetaBatch(Context(context.coords.float().to(device), context.values.float().to(device)))
    twin = copy.deepcopy(field)
    CaviaStep(field, 2, 0.1)(batch).backward()
    compiled = CaviaStep(twin, 2, 0.1)
    compiled.compile(mode=mode, fullgraph=True)
    compiled(batch).backward()
    assert_same_gradients(field, twin, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_and_eager_agree():
    compiled_agrees("cpu")


@pytest.mark.gpu
def test_compiled_with_cuda_graphs_and_eager_agree():
    compiled_agrees("cuda", "reduce-overhead")


def test_options_of_the_meta_step_reach_it_from_the_encoder(small_encoder):
    signals = np.random.default_rng(0).random((6, 12))
    fits = {}
    for recompute in (False, True):
        enc = small_encoder(learner="cavia", learner__recompute=recompute).fit(signals)
        assert enc.learner_.meta_step(enc.field_).recompute is recompute
        fits[recompute] = enc.field_.state_dict()
    torch.testing.assert_close(fits[True], fits[False], rtol=1e-5, atol=1e-6)


def test_meta_gradient_is_not_the_first_order_one():
    field, batch = problem(2, 1.0)
    step = CaviaStep(field, inner_steps=3, inner_lr=0.1)
    step(batch).backward()
    second = [p.grad.clone() for p in field.parameters()]
    field.zero_grad()
    latents = step.adapt(batch).detach()
    batch.context.mse(field(batch.context.coords, latents)).mean().backward()
    first = [p.grad for p in field.parameters()]
    difference = sum(float((a - b).norm()) for a, b in zip(second, first, strict=True))
    assert difference > 1e-3 * sum(float(a.norm()) for a in second)


def test_a_signal_adapts_the_same_alone_and_in_a_batch():
    field, batch = problem(2, 0.4)
    step = CaviaStep(field, inner_steps=3, inner_lr=0.1)
    together = step.adapt(batch)
    for i in range(3):
        context = batch.context
        alone = Context(context.coords, context.values[i : i + 1])
        torch.testing.assert_close(step.adapt(MetaBatch(alone, batch.subsets))[0], together[i])


def cavia_trainer(gamma=1.0, meta_lr=1e-3, loop="constant", loud=1.0, n=6):
    """Make a trainer over a few 1-D signals, in float64."""
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 2 * np.pi, (n, 1))
    signals = read_signals(loud * (0.5 + 0.5 * np.sin(np.linspace(0, 4, 10) + phases)))
    scaler, frame = ValueScaler.identity(1), CoordinateFrame.from_axes([signals.groups[0].axes])
    store = ContextStore(signals, Units(frame, scaler), torch.float64, torch.device("cpu"))
    chosen = {"meta_lr": meta_lr, "lr_schedule": loop, "batch_size": 4, "max_iter": 60}
    learner = Cavia(inner_steps=2, context_ratio=gamma)
    learner = learner.for_problem(Problem(n, 1, 10, 1, 1, 4), chosen)
    generator = torch.Generator().manual_seed(0)
    field = ModulatedSiren(1, 1, 4, 5, 3, (3.0, 6.0), generator=generator).double()
    return Trainer(learner, field, generator), store, learner, generator


@pytest.mark.parametrize("loud", [1.0, 100.0], ids=["gradient below 1", "gradient clipped to 1"])
def test_two_outer_steps_are_clipped_adamw(loud):
    trainer, store, learner, generator = cavia_trainer(meta_lr=0.01, loud=loud)
    field = trainer.field
    weights = [p.detach().clone().numpy() for p in field.parameters()]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for t in (1, 2):
        batch = learner.draw(store, generator)
        twin = copy.deepcopy(field)
        loss = CaviaStep(twin, 2, learner.inner_lr)(batch)
        loss.backward()
        gradients = [p.grad.numpy() for p in twin.parameters()]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert (norm > 1) == (loud > 1)
        shrink = min(1.0, 1.0 / (norm + 1e-6))
        for w, g, m, v in zip(weights, gradients, first, second, strict=True):
            m += 0.1 * (shrink * g - m)
            v += 0.001 * ((shrink * g) ** 2 - v)
            w *= 1 - 0.01 * 0.01
            w -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert trainer.step(batch) == pytest.approx(float(loss.detach()), rel=1e-12)
        for p, w in zip(field.parameters(), weights, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_finite_leaves_the_weights_alone():
    trainer, store, learner, generator = cavia_trainer()
    batch = learner.draw(store, generator)
    broken = Context(batch.context.coords, batch.context.values * float("inf"))
    before = copy.deepcopy(trainer.field.state_dict())
    assert np.isnan(trainer.step(MetaBatch(broken)))
    torch.testing.assert_close(trainer.field.state_dict(), before, rtol=0, atol=0)


def test_reduced_contexts_are_fresh_at_each_step_and_of_the_asked_size():
    _, store, learner, generator = cavia_trainer(gamma=0.5)
    subsets = learner.draw(store, generator).subsets
    assert subsets.shape == (2, 5)
    assert all(len(set(row.tolist())) == 5 for row in subsets)
    rows = [row for _ in range(5) for row in learner.draw(store, generator).subsets]
    draws = {tuple(sorted(row.tolist())) for row in rows}
    assert len(draws) > 5


def test_the_meta_loss_sees_the_full_context():
    _, store, learner, generator = cavia_trainer(gamma=0.5)
    assert learner.draw(store, generator).context.n_points == 10


def test_a_full_context_needs_no_subsets():
    _, store, learner, generator = cavia_trainer(gamma=1.0)
    assert learner.draw(store, generator).subsets is None


def test_training_lowers_the_meta_loss():
    trainer, store, *_ = cavia_trainer(meta_lr=1e-2)
    losses = trainer.run(Pass(store, None, OuterLoop(max_iter=60))).loss_curve
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_cosine_schedule_ends_at_zero_and_constant_does_not():
    assert lr_factor("constant", 1.0, 1000) == 1.0
    assert lr_factor("cosine", 0.0, 100) == 1.0
    assert lr_factor("cosine", 0.5, 100) == pytest.approx(0.5)
    assert lr_factor("cosine", 1.0, 100) == 0.0
