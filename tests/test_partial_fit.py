"""``partial_fit`` ends as ``fit`` does, and whatever acts on ``fit`` acts on it."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from neurfield.learning import Cavia, EarlyStopping

T = np.linspace(0, 1, 40)
SHAPES = np.stack([np.sin(2 * k * T + k) / k for k in range(1, 5)])


def draw(n, seed):
    rng = np.random.default_rng(seed)
    truth = 0.5 + rng.normal(size=(n, 4)) * [0.3, 0.2, 0.1, 0.1] @ SHAPES
    return truth + 0.02 * rng.normal(size=truth.shape)


@pytest.fixture(scope="module")
def X():
    return draw(300, 0)


@pytest.fixture(scope="module")
def part():
    """Three values of each signal."""
    new = draw(60, 1)
    few = np.full_like(new, np.nan)
    few[:, 10:13] = new[:, 10:13]
    return few


@pytest.fixture
def encoder(small_encoder):
    size = {"hidden_dim": 32, "omega": (8.0, 8.0), "max_iter": 60, "batch_size": 100}
    return small_encoder(**size)


def error(encoder, part):
    decoded = encoder.inverse_transform(encoder.transform(part))
    return float(np.sqrt(np.mean((decoded - draw(60, 1)) ** 2)))


def several_passes(encoder, X, n=20):
    for _ in range(n):
        encoder.partial_fit(X)
    return encoder


# --- What it leaves ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["after fit", "alone", "after loading", "after pickling"])
def test_partly_observed_signals_are_decoded_as_well_as_after_fit(encoder, X, part, how, tmp_path):
    fitted = clone(encoder).fit(X)
    if how == "alone":
        passed = several_passes(clone(encoder), X)
    elif how == "after loading":
        fitted.save(tmp_path / "model.field")
        passed = type(encoder).load(tmp_path / "model.field").partial_fit(X)
    elif how == "after pickling":
        passed = pickle.loads(pickle.dumps(fitted)).partial_fit(X)
    else:
        passed = copy.deepcopy(fitted).partial_fit(X)
    assert error(passed, part) < 1.25 * error(fitted, part)
    # A solver without the prior of the training signals knows less by far.
    assert error(fitted, part) < 0.8 * error(fitted_without_prior(fitted), part)


def fitted_without_prior(fitted):
    import torch

    from neurfield.learning.solvers import LevenbergMarquardt

    plain = copy.deepcopy(fitted)
    solver = plain.codec_.solver
    ridge = solver.precision.diagonal().min() * torch.eye(4)
    plain.codec_.solver = LevenbergMarquardt(solver.steps, ridge, solver.reference_count)
    return plain


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_it_knows_how_sure_it_is(encoder, X, first):
    getattr(encoder, first)(X)
    several_passes(encoder, X, 20)
    new = draw(60, 1)
    hidden = np.random.default_rng(2).random(new.shape) > 0.25
    part = np.where(hidden, np.nan, new)
    Z = encoder.transform(part)
    decoded, std = encoder.inverse_transform(Z, return_std=True, observed=part)
    covered = np.abs(decoded - new)[hidden] < 1.645 * std[hidden]
    assert 0.85 <= covered.mean() <= 0.95


def test_it_has_every_attribute_that_fit_leaves(encoder, X):
    def attributes(fitted):
        return {name for name in dir(fitted) if name.endswith("_") and not name.startswith("_")}

    fitted, passed = clone(encoder).fit(X), clone(encoder).partial_fit(X)
    assert attributes(passed) == attributes(fitted)
    assert type(passed.codec_.posterior) is type(fitted.codec_.posterior)
    assert passed.learner_.get_params() == fitted.learner_.get_params()


def test_latents_are_in_canonical_coordinates_after_each_pass(encoder, X):
    for _ in range(3):
        Z = encoder.partial_fit(X).transform(X)
        variances = Z.var(axis=0)
        assert (np.diff(variances) < 1e-3 * variances.max()).all()


def test_a_pass_with_patches_and_lists(small_encoder):
    images = np.random.default_rng(0).random((12, 6, 8))
    encoder = small_encoder(patch_size=4).fit(images).partial_fit(images)
    Z = encoder.transform(images)
    std = encoder.inverse_transform(Z, return_std=True, observed=images)[1]
    assert (std > 0).all()
    ragged = [image[: 5 + i % 2] for i, image in enumerate(images)]
    encoder = small_encoder().fit(ragged).partial_fit(ragged)
    std = encoder.inverse_transform(encoder.transform(ragged), return_std=True, observed=ragged)[1]
    assert all((one > 0).all() for one in std)


# --- What acts on it -----------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["varpro", "cavia"])
@pytest.mark.parametrize("first", [None, "fit", "partial_fit"])
def test_callbacks_are_called_and_can_stop_it(encoder, X, learner, first):
    encoder.set_params(learner=learner, batch_size=50)
    before = 0 if first is None else getattr(encoder, first)(X).n_iter_
    seen = []
    encoder.set_params(callbacks=[seen.append]).partial_fit(X)
    assert [p.iteration for p in seen] == list(range(before + 1, before + 7))
    assert {p.max_iter for p in seen} == {before + 6}
    assert [p.loss for p in seen] == encoder.loss_curve_[before:]
    encoder.set_params(callbacks=[lambda p: p.iteration == before + 8]).partial_fit(X)
    assert encoder.n_iter_ == before + 8
    assert np.isfinite(encoder.transform(X)).all()


def test_max_time_ends_it(encoder, X):
    def slowly(progress):
        time.sleep(0.002)

    encoder.set_params(max_time=1e-9, batch_size=10, callbacks=[slowly])
    assert encoder.partial_fit(X).n_iter_ == 1
    assert encoder.partial_fit(X).n_iter_ == 2  # each call has its own time
    assert encoder.set_params(max_time=1000.0).partial_fit(X).n_iter_ == 32


def test_verbose_shows_progress(encoder, X, capfd):
    encoder.partial_fit(X)
    assert capfd.readouterr() == ("", "")
    encoder.set_params(verbose=1).partial_fit(X)
    assert "6/6" in capfd.readouterr().err


def test_early_stopping_holds_signals_out_of_it(encoder, X):
    stopping = EarlyStopping(validation_fraction=0.2, n_iter_no_change=1, tol=1e3)
    encoder.set_params(early_stopping=stopping, batch_size=4).partial_fit(X)
    # 240 signals to train on are 60 meta-steps; the second look, at 50, falls short of the first.
    assert encoder.n_iter_ == 50
    assert len(encoder.validation_curve_) == 2
    encoder.set_params(early_stopping__n_iter_no_change=100).partial_fit(X)
    assert encoder.n_iter_ == 110
    assert len(encoder.validation_curve_) > 2


def test_ctrl_c_leaves_a_fitted_estimator(encoder, X):
    def press(progress):
        if progress.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    encoder.set_params(callbacks=[press], batch_size=50)
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 meta-steps"):
        encoder.partial_fit(X)
    assert encoder.n_iter_ == 2
    Z = encoder.transform(X)
    assert np.isfinite(encoder.inverse_transform(Z, return_std=True, observed=X)).all()
    assert encoder.set_params(callbacks=None).partial_fit(X).n_iter_ == 8


def test_a_loss_that_is_not_finite_goes_back(encoder, X):
    def spoil(progress):
        if progress.iteration == 3:
            progress.field.output.bias.data.fill_(np.nan)

    encoder.set_params(callbacks=[spoil], batch_size=50)
    with pytest.warns(ConvergenceWarning, match=r"non-finite at meta-step 4.*meta_lr × 0\.5"):
        encoder.partial_fit(X)
    assert np.isnan(encoder.loss_curve_[3])
    assert np.isfinite(encoder.transform(X)).all()
    assert np.isfinite(encoder.set_params(callbacks=None).partial_fit(X).loss_curve_[6:]).all()


# --- Checkpoints ---------------------------------------------------------------------------------


def stop_at(iteration):
    def stop(progress):
        if progress.iteration == iteration:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("learner", ["varpro", Cavia(inner_steps=2, context_ratio=0.5)])
@pytest.mark.parametrize("first", [None, "fit"])
def test_an_interrupted_pass_is_resumed(encoder, X, learner, first, tmp_path):
    encoder.set_params(learner=clone(learner, safe=False), batch_size=50)
    if first is not None:
        getattr(encoder, first)(X)
    before = getattr(encoder, "n_iter_", 0)
    whole, cut = copy.deepcopy(encoder).partial_fit(X), copy.deepcopy(encoder)
    again = copy.deepcopy(encoder)
    path = tmp_path / "pass.checkpoint"
    cut.set_params(checkpoint=path, callbacks=[stop_at(before + 3)])
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        cut.partial_fit(X)
    steps = []
    again.set_params(checkpoint=path, callbacks=[steps.append]).partial_fit(X)
    assert [p.iteration for p in steps] == [before + 4, before + 5, before + 6]
    assert again.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))


def fail_at(iteration):
    def fail(progress):
        if progress.iteration == iteration:
            raise RuntimeError("disk full")

    return fail


@pytest.mark.parametrize("how", ["loaded", "retried"])
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_a_resumed_pass_holds_out_the_same_signals(encoder, X, first, how, tmp_path):
    """The random numbers of a second pass go on, those of a loaded encoder begin anew."""
    stopping = EarlyStopping(validation_fraction=0.3, n_iter_no_change=100, tol=0.0)
    encoder.set_params(early_stopping=stopping, batch_size=5, max_iter=10)
    whole, cut = (getattr(clone(encoder), first)(X) for _ in range(2))
    cut.save(tmp_path / "model.field")
    before = cut.n_iter_
    whole.partial_fit(X)
    assert whole.n_iter_ == before + 42
    path = {"checkpoint": tmp_path / "pass.checkpoint", "checkpoint_every": 1}
    with pytest.raises(RuntimeError, match="disk full"):
        cut.set_params(**path, callbacks=[fail_at(before + 30)]).partial_fit(X)
    again = cut if how == "retried" else type(encoder).load(tmp_path / "model.field")
    steps = []
    again.set_params(**path, callbacks=[steps.append]).partial_fit(X)
    assert [p.iteration for p in steps] == list(range(before + 31, before + 43))
    assert again.loss_curve_ == whole.loss_curve_
    assert again.validation_curve_ == whole.validation_curve_
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))


_PASS = """
import os, signal, sys
import numpy as np
from neurfield import FunctaEncoder

