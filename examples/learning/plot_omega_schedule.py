"""
# A rising ω against a constant one

ω says how fast each sine layer may oscillate. One number for all layers is what the older papers
use; a pair rises linearly from the first layer to the last, so that early layers settle on coarse
structure and late ones follow detail. Too slow leaves pictures soft, too fast reproduces the
pixels and makes up what lies between them. So both have to be looked at: the pixels that were
given, and those between.
"""

# %%
# ## Patches of an MRI slice, every second pixel
#
# The slice of a head that ships with Matplotlib is cut into patches of 31 × 31 pixels. The field
# sees every second pixel along both axes, 16 × 16 of them.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from sklearn.feature_extraction.image import extract_patches_2d

from neurfield import FunctaEncoder

with get_sample_data("s1045.ima.gz") as file:
    head = np.frombuffer(file.read(), np.uint16).reshape(256, 256) / 1300.0
patches = extract_patches_2d(head[:, 30:220], (31, 31), max_patches=900, random_state=0)
patches = patches[patches.std(axis=(1, 2)) > 0.05].clip(0, 1)
given = patches[:, ::2, ::2]
n_train = len(patches) - 80
print(f"{n_train} patches to learn from, 80 held out")

# %%
# ## Constant values and schedules

choices = {
    "constant 3": 3.0,
    "constant 10": 10.0,
    "constant 30": 30.0,
    "constant 90": 90.0,
    "3 → 10": (3.0, 10.0),
    "3 → 30": (3.0, 30.0),
    "10 → 90": (10.0, 90.0),
}
at_pixels, between, decoded = {}, {}, {}
seen = np.zeros((31, 31), dtype=bool)
seen[::2, ::2] = True
for name, omega in choices.items():
    encoder = FunctaEncoder(
        latent_dim=64, hidden_dim=48, omega=omega, max_iter=60, batch_size=128, random_state=0
    )
    Z = encoder.fit(given[:n_train]).transform(given[n_train:])
    decoded[name] = encoder.inverse_transform(Z, grid=(31, 31))
    squares = (decoded[name] - patches[n_train:]) ** 2
    at_pixels[name] = -10 * np.log10(squares[:, seen].mean())
    between[name] = -10 * np.log10(squares[:, ~seen].mean())

# %%
# Held-out patches. The distance between the two points of a row is what looking at pixels alone
# hides.

figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
rows = np.arange(len(choices))[::-1]
axis.hlines(rows, list(between.values()), list(at_pixels.values()), color="0.8")
axis.plot(list(at_pixels.values()), rows, "o", color="C0", label="at the given pixels")
axis.plot(list(between.values()), rows, "o", color="C1", label="between them")
axis.set_yticks(rows, [f"ω = {name}" for name in choices])
axis.set(xlabel="PSNR (dB)")
axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2)
plt.show()

# %%
# ## What it looks like
#
# Three held-out patches, decoded on all 31 × 31 pixels.

columns = {"original": patches[n_train:]} | {
    f"ω = {name}": decoded[name] for name in ("constant 3", "constant 10", "constant 90", "3 → 30")
}
figure, axes = plt.subplots(1, len(columns), figsize=(8.4, 5.2), layout="constrained")
for axis, (title, pictures) in zip(axes, columns.items(), strict=True):
    axis.imshow(np.vstack(pictures[[3, 20, 41]]), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
plt.show()
