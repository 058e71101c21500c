"""Networks of one signal with Gaussians in place of ReLUs."""

from __future__ import annotations

import torch
from torch import Tensor

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.linears import blank_stack, check_n_layers, draw_uniform


class GaussianMLP(CoordinateField):
    """Network of one signal whose activations are Gaussians.

    With K layers of width L, ``h_k = exp(-z_k² / (2 a²))`` of ``z_k = W_k h_{k-1} + b_k`` for
    k = 1..K-1, where ``h_0`` are the coordinates; the output is ``W_K h_{K-1} + b_K``.

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
    scale : float, default=0.1
        Standard deviation a of the Gaussians; the smaller, the faster the field may change.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If `n_layers` is less than 2.

    References
    ----------
    Ramasinghe and Lucey, "Beyond Periodicity: Towards a Unifying Framework for Activations in
    Coordinate-MLPs", ECCV 2022, Table 1 ("Gaussian").

    Examples
    --------
    >>> GaussianMLP(in_dim=2, out_dim=1, hidden_dim=16, n_layers=3)(torch.zeros(100, 2)).shape
    torch.Size([100, 1])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int = 128,
        n_layers: int = 5,
        scale: float = 0.1,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers, "Gaussian")
        self.in_dim, self.out_dim, self.hidden_dim = in_dim, out_dim, hidden_dim
        self.scale = float(scale)
        self.layers = blank_stack([in_dim, *[hidden_dim] * (n_layers - 1), out_dim])
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the draws; torch's global one by default.
        """
        draw_uniform(self.layers, generator)

    def forward(self, coords: Tensor) -> Tensor:
        hidden = coords
        for layer in self.layers[:-1]:
            hidden = torch.exp(layer(hidden).square() * (-0.5 / self.scale**2))
        return self.layers[-1](hidden)
