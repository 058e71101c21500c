"""
# Volumes of different shapes

Volumes are rarely the same size. Here every head has a grid of its own, in voxels and in
millimetres; a list of them goes in, and each comes back on its own grid.
"""

# %%
# ## Every volume has its own shape

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms
from neurfield.plotting import plot_reconstruction

rng = np.random.default_rng(0)
shapes = [(10, 20, 20), (12, 20, 18), (14, 24, 20), (12, 24, 24)]
volumes = [
    volume.drop_vars(["sample", "label", "label_name"])
    for seed, shape in enumerate(shapes)
    for volume in phantoms(80, shape=shape, random_state=seed)
]
order = rng.permutation(len(volumes))
seen, unseen = [volumes[i] for i in order[:-12]], [volumes[i] for i in order[-12:]]
print("shapes held out:", sorted({volume.shape for volume in unseen}))

# %%
# ## In as a list, out as a list
#
# `coords=` takes one set of coordinates per latent, and a `DataArray` serves as its own.

encoder = FunctaEncoder(latent_dim=32, hidden_dim=64, max_iter=150, random_state=0).fit(seen)
Z = encoder.transform(unseen)
decoded = encoder.inverse_transform(Z, coords=unseen)
print(f"{len(unseen)} volumes became latents of shape {Z.shape}, {encoder.score(unseen):.1f} dB")
assert all(one.shape == other.shape for one, other in zip(decoded, unseen, strict=True))

# %%
# ## Three orthogonal slices
#
# One held-out volume, cut through its middle along each axis.

plot_reconstruction(encoder, unseen, index=3)
plt.show()

# %%
# ## The same latent, decoded finer
#
# The middle slices of that volume at 2 mm, whatever its voxels were.

fine = {axis: np.arange(-110, 110, 2.0) for axis in ("z", "y", "x")}
volume = encoder.inverse_transform(Z[[3]], coords=fine)[0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for axis, across in zip(axes, ("z", "y", "x"), strict=True):
    volume.sel({across: 0.0}).plot.imshow(
        ax=axis, cmap="gray", vmin=0, vmax=1, add_colorbar=False, yincrease=across != "z"
    )
    axis.set(aspect="equal", title=f"{across} = 0")
plt.show()

# mkdocs_gallery_thumbnail_number = 1
