"""The modulated SIREN with an ω-schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.base import Field, Linearization
from neurfield.fields.linears import blank_linear, blank_stack, check_n_layers
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren_sweeps import SirenSweeps


class ModulatedSiren(Field):
    """Sine network whose pre-activations are shifted by a linear map of the latent.

    With K layers of width L, ``h_1 = sin(ω_1 (W_1 x + b_1 + m_1))`` and, for k = 2..K-1,
    ``h_k = h_{k-1} + ρ sin(ω_k (W_k h_{k-1} + b_k + m_k))``; the output is
    ``W_K h_{K-1} + b_K + 0.5``. All shifts ``m = S φ + s`` come from one matrix product.

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
    generator : torch.Generator, optional
        Source of the random initial weights.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 (modulated SIREN, ω-schedule);
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020 (initialisation).

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
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers)
        self.in_dim, self.out_dim, self.latent_dim = in_dim, out_dim, latent_dim
        self.hidden_dim, self.n_layers = hidden_dim, n_layers
        self.modulation_size = (n_layers - 1) * hidden_dim
        self.omega = omega
        self.omegas = omega_schedule(omega, n_layers)
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
        self.layers = blank_stack([in_dim] + [hidden_dim] * (n_layers - 1))
        self.modulation = blank_linear(latent_dim, self.modulation_size)
        self.output = blank_linear(hidden_dim, out_dim)
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
        """Return the last hidden features h_{K-1}, of shape (B, N, L).

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
        latents : Tensor of shape (B, P)
        """
        phases = self._phases(latents)
        hidden = torch.sin(next(phases)(coords))
        for phase in phases:
            hidden = self._join(hidden, torch.sin(phase(hidden)))
        return hidden

    def linearize(self, coords: Tensor, latents: Tensor) -> SirenLinearization:
        phases = self._phases(latents)
        first = next(phases)(coords)
        hidden, slopes = torch.sin(first), [self.omegas[0] * torch.cos(first)]
        gain = self.residual_scale if self.skip_connections else 1.0
        for omega, phase in zip(self.omegas[1:], phases, strict=False):
            inner = phase(hidden)
            slopes.append(gain * omega * torch.cos(inner))
            hidden = self._join(hidden, torch.sin(inner))
        return SirenLinearization(self, self.output(hidden) + 0.5, slopes)

    def sweeps(self, rows: int) -> SirenSweeps:
        return SirenSweeps(self, rows)

    def _phases(self, latents: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield ω_k (W_k h + b_k + m_k) as a function of h for each sine layer.

        ω_k is multiplied into the weights, which are small, and not into the features.
        """
        shifts = self.modulation(latents).view(len(latents), -1, 1, self.hidden_dim).unbind(1)
        for omega, layer, shift in zip(self.omegas, self.layers, shifts, strict=False):
            weight, bias = omega * layer.weight, omega * (layer.bias + shift)
            yield partial(_affine, weight=weight, bias=bias)

    def _join(self, hidden: Tensor, branch: Tensor) -> Tensor:
        if not self.skip_connections:
            return branch
        return torch.add(hidden, branch, alpha=self.residual_scale)

    def config(self) -> dict[str, Any]:
        names = ["in_dim", "out_dim", "latent_dim", "hidden_dim", "n_layers", "omega"]
        names += ["skip_connections", "residual_scale", "output_scale"]
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def reparametrize(self, matrix: Tensor) -> None:
        weight = self.modulation.weight
        double = torch.linalg.solve(matrix.double().T, weight.double().T).T
        weight.copy_(double.to(weight.dtype))


def _affine(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply one layer to features of shape (N, n_in) or (B, N, n_in), with a bias per signal."""
    product = functional.linear(features, weight)
    return product.add_(bias) if product.shape[:-2] == bias.shape[:-2] else product + bias


class SirenLinearization(Linearization):
    """One forward sweep of a :class:`ModulatedSiren`, kept for backward sweeps.

    Every step is an ordinary differentiable tensor operation, so a meta-gradient passes through it.
    """

    def __init__(self, field: ModulatedSiren, values: Tensor, slopes: list[Tensor]) -> None:
        self.field = field
        self.values = values
        self.slopes = slopes

    def sensitivity(self) -> Tensor:
        """Return ∂values/∂shifts, of shape (B, N, c, (K-1)·L)."""
        gradient = self.field.output.weight
        slopes = [slope.unsqueeze(-2) for slope in self.slopes]
        return torch.cat(self._sweep(gradient, slopes), dim=-1)

    def jacobian(self) -> Tensor:
        return self.sensitivity() @ self.field.modulation.weight

    def vjp(self, cotangent: Tensor) -> Tensor:
        if len(self.values) == 1 < len(cotangent):
            sensitivity = self.sensitivity()[0].flatten(0, 1)
            return cotangent.flatten(1) @ sensitivity @ self.field.modulation.weight
        sweep = self._sweep(cotangent @ self.field.output.weight, self.slopes)
        return (
            torch.cat([delta.sum(dim=-2) for delta in sweep], dim=-1) @ self.field.modulation.weight
        )

    def _sweep(self, gradient: Tensor, slopes: list[Tensor]) -> list[Tensor]:
        """Carry ∂/∂h_{K-1} back to ∂/∂shift_k for every sine layer, first layer first."""
        weights = [layer.weight for layer in self.field.layers]
        deltas = []
        for weight, slope in zip(weights[:0:-1], slopes[:0:-1], strict=True):
            delta = gradient * slope
            deltas.append(delta)
            through = delta @ weight
            gradient = gradient + through if self.field.skip_connections else through
        deltas.append(gradient * slopes[0])
        return deltas[::-1]
