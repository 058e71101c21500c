"""Peak memory of fit and transform on signals larger than what they may take."""

import json
import subprocess
import sys

import pytest

MIB = 2**20

# Fits or encodes 2000 MiB of images that exist one block at a time; prints how peak memory grew.
PROGRAM = """
import json, resource, sys
import dask, dask.array as da, numpy as np, torch, xarray as xr
from neurfield import FunctaEncoder
from neurfield.datasets import save_latents

torch.set_num_threads(1)
n, size, chunk = 8000, 256, 100
axis = np.linspace(-1, 1, size, dtype=np.float32)

def images(block_info=None):
    (start, stop), *_ = block_info[None]["array-location"]
    scale = np.linspace(0.5, 2.0, n, dtype=np.float32)[start:stop, None, None]
    return np.tanh(scale * axis[:, None]) * axis

chunks = ((chunk,) * (n // chunk), (size,), (size,))
blocks = da.map_blocks(images, chunks=chunks, dtype=np.float32)
X = xr.DataArray(blocks, {"y": axis, "x": axis}, ("sample", "y", "x"))
enc = FunctaEncoder(
    latent_dim=8, hidden_dim=16, n_layers=3, max_iter=5, transform_steps=1, random_state=0,
    device="cpu",
)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

enc.fit(X[:50, ::8, ::8].compute())  # small, so that it hides no memory of what follows
before = peak()
with dask.config.set(scheduler="synchronous"):
    if sys.argv[1] == "fit":
        enc.fit(X)
    else:
        save_latents(enc.transform(X), sys.argv[2])
print(json.dumps({"peak": peak() - before, "data": X.nbytes, "block": X.nbytes // (n // chunk)}))
"""


def growth(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_transform_takes_a_few_blocks_whatever_the_number_of_signals(tmp_path):
    pytest.importorskip("dask")
    found = growth("transform", tmp_path / "latents.zarr")
    assert found["data"] == 2000 * MIB
    # The guide's formula, in which weights, 8 (N c P + P²) and latents are below 8 MiB here.
    assert found["peak"] < 4 * found["block"] + 10 * 16 * MIB + 8 * MIB


@pytest.mark.slow
def test_fit_takes_its_window_and_samples_whatever_the_number_of_signals():
    pytest.importorskip("dask")
    found = growth("fit")
    points = 512 * 1024  # of a meta-step: batch_size times context_ratio times N
    assert found["peak"] < 4 * found["block"] + (128 + 256) * MIB + 24 * points
