"""The time of a fit: what it is divided between, and what is left undone when there is none."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from neurfield.learning import Clock, ContextStore, VarPro
from neurfield.learning import clock as clock_module
from neurfield.learning.optimizers import Muon, orthogonalised
from neurfield.validation import validated_signals


class Time:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def now(monkeypatch):
    made = Time()
    monkeypatch.setattr(clock_module.time, "perf_counter", made)
    return made


def test_a_clock_runs_from_when_it_was_made_and_keeps_its_reserve(now):
    clock = Clock(limit=10.0, reserve=2.0, started=now())
    now.now += 4.0
    assert clock.elapsed == 4.0
    assert clock.progress == 0.5
    assert clock.has_time_for(7.9)  # ends less than half of it late
    assert not clock.has_time_for(8.0)
    assert clock.effort(3.0) == 1.0
    assert clock.effort(12.0) == 0.5
    now.now += 10.0
    assert clock.effort(3.0) == 0.0


def test_a_clock_without_limit_has_time_for_everything(now):
    clock = Clock(None, started=now())
    now.now += 1e6
    assert clock.has_time_for(1e9)
    assert clock.effort(1e9) == 1.0
    assert clock.progress == 0.0


def test_progress_begins_with_the_first_step(now):
    clock = Clock(limit=10.0, reserve=2.0, started=now())
    clock.first_step = 4.0
    now.now += 4.0
    assert clock.progress == 0.0
    now.now += 2.0
    assert clock.progress == 0.5


def test_time_before_an_interruption_counts(now):
    assert Clock(10.0, before=3.0, started=now()).elapsed == 3.0


def test_preparation_counts_toward_max_time(small_encoder, rng, monkeypatch):
    """A start that takes all the time leaves room for one meta-step."""
    time = Time()
    monkeypatch.setattr(clock_module.time, "perf_counter", time)
    initialise = VarPro.initialise

    def slow(self, *args):
        initialise(self, *args)
        time.now += 60.0

    monkeypatch.setattr(VarPro, "initialise", slow)
    enc = small_encoder(max_iter=50, max_time=60.0).fit(rng.random((30, 16)))
    assert enc.n_iter_ == 1


def test_work_at_the_end_is_divided_by_the_time_left(small_encoder, rng, monkeypatch):
    efforts = []
    finish = VarPro.finish

    def noted(self, step, store, generator, effort=1.0):
        efforts.append(effort)
        return finish(self, step, store, generator, effort)

    monkeypatch.setattr(VarPro, "finish", noted)
    monkeypatch.setattr(VarPro, "finishing_operations", lambda *_: 1e30)
    X = rng.random((30, 16))
    small_encoder(max_time=5.0).fit(X)
    small_encoder().fit(X)
    assert efforts[0] < 1.0
    assert efforts[1] == 1.0


def test_operations_at_the_end_grow_with_latents_points_and_signals(small_encoder, rng):
    def count(n, size, latent_dim):
        enc = small_encoder(latent_dim=latent_dim, max_iter=1).fit(rng.random((n, size)))
        codec, signals = enc.codec_, rng.random((n, size))
        store = codec.store(validated_signals(enc, signals, reset=False))
        assert isinstance(store, ContextStore)
        return enc.learner_.finishing_operations(codec.field, store)

    least = count(20, 16, 4)
    assert count(20, 64, 4) > least
    assert count(20, 16, 8) > least


def test_ctrl_c_after_the_last_meta_step_leaves_a_fitted_encoder(small_encoder, rng, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(VarPro, "finish", interrupted)
    X = rng.random((30, 16))
    with pytest.warns(ConvergenceWarning, match="interrupted after its last meta-step"):
        enc = small_encoder().fit(X)
    assert np.isfinite(enc.transform(X)).all()
    assert enc.codec_.posterior is None


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (16, 16)])
def test_muon_is_torchs_to_the_rounding_of_bfloat16(shape):
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    steps = Muon([ours], lr=0.1, weight_decay=0.3), torch.optim.Muon([theirs], 0.1, 0.3)
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in steps:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=5e-3)


def test_orthogonalised_matrices_keep_singular_vectors_and_level_singular_values():
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    core = u.T @ orthogonalised(matrix) @ v.T
    values = core.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    torch.testing.assert_close(core, torch.diag(values), rtol=0.0, atol=1e-9)
