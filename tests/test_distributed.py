"""Fits of two processes that torchrun starts: the same field as that of one process, in both."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch import distributed

from neurfield import FunctaEncoder
from neurfield.fields import Lapped
from neurfield.learning import Cavia, VarPro
from neurfield.learning.distributed import World

SMALL = {"hidden_dim": 8, "n_layers": 3}
SHARED = {"max_iter": 4, "device": "cpu", "random_state": 0}
EXACT = {**SHARED, "precision": "float64"}

# Batches of an odd number of signals, so that shares are unequal.
ENCODERS = {
    "varpro": lambda: FunctaEncoder(4, field="siren", **SMALL, **SHARED),
    "gauss-newton": lambda: FunctaEncoder(
        4, learner=VarPro(inner_steps=2), batch_size=7, **SMALL, **EXACT
    ),
    "cavia": lambda: FunctaEncoder(
        4, learner=Cavia(inner_steps=2), batch_size=5, meta_lr=1e-3, **SMALL, **EXACT
    ),
    "lapped": lambda: FunctaEncoder(16 * 4, field=Lapped(cell=4, hidden_dim=8), **EXACT),
    # A batch of fewer signals than processes is everyone's.
    "one at a time": lambda: FunctaEncoder(4, field="siren", batch_size=1, **SMALL, **EXACT),
}
COUNTS = np.arange(1.0, 16.0)


def pictures():
    """Return smooth pictures of which some have gaps."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] / 16
    phase = rng.uniform(0, 6, (15, 1, 1))
    X = np.sin(5 * y + phase) * np.cos(4 * x - phase) + 0.1 * rng.normal(size=(15, 16, 16))
    X[::4, 3:6, 2:9] = np.nan
    return X


def facts(encoder, X):
    """Return what two fits may be compared by."""
    weights = [p.detach().flatten() for p in encoder.codec_.field.parameters()]
    return {
        "loss": encoder.loss_curve_,
        "psnr": encoder.psnr_curve_,
        "theta": torch.cat(weights).numpy(),
        "latents": encoder.transform(X),
    }


def work(folder, rank):
    """Do all that is tested in one of the processes."""
    X, found = pictures(), {}
    for name, make in ENCODERS.items():
        for fact, value in facts(make().fit(X, sample_weight=COUNTS), X).items():
            found[f"{name}/{fact}"] = value

    # Seeds, clocks and callbacks are the first process's.
    called = []
    limited = ENCODERS["varpro"]().set_params(
        random_state=None, max_iter=10**6, max_time=0.2 + rank, callbacks=[called.append]
    )
    limited.set_params(early_stopping=True, max_time=0.5)
    found |= {f"limited/{fact}": value for fact, value in facts(limited.fit(X), X).items()}
    found["called"] = len(called)

    # Shares of a learner that knows nothing of processes, and the choice of a field.
    chosen = FunctaEncoder(25 * 8, max_iter=2, max_time=20.0, device="cpu")
    wide = np.random.default_rng(1).normal(size=(20, 46, 46)).cumsum(1).cumsum(2)
    found["chosen"] = str(chosen.fit(wide).codec_.field.config())
    found["parts"] = chosen.partial_fit(wide).loss_curve_

    # Each process has a path of its own, so that it shows who writes; the first one's is read.
    path = Path(folder) / f"checkpoint{rank}"

    def stop(progress):
        return progress.iteration == 2

    options = {"checkpoint": path, "checkpoint_every": 1}
    ENCODERS["varpro"]().set_params(callbacks=[stop], **options).fit(X, sample_weight=COUNTS)
    found["wrote"] = path.exists()
    resumed = ENCODERS["varpro"]().set_params(**options).fit(X, sample_weight=COUNTS)
    found["resumed"] = resumed.loss_curve_

    path.write_bytes(b"damaged")
    for name, data in {"unreadable": X, "unlike": X + rank}.items():
        if name == "unlike":
            options = {}
        try:
            ENCODERS["varpro"]().set_params(**options).fit(data, sample_weight=COUNTS)
        except ValueError as error:
            found[name] = str(error)
    np.savez(Path(folder) / f"{rank}.npz", **found)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return what each of two processes has found."""
    folder = tmp_path_factory.mktemp("two")
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("needs a torch that has gloo")
    try:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1
        )
        distributed.destroy_process_group()
    except RuntimeError as error:
        pytest.skip(f"needs gloo, which does not start here: {error}")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*launch, "--local-addr=localhost", __file__, str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(2)]


@pytest.mark.parametrize("name", ENCODERS)
def test_two_processes_learn_what_one_does(two, name):
    X = pictures()
    alone = facts(ENCODERS[name]().fit(X, sample_weight=COUNTS), X)
    for found in two:
        for fact, value in alone.items():
            np.testing.assert_allclose(
                found[f"{name}/{fact}"], value, rtol=0, atol=1e-5 * np.abs(value).max()
            )


@pytest.mark.parametrize("name", [*ENCODERS, "limited"])
def test_both_processes_end_with_the_same(two, name):
    for fact in ("loss", "psnr", "theta", "latents"):
        np.testing.assert_array_equal(two[0][f"{name}/{fact}"], two[1][f"{name}/{fact}"])


def test_the_choice_of_a_field_and_portions_are_the_same(two):
    assert two[0]["chosen"] == two[1]["chosen"]
    np.testing.assert_array_equal(two[0]["parts"], two[1]["parts"])


def test_callbacks_and_checkpoints_are_the_first_process_s(two):
    assert two[0]["called"] == len(two[0]["limited/loss"]) > 0
    assert two[1]["called"] == 0
    assert two[0]["wrote"]
    assert not two[1]["wrote"]


def test_a_fit_resumes_from_the_first_process_s_checkpoint(two):
    for found in two:
        np.testing.assert_array_equal(found["resumed"], found["varpro/loss"])


def test_errors_are_raised_in_both_processes(two):
    for found in two:
        assert "checkpoint0" in str(found["unreadable"])
        assert "2 processes" in str(found["unlike"])
        assert "['data']" in str(found["unlike"])


def test_without_torchrun_a_process_is_alone():
    assert World.here() == World()
    assert not distributed.is_initialized()


if __name__ == "__main__":
    work(sys.argv[1], int(os.environ["RANK"]))