model, path, role, out = sys.argv[1:]

def kill(progress):
    if role == "victim" and progress.iteration == 63:
        os.kill(os.getpid(), signal.SIGKILL)

encoder = FunctaEncoder.load(model)
encoder.set_params(callbacks=[kill], batch_size=50)
if role != "whole":
    encoder.set_params(checkpoint=path, checkpoint_every=1)
X = np.load(os.path.join(os.path.dirname(model), "X.npy"))
print(encoder.n_iter_)
np.save(out, encoder.partial_fit(X).transform(X))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_a_killed_pass_is_resumed_in_a_fresh_process(encoder, X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    encoder.fit(X).save(tmp_path / "model.field")

    def run(role):
        files = (
            tmp_path / "model.field",
            tmp_path / "a.checkpoint",
            role,
            tmp_path / f"{role}.npy",
        )
        command = [sys.executable, "-c", _PASS, *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300).returncode

    assert run("victim") == -signal.SIGKILL
    assert (tmp_path / "a.checkpoint").exists()
    assert run("survivor") == run("whole") == 0
    found, expected = (np.load(tmp_path / f"{role}.npy") for role in ("survivor", "whole"))
    np.testing.assert_array_equal(found, expected)


def test_the_next_pass_replaces_the_checkpoint(encoder, X, tmp_path):
    path = tmp_path / "pass.checkpoint"
    encoder.set_params(checkpoint=path, batch_size=50).partial_fit(X)
    first = path.read_bytes()
    assert encoder.partial_fit(X).n_iter_ == 12
    second = path.read_bytes()
    assert second != first
    assert encoder.partial_fit(draw(100, 5)).n_iter_ == 14  # other signals
    assert path.read_bytes() != second


def test_a_checkpoint_of_other_parameters_is_refused(encoder, X, tmp_path):
    path = tmp_path / "pass.checkpoint"
    encoder.set_params(checkpoint=path).partial_fit(X)
    with pytest.raises(ValueError, match=r"another fit.*batch_size"):
        clone(encoder).set_params(batch_size=7).partial_fit(X)
