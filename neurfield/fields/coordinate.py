"""What every field of one signal offers: a function of coordinates alone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class CoordinateField(nn.Module, ABC):
    """A function of coordinates, all of whose weights belong to one signal.

    Attributes
    ----------
    in_dim, out_dim : int
        Number of coordinate axes d and of channels c.
    hidden_dim : int
        Width L of the hidden layers.
    """

    in_dim: int
    out_dim: int
    hidden_dim: int

    @abstractmethod
    def forward(self, coords: Tensor) -> Tensor:
        """Evaluate the field.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
            Points in [-1, 1]^d.

        Returns
        -------
        Tensor of shape (N, c)
            Scaled values, one point a row.
        """

    @property
    def n_parameters(self) -> int:
        """Number of weights that are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def numbers_per_point(self) -> int:
        """How many numbers the widest step of the field has at each point."""
        return self.hidden_dim
