"""Handwritten digits as latents of a neural field.

Learns a field on 8 x 8 images, encodes images it has not seen, and decodes them as they were, at
three times the resolution, and from half of their pixels.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from neurfield import FunctaEncoder

PICTURE = Path(__file__).with_suffix(".png")

# %%
# An array of shape (n, H, W) is a set of n images.
digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
)

# %%
# Learn the field, then encode images that took no part in it.
encoder = FunctaEncoder(latent_dim=32, omega=(5.0, 10.0), max_iter=200, random_state=0, verbose=1)
encoder.fit(X_train)
Z = encoder.transform(X_test)
print(f"{len(X_test)} images of {X_test[0].shape} became latents of shape {Z.shape}")
print(f"held-out PSNR: {encoder.score(X_test):.1f} dB")

# %%
# Decode on the grid of the fit, and on one that is three times as fine.
same = encoder.inverse_transform(Z)
finer = encoder.inverse_transform(Z, grid=(24, 24))

# %%
# NaN marks a pixel that was not observed; decoding fills it in.
unseen = np.random.default_rng(0).random(X_test.shape) < 0.5
holed = np.where(unseen, np.nan, X_test)
filled = encoder.inverse_transform(encoder.transform(holed))

# %%
# A transformer stands in front of any classifier.
pipeline = Pipeline([("enc", encoder), ("clf", KNeighborsClassifier())])
accuracy = pipeline.fit(X_train, y_train).score(X_test, y_test)
print(f"accuracy of nearest neighbours on the latents: {accuracy:.3f}")

# %%
# Draw one row per kind of image; pixels that were not observed are blue.
ink = plt.get_cmap("gray_r").with_extremes(bad="lightsteelblue")
rows = {
    "original": X_test,
    "decoded": same,
    "decoded, three times as fine": finer,
    "half of the pixels": holed,
    "filled in": filled,
}
figure, grid = plt.subplots(len(rows), 8, figsize=(8, 5.6), layout="constrained")
for axes, (title, images) in zip(grid, rows.items(), strict=True):
    for axis, image in zip(axes, images, strict=False):
        axis.imshow(image, cmap=ink, vmin=0, vmax=16)
        axis.set(xticks=[], yticks=[])
    axes[0].set_title(title, loc="left", fontsize=9)
figure.savefig(PICTURE, dpi=150)
print(f"picture: {PICTURE}")
