"""Sine layers whose phases are shifted, whatever the shifts come from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.base import Field, Linearization
from neurfield.fields.linears import blank_linear, blank_stack, check_n_layers
from neurfield.fields.schedule import omega_schedule


class ShiftedSiren(Field):
    """Sine network whose pre-activations are shifted by a linear map of a code.

    With K layers of width L, ``h_1 = sin(ω_1 (W_1 x + b_1 + m_1))`` and, for k = 2..K-1,
    ``h_k = h_{k-1} + ρ sin(ω_k (W_k h_{k-1} + b_k + m_k))``; the output is
    ``W_K h_{K-1} + b_K + 0.5``. The shifts are ``m = S u + s``; what the code u is, at which point,
    is for each family to say.

    Parameters
    ----------
    in_dim, out_dim, latent_dim : int
        d, c and P.
    code_dim : int
        Length of the code u.
    hidden_dim : int
        Width L.
    n_layers : int
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float)
        ω_1 → ω_K, rising linearly over the K layers; one float is a constant ω.
    skip_connections : bool
        Whether layers 2..K-1 add to their input.
    residual_scale : float
        Factor ρ on the sine branch of a skip connection.
    output_scale : float
        Factor on the initial weights of the output layer.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        code_dim: int,
        hidden_dim: int,
        n_layers: int,
        omega: float | Sequence[float],
        skip_connections: bool,
        residual_scale: float,
        output_scale: float,
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
        self.modulation = blank_linear(code_dim, (n_layers - 1) * hidden_dim)
        self.output = blank_linear(hidden_dim, out_dim)

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
        bounds.append(1.0 / math.sqrt(self.modulation.in_features))
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
        phases = self._phases(coords, latents)
        hidden = torch.sin(next(phases)(self._seen(coords)))
        for phase in phases:
            hidden = self._join(hidden, torch.sin(phase(hidden)))
        return hidden

    @abstractmethod
    def linearize(self, coords: Tensor, latents: Tensor) -> ShiftedLinearization: ...

    def seen_spacing(self, spacing: Tensor) -> Tensor:
        """Return the distance of neighbouring grid points as the first layer sees it.

        Parameters
        ----------
        spacing : Tensor of shape (d,)
            In normalised coordinates.
        """
        return spacing

    def shares(self, coords: Tensor, values: Tensor) -> Tensor:
        """Part values among the vectors of the latent, by how much each counts where they are.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
        values : Tensor of shape (n, N, c)

        Returns
        -------
        Tensor of shape (n · parts, N, c)
        """
        return values

    @torch.no_grad()
    def set_shift_weight(self, weight: Tensor) -> None:
        """Replace in place what one vector of the latent is multiplied with; all else stays.

        Parameters
        ----------
        weight : Tensor of shape ((K-1)·L, length of the vector)
        """
        self.modulation.weight.copy_(weight)

    @abstractmethod
    def _biases(self, coords: Tensor, latents: Tensor) -> Iterable[Tensor]:
        """Return ω_k (b_k + m_k) of each sine layer, of shape (B, 1, L) or (B, N, L).

        ω_k is best multiplied into weights, which are small, and not into features.
        """

    def _seen(self, coords: Tensor) -> Tensor:
        """Return the coordinates that the first layer sees."""
        return coords

    def _trace(self, coords: Tensor, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the values and ∂(what joins h_k)/∂(phase of layer k) for every sine layer."""
        phases = self._phases(coords, latents)
        first = next(phases)(self._seen(coords))
        hidden, slopes = torch.sin(first), [self.omegas[0] * torch.cos(first)]
        gain = self.residual_scale if self.skip_connections else 1.0
        for omega, phase in zip(self.omegas[1:], phases, strict=False):
            inner = phase(hidden)
            slopes.append(gain * omega * torch.cos(inner))
            hidden = self._join(hidden, torch.sin(inner))
        return self.output(hidden) + 0.5, slopes

    def _phases(self, coords: Tensor, latents: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield ω_k (W_k h + b_k + m_k) as a function of h for each sine layer."""
        biases = self._biases(coords, latents)
        for omega, layer, bias in zip(self.omegas, self.layers, biases, strict=False):
            yield partial(_affine, weight=omega * layer.weight, bias=bias)

    def _join(self, hidden: Tensor, branch: Tensor) -> Tensor:
        if not self.skip_connections:
            return branch
        return torch.add(hidden, branch, alpha=self.residual_scale)

    def config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("in_dim", "out_dim", *self.options)}


def _affine(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply one layer to features of shape (N, n_in) or (B, N, n_in), with a bias per signal."""
    product = functional.linear(features, weight)
    return product.add_(bias) if product.shape[:-2] == bias.shape[:-2] else product + bias


class ShiftedLinearization(Linearization):
    """One forward sweep of a :class:`ShiftedSiren`, kept for backward sweeps.

    Every step is an ordinary differentiable tensor operation, so a meta-gradient passes through it.
    """

    def __init__(self, field: ShiftedSiren, values: Tensor, slopes: list[Tensor]) -> None:
        self.layers, self.output = field.layers, field.output
        self.skip_connections = field.skip_connections
        self.values = values
        self.slopes = slopes

    def sensitivity(self) -> Tensor:
        """Return ∂values/∂shifts, of shape (B, N, c, (K-1)·L)."""
        slopes = [slope.unsqueeze(-2) for slope in self.slopes]
        return torch.cat(self._sweep(self.output.weight, slopes), dim=-1)

    def shift_gradients(self, cotangent: Tensor) -> list[Tensor]:
        """Return Σ_c cotangent · ∂values/∂shift_k of each point, of shape (B, N, L) for every k.

        Parameters
        ----------
        cotangent : Tensor of shape (B, N, c)
        """
        return self._sweep(cotangent @ self.output.weight, self.slopes)

    def _sweep(self, gradient: Tensor, slopes: list[Tensor]) -> list[Tensor]:
        """Carry ∂/∂h_{K-1} back to ∂/∂shift_k for every sine layer, first layer first."""
        weights = [layer.weight for layer in self.layers]
        deltas = []
        for weight, slope in zip(weights[:0:-1], slopes[:0:-1], strict=True):
            delta = gradient * slope
            deltas.append(delta)
            through = delta @ weight
            gradient = gradient + through if self.skip_connections else through
        deltas.append(gradient * slopes[0])
        return deltas[::-1]
