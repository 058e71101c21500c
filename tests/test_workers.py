"""Workers of joblib, made in every way there is, after a fit in the parent."""

import subprocess
import sys

import pytest

_SCENARIO = """
import sys, threading
import joblib, numpy as np, torch
from neurfield import FunctaEncoder

def work(enc, X):
    return enc.transform(X)

if __name__ == "__main__":
    backend, method = sys.argv[1:]
    if method:
        import multiprocessing
        multiprocessing.set_start_method(method)
    torch.set_num_threads(2)
    X = np.random.default_rng(0).normal(size=(40, 12, 12))
    options = dict(latent_dim=4, hidden_dim=64, n_layers=4, max_iter=3, batch_size=32)
    enc = FunctaEncoder(**options, device="cpu", random_state=0).fit(X)
    torch.randn(800, 800) @ torch.randn(800, 800)  # starts torch's own threads
    here, stop = enc.transform(X), threading.Event()
    def go_on():
        while not stop.is_set():
            enc.transform(X)
    def in_workers():
        found = joblib.Parallel(n_jobs=2, backend=backend)(
            joblib.delayed(work)(enc, X[i : i + 10]) for i in range(0, 40, 10)
        )
        assert np.array_equal(np.concatenate(found), here)
        assert torch.get_num_threads() == 2
    in_workers()
    print("alone", flush=True)
    other = threading.Thread(target=go_on)
    other.start()
    try:
        in_workers()
    finally:
        stop.set()
        other.join()
    print("beside a thread")
"""


@pytest.mark.parametrize(
    ("backend", "method"),
    [
        ("threading", ""),
        ("loky", ""),
        ("multiprocessing", "fork"),
        # Each of these starts several fresh interpreters.
        pytest.param("multiprocessing", "forkserver", marks=pytest.mark.slow),
        pytest.param("multiprocessing", "spawn", marks=pytest.mark.slow),
    ],
)
def test_workers_answer_with_the_same_latents(backend, method, tmp_path):
    script = tmp_path / "scenario.py"
    script.write_text(_SCENARIO)
    if method == "fork" and sys.platform != "linux":
        pytest.skip("forks are the default of Linux alone")
    call = [sys.executable, str(script), backend, method]
    done = subprocess.run(call, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines() == ["alone", "beside a thread"]
