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
    backend, method, beside = sys.argv[1], sys.argv[2], sys.argv[3] == "beside"
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
    other = threading.Thread(target=go_on)
    if beside:
        other.start()
    try:
        found = joblib.Parallel(n_jobs=2, backend=backend)(
            joblib.delayed(work)(enc, X[i : i + 10]) for i in range(0, 40, 10)
        )
    finally:
        stop.set()
    if beside:
        other.join()
    assert np.array_equal(np.concatenate(found), here)
    assert torch.get_num_threads() == 2
"""


@pytest.mark.parametrize("beside", ["alone", "beside"])
@pytest.mark.parametrize(
    ("backend", "method"),
    [
        ("threading", ""),
        ("loky", ""),
        ("multiprocessing", "fork"),
        ("multiprocessing", "forkserver"),
        ("multiprocessing", "spawn"),
    ],
)
def test_workers_answer_with_the_same_latents(backend, method, beside, tmp_path):
    script = tmp_path / "scenario.py"
    script.write_text(_SCENARIO)
    if method == "fork" and sys.platform != "linux":
        pytest.skip("forks are the default of Linux alone")
    call = [sys.executable, str(script), backend, method, beside]
    done = subprocess.run(call, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
