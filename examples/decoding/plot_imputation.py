"""
# Three quarters of the pixels missing

`NaN` marks what was not observed. A signal with gaps is encoded from what is left of it, and
decoding fills the gaps with what the field has learnt of such signals.
"""

# %%
# ## Learn from complete images, test on damaged ones
#
# Slices of computed heads; three quarters of the pixels of the held-out ones are thrown away.

import matplotlib.pyplot as plt
import numpy as np
from scipy.interpolate import griddata
from sklearn.impute import KNNImputer

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms

heads = phantoms(640, shape=(32, 32), random_state=0).values
seen, unseen = heads[:-40], heads[-40:]
encoder = FunctaEncoder(latent_dim=32, hidden_dim=64, max_iter=200, random_state=0).fit(seen)

order = np.random.default_rng(0).random(unseen.shape)


def keep(fraction):
    return np.where(order < fraction, unseen, np.nan)


# %%
# ## Fewer and fewer pixels
#
# Beside the field stand ways of filling gaps that need no field: linear interpolation between the
# observed pixels, and scikit-learn's `KNNImputer`, which averages the training images that agree
# best on them. All are judged on the hidden pixels alone. The imputer is strong here, because these
# heads resemble each other; it needs all training images at hand and one grid for everything, of
# which the field needs neither.


def by_field(holed):
    return encoder.inverse_transform(encoder.transform(holed))


def by_neighbours(holed):
    return neighbours.transform(holed.reshape(len(holed), -1)).reshape(holed.shape)


def by_interpolation(holed):
    places = np.argwhere(np.ones(holed.shape[1:]))
    filled = np.empty_like(holed)
    for image, target in zip(holed, filled, strict=True):
        known = ~np.isnan(image)
        values = griddata(np.argwhere(known), image[known], places, "linear", fill_value=0)
        target[:] = values.reshape(image.shape)
    return filled


neighbours = KNNImputer(n_neighbors=5).fit(seen.reshape(len(seen), -1))
methods = {
    "field": by_field,
    "nearest training images": by_neighbours,
    "linear interpolation": by_interpolation,
}
fractions = [0.5, 0.25, 0.125, 0.0625, 0.03125]
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, fill in methods.items():
    psnr = []
    for fraction in fractions:
        holed = keep(fraction)
        hidden = np.isnan(holed)
        psnr.append(-10 * np.log10(np.mean((fill(holed) - unseen)[hidden] ** 2)))
    axis.plot(range(len(fractions)), psnr, "o-", label=name)
axis.set(xticks=range(len(fractions)), xticklabels=[f"1/{1 / f:.0f}" for f in fractions])
axis.set(xlabel="observed part of the pixels", ylabel="PSNR of the hidden pixels (dB)")
axis.legend(frameon=False)
plt.show()

# %%
# ## From a quarter of the pixels
#
# Blue is what nobody observed.

holed = keep(0.25)
grey = plt.get_cmap("gray").with_extremes(bad="lightsteelblue")
rows = {"a quarter\nof the pixels": holed} | {
    name.replace(" ", "\n", 1): fill(holed) for name, fill in methods.items()
}
rows["original"] = unseen
figure, axes = plt.subplots(len(rows), 1, figsize=(8, 6.6), layout="constrained")
for axis, (title, pictures) in zip(axes, rows.items(), strict=True):
    axis.imshow(np.hstack(pictures[:6]), cmap=grey, vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
plt.show()

# %%
# ## How sure it is
#
# `return_std=True` gives the standard deviation of every decoded value, given the pixels of
# `observed`: larger at edges, where the field is less exact, and for a signal whose observed pixels
# fit less well. The 90 % interval should hold nine hidden pixels of ten.

Z = encoder.transform(holed)
decoded, std = encoder.inverse_transform(Z, observed=holed, return_std=True)
hidden = np.isnan(holed)
inside = np.abs(decoded - unseen)[hidden] < 1.645 * std[hidden]
figure, axes = plt.subplots(3, 1, figsize=(8, 4.2), layout="constrained")
rows = {"decoded": decoded, "error": np.abs(decoded - unseen), "standard\ndeviation": std}
for axis, (title, pictures) in zip(axes, rows.items(), strict=True):
    most = 1 if title == "decoded" else 0.3
    axis.imshow(np.hstack(pictures[:6]), cmap="gray" if most == 1 else "magma", vmin=0, vmax=most)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
figure.suptitle(f"{100 * inside.mean():.0f} % of the hidden pixels lie in their 90 % interval")
plt.show()

# mkdocs_gallery_thumbnail_number = 2
