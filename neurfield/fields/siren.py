"""The modulated SIREN with an ω-schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurfield.fields.base import Field, Linearization
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren_sweeps import SirenSweeps


class ModulatedSiren(Field):
    """Sine network whose pre-activations are shifted, or scaled too, by a linear map of the latent.

    With K layers of width L, ``h_1 = sin(ω_1 (W_1 x + b_1 + m_1))`` and, for k = 2..K-1,
    ``h_k = h_{k-1} + ρ sin(ω_k (W_k h_{k-1} + b_k + m_k))``; the output is
    ``W_K h_{K-1} + b_K + 0.5``. All shifts ``m = S φ + s`` come from one matrix product. With
    scales, the phases are ``ω_k ((1 + u_k) (W_k h_{k-1} + b_k) + m_k)``, with ``u = S' φ + s'``.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    latent_dim : int
        Length P of the latent vector φ.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=(30.0, 60.0)
        ω_1 → ω_K, rising linearly over the K layers; one float is a constant ω.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=1.0
        Factor ρ on the sine branch of a skip connection; 1 is the published network.
    output_scale : float, default=1.0
        Factor on the initial weights of the output layer; 1 is the published network.
    modulation : {"shift", "shift_scale"}, default="shift"
        What the latent modulates.
    generator : torch.Generator, optional
        Source of the random initial weights.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 (modulated SIREN, ω-schedule);
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020 (initialisation); Dupont et al., "COIN++: Neural Compression Across Modalities",
    TMLR 2022, Section 3 (shift and scale modulations).

    Examples
    --------
    >>> import torch
    >>> field = ModulatedSiren(in_dim=2, out_dim=1, latent_dim=8, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2), torch.zeros(4, 8)).shape
    torch.Size([4, 100, 1])
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
        skip_connections: bool = True,
        residual_scale: float = 1.0,
        output_scale: float = 1.0,
        modulation: str = "shift",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_layers < 2:
            raise ValueError(f"n_layers must be at least 2 (sine and output), got {n_layers}")
        if modulation not in ("shift", "shift_scale"):
            raise ValueError(f'modulation must be "shift" or "shift_scale", got {modulation!r}')
        self.in_dim, self.out_dim, self.latent_dim = in_dim, out_dim, latent_dim
        self.hidden_dim, self.n_layers = hidden_dim, n_layers
        self.modulates_scale = modulation == "shift_scale"
        self.modulation_size = (n_layers - 1) * hidden_dim * (2 if self.modulates_scale else 1)
        self.omega = omega
        self.omegas = omega_schedule(omega, n_layers)
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
        widths = [in_dim] + [hidden_dim] * (n_layers - 1)
        # skip_init leaves torch's global random numbers alone; reset_parameters draws the weights.
        linear = partial(nn.utils.skip_init, nn.Linear)
        sine_layers = nn.ModuleList(linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.layers = cast("Sequence[nn.Linear]", sine_layers)
        self.modulation = linear(latent_dim, self.modulation_size)
        self.output = linear(hidden_dim, out_dim)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the random numbers; torch's own by default.
        """
        bounds = [1.0 / self.in_dim]
        bounds += [math.sqrt(6.0 / self.hidden_dim) / omega for omega in self.omegas[1:]]
        linears = [*self.layers, self.output, self.modulation]
        bounds.append(1.0 / math.sqrt(self.latent_dim))
        for linear, bound in zip(linears, bounds, strict=True):
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        self.output.weight.mul_(self.output_scale)

    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        return self.output(self.hidden(coords, latents)) + 0.5

    def hidden(self, coords: Tensor, latents: Tensor) -> Tensor:
        hidden = coords
        for k, layer in enumerate(self._modulated(latents)):
            branch = torch.sin(layer.phase(layer.product(hidden)))
            hidden = self._join(hidden, branch) if k else branch
        return hidden

    def linearize(self, coords: Tensor, latents: Tensor) -> SirenLinearization:
        hidden, slopes, scales, products = coords, [], [], []
        gain = self.residual_scale if self.skip_connections else 1.0
        for k, layer in enumerate(self._modulated(latents)):
            product = layer.product(hidden)
            phase = layer.phase(product)
            slopes.append((gain if k else 1.0) * self.omegas[k] * torch.cos(phase))
            if layer.scale is not None:
                scales.append(layer.scale)
                products.append(product / self.omegas[k])
            branch = torch.sin(phase)
            hidden = self._join(hidden, branch) if k else branch
        return SirenLinearization(self, self.output(hidden) + 0.5, slopes, scales, products)

    def sweeps(self, rows: int) -> SirenSweeps | None:
        return None if self.modulates_scale else SirenSweeps(self, rows)

    def _modulated(self, latents: Tensor) -> Iterator[_ModulatedLayer]:
        """Yield each sine layer as the latents modulate it.

        ω_k is multiplied into the weights, which are small, and not into the features.
        """
        modulations = self.modulation(latents).view(len(latents), -1, 1, self.hidden_dim).unbind(1)
        for k, (omega, layer) in enumerate(zip(self.omegas, self.layers, strict=False)):
            weight, shift = omega * layer.weight, modulations[k]
            if self.modulates_scale:
                scale = 1.0 + modulations[len(self.layers) + k]
                yield _ModulatedLayer(weight, omega * layer.bias, scale, omega * shift)
            else:
                yield _ModulatedLayer(weight, omega * (layer.bias + shift))

    def _join(self, hidden: Tensor, branch: Tensor) -> Tensor:
        if not self.skip_connections:
            return branch
        return torch.add(hidden, branch, alpha=self.residual_scale)

    def config(self) -> dict[str, Any]:
        names = ["in_dim", "out_dim", "latent_dim", "hidden_dim", "n_layers", "omega"]
        names += ["skip_connections", "residual_scale", "output_scale"]
        modulation = "shift_scale" if self.modulates_scale else "shift"
        return {name: getattr(self, name) for name in names} | {"modulation": modulation}

    @torch.no_grad()
    def reparametrize(self, matrix: Tensor) -> None:
        weight = self.modulation.weight
        double = torch.linalg.solve(matrix.double().T, weight.double().T).T
        weight.copy_(double.to(weight.dtype))


class _ModulatedLayer(NamedTuple):
    """The phases of one sine layer, ω (1 + u) (W h + b) + ω m, in two parts.

    Without scales u the shift m is in the bias already.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None

    def product(self, features: Tensor) -> Tensor:
        return _affine(features, self.weight, self.bias)

    def phase(self, product: Tensor) -> Tensor:
        if self.scale is None or self.shift is None:
            return product
        return self.scale * product + self.shift


def _affine(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply one layer to features of shape (N, n_in) or (B, N, n_in), with a bias per signal."""
    product = functional.linear(features, weight)
    return product.add_(bias) if product.shape[:-2] == bias.shape[:-2] else product + bias


class SirenLinearization(Linearization):
    """One forward sweep of a :class:`ModulatedSiren`, kept for backward sweeps.

    Every step is an ordinary differentiable tensor operation, so a meta-gradient passes through it.
    """

    def __init__(
        self,
        field: ModulatedSiren,
        values: Tensor,
        slopes: list[Tensor],
        scales: list[Tensor],
        products: list[Tensor],
    ) -> None:
        self.field = field
        self.values = values
        self.slopes, self.scales, self.products = slopes, scales, products

    def sensitivity(self) -> Tensor:
        """Return ∂values/∂(shifts, scales), of shape (B, N, c, modulation_size)."""
        kept = (self.slopes, self.scales, self.products)
        by_channel = ([part.unsqueeze(-2) for part in parts] for parts in kept)
        return torch.cat(self._sweep(self.field.output.weight, *by_channel), dim=-1)

    def jacobian(self) -> Tensor:
        return self.sensitivity() @ self.field.modulation.weight

    def vjp(self, cotangent: Tensor) -> Tensor:
        if len(self.values) == 1 < len(cotangent):
            sensitivity = self.sensitivity()[0].flatten(0, 1)
            return cotangent.flatten(1) @ sensitivity @ self.field.modulation.weight
        gradient = cotangent @ self.field.output.weight
        sweep = self._sweep(gradient, self.slopes, self.scales, self.products)
        return (
            torch.cat([delta.sum(dim=-2) for delta in sweep], dim=-1) @ self.field.modulation.weight
        )

    def _sweep(
        self, gradient: Tensor, slopes: list[Tensor], scales: list[Tensor], products: list[Tensor]
    ) -> list[Tensor]:
        """Carry ∂/∂h_{K-1} back to ∂/∂shift_k, then ∂/∂scale_k, first sine layer first."""
        deltas = []
        for k in reversed(range(1, len(slopes))):
            delta = gradient * slopes[k]
            deltas.append(delta)
            through = (delta * scales[k] if scales else delta) @ self.field.layers[k].weight
            gradient = gradient + through if self.field.skip_connections else through
        deltas.append(gradient * slopes[0])
        deltas.reverse()
        return deltas + [delta * part for delta, part in zip(deltas, products, strict=False)]
