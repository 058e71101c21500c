"""What Functa and other peers of the reference learner do otherwise, as options of it."""

import copy

import numpy as np
import pytest
import torch
from inner_loops import VARIANTS, assert_same_gradients, cavia_by_autograd, problem

from neurfield import FunctaEncoder, memory
from neurfield.fields import Field, ModulatedSiren
from neurfield.learning import Cavia, Context, ContextStore, Problem
from neurfield.learning.learners.cavia import CaviaStep, hardest_points
from neurfield.learning.solvers import gradient_step
from neurfield.signals import CoordinateFrame, Units, ValueScaler, read_signals
from neurfield.validation import validated_signals

RATES = torch.tensor([0.02, 0.3, 0.0, 0.1], dtype=torch.float64)


def learning_step(field, **options):
    """Return a meta-step whose step sizes differ from entry to entry."""
    step = CaviaStep(field, 3, 0.1, learn_inner_lr=True, **options)
    step.inner_lr.data.copy_(RATES)
    return step


# --- Learnt step sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("activations", [30, 2**17], ids=["blocks of 6 points", "one block"])
@pytest.mark.parametrize("gamma", [1.0, 0.4])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_gradient_at_the_step_sizes(variant, gamma, activations, recompute, monkeypatch):
    monkeypatch.setitem(memory.AT_ONCE, "activations", (activations,) * 2)
    field, batch = problem(2, gamma, **variant)
    twin, rates = copy.deepcopy(field), RATES.clone().requires_grad_()
    step = learning_step(field, recompute=recompute)
    loss = step(batch)
    loss.backward()
    expected = cavia_by_autograd(twin, batch, 3, rates)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert float(rates.grad.norm()) > 1e-3
    torch.testing.assert_close(step.inner_lr.grad, rates.grad, rtol=1e-9, atol=1e-12)
    assert_same_gradients(field, twin)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("by_hand", [True, False])
def test_gradient_at_the_step_sizes_agrees_with_finite_differences(steps, by_hand, monkeypatch):
    if not by_hand:
        monkeypatch.setattr(ModulatedSiren, "has_sweeps", Field.has_sweeps)
    field, batch = problem(2, 0.4)
    step = learning_step(field)
    step.inner_steps = steps
    step(batch).backward()
    width, slopes = 1e-6, []
    for entry in range(4):
        losses = []
        for shift in (width, -width):
            step.inner_lr.data.copy_(RATES)
            step.inner_lr.data[entry] += shift
            losses.append(float(step(batch).detach()))
        slopes.append((losses[0] - losses[1]) / (2 * width))
    np.testing.assert_allclose(step.inner_lr.grad, slopes, rtol=1e-5, atol=1e-9)


def test_equal_learnt_step_sizes_are_one_step_size():
    field, batch = problem(2, 0.4)
    plain, learning = CaviaStep(field, 3, 0.1), CaviaStep(field, 3, 0.1, learn_inner_lr=True)
    torch.testing.assert_close(learning(batch), plain(batch), rtol=1e-14, atol=0)


@pytest.fixture
def functa(small_encoder):
    def make(**parameters):
        options = {"learner": "cavia", "learner__learn_inner_lr": True, "meta_lr": 1e-3}
        return small_encoder(**(options | parameters))

    return make


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((12, 5, 6))


def rates_of(encoder):
    return encoder.codec_.solver.inner_lr


def test_step_sizes_start_in_their_range_and_stay_in_theirs(functa, X):
    start = rates_of(functa(max_iter=1, meta_lr=1e-12, latent_dim=200).fit(X))
    assert float(start.min()) >= 0.005
    assert float(start.max()) <= 0.1
    assert float(start.std()) == pytest.approx(0.095 / np.sqrt(12), rel=0.15)
    moved = rates_of(functa(max_iter=1, latent_dim=200).fit(X))
    torch.testing.assert_close(moved, start, rtol=0, atol=1.1e-3)
    assert float((moved - start).abs().min()) > 0
    step = learning_step(problem(1, 1.0)[0])
    step.inner_lr.data.copy_(torch.tensor([-0.1, 0.2, 1.7, 0.0]))
    step.project()
    torch.testing.assert_close(step.inner_lr.data.tolist(), [0.0, 0.2, 1.0, 0.0])
    enc = functa(
        learner=Cavia(inner_lr=0.97), learner__learn_inner_lr=False, warm_start=True, max_iter=1
    )
    enc.fit(X).set_params(learner=Cavia(learn_inner_lr=True), meta_lr=0.08)
    assert float(rates_of(enc.fit(X)).max()) == 1.0


