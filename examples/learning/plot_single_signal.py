"""
# One signal, all weights of its own

The classical implicit neural representation fits one network to one signal. `NeuralField` does so
with a SIREN, or with a ReLU network on Fourier features of the coordinates. It needs no other
signals, and for each new one it starts again from random weights; a `FunctaEncoder` has learnt
what heads look like and only finds a short latent.
"""

# %%
# ## A head of 28 × 28 pixels
#
# The encoder learns from other heads. All are drawn with 56 × 56 pixels and seen as means of 2 × 2
# of them, so it is known what lies between the pixels that were given.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder, NeuralField
from neurfield.datasets import phantoms

drawn = phantoms(300, shape=(56, 56), random_state=0)
heads = drawn.coarsen(y=2, x=2).mean()
head, others = heads[0], heads[1:]
fine = drawn[0, 1:-1, 1:-1]  # what lies between the outermost pixels of a head

# %%
# ## PSNR against iterations
#
# Each iteration looks at all pixels. The encoder's latent is found in closed form, without
# iterations, once the encoder is trained.

fields = {
    "SIREN": NeuralField("siren", hidden_dim=64, n_layers=4, max_iter=250, random_state=0),
    "ReLU, Fourier features": NeuralField(
        "fourier", hidden_dim=64, n_layers=4, max_iter=250, random_state=0
    ),
}
for field in fields.values():
    field.fit(head)
encoder = FunctaEncoder(latent_dim=48, hidden_dim=48, max_iter=150, random_state=0).fit(others)
latent = encoder.transform(heads[:1])
level = encoder.score(heads[:1])

figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for name, field in fields.items():
    axis.plot(field.psnr_curve_, label=f"{name}: {field.field_.n_parameters} weights")
axis.axhline(level, color="0.4", linestyle="--", label=f"latent of {latent.size} numbers")
axis.set(xlabel="iterations on this head", ylabel="PSNR (dB)")
axis.legend(frameon=False, fontsize="small", loc="lower right")
plt.show()

# %%
# ## Between the pixels
#
# A network that reproduces the pixels may still invent what lies between them: nothing but its own
# smoothness (ω of the SIREN, σ of the Fourier features) says what a head is like there.

decoded = {name: field.predict(coords=fine) for name, field in fields.items()}
decoded["latent"] = encoder.inverse_transform(latent, coords=fine)[0]


def psnr(found, truth):
    return -10 * np.log10(float(((found - truth) ** 2).mean()))


figure, axes = plt.subplots(1, 5, figsize=(10, 2.5), layout="constrained")
pictures = {"28 × 28": head} | {
    f"{name}\n{psnr(found, fine):.1f} dB": found for name, found in decoded.items()
}
pictures["56 × 56"] = fine
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
plt.show()
