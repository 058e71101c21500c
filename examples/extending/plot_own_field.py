"""
# A field of one's own

A field is a PyTorch module that maps coordinates and latents to values. A spec gives it a name and
holds its options; its derivatives with respect to the latents come from automatic differentiation.
"""

# %%
# ## A module and a spec
#
# A network on random Fourier features, whose hidden layer is shifted by the latent. The options of
# the spec have the names of the module's arguments.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder
from neurfield.fields import Field, FieldSpec


class FourierField(Field):
    def __init__(self, in_dim, out_dim, latent_dim, width=64, bandwidth=3.0):
        super().__init__()
        self.in_dim, self.out_dim, self.latent_dim = in_dim, out_dim, latent_dim
        self.width, self.bandwidth = width, bandwidth
        self.register_buffer("frequencies", bandwidth * torch.randn(in_dim, width))
        self.inner = torch.nn.Linear(2 * width, width)
        self.shift = torch.nn.Linear(latent_dim, width)
        self.output = torch.nn.Linear(width, out_dim)

    def forward(self, coords, latents):
        phases = coords @ self.frequencies
        features = torch.cat([phases.sin(), phases.cos()], dim=-1)
        hidden = torch.tanh(self.inner(features) + self.shift(latents)[:, None])
        return self.output(hidden)


class Fourier(FieldSpec):
    name = "fourier"
    module = FourierField

    def __init__(self, width=64, bandwidth=3.0):
        self.width = width
        self.bandwidth = bandwidth


# %%
# ## Learn
#
# The spec is what `field` takes; `field="fourier"` is the one with its defaults, and
# `field__bandwidth` one of its options.

images = load_digits().images / 16.0
encoder = FunctaEncoder(latent_dim=24, field=Fourier(width=96), max_iter=300, random_state=0)
encoder.fit(images[:1000])
print(f"{encoder.score(images[1000:1200]):.1f} dB on digits that it has not seen")

# %%
# ## Save, load, decode
#
# Saved files hold no code: whoever loads one imports the module that defines the field first.

with tempfile.TemporaryDirectory() as folder:
    encoder.save(Path(folder) / "digits.field")
    loaded = FunctaEncoder.load(Path(folder) / "digits.field")

unseen = images[1000:1006]
decoded = loaded.inverse_transform(loaded.transform(unseen), grid=(32, 32))
figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for column, pictures in zip(axes.T, zip(unseen, decoded, strict=True), strict=True):
    for axis, picture in zip(column, pictures, strict=True):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
plt.show()
