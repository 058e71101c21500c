"""
# Three quarters of the pixels missing

`NaN` marks what was not observed. A signal with gaps is encoded from what is left of it, and decoding
fills the gaps with what the field has learnt of such signals.
"""

# %%
# ## Learn from complete images, test on damaged ones

import matplotlib.pyplot as plt
import numpy as np
from sklearn.impute import KNNImputer
from sklearn.model_selection import train_test_split

from neurfield import FunctaEncoder
from neurfield.datasets import digits

images = digits()
train, test = train_test_split(
    range(len(images)), test_size=200, stratify=images.label, random_state=0
)
seen, unseen = images[train].values, images[test].values
encoder = FunctaEncoder(latent_dim=48, omega=(6.0, 12.0), max_iter=200, random_state=0).fit(seen)

# %%
# ## Fewer and fewer pixels
#
# Beside the field stand two ways of filling gaps that need no field: the mean image, and scikit-learn's
# `KNNImputer`, which averages the training images that agree best on the observed pixels. All are judged
# on the hidden pixels alone.

rng = np.random.default_rng(0)
order = rng.random(unseen.shape).reshape(len(unseen), -1).argsort().argsort().reshape(unseen.shape)


def psnr(filled, hidden):
    return -10 * np.log10(np.mean((filled - unseen)[hidden] ** 2))


def keep(fraction):
    return np.where(order < fraction * 64, unseen, np.nan)


fractions = [0.75, 0.5, 0.25, 0.125, 0.0625]
curves = {"field": [], "nearest neighbours": [], "mean image": []}
neighbours = KNNImputer(n_neighbors=5).fit(seen.reshape(len(seen), -1))
for fraction in fractions:
    holed = keep(fraction)
    hidden = np.isnan(holed)
    by_neighbours = neighbours.transform(holed.reshape(len(holed), -1)).reshape(holed.shape)
    by_field = encoder.inverse_transform(encoder.transform(holed))
    curves["field"].append(psnr(by_field, hidden))
    curves["nearest neighbours"].append(psnr(by_neighbours, hidden))
    curves["mean image"].append(psnr(np.broadcast_to(seen.mean(axis=0), holed.shape), hidden))

figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
for name, curve in curves.items():
    axis.plot(range(len(fractions)), curve, "o-", label=name)
axis.set(xticks=range(len(fractions)), xticklabels=[f"{64 * f:.0f}" for f in fractions])
axis.set(xlabel="observed pixels of 64", ylabel="PSNR of the hidden pixels (dB)")
axis.legend(frameon=False)
plt.show()

# %%
# ## From a quarter of the pixels
#
# Blue is what the encoder does not see.

holed = keep(0.25)
filled = encoder.inverse_transform(encoder.transform(holed))
ink = plt.get_cmap("gray_r").with_extremes(bad="lightsteelblue")
rows = {"16 of 64 pixels": holed, "decoded": filled, "original": unseen}
figure, grid = plt.subplots(3, 9, figsize=(9, 3.4), layout="constrained")
for axes, (title, pictures) in zip(grid, rows.items(), strict=True):
    for axis, picture in zip(axes, pictures, strict=False):
        axis.imshow(picture, cmap=ink, vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
plt.show()

# mkdocs_gallery_thumbnail_number = 2
