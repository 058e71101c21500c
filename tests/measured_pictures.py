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


def gaussian_of(encoder):
    """Return m and B of values m + B φ, mean and precision of φ, and the variance of a value."""
    size = encoder.codec_.latent_size
    unit = np.concatenate([np.zeros((1, size)), np.eye(size)])
    decoded = encoder.inverse_transform(unit, dtype=np.float64).reshape(size + 1, -1)
    codec = encoder.codec_
    prior, cells = codec.posterior.prior, codec.field.cells
    precision = prior.blocks(cells).dense().numpy()
    precision += np.diag(np.tile(codec.posterior.precision.double().numpy(), cells.n_cells))
    precision /= prior.noise
    mean = np.tile(prior.mean.numpy(), cells.n_cells)
    noise = float(codec.posterior.noise[0]) * float(codec.units.value_scale[0]) ** 2
    return decoded[0], (decoded[1:] - decoded[0]).T, mean, precision, noise
