"""ReLU networks on Fourier features of the coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.linears import (
    blank_stack,
    check_n_layers,
    draw_for_relus,
    through_relus,
)


def gaussian_frequencies(
    n_frequencies: int,
    sigma: Sequence[float],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw the rows of B from a normal distribution.

    Parameters
    ----------
    n_frequencies : int
        Number of rows m.
    sigma : sequence of d floats
        Standard deviation σ along each axis, in cycles per extent of the signal.
    generator : torch.Generator, optional
        Source of the draws.

    Returns
    -------
    Tensor of shape (m, d)
        In cycles per extent of the signal, one frequency a row.

    References
    ----------
    Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional
    Domains", NeurIPS 2020, Section 6 ("Gaussian").

    Examples
    --------
    >>> gaussian_frequencies(256, (10.0, 10.0)).shape
    torch.Size([256, 2])
    """
    return torch.randn(n_frequencies, len(sigma), generator=generator) * torch.tensor(sigma)


def positional_frequencies(n_octaves: Sequence[int]) -> Tensor:
    """Return powers of two along each axis by itself.

    In coordinates x of [-1, 1], as NeRF has them, the features are the sines and cosines of
    2^k π x, up to their signs.

    Parameters
    ----------
    n_octaves : sequence of d ints
        How many powers 2^0, 2^1, .. each axis has, in cycles per extent of the signal.

    Returns
    -------
    Tensor of shape (sum of n_octaves, d)
        In cycles per extent of the signal, one frequency a row: the octaves of the first axis, then
        those of the next.

    References
    ----------
    Mildenhall et al., "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis",
    ECCV 2020, Eq. (4).

    Examples
    --------
    >>> positional_frequencies((2, 1))
    tensor([[1., 0.],
            [2., 0.],
            [0., 1.]])
    """
    blocks = [2.0 ** torch.arange(n).unsqueeze(1) for n in n_octaves]
    return torch.block_diag(*blocks)


class FourierFeatureMLP(CoordinateField):
    """ReLU network on the features γ(v) = [cos 2πBv, sin 2πBv] of the coordinates.

    Coordinates of [-1, 1] are first brought to v in [0, 1], so that B counts cycles per extent. B
    stays as it is given.

    Parameters
    ----------
    frequencies : Tensor of shape (m, d)
        B, one frequency vector per row; see :func:`gaussian_frequencies` and
        :func:`positional_frequencies`.
    out_dim : int
        Number of channels c.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers, the linear output layer included and γ left out; at least 2.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If `frequencies` is no matrix, or an empty one, or `n_layers` is less than 2.

    References
    ----------
    Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional
    Domains", NeurIPS 2020, Section 6; He et al., "Delving Deep into Rectifiers", ICCV 2015,
    Section 2.2 (initialisation).

    Examples
    --------
    >>> field = FourierFeatureMLP(positional_frequencies((4, 4)), 1, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2)).shape
    torch.Size([100, 1])
    """

    frequencies: Tensor

    def __init__(
        self,
        frequencies: Tensor,
        out_dim: int,
        hidden_dim: int = 128,
        n_layers: int = 5,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers, "hidden")
        if frequencies.ndim != 2 or 0 in frequencies.shape:
            raise ValueError(
                f"frequencies must have shape (m, d), one row per frequency, "
                f"got {tuple(frequencies.shape)}"
            )
        self.in_dim, self.out_dim, self.hidden_dim = frequencies.shape[1], out_dim, hidden_dim
        self.register_buffer("frequencies", frequencies)
        widths = [2 * len(frequencies), *[hidden_dim] * (n_layers - 1), out_dim]
        self.layers = blank_stack(widths)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew; B stays.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the draws; torch's global one by default.
        """
        draw_for_relus(self.layers, generator)

    def features(self, coords: Tensor) -> Tensor:
        """Return γ of points, of shape (N, 2m), cosines first.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
            In [-1, 1]^d.
        """
        phase = math.pi * (coords + 1.0) @ self.frequencies.T
        return torch.cat([phase.cos(), phase.sin()], dim=-1)

    def forward(self, coords: Tensor) -> Tensor:
        return through_relus(self.features(coords), self.layers)
