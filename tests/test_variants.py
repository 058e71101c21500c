"""Experiments beside the published learner: what each computes, and the table of them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from inner_loops import problem

from neurfield import FunctaEncoder
from neurfield.datasets import digits
from neurfield.evaluation.tables import TABLES, Budget, make_data, run_table
from neurfield.evaluation.tables.fits import make_encoder
from neurfield.evaluation.variants import (
    AutoDecoder,
    ContrastiveCavia,
    Pyramid,
    PyramidSiren,
    QuantisedCavia,
    QuantisedDescent,
    quantised,
    supervised_contrastive,
)
from neurfield.evaluation.variants.auto_decoder import AdamDescent, AutoDecoderStep
from neurfield.evaluation.variants.contrastive import ContrastiveStep
from neurfield.evaluation.variants.quantised import QuantisedStep
from neurfield.fields import ModulatedSiren
from neurfield.learning import Cavia, Context
from neurfield.learning.learners.cavia import CaviaStep

TINY = {
    "latent_dim": 4,
    "hidden_dim": 8,
    "n_layers": 3,
    "max_iter": 3,
    "batch_size": 8,
    "meta_lr": 1e-3,
    "device": "cpu",
    "random_state": 0,
}
FEW_STEPS = {"inner_steps": 2, "inner_lr": 0.1}
LABELS = np.array([2, 5, 2, 5, 5, 2])


@pytest.fixture(scope="module")
def images():
    return digits()[:40].values / 16.0


def six_signals(**options):
    """Return a field, and a batch of six signals that says where they are in their store."""
    field, batch = problem(1, 1.0, **options)
    context = batch.context
    values = torch.cat([context.values, context.values.flip(1)])
    return field, replace(batch, context=Context(context.coords, values), positions=np.arange(6))


def assert_gradients_agree_with_differences(step, batch, width=1e-6):
    step.zero_grad()
    step(batch).backward()
    rng = np.random.default_rng(0)
    for name, parameter in step.named_parameters():
        flat = parameter.data.view(-1)
        for entry in rng.choice(len(flat), size=min(4, len(flat)), replace=False):
            kept, losses = flat[entry].item(), []
            for shift in (width, -width):
                flat[entry] = kept + shift
                losses.append(float(step(batch).detach()))
            flat[entry] = kept
            slope = (losses[0] - losses[1]) / (2 * width)
            found = float(parameter.grad.view(-1)[entry])
            assert found == pytest.approx(slope, rel=1e-4, abs=1e-7), name


# --- First-order gradients -----------------------------------------------------------------------


def test_first_order_gradients_are_others():
    gradients = []
    for second_order in (True, False):
        field, batch = problem(1, 1.0)
        CaviaStep(field, 3, 0.1, second_order=second_order)(batch).backward()
        gradients.append(field.modulation.weight.grad)
    assert not torch.allclose(*gradients, rtol=1e-2)


# --- A contrastive loss --------------------------------------------------------------------------


def test_the_contrastive_loss_is_its_formula():
    rng = np.random.default_rng(0)
    latents, labels, temperature = rng.normal(size=(7, 3)), [0, 1, 0, 2, 1, 1, 3], 0.2
    z = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    losses = []
    for i in range(7):
        alike = [p for p in range(7) if p != i and labels[p] == labels[i]]
        if not alike:
            continue  # the only ones of classes 2 and 3
        total = sum(np.exp(z[i] @ z[a] / temperature) for a in range(7) if a != i)
        logs = [np.log(np.exp(z[i] @ z[p] / temperature) / total) for p in alike]
        losses.append(-sum(logs) / len(alike))
    assert len(losses) == 5
    found = supervised_contrastive(torch.tensor(latents), torch.tensor(labels), temperature)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-12)


def test_no_two_of_a_class_are_no_loss():
    latents = torch.eye(3, requires_grad=True)
    loss = supervised_contrastive(latents, torch.arange(3), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(latents.grad, torch.zeros(3, 3))


def test_the_contrastive_meta_gradient_agrees_with_differences():
    field, batch = six_signals()
    options = {**FEW_STEPS, "inner_lr": 1.0}
    assert_gradients_agree_with_differences(
        ContrastiveStep(field, LABELS, 0.3, 0.5, **options), batch
    )


def test_the_contrastive_loss_is_added_to_the_published_one():
    field, batch = six_signals()
    published = CaviaStep(field, **FEW_STEPS)
    expected = float(published(batch).detach())
    without = ContrastiveStep(field, LABELS, 0.0, 0.5, **FEW_STEPS)
    assert float(without(batch).detach()) == pytest.approx(expected, rel=1e-12)
    step = ContrastiveStep(field, LABELS, 0.3, 0.5, **FEW_STEPS)
    more = supervised_contrastive(published.adapt(batch), torch.tensor(LABELS), 0.5)
    loss = float(step(batch).detach())
    assert loss == pytest.approx(expected + 0.3 * float(more.detach()), rel=1e-12)
    assert float(step.mse) == pytest.approx(expected, rel=1e-6)  # kept in single precision


def test_labels_are_of_the_signals_that_a_batch_holds():
    field, batch = six_signals()
    step = ContrastiveStep(field, LABELS, 1.0, 0.5, **FEW_STEPS)
    order = np.array([4, 0, 3])
    some = replace(batch, context=batch.context.of_signals(order), positions=order)
    latents = step.adapt(some)
    expected = supervised_contrastive(latents, torch.tensor(LABELS[order]), 0.5)
    assert torch.equal(step.beside(some, latents)[1], expected)


@pytest.mark.parametrize("labels", [None, [0, 1]])
def test_each_signal_needs_a_label(images, labels):
    n = 0 if labels is None else len(labels)
    with pytest.raises(ValueError, match=rf"labels must have one class .* 40 signals, got {n}"):
        FunctaEncoder(**TINY, learner=ContrastiveCavia(labels)).fit(images)


def test_labels_are_of_all_signals(images):
    learner = ContrastiveCavia([0, 1] * 20, **FEW_STEPS)
    with pytest.raises(ValueError, match=r"labels of 40 .* 36 .* early_stopping must be False"):
        FunctaEncoder(**TINY, learner=learner, early_stopping=True).fit(images)


def test_labels_change_what_is_learnt(images):
    found = []
    for labels in ([0] * 40, [0, 1] * 20):
        learner = ContrastiveCavia(labels, weight=1.0, **FEW_STEPS)
        found.append(FunctaEncoder(**TINY, learner=learner).fit(images).transform(images))
    assert not np.array_equal(*found)


# --- Quantised latents ---------------------------------------------------------------------------


def test_chunks_become_their_nearest_rows():
    rng = np.random.default_rng(0)
    latents, codebook = rng.normal(size=(5, 6)), rng.normal(size=(7, 2))
    found = quantised(torch.tensor(latents), torch.tensor(codebook)).numpy()
    for row, replaced in zip(latents, found, strict=True):
        for i in (0, 2, 4):
            distances = [np.sum((row[i : i + 2] - code) ** 2) for code in codebook]
            np.testing.assert_array_equal(replaced[i : i + 2], codebook[np.argmin(distances)])


def quantising(**options):
    field, batch = six_signals()
    step = QuantisedStep(field, 5, 2, **{"commitment": 0.25, **FEW_STEPS, **options})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        step.codebook.copy_(torch.randn(5, 2, generator=generator, dtype=torch.float64) / 10)
    return step.double(), batch


def test_gradients_pass_straight_through():
    step, batch = quantising()
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(6, 4, generator=generator, dtype=torch.float64) / 10
    before, at = latents.requires_grad_(), quantised(latents.detach(), step.codebook).detach()
    at.requires_grad_()
    for start, decoded in ((before, step.beside(batch, before)[0]), (at, at)):
        context = batch.context
        context.mse(step.field(context.coords, decoded)).mean().backward()
        assert start.grad.abs().max() > 0
    torch.testing.assert_close(before.grad, at.grad, rtol=1e-12, atol=0)


def test_rows_and_latents_draw_near_each_other():
    step, batch = quantising(commitment=0.5)
    latents = torch.full((6, 4), 0.3, dtype=torch.float64, requires_grad=True)
    codes = quantised(latents, step.codebook)
    _, more = step.beside(batch, latents)
    gap = (latents - codes).detach()
    assert float(more.detach()) == pytest.approx(1.5 * float(gap.square().mean()), rel=1e-12)
    more.backward()
    torch.testing.assert_close(latents.grad, 0.5 * 2 * gap / gap.numel())
    assert float(step.codebook.grad.sum()) == pytest.approx(-2 * float(gap.mean()), rel=1e-12)


def test_encoded_signals_are_rows_of_the_codebook(images, tmp_path):
    learner = QuantisedCavia(n_codes=6, **FEW_STEPS)
    encoder = FunctaEncoder(**{**TINY, "latent_dim": 6}, learner=learner).fit(images)
    codebook = encoder.codec_.solver.codebook.numpy()
    assert codebook.shape == (6, 2)  # 6 and 4 have 2 in common
    Z = encoder.transform(images)
    rows = {code.tobytes() for code in codebook}
    assert {chunk.tobytes() for chunk in Z.reshape(-1, 2)} <= rows
    assert len(np.unique(Z, axis=0)) > 1
    encoder.save(tmp_path / "q.field")
    loaded = FunctaEncoder.load(tmp_path / "q.field")
    np.testing.assert_array_equal(loaded.transform(images), Z)


def test_the_codebook_starts_from_latents_and_is_learnt(images):
    ends = {}
    for n_steps in (1, 3):
        encoder = FunctaEncoder(
            **{**TINY, "max_iter": n_steps}, learner=QuantisedCavia(**FEW_STEPS)
        )
        ends[n_steps] = encoder.fit(images).codec_.solver.codebook
    assert 0 < ends[1].abs().max() < 1
    assert not torch.equal(ends[1], ends[3])


@pytest.mark.parametrize(
    "codebook", [torch.ones(5, 3), torch.ones(4), 1.0, torch.full((5, 2), torch.nan)]
)
def test_a_damaged_codebook_is_refused(codebook):
    QuantisedDescent(2, 0.1, torch.ones(5, 2)).check(4)
    with pytest.raises(ValueError, match="codebook must"):
        QuantisedDescent(2, 0.1, codebook).check(4)


def test_chunks_fill_the_latent(images):
    with pytest.raises(ValueError, match="chunk must divide latent_dim=4, got 3"):
        FunctaEncoder(**TINY, learner=QuantisedCavia(chunk=3)).fit(images)


# --- Pyramids ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taper", "widths"), [(0.2, (5, 4, 4, 3)), (-0.2, (3, 4, 4, 5)), (0.5, (6, 5, 3, 2))]
)
def test_a_pyramid_is_its_formula(taper, widths):
    generator = torch.Generator().manual_seed(0)
    field = PyramidSiren(2, 3, 6, 4, 5, (3.0, 7.0), taper=taper, generator=generator).double()
    assert field.widths == widths
    rng = np.random.default_rng(0)
    x, phi = torch.tensor(rng.uniform(-1, 1, (9, 2))), torch.tensor(rng.normal(size=(2, 6)))
    weights = dict(field.named_parameters())
    with torch.no_grad():
        found, features = field(x, phi), field.hidden(x, phi)
        for signal in range(2):
            shifts = weights["modulation.weight"] @ phi[signal] + weights["modulation.bias"]
            h, first = x, 0
            for k, omega in enumerate((3.0, 4.0, 5.0, 6.0)):
                W, b = weights[f"layers.{k}.weight"], weights[f"layers.{k}.bias"]
                a = torch.sin(omega * (h @ W.T + b + shifts[first : first + len(b)]))
                h = h + a if k > 0 and h.shape == a.shape else a
                first += len(b)
            y = h @ weights["output.weight"].T + weights["output.bias"] + 0.5
            torch.testing.assert_close(found[signal], y, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(features[signal], h, rtol=1e-12, atol=1e-12)
        assert first == sum(widths)


def test_a_pyramid_without_taper_is_the_published_network():
    shape = (2, 1, 3, 6, 4, (5.0, 9.0))
    pyramid = PyramidSiren(*shape, taper=0.0, generator=torch.Generator().manual_seed(3))
    siren = ModulatedSiren(*shape, generator=torch.Generator().manual_seed(3))
    for one, other in zip(pyramid.parameters(), siren.parameters(), strict=True):
        assert torch.equal(one, other)
    x, phi = torch.rand(7, 2), torch.randn(4, 3)
    torch.testing.assert_close(pyramid(x, phi), siren(x, phi))


def test_a_pyramid_goes_where_other_fields_go(images, tmp_path):
    encoder = FunctaEncoder(**TINY, field=Pyramid(-0.25), learner=Cavia(**FEW_STEPS)).fit(images)
    assert encoder.field_.widths == (6, 10)
    Z = encoder.transform(images)
    encoder.save(tmp_path / "p.field")
    loaded = FunctaEncoder.load(tmp_path / "p.field")
    np.testing.assert_array_equal(loaded.transform(images), Z)
    assert encoder.inverse_transform(Z, grid=(5, 6)).shape == (40, 5, 6)


# --- The auto-decoder ----------------------------------------------------------------------------


def test_the_auto_decoder_s_loss_and_gradient():
    field, batch = six_signals(channels=1)
    step = AutoDecoderStep(field, 9, prior_weight=0.3)
    with torch.no_grad():
        step.latents.normal_(generator=torch.Generator().manual_seed(0))
    batch = replace(batch, positions=np.array([8, 1, 3, 4, 0, 7]))
    losses = []
    for values, latent in zip(batch.context.values, step.latents[batch.positions], strict=True):
        error = (field(batch.context.coords, latent[None])[0] - values).square().mean()
        losses.append(error + 0.3 * latent.square().sum())
    loss = step(batch)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert_gradients_agree_with_differences(step, batch)
    others = [2, 5, 6]
    assert torch.equal(step.latents.grad[others], torch.zeros(3, 4, dtype=torch.float64))


def test_adam_finds_what_adam_on_each_signal_finds():
    field, batch = six_signals()
    found = AdamDescent(7, 0.05, 0.2).solve(field, batch.context)
    for i, latent in enumerate(found):
        phi = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([phi], lr=0.05)
        context = batch.context.of_signals(slice(i, i + 1))
        for _ in range(7):
            adam.zero_grad()
            loss = context.mse(field(context.coords, phi)).sum() + 0.2 * phi.square().sum()
            loss.backward()
            adam.step()
        torch.testing.assert_close(latent, phi[0].detach(), rtol=1e-9, atol=1e-12)


def autodecoded(images, **options):
    parameters = {**TINY, "max_iter": 60, "batch_size": 10, "omega": 10.0, **options}
    return FunctaEncoder(**parameters, learner="auto-decoder")


def test_latents_of_training_signals_lower_the_loss(images):
    steps = []

    class Keeping(AutoDecoder):
        def finish(self, step, store, generator, effort=1.0):
            steps.append((copy.deepcopy(step), store.batch(np.arange(40))))
            return super().finish(step, store, generator, effort)

    autodecoded(images).set_params(learner=Keeping(latent_lr=1e-2)).fit(images)
    ((step, context),) = steps
    with torch.no_grad():
        learnt = context.mse(step.field(context.coords, step.latents))
        without = context.mse(step.field(context.coords, torch.zeros_like(step.latents)))
    assert float(learnt.mean()) < 0.95 * float(without.mean())
    assert (learnt < without).float().mean() > 0.8


def test_the_auto_decoder_goes_through_every_method(images, tmp_path):
    encoder = autodecoded(images).fit(images[:30])
    new = images[30:]
    Z = encoder.transform(new)
    decoded = encoder.inverse_transform(Z)
    blank = encoder.inverse_transform(np.zeros_like(Z))
    assert np.mean((decoded - new) ** 2) < np.mean((blank - new) ** 2)
    np.testing.assert_array_equal(encoder.transform(new[3:5]), Z[3:5])
    encoder.save(tmp_path / "a.field")
    loaded = FunctaEncoder.load(tmp_path / "a.field")
    np.testing.assert_array_equal(loaded.transform(new), Z)
    assert loaded.learner_.prior_weight == 1e-4


def test_the_auto_decoder_holds_signals_out(images):
    encoder = autodecoded(images, early_stopping=True).fit(images)
    assert np.isfinite(encoder.validation_curve_).all()


def test_a_checkpoint_has_the_latents(images, tmp_path):
    whole = autodecoded(images).fit(images)
    resumed = autodecoded(images, checkpoint=tmp_path / "a.ckpt", checkpoint_every=10)
    stop = [lambda progress: progress.iteration == 30]
    resumed.set_params(callbacks=stop).fit(images)
    assert resumed.n_iter_ == 30
    resumed.set_params(callbacks=None).fit(images)
    assert resumed.n_iter_ == 60
    np.testing.assert_array_equal(resumed.loss_curve_, whole.loss_curve_)
    np.testing.assert_array_equal(resumed.transform(images), whole.transform(images))


def test_the_auto_decoder_refuses_to_go_on_with_other_signals(images):
    encoder = autodecoded(images).partial_fit(images[:20])
    with pytest.raises(ValueError, match="latent for each signal of one fit: call fit"):
        encoder.partial_fit(images[20:])


@pytest.mark.parametrize("name", ["auto-decoder", "contrastive-cavia", "quantised-cavia"])
def test_experiments_keep_to_the_fields_they_are_made_for(images, name):
    with pytest.raises(ValueError, match=f"learner='{name}' cannot train field='spatial'"):
        FunctaEncoder(**TINY, learner=name, field="spatial").fit(images)


# --- The table -----------------------------------------------------------------------------------

ROWS = [
    "as published",
    "first-order gradients",
    "selected context",
    "successive portions",
    "contrastive loss",
    "quantised latents",
    "narrowing layers",
    "widening layers",
    "auto-decoder",
]


def run(data, folder):
    pytest.importorskip("matplotlib")
    chosen = {name: TINY[name] for name in ("hidden_dim", "n_layers", "batch_size", "device")}
    chosen |= {"max_iter": 2, "learner__inner_steps": 2, "transform_steps": 2}
    budget = Budget(latent_dim=4, parameters=chosen)
    return run_table(TABLES["variants"](), data, budget, folder, lambda line: None)


def test_the_table_has_a_row_for_each_variant(tmp_path):
    rows = run(make_data(digits()[:60]), tmp_path)
    assert [row["variant"] for row in rows] == ROWS
    for row in rows:
        assert "error" not in row
        assert row["meta_steps"] == 2
        assert row["latent_dim"] == 4
        assert np.isfinite([row["psnr"], row["seconds_per_100_steps"]]).all()
        assert 0 <= row["knn_accuracy"] <= 1
    psnr = {row["variant"]: row["psnr"] for row in rows}
    assert len(set(psnr.values())) == len(ROWS)  # each of them changes what is learnt


def test_variants_differ_in_nothing_but_what_they_are_named_for():
    data = make_data(digits()[:60])
    for full, method in ((False, "cavia"), (True, "medfuncta-2d-64")):
        cells = TABLES["variants"]().cells(data, Budget(full=full))
        assert {cell["method"] for cell in cells} == {method}
        *others, last = [cell["parameters"] for cell in cells]
        assert all(parameters == others[0] for parameters in others)
        # Steps of gradient descent are not steps of Adam.
        assert last == {**others[0], "transform_steps": None}
        assert make_encoder(method, last, 0).transform_steps is None
    chosen = TABLES["variants"]().cells(data, Budget(parameters={"transform_steps": 7}))
    assert {cell["parameters"]["transform_steps"] for cell in chosen} == {7}


def test_a_loss_that_needs_labels_says_so(tmp_path):
    rows = run(make_data(digits()[:40].drop_vars("label")), tmp_path)
    errors = {row["variant"]: row["error"] for row in rows if "error" in row}
    assert errors == {"contrastive loss": "it needs signals with labels of two classes"}
    assert not any("knn_accuracy" in row for row in rows)
