"""Networks of one signal by name, as large and fast as their kind does well with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.fourier import (
    FourierFeatureMLP,
    gaussian_frequencies,
    positional_frequencies,
)
from neurfield.fields.gaussian_mlp import GaussianMLP
from neurfield.fields.hash_grid import HashGrid
from neurfield.fields.plain_siren import PlainSiren
from neurfield.fields.wire import Wire

_PART_OF_NYQUIST = 0.25  # highest frequency by default; the network makes higher ones of it
# Fewer and coarser levels than for scenes: features of all levels are then as many as the points.
_HASH_LEVELS = {"n_levels": 8, "n_features": 2}
_COARSEST = 4
_LEAST_ENTRIES = 2**10


@dataclass(frozen=True)
class CoordinateOptions:
    """What a network of one signal is made and trained with.

    Parameters
    ----------
    hidden_dim, n_layers : int
        Width, and number of linear layers with the output layer.
    lr : float
        Peak learning rate.
    omega : float or (float, float), default=30.0
        ω of "siren" and "wire".
    scale : float, default=0.1
        Standard deviation of the Gaussians of "gaussian", s of "wire".
    sigma : float, default=None
        Standard deviation of the frequencies of "fourier"; None = an eighth of Nyquist's.
    n_frequencies : int, default=None
        Number of frequencies of "fourier" and of octaves of "positional"; None = `hidden_dim`, and
        octaves up to a quarter of Nyquist's frequency.
    table_size : int, default=None
        Most entries of a level of "hash-grid"; None = a sixteenth of the points, at least 1024.
    """

    hidden_dim: int
    n_layers: int
    lr: float
    omega: float | Sequence[float] = 30.0
    scale: float = 0.1
    sigma: float | None = None
    n_frequencies: int | None = None
    table_size: int | None = None

    def but(self, given: dict[str, Any]) -> CoordinateOptions:
        """Return these options with others in the place of some; None changes nothing.

        Parameters
        ----------
        given : dict
            Options by name.
        """
        return replace(self, **{name: value for name, value in given.items() if value is not None})


#: What networks are made and trained with where the caller says nothing, by name.
COORDINATE_FIELDS = {
    "siren": CoordinateOptions(128, 5, lr=1e-3),
    "fourier": CoordinateOptions(128, 5, lr=1e-3),
    "positional": CoordinateOptions(128, 5, lr=1e-3),
    "wire": CoordinateOptions(90, 4, lr=5e-3, omega=10.0, scale=10.0),
    "gaussian": CoordinateOptions(128, 5, lr=2e-3, scale=0.07),
    "hash-grid": CoordinateOptions(64, 3, lr=2e-2),
}


def make_coordinate_field(
    name: str,
    options: CoordinateOptions,
    nyquist: Sequence[float],
    out_dim: int,
    generator: torch.Generator,
) -> CoordinateField:
    """Return a network of one signal with its first weights.

    Parameters
    ----------
    name : str
        One of :data:`COORDINATE_FIELDS`.
    options : CoordinateOptions
        Its sizes and frequencies.
    nyquist : sequence of d floats
        Highest frequency that the signal's points can hold along each axis, in cycles per extent.
    out_dim : int
        Number of channels c.
    generator : torch.Generator
        Source of the random frequencies and initial weights.

    Raises
    ------
    ValueError
        If the signal has more axes than the network can have.

    Examples
    --------
    >>> draws = torch.Generator().manual_seed(0)
    >>> make_coordinate_field("wire", COORDINATE_FIELDS["wire"], (8.0, 8.0), 1, draws).in_dim
    2
    """
    d, width, depth = len(nyquist), options.hidden_dim, options.n_layers
    if name == "siren":
        return PlainSiren(d, out_dim, width, depth, options.omega, generator=generator)
    if name == "wire":
        return Wire(d, out_dim, width, depth, options.omega, options.scale, generator=generator)
    if name == "gaussian":
        return GaussianMLP(d, out_dim, width, depth, options.scale, generator=generator)
    if name == "hash-grid":
        if d > 3:
            raise ValueError(f'field="hash-grid" takes signals of one to three axes, got {d}')
        return _hash_grid(options, nyquist, out_dim, generator)
    highest = [_PART_OF_NYQUIST * frequency for frequency in nyquist]
    if name == "fourier":  # 95 % of a normal distribution lie within 2 σ
        sigma = [h / 2 if options.sigma is None else options.sigma for h in highest]
        frequencies = gaussian_frequencies(options.n_frequencies or width, sigma, generator)
    else:
        octaves = [1 + max(0, math.floor(math.log2(h))) for h in highest]
        n_octaves = options.n_frequencies
        frequencies = positional_frequencies(octaves if n_octaves is None else [n_octaves] * d)
    return FourierFeatureMLP(frequencies, out_dim, width, depth, generator=generator)


def _hash_grid(
    options: CoordinateOptions, nyquist: Sequence[float], out_dim: int, generator: torch.Generator
) -> HashGrid:
    finest = [math.ceil(2 * highest) for highest in nyquist]  # a node for each point
    n_points = math.prod(cells + 1 for cells in finest)
    n_features = math.prod(_HASH_LEVELS.values())
    return HashGrid(
        finest,
        out_dim,
        options.hidden_dim,
        options.n_layers,
        options.table_size or max(_LEAST_ENTRIES, n_points // n_features),
        coarsest=[min(_COARSEST, cells) for cells in finest],
        **_HASH_LEVELS,
        generator=generator,
    )
