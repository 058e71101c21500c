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
# The slice of a head that ships with Matplotlib, cut into patches of 31 × 31 pixels: the left part
# to learn from, the right part held out. The field sees every second pixel along both axes, 16 × 16
# of them.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from sklearn.feature_extraction.image import extract_patches_2d

from neurfield import FunctaEncoder

with get_sample_data("s1045.ima.gz") as file:
    head = np.frombuffer(file.read(), ">u2").reshape(256, 256) / 215


def patches(part, n):
    found = extract_patches_2d(part, (31, 31), max_patches=2 * n, random_state=0)
    return found[found.std(axis=(1, 2)) > 0.08][:n]  # leave out the background


seen, unseen = patches(head[:, :120], 800), patches(head[:, 120:], 80)
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained", width_ratios=(1, 1.2))
axes[0].imshow(head, cmap="gray")
axes[0].axvline(119.5, color="C1")
axes[0].set_title("learnt from | held out")
axes[1].imshow(
    np.vstack([np.hstack(row) for row in unseen[:12].reshape(3, 4, 31, 31)]), cmap="gray"
)
axes[1].set_title("patches")
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()

# %%
# ## Constant values and schedules

choices = {
    "constant 3": 3.0,
    "constant 10": 10.0,
    "constant 30": 30.0,
    "constant 90": 90.0,
    "constant 200": 200.0,
    "3 → 30": (3.0, 30.0),
    "10 → 90": (10.0, 90.0),
    "30 → 200": (30.0, 200.0),
}
at_pixels, between, decoded = {}, {}, {}
given = np.zeros((31, 31), dtype=bool)
given[::2, ::2] = True
for name, omega in choices.items():
    encoder = FunctaEncoder(
        latent_dim=64, hidden_dim=64, omega=omega, max_iter=100, batch_size=128, random_state=0
    )
    Z = encoder.fit(seen[:, ::2, ::2]).transform(unseen[:, ::2, ::2])
    decoded[name] = encoder.inverse_transform(Z, grid=(31, 31))
    squares = (decoded[name] - unseen) ** 2
    at_pixels[name] = -10 * np.log10(squares[:, given].mean())
    between[name] = -10 * np.log10(squares[:, ~given].mean())

# %%
# Held-out patches. The distance between the two points of a row is what a look at the given pixels
# alone would hide. The default learner lowers the first layer's frequencies to what the grid can
# tell apart before it starts, so a wide range of values does equally well; beyond that range they
# do not.

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

columns = {"original": unseen} | {
    f"ω = {name}": decoded[name]
    for name in ("constant 3", "constant 30", "constant 200", "10 → 90")
}
figure, axes = plt.subplots(1, len(columns), figsize=(8.4, 5.2), layout="constrained")
for axis, (title, pictures) in zip(axes, columns.items(), strict=True):
    axis.imshow(np.vstack(pictures[[3, 20, 41]]), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
plt.show()
