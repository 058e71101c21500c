"""The SIREN of one signal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.linears import blank_stack, check_n_layers
from neurfield.fields.recurrence import SineLayer, through_sines
from neurfield.fields.schedule import omega_schedule


class PlainSiren(CoordinateField):
    """Sine network of one signal, as published: without latent, without skip connections.

    With K layers of width L, ``h_k = sin(ω_k (W_k h_{k-1} + b_k))`` for k = 1..K-1, where ``h_0``
    are the coordinates; the output is ``W_K h_{K-1} + b_K``.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=30.0
        One ω for all layers, or the ends ω_1 → ω_K of a linear schedule.
    generator : torch.Generator, optional
        Source of the random initial weights.

    References
    ----------
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020, Eq. (5) and Section 3.2 (initialisation).

    Examples
    --------
    >>> import torch
    >>> PlainSiren(in_dim=2, out_dim=1, hidden_dim=16, n_layers=3)(torch.zeros(100, 2)).shape
    torch.Size([100, 1])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int = 128,
        n_layers: int = 5,
        omega: float | Sequence[float] = 30.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers)
        self.in_dim, self.out_dim, self.hidden_dim = in_dim, out_dim, hidden_dim
        self.omegas = omega_schedule(omega, n_layers)
        widths = [in_dim, *[hidden_dim] * (n_layers - 1), out_dim]
        self.layers = blank_stack(widths)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the draws; torch's global one by default.
        """
        for k, (layer, omega) in enumerate(zip(self.layers, self.omegas, strict=True)):
            fan_in = layer.in_features
            bound = 1.0 / fan_in if k == 0 else math.sqrt(6.0 / fan_in) / omega
            layer.weight.uniform_(-bound, bound, generator=generator)
            # Wider than the weights, so that the sines of a layer start in different phases.
            phase = 1.0 / math.sqrt(fan_in)
            layer.bias.uniform_(-phase, phase, generator=generator)

    def forward(self, coords: Tensor) -> Tensor:
        *sines, output = self.layers
        # ω_k multiplies the weights, which are few, and not the features.
        layers = (
            SineLayer(omega * layer.weight, omega * layer.bias)
            for omega, layer in zip(self.omegas, sines, strict=False)
        )
        return output(through_sines(coords, layers, None))
