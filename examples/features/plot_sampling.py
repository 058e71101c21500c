"""
# New signals from a density of latents

Latents are vectors, so a density can be fitted to them by anything that fits densities to
vectors. What is drawn from it decodes into signals that no one recorded.
"""

# %%
# ## A density per digit
#
# The components of latents are ordered by variance and uncorrelated over the training set, as
# scores of a PCA are; within one class they are not, so the mixture's components get full
# covariances.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture

from neurfield import FunctaEncoder
from neurfield.datasets import digits
from neurfield.plotting import plot_latents

images = digits()
encoder = FunctaEncoder(latent_dim=24, omega=(5.0, 10.0), max_iter=200, random_state=0)
Z = encoder.fit_transform(images)

densities = {}
for digit in range(10):
    of_digit = Z[images.label.values == digit]
    densities[digit] = GaussianMixture(2, reg_covar=1e-3, random_state=0).fit(of_digit)

# %%
# ## Draw and decode
#
# Eight draws of each digit, at three times the resolution of the training images. The last column
# is the training image whose latent is nearest to the draw before it, decoded likewise: a copy
# would look the same.

rows = []
for density in densities.values():
    drawn = density.sample(8)[0]
    nearest = np.linalg.norm(Z - drawn[-1], axis=1).argmin()
    pictures = encoder.inverse_transform([*drawn, Z[nearest]], grid=(24, 24))
    rows.append(np.hstack(np.pad(pictures, [(0, 0), (2, 2), (2, 2)])))

figure, axis = plt.subplots(figsize=(7.2, 8), layout="constrained")
axis.imshow(np.vstack(rows), cmap="gray_r", vmin=0, vmax=1)
axis.axvline(8 * 28 - 0.5, color="0.6")
axis.set(yticks=[], xticks=[4 * 28, 8.5 * 28], xticklabels=["drawn", "nearest"])
axis.tick_params(length=0)
plt.show()

# %%
# ## Where the draws lie
#
# On the first two components, five hundred images and the draws of one digit.

figure, axis = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
plot_latents(Z[:500], images.label.values[:500], embedding=Z[:500, :2], ax=axis)
axis.scatter(*densities[3].sample(40)[0][:, :2].T, marker="x", color="black", label="drawn as 3")
axis.set_title("crosses: drawn from the density of the threes", fontsize=10)
plt.show()