def test_transform_takes_the_learnt_step_sizes(functa, X):
    enc = functa(transform_steps=1, precision="float64").fit(X)
    field, store = enc.field_, enc.codec_.store(validated_signals(enc, X, reset=False))
    context = store.batch(np.arange(len(X)))
    phi = field.zero_latents(len(X)).requires_grad_()
    (slope,) = torch.autograd.grad(context.mse(field(context.coords, phi)).sum(), phi)
    np.testing.assert_allclose(enc.transform(X), -(rates_of(enc) * slope), rtol=1e-5)


def test_step_sizes_are_saved_and_loaded(functa, X, tmp_path):
    enc = functa().fit(X)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    assert torch.equal(rates_of(loaded), rates_of(enc))
    np.testing.assert_array_equal(loaded.transform(X), enc.transform(X))


def test_a_fit_resumes_with_the_same_step_sizes(functa, X, tmp_path):
    whole = functa(max_iter=6).fit(X)
    path = tmp_path / "checkpoint"

    def stop(progress):
        return progress.iteration == 3

    options = {"max_iter": 6, "checkpoint": path, "checkpoint_every": 1}
    functa(**options, callbacks=[stop]).fit(X)
    resumed = functa(**options).fit(X)
    assert resumed.n_iter_ == 6
    assert torch.equal(rates_of(resumed), rates_of(whole))
    np.testing.assert_array_equal(resumed.transform(X), whole.transform(X))


@pytest.mark.parametrize("how", ["warm start", "partial_fit", "partial_fit after loading"])
def test_step_sizes_carry_over(functa, X, how, tmp_path):
    enc = functa(meta_lr=1e-9, warm_start=True).fit(X)
    before = rates_of(enc)
    if how == "partial_fit after loading":
        enc.save(tmp_path / "f")
        enc = FunctaEncoder.load(tmp_path / "f")
    enc.fit(X) if how == "warm start" else enc.partial_fit(X)
    torch.testing.assert_close(rates_of(enc), before, rtol=0, atol=1e-6)
    assert rates_of(enc) is not before


def test_a_warm_start_learns_from_the_step_size_it_had(functa, X):
    enc = functa(learner=Cavia(inner_lr=0.07), learner__learn_inner_lr=False, warm_start=True)
    enc.fit(X).set_params(learner=Cavia(learn_inner_lr=True), meta_lr=1e-9).fit(X)
    torch.testing.assert_close(rates_of(enc), torch.full((4,), 0.07), rtol=0, atol=1e-6)


def test_a_back_off_restores_the_step_sizes(functa, X):
    enc = functa(max_iter=3, meta_lr=1e-3)
    start = rates_of(functa(max_iter=1, meta_lr=1e-12).fit(X))
    enc.callbacks = [lambda progress: progress.field.output.bias.data.fill_(np.nan) and None]
    with pytest.warns(UserWarning, match="back to the weights of meta-step 0"):
        enc.fit(X)
    torch.testing.assert_close(rates_of(enc), start, rtol=0, atol=1e-9)


# --- Scales as well as shifts --------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_a_field_with_scales_trains_and_is_saved(small_encoder, learner, tmp_path):
    X = 0.5 + 0.4 * np.sin(np.linspace(0, 5, 16) + np.random.default_rng(0).uniform(0, 6, (20, 1)))
    rates = {"meta_lr": 1e-2, "learner__inner_lr": 0.1, "omega": 10.0}
    options = {"field__modulation": "shift_scale", "learner": learner, "max_iter": 60}
    options |= rates if learner == "cavia" else {}
    enc = small_encoder(**options).fit(X)
    assert enc.field_.modulation_size == 2 * 2 * 8
    mean_alone = 10 * np.log10(np.ptp(X) ** 2 / np.mean((X - X.mean(0)) ** 2))
    assert enc.score(X) > mean_alone + 10
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    np.testing.assert_array_equal(loaded.transform(X), enc.transform(X))
    enc.set_params(warm_start=True, field__modulation="shift")
    with pytest.raises(ValueError, match="continues a field with modulation=shift_scale"):
        enc.fit(X)


# --- First-order meta-gradients ------------------------------------------------------------------


