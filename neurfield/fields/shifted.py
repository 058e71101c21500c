"""Sine layers whose phases are shifted, whatever the shifts come from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurfield.fields.base import Field
from neurfield.fields.linears import blank_linear, blank_stack, check_n_layers
from neurfield.fields.recurrence import SineLayer, back_through_sines, through_sines
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.sweeps import Linearization


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
    modulation : {"shift", "shift_scale"}, default="shift"
        Whether the code also scales the pre-activations.

    Raises
    ------
    ValueError
        If `n_layers` is less than 2, or `modulation` is none of the two.
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
        modulation: str = "shift",
    ) -> None:
        super().__init__()
        check_n_layers(n_layers)
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
        self.layers = blank_stack([in_dim] + [hidden_dim] * (n_layers - 1))
        self.modulation = blank_linear(code_dim, self.modulation_size)
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
        return through_sines(self._seen(coords), self._modulated(coords, latents), self._rho)

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
            Normalised coordinates.
        values : Tensor of shape (n, N, c)
            Values of n signals at these points.

        Returns
        -------
        Tensor of shape (n · parts, N, c)
            The share of each vector: for each signal, one array per vector; they sum to `values`.
        """
        return values

    @torch.no_grad()
    def set_shift_weight(self, weight: Tensor) -> None:
        """Replace in place what one vector of the latent is multiplied with; all else stays.

        Parameters
        ----------
        weight : Tensor of shape ((K-1)·L, length of the vector)
            New shifts of all units of all sine layers, a column per component of the vector.
        """
        self.modulation.weight.copy_(weight)

    @abstractmethod
    def _modulated(self, coords: Tensor, latents: Tensor) -> Iterable[SineLayer]:
        """Return each sine layer as the latents modulate it.

        ω_k is best multiplied into the weights, which are small, and not into the features.
        """

    def _seen(self, coords: Tensor) -> Tensor:
        """Return the coordinates that the first layer sees."""
        return coords

    @property
    def _rho(self) -> float | None:
        return self.residual_scale if self.skip_connections else None

    def _trace(self, coords: Tensor, latents: Tensor) -> Trace:
        slopes: list[Tensor] = []
        scales: list[Tensor] = []
        products: list[Tensor] = []

        def keep(layer: SineLayer, product: Tensor, cosine: Tensor) -> None:
            k = len(slopes)
            gain = 1.0 if k == 0 or self._rho is None else self._rho
            slopes.append(gain * self.omegas[k] * cosine)
            if layer.scale is not None:
                scales.append(layer.scale)
                products.append(product / self.omegas[k])

        layers = self._modulated(coords, latents)
        hidden = through_sines(self._seen(coords), layers, self._rho, keep)
        return Trace(self.output(hidden) + 0.5, slopes, scales, products)


class Trace(NamedTuple):
    """Values, and what a forward sweep leaves of every sine layer for backward sweeps.

    ``slopes`` are the derivatives of what joins h_k by the shift; ``scales`` (1 + u) and
    ``products`` (W h + b) are empty where nothing is scaled.
    """

    values: Tensor
    slopes: list[Tensor]
    scales: list[Tensor]
    products: list[Tensor]


class ShiftedLinearization(Linearization):
    """One forward sweep of a :class:`ShiftedSiren`, kept for backward sweeps.

    Every step is an ordinary differentiable tensor operation, so a meta-gradient passes through it.
    """

    def __init__(self, field: ShiftedSiren, trace: Trace) -> None:
        self.layers, self.output = field.layers, field.output
        self.skip_connections = field.skip_connections
        self.values, *self._kept = trace

    def sensitivity(self) -> Tensor:
        """Return ∂values/∂(shifts, scales), of shape (B, N, c, (K-1)·L or twice that)."""
        by_channel = ([part.unsqueeze(-2) for part in parts] for parts in self._kept)
        return torch.cat(self._sweep(self.output.weight, *by_channel), dim=-1)

    def modulation_gradients(self, cotangent: Tensor) -> list[Tensor]:
        """Return Σ_c cotangent · ∂values/∂shift_k of each point, then those of the scales.

        Parameters
        ----------
        cotangent : Tensor of shape (B, N, c)
            What the values at each point are weighted with.

        Returns
        -------
        list of Tensor of shape (B, N, L)
            One tensor for each sine layer's shifts, then one for each layer's scales, if there are
            any.
        """
        return self._sweep(cotangent @ self.output.weight, *self._kept)

    def _sweep(
        self, gradient: Tensor, slopes: list[Tensor], scales: list[Tensor], products: list[Tensor]
    ) -> list[Tensor]:
        """Carry ∂/∂h_{K-1} back to ∂/∂shift_k, then ∂/∂scale_k, first sine layer first."""
        weights = [layer.weight for layer in self.layers]
        deltas = back_through_sines(gradient, weights, slopes, scales, self.skip_connections)
        return deltas + [delta * part for delta, part in zip(deltas, products, strict=False)]
