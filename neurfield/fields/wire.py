"""Networks of one signal with complex Gabor wavelets: WIRE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.linears import blank_linear, check_n_layers, draw_uniform
from neurfield.fields.schedule import omega_schedule


class ComplexLinear(nn.Module):
    """Linear layer between complex features, which stand as real parts beside imaginary parts.

    Products of real matrices and functions of real numbers are many times as fast as torch's
    complex ones.

    Parameters
    ----------
    n_in, n_out : int
        Number of complex features before and after.

    Attributes
    ----------
    weight : Tensor of shape (2, n_out, n_in)
        Real and imaginary part of W.
    bias : Tensor of shape (2, n_out)
        Real and imaginary part of b.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, n_out, n_in))
        self.bias = nn.Parameter(torch.empty(2, n_out))

    def forward(self, features: Tensor) -> Tensor:
        """Return W h + b, of shape (N, 2 n_out).

        Parameters
        ----------
        features : Tensor of shape (N, 2 n_in)
            h, its real parts first.
        """
        real, imaginary = self.weight
        rows = torch.cat([real, -imaginary], dim=1), torch.cat([imaginary, real], dim=1)
        return nn.functional.linear(features, torch.cat(rows), self.bias.flatten())


class Wire(CoordinateField):
    """Wavelet network of one signal, complex between its first layer and its output.

    With K layers of width L, ``h_k = exp(iω_k z_k) · exp(-|s z_k|²)`` of
    ``z_k = W_k h_{k-1} + b_k`` for k = 1..K-1, where ``h_0`` are the coordinates; the output is
    the real part of ``W_K h_{K-1} + b_K``. W_1 and b_1 are real, all others complex: two weights
    each, but for the imaginary part of b_K, which would change nothing and is left out.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    hidden_dim : int, default=90
        Width L, in complex features.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=10.0
        Frequency of the wavelets: one ω for all layers, or the ends ω_1 → ω_K of a linear schedule.
    scale : float, default=10.0
        s; the larger, the narrower the wavelets.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If `n_layers` is less than 2.

    References
    ----------
    Saragadam et al., "WIRE: Wavelet Implicit Neural Representations", CVPR 2023, Section 3.

    Examples
    --------
    >>> field = Wire(in_dim=2, out_dim=1, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2)).shape
    torch.Size([100, 1])
    >>> field.n_parameters == (2 * 16 + 16) + 2 * (16 * 16 + 16) + (2 * 16 + 1)
    True
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int = 90,
        n_layers: int = 5,
        omega: float | Sequence[float] = 10.0,
        scale: float = 10.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers, "wavelet")
        self.in_dim, self.out_dim, self.hidden_dim = in_dim, out_dim, hidden_dim
        self.omegas = omega_schedule(omega, n_layers)
        self.scale = float(scale)
        self.first = blank_linear(in_dim, hidden_dim)
        inner = nn.ModuleList(ComplexLinear(hidden_dim, hidden_dim) for _ in range(n_layers - 2))
        self.inner = cast("Sequence[ComplexLinear]", inner)
        # [Re W_K, -Im W_K], so that products with real and imaginary parts add up to a real part.
        self.output = blank_linear(2 * hidden_dim, out_dim)
        self.reset_parameters(generator)

    @property
    def numbers_per_point(self) -> int:
        return 2 * self.hidden_dim

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the draws; torch's global one by default.
        """
        draw_uniform([self.first], generator)
        bound = 1.0 / math.sqrt(self.hidden_dim)
        for layer in [*self.inner, self.output]:
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, coords: Tensor) -> Tensor:
        real = self.first(coords)
        hidden = self._wavelets(real, torch.zeros_like(real), self.omegas[0])
        for layer, omega in zip(self.inner, self.omegas[1:-1], strict=True):
            real, imaginary = layer(hidden).chunk(2, dim=-1)
            hidden = self._wavelets(real, imaginary, omega)
        return self.output(hidden)

    def _wavelets(self, real: Tensor, imaginary: Tensor, omega: float) -> Tensor:
        """Return exp(iωz) · exp(-|s z|²) of z by its parts, real parts first."""
        exponent = -omega * imaginary - self.scale**2 * (real.square() + imaginary.square())
        size, phase = exponent.exp(), omega * real
        return torch.cat([size * phase.cos(), size * phase.sin()], dim=-1)
