"""
# Pictures from eight projections

A scanner measures integrals along rays. `transform` takes them as they are: an operator says how
they come from the values of the field, and the latent is the most probable one given both the
measurements and the training pictures.
"""

# %%
# ## Learn from pictures, measure new heads from eight directions
#
# The training heads are pictures; of the held-out ones there are only noisy projections. Their
# coordinates are millimetres, and so are those of the operator.

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.linalg import lsqr

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms
from neurfield.likelihoods import Gaussian
from neurfield.operators import Radon

heads = phantoms(640, shape=(32, 32), random_state=0)
seen, unseen = heads[:-40], heads[-40:]
encoder = FunctaEncoder(latent_dim=64, hidden_dim=64, max_iter=300, random_state=0).fit(seen)

radon = Radon(heads, angles=np.arange(8) * 22.5)
clean = radon.apply(unseen.values.reshape(40, -1, 1).astype(float))
noise = Gaussian(std=0.01 * clean.max())
sinograms = clean + noise.std * np.random.default_rng(0).standard_normal(clean.shape)
print("measured of each head:", sinograms.shape[1:])

# %%
# ## From projections to latents to pictures
#
# Least squares have nothing to say about what eight directions do not see, which is most of a
# picture: LSQR, stopped early, shows the rays. The field knows what heads look like, and how sure
# it is.

Z = encoder.transform(sinograms, operator=radon, likelihood=noise)
values, std = encoder.inverse_transform(
    Z, observed=sinograms, operator=radon, likelihood=noise, return_std=True
)
plain = np.stack([lsqr(radon.matrix, one.ravel(), iter_lim=10)[0] for one in sinograms])
plain = plain.reshape(unseen.shape)


def psnr(decoded):
    error = np.square(unseen.values - np.asarray(decoded)).mean(axis=(1, 2))
    return float(np.mean(-10 * np.log10(error)))


inside = np.abs(unseen.values - values.values) < 1.645 * std.values
print(f"least squares {psnr(plain):.1f} dB, field {psnr(values):.1f} dB")
print(f"values within the 90 % interval: {100 * inside.mean():.0f} %")

# %%

columns = {
    "head": unseen.values,
    "least squares": plain,
    "field": values.values,
    "its standard deviation": std.values,
}
fig, axes = plt.subplots(3, 5, figsize=(10, 6.2), layout="constrained")
for row, head in zip(axes, (0, 1, 2), strict=True):
    row[0].imshow(sinograms[head], cmap="gray", aspect="auto")
    for ax, (name, pictures) in zip(row[1:], columns.items(), strict=True):
        top = 0.15 if name.startswith("its") else 1.0
        ax.imshow(pictures[head], cmap="magma" if top < 1 else "gray", vmin=0, vmax=top)
for ax, name in zip(axes[0], ["eight projections", *columns], strict=True):
    ax.set_title(name, fontsize=10)
for ax in axes.flat:
    ax.set_xticks([])
    ax.set_yticks([])
plt.show()
