"""The outer loop: curves, stopping, checkpoints, interrupts, divergence, going on."""

import copy
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from neurfield import FunctaEncoder
from neurfield.learning import Cavia, EarlyStopping

LEARNERS = ["varpro", "cavia"]


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 12)
    return np.sin(5 * t + rng.uniform(0, 6, (30, 1))) * rng.uniform(0.5, 1.0, (30, 1))


def weights(enc):
    return {name: w.clone() for name, w in enc.field_.state_dict().items()}


def assert_same_fit(a, b, X):
    torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=0)
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_curve_ == b.validation_curve_
    assert a.n_iter_ == b.n_iter_
    np.testing.assert_array_equal(a.transform(X), b.transform(X))


class At:
    """A callback that does something after one meta-step."""

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def __call__(self, progress):
        if progress.iteration == self.iteration:
            return self.action(progress)
        return None


def interrupt(progress):
    raise KeyboardInterrupt


# --- curves and stopping --------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_curves_have_an_entry_for_each_meta_step(small_encoder, X, learner):
    enc = small_encoder(learner=learner, max_iter=7).fit(X)
    assert enc.n_iter_ == 7
    assert len(enc.loss_curve_) == len(enc.psnr_curve_) == 7
    assert enc.validation_curve_ == []
    assert all(isinstance(loss, float) and np.isfinite(loss) for loss in enc.loss_curve_)


@pytest.mark.parametrize(("learner", "rate"), [("varpro", 2e-3), ("cavia", 1e-3)])
def test_training_improves_the_score(small_encoder, rng, learner, rate):
    # Waves of various frequencies lie on a curved surface, which no linear start can describe.
    frequencies, phases = rng.uniform(2, 6, (60, 1)), rng.uniform(0, 2 * np.pi, (60, 1))
    waves = np.sin(frequencies * np.linspace(0, 3, 40) + phases)
    options = {"learner": learner, "meta_lr": rate, "hidden_dim": 32, "omega": (5.0, 5.0)}
    options |= {"n_layers": 7, "field__residual_scale": 0.3, "batch_size": 60}
    options |= {"learner__inner_lr": 0.1} if learner == "cavia" else {}
    short = small_encoder(max_iter=1, **options).fit(waves).score(waves)
    long = small_encoder(max_iter=160, **options).fit(waves).score(waves)
    assert long > short + 3


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_random_state_makes_fits_repeatable(small_encoder, X, learner):
    options = {"learner": learner, "early_stopping": True, "learner__context_ratio": 0.5}
    a, b = (small_encoder(**options).fit(X) for _ in range(2))
    assert_same_fit(a, b, X)
    other = small_encoder(random_state=1, **options).fit(X)
    assert not torch.equal(weights(other)["modulation.weight"], weights(a)["modulation.weight"])


def test_global_random_state_plays_no_part(small_encoder, X):
    torch.manual_seed(1)
    np.random.seed(1)
    a = small_encoder(learner__context_ratio=0.5).fit(X)
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    b = small_encoder(learner__context_ratio=0.5).fit(X)
    assert_same_fit(a, b, X)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_a_random_state_instance_is_drawn_from(small_encoder, X):
    a = small_encoder(random_state=np.random.RandomState(5)).fit(X)
    b = small_encoder(random_state=np.random.RandomState(5)).fit(X)
    assert_same_fit(a, b, X)


def test_max_time_ends_the_fit_early(small_encoder, X):
    def slowly(progress):
        time.sleep(0.002)

    enc = small_encoder(max_iter=10**6, max_time=0.2, callbacks=[slowly]).fit(X)
    assert 1 <= enc.n_iter_ < 10**6
    assert np.isfinite(enc.transform(X)).all()


