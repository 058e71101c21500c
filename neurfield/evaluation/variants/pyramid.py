"""A modulated SIREN whose hidden layers grow narrower or wider from one to the next.

References
----------
Friedrich et al., "MedFuncta", arXiv 2502.14401, which reports that such widths do not help.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurfield._compat import Interval
from neurfield.fields import Field, FieldSpec, omega_schedule
from neurfield.fields.linears import blank_linear, blank_stack, check_n_layers


class PyramidSiren(Field):
    """Sine network with shifts ``m = S φ + s``, whose widths L_k are a line over its layers.

    ``h_1 = sin(ω_1 (W_1 x + b_1 + m_1))`` and ``a_k = sin(ω_k (W_k h_{k-1} + b_k + m_k))``; where
    L_k is L_{k-1}, ``h_k = h_{k-1} + a_k``, and else ``h_k = a_k``. The output is
    ``W_K h_{K-1} + b_K + 0.5``.

    Parameters
    ----------
    in_dim, out_dim, latent_dim : int
        d, c and P.
    hidden_dim : int, default=128
        L, mean width of the K-1 hidden layers.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=(30.0, 60.0)
        ω_1 → ω_K, rising linearly over the K layers; one float is a constant ω.
    taper : float in (-1, 1), default=0.5
        Widths go from (1 + taper) L down to (1 − taper) L, or up where it is negative; at 0 this is
        the published network.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Examples
    --------
    >>> PyramidSiren(2, 1, latent_dim=8, hidden_dim=16, n_layers=4).widths
    (24, 16, 8)
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        hidden_dim: int = 128,
        n_layers: int = 5,
        omega: float | Sequence[float] = (30.0, 60.0),
        *,
        taper: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers)
        self.in_dim, self.out_dim, self.latent_dim = in_dim, out_dim, latent_dim
        self.hidden_dim, self.n_layers, self.omega, self.taper = hidden_dim, n_layers, omega, taper
        self.omegas = omega_schedule(omega, n_layers)
        parts = np.linspace(1 + taper, 1 - taper, n_layers - 1) if n_layers > 2 else [1.0]
        self.widths = tuple(max(1, round(float(part) * hidden_dim)) for part in parts)
        self.layers = blank_stack([in_dim, *self.widths])
        self.modulation = blank_linear(latent_dim, sum(self.widths))
        self.output = blank_linear(self.widths[-1], out_dim)
        self._reset_parameters(generator)

    @torch.no_grad()
    def _reset_parameters(self, generator: torch.Generator | None) -> None:
        sizes = [self.in_dim, *self.widths]
        bounds = [1.0 / self.in_dim]
        bounds += [
            math.sqrt(6.0 / size) / omega
            for size, omega in zip(sizes[1:], self.omegas[1:], strict=True)
        ]
        bounds.append(1.0 / math.sqrt(self.latent_dim))
        linears = [*self.layers, self.output, self.modulation]
        for linear, bound in zip(linears, bounds, strict=True):
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        return self.output(self.hidden(coords, latents)) + 0.5

    def hidden(self, coords: Tensor, latents: Tensor) -> Tensor:
        shifts = self.modulation(latents)[:, None].split(self.widths, dim=-1)
        features = coords
        for omega, layer, shift in zip(self.omegas, self.layers, shifts, strict=False):
            branch = torch.sin(
                functional.linear(features, omega * layer.weight, omega * layer.bias)
                + omega * shift
            )
            joins = layer is not self.layers[0] and layer.in_features == layer.out_features
            features = features + branch if joins else branch
        return features


class Pyramid(FieldSpec):
    """Options of :class:`PyramidSiren`.

    Parameters
    ----------
    taper : float in (-1, 1), default=0.5
        Widths go from (1 + taper) L down to (1 − taper) L, or up where it is negative.
    hidden_dim : int, default=None
        L, the mean width; None takes the encoder's.
    n_layers : int, default=None
        Number of layers K, the output layer included; None takes the encoder's, or the learner's
        where that is None too.

    Examples
    --------
    >>> Pyramid(taper=-0.25).taper
    -0.25
    """

    name: ClassVar[str] = "pyramid"
    module: ClassVar[type[PyramidSiren]] = PyramidSiren

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "taper": [Interval(Real, -1, 1, closed="neither")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
    }

    def __init__(
        self, taper: float = 0.5, hidden_dim: int | None = None, n_layers: int | None = None
    ) -> None:
        self.taper = taper
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
