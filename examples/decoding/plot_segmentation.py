"""
# Labels nobody drew

What is where in a picture can be a channel like any other: one that says which part of a pixel
belongs to a structure. Fitted together with the images, such channels are decoded for pictures
that come without them, and the field says how sure it is.
"""

# %%
# ## Images with labels
#
# Slices of computed heads with noise, and with one more channel, the ventricles: what was dark
# inside the head before the noise.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import binary_fill_holes
from sklearn.linear_model import RidgeCV

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms

clean = phantoms(640, shape=(32, 32), random_state=0).values
head = np.stack([binary_fill_holes(one > 0.1) for one in clean])
ventricles = (head & (clean < 0.1)).astype(np.float32)
noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
signals = np.stack([noisy, ventricles], axis=-1)

seen, unseen = signals[:-40], signals[-40:]
encoder = FunctaEncoder(
    latent_dim=64, hidden_dim=64, max_iter=100, channel_axis=-1, random_state=0
).fit(seen)

# %%
# ## Images alone
#
# The ventricles of the other heads are hidden. `transform` finds the latent that agrees with the
# image, and `inverse_transform` decodes all channels of it. Ridge regression from all pixels to all
# labels stands beside it; it has one grid, and nothing to say about how sure it is.

alone = unseen.copy()
alone[..., 1] = np.nan
Z = encoder.transform(alone)
decoded, std = encoder.inverse_transform(Z, observed=alone, return_std=True)

ridge = RidgeCV(np.geomspace(1, 1e4, 9)).fit(
    seen[..., 0].reshape(len(seen), -1), seen[..., 1].reshape(len(seen), -1)
)
regressed = ridge.predict(unseen[..., 0].reshape(len(unseen), -1)).reshape(40, 32, 32)


def dice(found):
    one, other = found > 0.5, unseen[..., 1] > 0.5
    both = (one & other).sum(axis=(1, 2))
    return (2 * both / (one.sum(axis=(1, 2)) + other.sum(axis=(1, 2)))).mean()


inside = np.abs(decoded - unseen)[..., 1] < 1.645 * std[..., 1]
print(f"Dice of the ventricles: field {dice(decoded[..., 1]):.3f}, ridge {dice(regressed):.3f}")
print(f"hidden values within their 90 % interval: {100 * inside.mean():.0f} %")

# %%
# ## What it found, and where it is less sure
#
# Ventricles in orange; below, the standard deviation of their channel, largest around their
# borders, which is where errors are.


def coloured(images, labels):
    colours = np.repeat(np.clip(images, 0, 1)[..., np.newaxis], 3, axis=-1)
    colours[labels > 0.5] = 0.4 * colours[labels > 0.5] + 0.6 * np.array([1.0, 0.6, 0.1])
    return np.hstack(colours)


some = slice(0, 6)
images = unseen[some, ..., 0]
rows = {
    "image": np.hstack(np.clip(images, 0, 1)),
    "truth": coloured(images, unseen[some, ..., 1]),
    "field": coloured(images, decoded[some, ..., 1]),
    "error": np.hstack(np.abs(decoded - unseen)[some, ..., 1]),
    "standard\ndeviation": np.hstack(std[some, ..., 1]),
}
figure, axes = plt.subplots(len(rows), 1, figsize=(8, 6.8), layout="constrained")
for axis, (title, picture) in zip(axes, rows.items(), strict=True):
    is_map = title not in ("image", "truth", "field")
    axis.imshow(picture, cmap="magma" if is_map else "gray", vmin=0, vmax=0.5 if is_map else 1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
plt.show()

# mkdocs_gallery_thumbnail_number = 1