def test_max_time_brings_the_cosine_schedule_to_its_end(small_encoder, X, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("neurfield.learning.clock.time.perf_counter", lambda: next(ticks) / 1000)
    previous, steps = {}, []

    def watch(progress):
        now = copy.deepcopy(progress.field.state_dict())
        if previous:
            steps.append(max(float((now[k] - previous[k]).abs().max()) for k in now))
        previous.update(now)

    options = {"max_iter": 10**6, "max_time": 1.0, "lr_schedule": "cosine", "callbacks": [watch]}
    small_encoder(**options).fit(X)
    assert len(steps) > 40
    assert np.mean(steps[-3:]) < 0.2 * max(steps)


def test_callbacks_see_the_progress_of_each_step(small_encoder, X):
    seen = []
    enc = small_encoder(max_iter=5, callbacks=[seen.append]).fit(X)
    assert [p.iteration for p in seen] == [1, 2, 3, 4, 5]
    assert [p.loss for p in seen] == enc.loss_curve_
    assert [p.psnr for p in seen] == enc.psnr_curve_
    assert {p.max_iter for p in seen} == {5}
    assert all(p.validation_psnr is None for p in seen)
    elapsed = [p.elapsed for p in seen]
    assert elapsed == sorted(elapsed)
    assert elapsed[0] > 0
    assert seen[0].field.latent_dim == 4


def test_a_callback_can_stop_the_fit(small_encoder, X):
    other = []
    enc = small_encoder(max_iter=50, callbacks=[At(3, lambda p: True), other.append]).fit(X)
    assert enc.n_iter_ == 3
    assert len(other) == 3
    assert np.isfinite(enc.transform(X)).all()


def test_an_error_in_a_callback_is_not_swallowed(small_encoder, X):
    def fail(progress):
        raise RuntimeError("disk full")

    enc = small_encoder(callbacks=[fail])
    with pytest.raises(RuntimeError, match="disk full"):
        enc.fit(X)
    assert not hasattr(enc, "codec_")


def test_early_stopping_stops_when_nothing_improves(small_encoder, X):
    enc = small_encoder(
        max_iter=1000,
        early_stopping=True,
        early_stopping__n_iter_no_change=2,
        early_stopping__tol=1e3,
    ).fit(X)
    # The first look sets the mark; two more, 25 steps apart, fall short of it.
    assert enc.n_iter_ == 75
    assert len(enc.validation_curve_) == 3


@pytest.mark.filterwarnings("ignore:training was at:sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_keeps_the_best_weights(small_encoder, X):
    snapshots = {}

    def remember(progress):
        if progress.iteration % 25 == 0:
            snapshots[progress.iteration] = copy.deepcopy(progress.field.state_dict())
        if progress.iteration == 149:  # so that the last evaluation is not the best
            with torch.no_grad():
                progress.field.modulation.bias.add_(1.0)

    enc = small_encoder(
        learner="cavia",  # leaves the weights as training did
        meta_lr=1e-3,
        max_iter=150,
        early_stopping=True,
        early_stopping__n_iter_no_change=100,
        early_stopping__tol=0.0,
        callbacks=[remember],
    ).fit(X)
    best = 25 * (1 + int(np.argmax(enc.validation_curve_)))
    assert best < 150
    torch.testing.assert_close(weights(enc), dict(snapshots[best]), rtol=0, atol=0)


def test_held_out_signals_are_not_trained_on(small_encoder, X):
    enc = small_encoder(early_stopping=True, early_stopping__validation_fraction=0.5, max_iter=6)
    wild = X.copy()
    seed = int(check_random_state(enc.random_state).randint(2**31 - 1))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    held_out = order[:15].numpy()
    wild[held_out] = wild[held_out][:, ::-1]  # of the same range, so that scaling stays as it is
    assert enc.fit(X).loss_curve_ == enc.fit(wild).loss_curve_


def test_verbose_shows_progress_on_stderr_and_silence_is_silent(small_encoder, X, capfd):
    small_encoder(verbose=0).fit(X)
    assert capfd.readouterr() == ("", "")
    small_encoder(verbose=1).fit(X)
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err
    assert "dB" in err


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("stop_at", [7, 30])
def test_resuming_after_an_interrupt_changes_nothing(
    small_encoder, X, tmp_path, learner, early_stopping, stop_at
):
    options = {"learner": learner, "learner__context_ratio": 0.5}
    options |= {"max_iter": 40, "lr_schedule": "cosine"}
    options |= {"early_stopping": EarlyStopping(n_iter_no_change=50) if early_stopping else False}
    whole = small_encoder(**options).fit(X)
    path = tmp_path / "fit.checkpoint"
    with pytest.warns(ConvergenceWarning, match=f"interrupted after {stop_at} meta-steps"):
        small_encoder(checkpoint=path, callbacks=[At(stop_at, interrupt)], **options).fit(X)
    assert path.exists()
    steps = []
    resumed = small_encoder(checkpoint=path, callbacks=[steps.append], **options).fit(X)
    assert [p.iteration for p in steps] == list(range(stop_at + 1, 41))
    assert_same_fit(resumed, whole, X)


def test_resuming_after_an_error_goes_back_to_the_last_checkpoint(small_encoder, X, tmp_path):
    def fail(progress):
        raise RuntimeError

    path = tmp_path / "fit.checkpoint"
    options = {"max_iter": 20, "checkpoint": path, "checkpoint_every": 4}
    options |= {"learner__context_ratio": 0.5}
    with pytest.raises(RuntimeError):
        small_encoder(callbacks=[At(11, fail)], **options).fit(X)
    steps = []
    resumed = small_encoder(callbacks=[steps.append], **options).fit(X)
    assert steps[0].iteration == 9
    assert_same_fit(resumed, small_encoder(max_iter=20, learner__context_ratio=0.5).fit(X), X)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_a_callback_has_ended_is_resumed_from_there(
    small_encoder, X, tmp_path, early_stopping
):
    options = {"max_iter": 40, "learner__context_ratio": 0.5, "early_stopping": early_stopping}
    whole = small_encoder(**options).fit(X)
    options["checkpoint"] = tmp_path / "fit.checkpoint"
    assert small_encoder(callbacks=[At(7, lambda p: True)], **options).fit(X).n_iter_ == 7
    steps = []
    resumed = small_encoder(callbacks=[steps.append], **options).fit(X)
    assert [p.iteration for p in steps] == list(range(8, 41))
    assert_same_fit(resumed, whole, X)


def test_a_fit_whose_time_a_callback_has_used_up_has_its_last_step_on_disk(
    small_encoder, X, tmp_path, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr("neurfield.learning.clock.time.perf_counter", lambda: now[0])

    def slowly(progress):
        now[0] += 1e6

    options = {"max_iter": 40, "checkpoint": tmp_path / "fit.checkpoint"}
    options |= {"max_time": 1e3, "callbacks": [At(7, slowly)]}
    assert small_encoder(**options).fit(X).n_iter_ == 7
    steps = []
    small_encoder(**options | {"callbacks": [steps.append]}).fit(X)
    assert steps[0].iteration == 8


def test_a_checkpoint_in_itself_changes_nothing(small_encoder, X, tmp_path):
    path = tmp_path / "fit.checkpoint"
    kept = small_encoder(checkpoint=path, checkpoint_every=1, max_iter=10).fit(X)
    assert_same_fit(kept, small_encoder(max_iter=10).fit(X), X)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.checkpoint"]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_finished_fit_is_taken_from_its_checkpoint(small_encoder, X, tmp_path, early_stopping):
    options = {"max_iter": 30, "early_stopping": early_stopping}
    options["checkpoint"] = tmp_path / "fit.checkpoint"
    first = small_encoder(**options).fit(X)
    steps = []
    second = small_encoder(callbacks=[steps.append], **options).fit(X)
    assert steps == []
    assert_same_fit(second, first, X)


def test_resuming_without_a_random_state_continues_the_first_draw(small_encoder, X, tmp_path):
    path = tmp_path / "fit.checkpoint"
    options = {"random_state": None, "max_iter": 30, "early_stopping": True}
    options |= {"learner__context_ratio": 0.5}
    np.random.seed(3)
    whole = small_encoder(**options).fit(X)
    np.random.seed(3)
    with pytest.warns(ConvergenceWarning):
        small_encoder(checkpoint=path, callbacks=[At(6, interrupt)], **options).fit(X)
    np.random.seed(4)
    assert_same_fit(small_encoder(checkpoint=path, **options).fit(X), whole, X)


def test_numbers_of_numpy_types_do_not_spoil_a_checkpoint(small_encoder, X, tmp_path):
    options = {
        "latent_dim": np.int64(4),
        "meta_lr": np.float64(1e-3),
        "omega": (np.float32(20.0), np.float64(40.0)),
        "early_stopping": np.True_,
        "max_iter": 12,
        "checkpoint": tmp_path / "fit.checkpoint",
    }
    with pytest.warns(ConvergenceWarning):
        small_encoder(callbacks=[At(6, interrupt)], **options).fit(X)
    assert small_encoder(**options).fit(X).n_iter_ == 12


def test_checkpoints_of_another_fit_are_refused(small_encoder, X, tmp_path):
    path = tmp_path / "fit.checkpoint"
    small_encoder(checkpoint=path).fit(X)
    with pytest.raises(ValueError, match=r"fit\.checkpoint.*another fit.*latent_dim: 4.*5.*here"):
        small_encoder(checkpoint=path, latent_dim=5).fit(X)
    with pytest.raises(ValueError, match=r"another fit.*data"):
        small_encoder(checkpoint=path).fit(X + 1)
    with pytest.raises(ValueError, match=r"another fit.*learner: 'varpro' there, 'cavia' here"):
        small_encoder(checkpoint=path, learner="cavia").fit(X)


@pytest.mark.parametrize("content", ["", "no checkpoint", "truncated", "foreign"])
def test_damaged_checkpoints_are_refused(small_encoder, X, tmp_path, content):
    path = tmp_path / "fit.checkpoint"
    small_encoder(checkpoint=path).fit(X)
    whole = path.read_bytes()
    if content == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if content == "truncated" else content.encode())
    with pytest.raises(ValueError, match=r"fit\.checkpoint"):
        small_encoder(checkpoint=path).fit(X)


def test_a_checkpoint_that_cannot_be_written_is_known_before_training(small_encoder, X, tmp_path):
    steps = []
    enc = small_encoder(checkpoint=tmp_path / "absent" / "c", callbacks=[steps.append])
    with pytest.raises((ValueError, OSError), match="absent"):
        enc.fit(X)
    assert steps == []


_VICTIM = """
import os, signal, sys
import numpy as np
from neurfield import FunctaEncoder

path, learner, victim = sys.argv[1], sys.argv[2], sys.argv[3] == "victim"

def kill(progress):
    if victim and progress.iteration == 13:
        os.kill(os.getpid(), signal.SIGKILL)

X = np.load(os.path.join(os.path.dirname(path), "X.npy"))
enc = FunctaEncoder(
    latent_dim=4, hidden_dim=8, n_layers=3, batch_size=8, max_iter=30,
    learner=learner, device="cpu", random_state=0, early_stopping=True,
    checkpoint=path, checkpoint_every=5, callbacks=[kill],
).set_params(learner__context_ratio=0.5).fit(X)
np.save(path + ".latents.npy", enc.transform(X))
np.savez(path + ".weights.npz", **{k: v.numpy() for k, v in enc.field_.state_dict().items()})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_fit_resumes_to_the_same_weights(X, tmp_path):
    np.save(tmp_path / "X.npy", X)

    def run(name, role):
        command = [sys.executable, "-c", _VICTIM, str(tmp_path / name), "varpro", role]
        return subprocess.run(command, capture_output=True, text=True, timeout=300).returncode

    assert run("killed", "victim") == -signal.SIGKILL
    assert (tmp_path / "killed").exists()
    assert not (tmp_path / "killed.latents.npy").exists()
    assert run("killed", "survivor") == 0
    assert run("whole", "survivor") == 0
    with (
        np.load(tmp_path / "killed.weights.npz") as resumed,
        np.load(tmp_path / "whole.weights.npz") as whole,
    ):
        assert set(resumed) == set(whole)
        for name in whole:
            np.testing.assert_array_equal(resumed[name], whole[name])
    np.testing.assert_array_equal(
        np.load(tmp_path / "killed.latents.npy"), np.load(tmp_path / "whole.latents.npy")
    )


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_ctrl_c_leaves_a_fitted_estimator(small_encoder, X, learner):
    def press(progress):
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    enc = small_encoder(learner=learner, max_iter=1000, callbacks=[At(4, press)])
    with pytest.warns(ConvergenceWarning, match="interrupted after 4 meta-steps"):
        assert enc.fit(X) is enc
    assert enc.n_iter_ == 4
    assert np.isfinite(enc.inverse_transform(enc.transform(X))).all()
    assert np.isfinite(enc.score(X))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_returns_to_the_best_weights(small_encoder, X):
    snapshots = {}

    def remember(progress):
        snapshots[progress.iteration] = copy.deepcopy(progress.field.state_dict())

    enc = small_encoder(
        learner="cavia",
        meta_lr=0.005,
        max_iter=200,
        early_stopping=True,
        early_stopping__n_iter_no_change=100,
        early_stopping__tol=0.0,
        callbacks=[remember, At(140, interrupt)],
    )
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        enc.fit(X)
    best = 25 * (1 + int(np.argmax(enc.validation_curve_)))
    torch.testing.assert_close(weights(enc), dict(snapshots[best]), rtol=0, atol=0)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("stop_at", [20, 45])
def test_an_interrupt_leaves_what_a_stopping_callback_leaves(small_encoder, X, learner, stop_at):
    options = {"learner": learner, "max_iter": 200, "meta_lr": 1e-3, "omega": (5.0, 5.0)}
    stopped = small_encoder(callbacks=[At(stop_at, lambda p: True)], **options).fit(X)
    with pytest.warns(ConvergenceWarning, match=f"after {stop_at} meta-steps; .* last weights"):
        cut = small_encoder(callbacks=[At(stop_at, interrupt)], **options).fit(X)
    assert cut.loss_curve_ == stopped.loss_curve_
    if learner == "cavia":  # leaves the weights as training did
        torch.testing.assert_close(weights(cut), weights(stopped), rtol=0, atol=0)
    assert cut.score(X) == pytest.approx(stopped.score(X), abs=1.0)  # less is done at its end


def test_an_interrupt_before_the_first_evaluation_keeps_what_was_learnt(small_encoder, rng):
    frequencies, phases = rng.uniform(2, 6, (60, 1)), rng.uniform(0, 2 * np.pi, (60, 1))
    waves = np.sin(frequencies * np.linspace(0, 3, 40) + phases)
    options = {"hidden_dim": 32, "omega": (5.0, 5.0), "batch_size": 60, "lr_schedule": "constant"}
    start = small_encoder(max_iter=1, meta_lr=1e-12, **options).fit(waves).score(waves)
    whole = small_encoder(max_iter=20, **options).fit(waves).score(waves)
    options |= {"max_iter": 200, "callbacks": [At(20, interrupt)]}
    with pytest.warns(ConvergenceWarning, match="interrupted after 20 meta-steps"):
        cut = small_encoder(**options).fit(waves)
    assert cut.score(waves) == pytest.approx(whole, abs=0.1)
    assert cut.score(waves) > start + 1


def test_an_interrupt_of_a_fit_that_has_lost_ground_goes_back(small_encoder, X):
    def spoil(progress):
        with torch.no_grad():
            progress.field.modulation.bias.add_(1.0)

    enc = small_encoder(callbacks=[At(26, spoil), At(45, interrupt)], max_iter=200)
    with pytest.warns(ConvergenceWarning, match="best weights so far, those of meta-step 25"):
        enc.fit(X)


@pytest.mark.parametrize("stop_at", [7, 26])
def test_an_interrupt_in_the_middle_of_a_step_can_be_resumed_from(
    small_encoder, X, tmp_path, monkeypatch, stop_at
):
    from neurfield.learning.learners.cavia import CaviaStep

    options = {"learner": "cavia", "max_iter": 40, "learner__context_ratio": 0.5}
    whole = small_encoder(**options).fit(X)
    forward, calls = CaviaStep.forward, []

    def press_twice(step, batch):
        calls.append(None)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return forward(step, batch)

    options["checkpoint"] = tmp_path / "fit.checkpoint"
    monkeypatch.setattr(CaviaStep, "forward", press_twice)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        cut = small_encoder(**options).fit(X)
    monkeypatch.undo()
    assert cut.n_iter_ == len(cut.loss_curve_) == stop_at - 1
    assert_same_fit(small_encoder(**options).fit(X), whole, X)


def test_fit_works_off_the_main_thread(small_encoder, X):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        enc = pool.submit(small_encoder().fit, X).result()
    assert_same_fit(enc, small_encoder().fit(X), X)


# --- divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_absurd_learning_rate_warns_and_leaves_finite_weights(small_encoder, X, learner):
    enc = small_encoder(learner=learner, meta_lr=1e30, max_iter=60, lr_schedule="constant")
    with pytest.warns(ConvergenceWarning, match=r"meta-loss.*meta_lr"):
        enc.fit(X)
    assert all(torch.isfinite(w).all() for w in weights(enc).values())
    assert np.isfinite(enc.transform(X)).all()
    assert np.isfinite(enc.inverse_transform(enc.transform(X))).all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_diverged_fit_is_no_worse_than_its_start(small_encoder, X, learner):
    enc = small_encoder(learner=learner, meta_lr=1e4, max_iter=60, lr_schedule="constant")
    with pytest.warns(ConvergenceWarning):
        enc.fit(X)
    start = small_encoder(learner=learner, meta_lr=1e-12, max_iter=1).fit(X)
    assert enc.score(X) > start.score(X) - 1


def test_a_fit_that_falls_behind_goes_back_and_goes_on(small_encoder, X):
    def spoil(progress):
        if progress.iteration == 60:
            with torch.no_grad():
                progress.field.modulation.bias.add_(1.0)

    enc = small_encoder(learner="varpro", max_iter=100, callbacks=[spoil])
    with pytest.warns(ConvergenceWarning, match=r"after meta-step 75.*back to .*meta_lr × 0.5"):
        enc.fit(X)
    undisturbed = small_encoder(learner="varpro", max_iter=100).fit(X)
    assert enc.n_iter_ == 100
    assert enc.score(X) > undisturbed.score(X) - 3


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_warm_start_continues_from_the_last_weights(small_encoder, X, learner):
    enc = small_encoder(learner=learner, max_iter=60, warm_start=True, omega=(5.0, 5.0)).fit(X)
    trained = enc.score(X)
    enc.set_params(max_iter=1, meta_lr=1e-9).fit(X)
    assert enc.score(X) == pytest.approx(trained, abs=1.0)  # a fresh start is 10 dB below
    assert enc.n_iter_ == 1
    enc.set_params(warm_start=False).fit(X)
    fresh = small_encoder(learner=learner, max_iter=1, meta_lr=1e-9, omega=(5.0, 5.0)).fit(X)
    assert_same_fit(enc, fresh, X)


def test_warm_start_keeps_coordinates_and_scaling(small_encoder, X):
    enc = small_encoder(warm_start=True).fit(X)
    frame, scaler = enc.codec_.units.frame, enc.codec_.units.scaler
    enc.fit(0.5 * X)
    np.testing.assert_array_equal(enc.codec_.units.frame.half_width, frame.half_width)
    np.testing.assert_array_equal(enc.codec_.units.scaler.scale, scaler.scale)


def test_warm_start_refuses_another_shape_of_field_and_keeps_the_old_fit(small_encoder, X):
    enc = small_encoder(warm_start=True).fit(X)
    Z = enc.transform(X)
    for change in ({"latent_dim": 5}, {"hidden_dim": 9}, {"n_layers": 4}, {"omega": (1.0, 2.0)}):
        changed = copy.deepcopy(enc).set_params(**change)
        name = next(iter(change))
        with pytest.raises(ValueError, match=f"warm_start=True continues a field with {name}="):
            changed.fit(X)
        np.testing.assert_array_equal(changed.transform(X), Z)


def test_partial_fit_passes_once_over_the_signals(small_encoder, X):
    enc = small_encoder(batch_size=8)
    assert enc.partial_fit(X) is enc
    assert enc.n_iter_ == 4  # 30 signals in batches of 8
    enc.partial_fit(X[:10])
    assert enc.n_iter_ == 6
    assert len(enc.loss_curve_) == len(enc.psnr_curve_) == 6
    assert enc.transform(X).shape == (30, 4)
    assert enc.inverse_transform(enc.transform(X)).shape == X.shape


@pytest.mark.parametrize("learner", LEARNERS)
def test_partial_fit_learns(small_encoder, X, learner):
    enc = small_encoder(learner=learner, meta_lr=1e-3, hidden_dim=16, omega=(5.0, 5.0))
    first = enc.partial_fit(X).score(X)
    for _ in range(20):
        enc.partial_fit(X)
    assert enc.score(X) > first + 2


def test_partial_fit_continues_after_fit_and_after_pickling(small_encoder, X):
    import pickle

    enc = small_encoder(max_iter=60, omega=(5.0, 5.0), meta_lr=1e-4).fit(X)
    score = enc.score(X)
    assert enc.partial_fit(X).score(X) > score - 1
    copied = pickle.loads(pickle.dumps(enc))
    np.testing.assert_array_equal(copied.transform(X), enc.transform(X))
    assert copied.partial_fit(X).score(X) > score - 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"learner": "varpro"}, {"learner": "cavia"}),
        ({"learner": "cavia"}, {"learner": "varpro"}),
        ({"learner": "cavia"}, {"meta_lr": 1e-2}),
        ({"learner": "cavia"}, {"learner__learn_inner_lr": True}),
    ],
)
def test_partial_fit_follows_changed_parameters(small_encoder, X, before, after):
    enc = small_encoder(**before).partial_fit(X)
    as_before, changed = copy.deepcopy(enc), copy.deepcopy(enc)
    as_before.partial_fit(X)  # like a pickle, a copy begins with a new optimiser
    changed.set_params(**after).partial_fit(X)
    enc.set_params(**after).partial_fit(X)
    np.testing.assert_array_equal(enc.transform(X), changed.transform(X))
    assert not np.array_equal(enc.transform(X), as_before.transform(X))
    assert enc.settings_ == changed.settings_
    assert enc.learner_.to_plain() == changed.learner_.to_plain()


def test_partial_fit_is_the_same_for_any_number_of_steps_to_encode(small_encoder, X):
    enc, other = (small_encoder().partial_fit(X) for _ in range(2))
    enc.partial_fit(X)
    other.set_params(transform_steps=1).partial_fit(X)
    assert enc.loss_curve_ == other.loss_curve_


def test_partial_fit_goes_on_when_defaults_for_fewer_signals_would_differ(
    small_encoder, rng, monkeypatch
):
    monkeypatch.setattr("neurfield.learning.learners.varpro._MANY_SIGNALS", 20)
    images = rng.random((20, 12, 12))
    enc = small_encoder(n_layers=None).partial_fit(images)
    learner = enc.learner_
    assert learner.inner_steps > 1
    enc.partial_fit(images[:5])
    assert enc.settings_ == learner.settings
    assert enc.learner_.get_params() == learner.get_params()


def test_partial_fit_after_fit_trains_the_newer_field(small_encoder, X):
    enc = small_encoder().partial_fit(X).fit(X)
    other = small_encoder().fit(X)
    np.testing.assert_array_equal(
        enc.partial_fit(X).transform(X), other.partial_fit(X).transform(X)
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_settings_tell_the_shape_of_a_field_that_is_continued(small_encoder, X, method):
    enc = small_encoder(n_layers=None, warm_start=True).fit(X)
    enc.set_params(
        learner="cavia", learner__inner_steps=1
    )  # whose default is another number of layers
    settings = getattr(enc, method)(X).settings_
    assert settings.n_layers == enc.field_.n_layers
    assert settings.residual_scale == enc.field_.residual_scale


def test_partial_fit_refuses_other_signals_than_before(small_encoder, X):
    enc = small_encoder().partial_fit(X)
    with pytest.raises(ValueError, match="12"):
        enc.partial_fit(X[:, :10])


def test_fit_starts_anew_after_fit(small_encoder, X):
    enc = small_encoder().fit(X[:, :10])
    assert_same_fit(enc.fit(X), small_encoder().fit(X), X)


def test_a_failing_fit_leaves_the_earlier_one_in_place(small_encoder, X):
    enc = small_encoder().fit(X)
    Z = enc.transform(X)
    with pytest.raises(ValueError, match="infinity"):
        enc.fit(np.where(X > 0.9, np.inf, X))
    np.testing.assert_array_equal(enc.transform(X), Z)


def test_presets_are_the_published_configurations():
    enc = FunctaEncoder.from_preset("medfuncta-2d-64")
    assert isinstance(enc.learner, Cavia)
    expected = {
        "n_layers": 15,
        "hidden_dim": 256,
        "latent_dim": 2048,
        "omega": (10.0, 80.0),
        "learner__context_ratio": 0.25,
        "batch_size": 24,
        "learner__inner_steps": 10,
        "learner__inner_lr": 1e-2,
        "transform_steps": 20,
        "meta_lr": 3e-6,
    }
    assert {name: enc.get_params()[name] for name in expected} == expected
    assert FunctaEncoder.from_preset("medfuncta-1d", max_iter=5).max_iter == 5
    with pytest.raises(ValueError, match=r"name must be one of .*medfuncta-1d.*got 'medfuncta-4d'"):
        FunctaEncoder.from_preset("medfuncta-4d")


def test_published_preset_fits_and_encodes(X):
    enc = FunctaEncoder.from_preset(
        "medfuncta-1d", max_iter=2, batch_size=4, hidden_dim=8, latent_dim=4, device="cpu"
    ).fit(X)
    assert enc.settings_.n_layers == 8
    assert enc.settings_.residual_scale == enc.settings_.output_scale == 1.0
    assert enc.transform(X[:3]).shape == (3, 4)
