"""What every neural field offers to the solvers and learners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Linearization(ABC):
    """A field around given latents: its values and its derivative with respect to the latents.

    Attributes
    ----------
    values : Tensor of shape (B, N, c)
        Field values at the latents of the linearization.
    """

    values: Tensor

    @abstractmethod
    def jacobian(self) -> Tensor:
        """Return ∂values/∂latent, of shape (B, N, c, P)."""

    @abstractmethod
    def vjp(self, cotangent: Tensor) -> Tensor:
        """Return Σ_{n,c} cotangent · ∂values/∂latent: (B, N, c) to (B, P).

        Parameters
        ----------
        cotangent : Tensor of shape (B, N, c)
        """


class Field(nn.Module, ABC):
    """A function of coordinates and of one latent vector per signal.

    Attributes
    ----------
    in_dim, out_dim, latent_dim : int
        Number of coordinate axes d, of channels c, and length of the latent P.
    modulation_size : int
        How many numbers the latent modulates at each point, (K-1)·L.
    """

    in_dim: int
    out_dim: int
    latent_dim: int
    modulation_size: int

    @abstractmethod
    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        """Evaluate the field.

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
            Shared or per-signal coordinates.
        latents : Tensor of shape (B, P)

        Returns
        -------
        Tensor of shape (B, N, c)
        """

    @abstractmethod
    def linearize(self, coords: Tensor, latents: Tensor) -> Linearization:
        """Evaluate the field and prepare its derivative with respect to the latents.

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
            Normalised coordinates, shared or one set per signal.
        latents : Tensor of shape (B, P)
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return plain arguments from which the constructor makes a field of the same shape."""

    @abstractmethod
    def reparametrize(self, matrix: Tensor) -> None:
        """Rename the latent in place: afterwards ``f(matrix @ φ)`` is what ``f(φ)`` was.

        Parameters
        ----------
        matrix : Tensor of shape (P, P)
            Invertible.
        """

    def zero_latents(self, n_signals: int) -> Tensor:
        """Return the latents every inner loop starts from, of shape (n_signals, P).

        Parameters
        ----------
        n_signals : int
        """
        parameter = next(self.parameters())
        return torch.zeros(
            n_signals, self.latent_dim, dtype=parameter.dtype, device=parameter.device
        )

    @property
    def n_parameters(self) -> int:
        """Number of shared weights θ."""
        return sum(parameter.numel() for parameter in self.parameters())
