"""
# Pictures from a quarter of the frequencies

Magnetic resonance imaging measures frequencies, line by line, and fewer lines are a shorter scan.
What is missing is filled in from what the field has learnt, not from zeros.
"""

# %%
# ## Every sixth line, and some in the middle
#
# Four coils see each head, each one its own side best. Training heads are pictures.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms
from neurfield.likelihoods import Gaussian
from neurfield.operators import Fourier

heads = phantoms(640, shape=(32, 32), random_state=0)
seen, unseen = heads[:-40], heads[-40:]
encoder = FunctaEncoder(latent_dim=64, hidden_dim=64, max_iter=300, random_state=0).fit(seen)

lines = np.arange(32)
mask = (lines % 6 == 0) | (np.abs(lines - 16) < 2)
y, x = np.meshgrid(heads.y, heads.x, indexing="ij")
places = [(-120, 0), (120, 0), (0, -120), (0, 120)]
coils = np.stack(
    [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2e4 + 1e-2j * (x - b)) for a, b in places]
)
fourier = Fourier(heads, mask=mask[:, None], sensitivities=coils)
print(f"{mask.mean():.0%} of the lines")

clean = fourier.apply(unseen.values.reshape(40, -1, 1).astype(float))
noise = Gaussian(std=0.02)
draw = np.random.default_rng(0)
kspace = clean + 0.02 * (draw.standard_normal(clean.shape) + 1j * draw.standard_normal(clean.shape))

# %%
# ## From frequencies to latents to pictures
#
# Lines that were not measured have no effect, whatever stands there. With zeros in their place, the
# head appears several times over.

Z = encoder.transform(kspace, operator=fourier, likelihood=noise)
values, std = encoder.inverse_transform(
    Z, observed=kspace, operator=fourier, likelihood=noise, return_std=True
)
plain = fourier.adjoint(kspace).reshape(unseen.shape) / np.square(np.abs(coils)).sum(axis=0)


def psnr(decoded):
    error = np.square(unseen.values - np.asarray(decoded)).mean(axis=(1, 2))
    return float(np.mean(-10 * np.log10(error)))


inside = np.abs(unseen.values - values.values) < 1.645 * std.values
print(f"zeros for what is missing {psnr(plain):.1f} dB, field {psnr(values):.1f} dB")
print(f"values within the 90 % interval: {100 * inside.mean():.0f} %")

# %%

columns = {
    "head": unseen.values,
    "zeros for what is missing": plain,
    "field": values.values,
    "its standard deviation": std.values,
}
fig, axes = plt.subplots(3, 5, figsize=(10, 6.2), layout="constrained")
for row, head in zip(axes, (0, 1, 2), strict=True):
    row[0].imshow(np.log(np.abs(kspace[head, 0] * mask[:, None]) + 1e-2), cmap="gray")
    for ax, (name, pictures) in zip(row[1:], columns.items(), strict=True):
        top = 0.15 if name.startswith("its") else 1.0
        ax.imshow(pictures[head], cmap="magma" if top < 1 else "gray", vmin=0, vmax=top)
for ax, name in zip(axes[0], ["one coil's frequencies", *columns], strict=True):
    ax.set_title(name, fontsize=10)
for ax in axes.flat:
    ax.set_xticks([])
    ax.set_yticks([])
plt.show()
