"""
# Larger than memory

Signals that do not fit into memory stay where they are, in a Zarr store for instance. xarray opens
such a store without reading it, and the encoder takes what it opened: values are read when a step
or a block of signals needs them.
"""

# %%
# ## A store in chunks
#
# Written in parts here, as a recording device or a preprocessing script would; nothing ever holds
# all of it.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.datasets import synthetic_ecg
from neurfield.plotting import plot_latents, plot_reconstruction

store = Path(tempfile.mkdtemp()) / "beats.zarr"
for part in range(8):
    beats = synthetic_ecg(500, random_state=part).drop_vars("sample").chunk(sample=250)
    if part == 0:
        beats.to_dataset(name="ecg").to_zarr(store, zarr_format=2)
    else:
        beats.to_dataset(name="ecg").to_zarr(store, append_dim="sample")

beats = xr.open_zarr(store)["ecg"]
print(type(beats.data).__module__, beats.shape, f"in {beats.data.npartitions} blocks")

# %%
# ## Learn from it
#
# A meta-step needs a few hundred signals, and those are what is read.

encoder = FunctaEncoder(latent_dim=24, hidden_dim=64, max_iter=100, random_state=0)
encoder.fit(beats[:3500])

# %%
# ## Encode it
#
# Encoding is independent for every signal. The latents of 500 beats that took no part in learning:

unseen = beats[3500:]
Z = np.asarray(encoder.transform(unseen))
plot_latents(Z, unseen.label.values)
plt.show()

# %%
# One of them, decoded:

plot_reconstruction(encoder, unseen[:1].compute())
plt.show()
