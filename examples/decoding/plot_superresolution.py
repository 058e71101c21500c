"""
# An image at four times its resolution

A field that has learnt from fine images holds what such images look like. An image taken at a
quarter of the resolution is encoded on its own coarse grid, in the same millimetres, and decoded
on the fine one.
"""

# %%
# ## Fine images to learn from, coarse ones to restore
#
# Heads of 48 × 48 pixels over 240 mm. A coarse pixel is the mean of 4 × 4 fine ones, and xarray
# keeps track of where its centre lies.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import zoom

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms

heads = phantoms(900, shape=(48, 48), random_state=0)
fine, unseen = heads[:-60], heads[-60:]
coarse = unseen.coarsen(y=4, x=4).mean()
print(f"{fine.shape[1:]} pixels of {float(fine.x[1] - fine.x[0]):.0f} mm to learn from,")
print(f"{coarse.shape[1:]} pixels of {float(coarse.x[1] - coarse.x[0]):.0f} mm to restore")

encoder = FunctaEncoder(latent_dim=48, hidden_dim=64, max_iter=250, random_state=0).fit(fine)

# %%
# ## Restored, and interpolated
#
# Bicubic interpolation knows the coarse image only. The field also knows other heads, so it
# places edges where the coarse values say that they must be. What it has not seen in any head it
# cannot add.

restored = encoder.inverse_transform(encoder.transform(coarse))
bicubic = zoom(coarse.values, (1, 4, 4), order=3, mode="nearest", grid_mode=True)


def psnr(image, truth):
    return -10 * np.log10(np.mean((image - truth) ** 2, axis=(1, 2)))


by_field, by_bicubic = psnr(restored.values, unseen.values), psnr(bicubic, unseen.values)
print(f"{len(unseen)} heads: field {by_field.mean():.1f} dB, bicubic {by_bicubic.mean():.1f} dB")

chosen = [int(np.flatnonzero(unseen.label == kind)[0]) for kind in (0, 1, 2)]
figure, grid = plt.subplots(3, 4, figsize=(8.6, 6.8), layout="constrained")
for axes, i in zip(grid, chosen, strict=True):
    pictures = {
        f"{coarse.shape[1]} × {coarse.shape[2]}": coarse[i],
        f"bicubic, {by_bicubic[i]:.1f} dB": bicubic[i],
        f"field, {by_field[i]:.1f} dB": restored[i],
        f"original {unseen.shape[1]} × {unseen.shape[2]}": unseen[i],
    }
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel(str(unseen.label_name.values[i]))
plt.show()

# %%
# ## A line through the picture
#
# The same row of pixels in all of them.

i, row = chosen[2], 22
figure, axis = plt.subplots(figsize=(8.6, 3), layout="constrained")
axis.step(unseen.x, unseen[i, row], where="mid", color="0.7", linewidth=3, label="original")
axis.plot(unseen.x, bicubic[i, row], color="C1", label="bicubic")
axis.plot(unseen.x, restored[i, row], color="C0", label="field")
axis.plot(coarse.x, coarse[i, row // 4], "ko", markersize=4, label="coarse pixels")
axis.set(xlabel="x (mm)", ylabel="intensity")
axis.legend(frameon=False, fontsize="small", ncols=4, loc="upper center")
axis.set_ylim(top=0.75)
plt.show()
