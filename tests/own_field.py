"""A field as somebody outside might write one: a constructor and a formula."""

import torch
from torch import nn

from neurfield.fields import Field


class TanhField(Field):
    """Two layers of tanh, the first one shifted by a linear map of the latent."""

    def __init__(self, in_dim, out_dim, latent_dim, width=16):
        super().__init__()
        self.in_dim, self.out_dim, self.latent_dim, self.width = in_dim, out_dim, latent_dim, width
        self.place, self.code = nn.Linear(in_dim, width), nn.Linear(latent_dim, width)
        self.inner, self.output = nn.Linear(width, width), nn.Linear(width, out_dim)

    def forward(self, coords, latents):
        hidden = torch.tanh(4.0 * self.place(coords) + self.code(latents)[:, None])
        return self.output(torch.tanh(self.inner(hidden)))
