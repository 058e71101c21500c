"""Smooth pictures, and encoders of them, for tests of what operators measure."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from neurfield import FunctaEncoder
from neurfield.fields import Lapped

SHAPE = (12, 12)


def pictures(n, seed):
    noise = np.random.default_rng(seed).standard_normal((n, *SHAPE))
    return 5.0 + 10.0 * gaussian_filter(noise, 2.0, axes=(1, 2))


def linear_encoder(signals=None):
    """An encoder whose field is linear in its latents, with values around it."""
    field = Lapped(cell=6, hidden_dim=8)
    encoder = FunctaEncoder(latent_dim=16, field=field, max_iter=2, random_state=0)
    encoder.fit(pictures(200, 0) if signals is None else signals)
    with torch.no_grad():
        encoder.field_.detail.table.zero_()
    encoder.codec_ = encoder.codec_.to(torch.device("cpu"))
    encoder.codec_.field.double()
    solver = encoder.codec_.solver
    solver.precision = solver.precision.double()
    return encoder


def siren_encoder():
    encoder = FunctaEncoder(
        latent_dim=12, hidden_dim=32, field="siren", max_iter=60, random_state=0
    )
    return encoder.fit(pictures(200, 0))