def first_order_by_autograd(field, batch, steps, inner_lr):
    """Compute the meta-loss with the gradients that the inner steps follow held constant."""
    context, total = batch.context, 0.0
    for i in range(len(context)):
        signal, phi = context.of_signals(slice(i, i + 1)), field.zero_latents(1)
        for g in range(steps):
            reduced = signal if batch.subsets is None else signal.at_points(batch.subsets[g])
            here = phi.detach().requires_grad_()
            loss = reduced.mse(field(reduced.coords, here)).sum()
            (slope,) = torch.autograd.grad(loss, here)
            phi = phi - inner_lr * slope
        total = total + signal.mse(field(signal.coords, phi)).sum()
    return total / len(context)


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 0.4])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_first_order_gradient(variant, gamma, by_hand, monkeypatch):
    if not by_hand:
        monkeypatch.setattr(ModulatedSiren, "has_sweeps", Field.has_sweeps)
    field, batch = problem(2, gamma, **variant)
    twin, rates = copy.deepcopy(field), RATES.clone().requires_grad_()
    step = learning_step(field, second_order=False)
    loss = step(batch)
    loss.backward()
    expected = first_order_by_autograd(twin, batch, 3, rates)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same_gradients(field, twin)
    torch.testing.assert_close(step.inner_lr.grad, rates.grad, rtol=1e-9, atol=1e-12)


def test_both_orders_agree_on_the_loss_and_differ_in_the_gradient():
    field, batch = problem(2, 0.4)
    losses, gradients = [], []
    for second_order in (True, False):
        field.zero_grad()
        losses.append(CaviaStep(field, 3, 0.1, second_order=second_order)(batch))
        losses[-1].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in field.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-14, atol=0)
    assert float((gradients[0] - gradients[1]).norm()) > 1e-3 * float(gradients[0].norm())


# --- Contexts of the points with the largest gradients -------------------------------------------


