"""
# Images to vectors and back

Learns a field on 8 × 8 images of handwritten digits, encodes images that it has not seen, and
decodes them as they were, at three times the resolution, and from half of their pixels.
"""

# %%
# An array of shape `(n, H, W)` is a set of `n` images. The digits come as an xarray `DataArray`
# with dimensions `sample`, `y` and `x`, which works as well and carries their labels along.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from neurfield import FunctaEncoder
from neurfield.datasets import digits
from neurfield.plotting import plot_interpolation, plot_training

images = digits()
train, test = train_test_split(
    range(len(images)), test_size=0.25, stratify=images.label, random_state=0
)
seen, unseen = images[train], images[test]

# %%
# Learn the field. In a notebook the fitted encoder shows its parameters, and what came out of the
# fit.

encoder = FunctaEncoder(latent_dim=32, omega=(6.0, 12.0), max_iter=200, random_state=0)
encoder.fit(seen)

# %%
# The quality of the batches while it was learning:

plot_training(encoder)
plt.show()

# %%
# Images that took no part in the fit become rows of 32 numbers. `score` encodes and decodes them,
# and returns the mean peak signal-to-noise ratio.

Z = encoder.transform(unseen)
print(f"{len(unseen)} images of {unseen[0].shape} became latents of shape {Z.shape}")
print(f"held-out PSNR: {encoder.score(unseen):.1f} dB")

# %%
# Decode on the grid of the fit, and on one that is three times as fine.

same = encoder.inverse_transform(Z)
finer = encoder.inverse_transform(Z, grid=(24, 24))

# %%
# `NaN` marks a pixel that was not observed; decoding fills it in.

hidden = np.random.default_rng(0).random(unseen.shape) < 0.5
holed = unseen.where(~hidden)
filled = encoder.inverse_transform(encoder.transform(holed))

# %%
# One column per image; pixels that were not observed are blue.

ink = plt.get_cmap("gray_r").with_extremes(bad="lightsteelblue")
rows = {
    "original": unseen,
    "decoded": same,
    "decoded, three\ntimes as fine": finer,
    "half of\nthe pixels": holed,
    "filled in": filled,
}
figure, axes = plt.subplots(len(rows), 1, figsize=(8.6, 5.2), layout="constrained")
for axis, (title, pictures) in zip(axes, rows.items(), strict=True):
    row = np.pad(pictures[:8], [(0, 0), (0, 0), (1, 1)])
    axis.imshow(np.hstack(row), cmap=ink, vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
plt.show()

# %%
# Latents can be moved between: a straight line from a zero to a one, decoded at 32 × 32.

zero, one = (int(np.flatnonzero(unseen.label == digit)[0]) for digit in (0, 1))
figure, axes = plt.subplots(1, 7, figsize=(9, 1.7), layout="constrained")
plot_interpolation(encoder, Z[zero], Z[one], n=7, grid=(32, 32), ax=axes)
plt.show()

# mkdocs_gallery_thumbnail_number = 2
