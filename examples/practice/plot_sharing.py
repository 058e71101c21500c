"""
# Saving, sharing, loading

A fitted encoder is kept in one of two ways: as a Python object, alone or inside a pipeline, or in
a file of numbers and text that is safe to open whoever sent it. Latents are a table and go into
any file that holds tables.
"""

# %%
# ## Something worth keeping

import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurfield import FunctaEncoder
from neurfield.datasets import synthetic_ecg
from neurfield.plotting import plot_reconstruction

beats = synthetic_ecg(600, random_state=0)
seen, unseen = beats[:500], beats[500:]
encoder = FunctaEncoder(latent_dim=24, hidden_dim=64, max_iter=100, random_state=0)
pipeline = make_pipeline(encoder, LogisticRegression(max_iter=1000))
pipeline.fit(seen, seen.label.values)
folder = Path(tempfile.mkdtemp())

# %%
# ## One file that holds no code
#
# `save` writes the weights as safetensors, and parameters, axes and units as text beside them in
# the same file. Whoever opens it runs nothing of yours.

pipeline[0].save(folder / "beats.field")
loaded = FunctaEncoder.load(folder / "beats.field")
np.testing.assert_array_equal(loaded.transform(unseen), pipeline[0].transform(unseen))

with safe_open(folder / "beats.field", "np") as file:
    sizes = {name: file.get_tensor(name).size for name in file.keys()}  # noqa: SIM118
print(f"{(folder / 'beats.field').stat().st_size / 1024:.0f} KiB on disk")

# %%
# What the file is made of:

figure, axis = plt.subplots(figsize=(7, 0.28 * len(sizes) + 0.8), layout="constrained")
bars = axis.barh(list(sizes), list(sizes.values()))
axis.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
axis.set(xlabel="numbers", xscale="log", xlim=(0.7, 20 * max(sizes.values())))
axis.tick_params(axis="y", labelsize=8)
axis.invert_yaxis()
plt.show()

# %%
# ## A whole pipeline
#
# `joblib` keeps the classifier too. It stores Python objects, so open such files from people you
# trust only.

joblib.dump(pipeline, folder / "pipeline.joblib")
again = joblib.load(folder / "pipeline.joblib")
print(f"accuracy of the loaded pipeline: {again.score(unseen, unseen.label.values):.1%}")

# %%
# ## Latents instead of signals
#
# 24 numbers stand for 187 samples. With the encoder beside them they are the data set.

np.savez_compressed(folder / "latents.npz", latents=loaded.transform(unseen), labels=unseen.label)
with np.load(folder / "latents.npz") as stored:
    decoded = loaded.inverse_transform(stored["latents"])
print(f"{len(decoded)} beats decoded from a file, {loaded.score(unseen):.1f} dB")

# %%
# A loaded encoder knows the axes and units that it was fitted on.

plot_reconstruction(loaded, unseen, index=4)
plt.show()

# mkdocs_gallery_thumbnail_number = 2
