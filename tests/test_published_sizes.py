"""The published configurations at their own sizes take a meta-step in the memory foretold."""

import re
import subprocess
import sys

import pytest

GIB = 2**30

# One meta-step in a process of its own: what was foretold of it goes to the errors, its peak out.
PROGRAM = """
import sys
import numpy as np, torch
from neurfield import FunctaEncoder

torch.set_num_threads(1)
X = np.random.default_rng(0).random((24, 64, 64, 3), dtype=np.float32)
encoder = FunctaEncoder.from_preset(
    "medfuncta-2d-64", max_iter=1, memory_budget=int(sys.argv[1]), channel_axis=-1,
    device="cpu", random_state=0, verbose=1,
)
encoder.fit(X)
assert encoder.n_iter_ == 1 and np.isfinite(encoder.loss_curve_).all()
with open("/proc/self/status") as file:
    lines = dict(line.split(":", 1) for line in file)
print(int(lines["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
@pytest.mark.slow
def test_the_smallest_takes_a_meta_step_in_the_memory_foretold():
    command = [sys.executable, "-c", PROGRAM, str(20 * GIB)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    amount, unit = re.search(r"^fit: about (\S+) (\S+)", done.stderr, re.MULTILINE).groups()
    foretold = float(amount) * {"MiB": 2**20, "GiB": GIB}[unit]
    peak = int(done.stdout.split()[-1])
    assert peak < 20 * GIB
    assert abs(foretold / peak - 1) < 0.3, (foretold, peak)