@pytest.mark.parametrize("own_coords", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_selected_points_have_the_largest_output_gradient(gaps, own_coords):
    field, batch = problem(2, 1.0, gaps=gaps, own_coords=own_coords)
    context, latents = batch.context, torch.randn(3, 4, dtype=torch.float64)
    chosen = hardest_points(field, context, latents, 0.3)
    assert chosen.values.shape == (3, 6, 2)
    assert chosen.coords.shape == (3, 6, 2)
    for i in range(3):
        norms = []
        for n in range(context.n_points):
            point = context.of_signals(slice(i, i + 1)).at_points(torch.tensor([n]))
            loss = point.residual(field(point.coords, latents[i : i + 1])).square().sum()
            norms.append(
                sum(
                    float(g.square().sum())
                    for g in torch.autograd.grad(loss, list(field.output.parameters()))
                )
            )
        best = sorted(np.argsort(norms)[-6:])
        coords = context.coords if context.is_shared else context.coords[i]
        expected = {tuple(row) for row in torch.cat([coords, context.values[i]], 1)[best].tolist()}
        found = torch.cat([chosen.coords[i], chosen.values[i]], 1).tolist()
        assert {tuple(row) for row in found} == expected


@pytest.mark.parametrize("gaps", [False, True])
def test_gradient_with_selected_points(gaps):
    field, batch = problem(2, 1.0, gaps=gaps)
    twin, context = copy.deepcopy(field), batch.context
    loss = CaviaStep(field, 3, 0.1, selected_ratio=0.4)(batch)
    loss.backward()
    phi = twin.zero_latents(3).requires_grad_()
    for _ in range(3):
        few = hardest_points(twin, context, phi, 0.4)
        mse = few.mse(twin(few.coords, phi)).sum()
        phi = phi - 0.1 * torch.autograd.grad(mse, phi, create_graph=True)[0]
    expected = context.mse(twin(context.coords, phi)).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same_gradients(field, twin)


def test_all_points_selected_are_the_whole_context():
    field, batch = problem(2, 1.0)
    selected = CaviaStep(field, 3, 0.1, selected_ratio=1.0)(batch)
    torch.testing.assert_close(selected, CaviaStep(field, 3, 0.1)(batch), rtol=1e-12, atol=0)


def test_selection_reaches_the_meta_step_from_the_encoder(small_encoder, X):
    options = {"learner": "cavia", "learner__context_ratio": 0.4, "meta_lr": 1e-2}
    random = small_encoder(**options).fit(X)
    chosen = small_encoder(**options, learner__context_selection="gradient").fit(X)
    assert chosen.learner_.context_selection == "gradient"
    assert not np.allclose(random.loss_curve_, chosen.loss_curve_)
    assert np.isfinite(chosen.transform(X)).all()


# --- Portions of one random order ----------------------------------------------------------------


def portions(gamma, inner_steps, selection="sequential", seed=0, n_points=20):
    """Return the batch of one meta-step over signals of so many points."""
    signals = read_signals(np.random.default_rng(0).random((3, n_points)))
    units = Units(CoordinateFrame.from_axes([signals.groups[0].axes]), ValueScaler.identity(1))
    store = ContextStore(signals, units, torch.float64, torch.device("cpu"))
    learner = Cavia(inner_steps, context_ratio=gamma, context_selection=selection)
    learner = learner.for_problem(Problem(3, 1, n_points, 1, 1, 4), {"batch_size": 3})
    return learner.draw(store, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("gamma", "steps"), [(0.2, 5), (0.25, 4), (0.5, 2)])
def test_portions_are_disjoint_and_cover_all_points(gamma, steps):
    subsets = portions(gamma, steps).subsets
    assert subsets.shape == (steps, 20 // steps)
    assert subsets.flatten().sort().values.tolist() == list(range(20))
    assert not torch.equal(portions(gamma, steps, seed=1).subsets, subsets)


def test_portions_go_on_from_the_start_of_the_order_when_it_is_used_up():
    subsets = portions(0.3, 8).subsets  # 48 places on 20 points
    flat = subsets.flatten()
    assert torch.equal(flat[20:], flat[:-20])
    assert flat[:20].sort().values.tolist() == list(range(20))
    assert all(len(set(row.tolist())) == 6 for row in subsets)


def test_the_mean_over_portions_that_cover_all_is_the_whole():
    batch, field = portions(0.25, 4), problem(1, 1.0, channels=1)[0]
    latents = torch.tensor(np.random.default_rng(2).normal(size=(3, 4)))
    context = batch.context
    steps = [
        gradient_step(field, context.at_points(subset), latents, 0.1) for subset in batch.subsets
    ]
    whole = gradient_step(field, context, latents, 0.1)
    torch.testing.assert_close(torch.stack(steps).mean(dim=0), whole, rtol=1e-12, atol=1e-14)


def test_one_portion_is_a_random_subset_and_a_whole_one_is_the_whole_context():
    one, random = (portions(0.3, 1, selection) for selection in ("sequential", "random"))
    assert torch.equal(one.subsets, random.subsets)
    field = problem(1, 1.0, channels=1)[0]
    step = CaviaStep(field, 1, 0.1)
    torch.testing.assert_close(step(one), step(random), rtol=0, atol=0)
    assert portions(1.0, 3).subsets is None


def test_portions_reach_the_meta_step_from_the_encoder(small_encoder, X):
    options = {"learner": "cavia", "learner__context_ratio": 0.2, "learner__inner_steps": 5}
    random = small_encoder(**options, precision="float64").fit(X)
    turns = small_encoder(
        **options, precision="float64", learner__context_selection="sequential"
    ).fit(X)
    assert turns.learner_.context_selection == "sequential"
    assert not np.allclose(random.loss_curve_, turns.loss_curve_, rtol=1e-9)
    assert np.isfinite(turns.transform(X)).all()


# --- The optimiser -------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_weight_decay_reaches_the_optimiser(small_encoder, X, learner):
    weights, decay_by_length = {}, 4 / len(X)
    for decay in (None, 0.0, 0.01, decay_by_length, 0.5):
        enc = small_encoder(
            learner=learner, max_iter=1, meta_lr=0.1, weight_decay=decay, precision="float64"
        ).fit(X)
        weights[decay] = enc.field_.state_dict()["layers.1.weight"]
    default = 0.01 if learner == "cavia" else decay_by_length
    torch.testing.assert_close(weights[None], weights[default], rtol=0, atol=0)
    little, much = (weights[0.0] - weights[decay] for decay in (0.01, 0.5))
    assert float(little.abs().min()) > 0
    torch.testing.assert_close(much, 50 * little)


def test_points_of_each_signals_own():
    coords, values = torch.rand(5, 2), torch.rand(2, 5, 1)
    reduced = Context(coords, values).at_own_points(torch.tensor([[0, 3], [4, 1]]))
    assert not reduced.is_shared
    torch.testing.assert_close(reduced.coords[1], coords[[4, 1]])
    torch.testing.assert_close(reduced.values[0], values[0, [0, 3]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learn_inner_lr", True),
        ("second_order", False),
        ("context_selection", "gradient"),
        ("gradient_scaling", True),
    ],
)
def test_options_that_the_learner_has_not_are_refused(small_encoder, name, value):
    with pytest.raises(ValueError, match=f"Invalid parameter {name!r} for estimator VarPro"):
        small_encoder(learner="varpro").set_params(**{f"learner__{name}": value})
    with pytest.raises(TypeError, match=name):
        FunctaEncoder(**{name: value})
