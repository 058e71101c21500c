"""What lapped fields add to their linear part: detail, by a network that looks around."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurfield.fields.lapped.cells import Cells, partition_of_unity

_SIDE = 4  # samples of a small cell along an axis
_SIDE_OF_WHOLE = 2  # the same in two dimensions, where one cell is all of the signal
_MOST_READ = 48  # numbers that are read from a window


class Detail(nn.Module):
    """Detail that goes with a signal of little of it, the same everywhere.

    The signal s is cut into small cells, with windows as lapped fields have. From each window some
    numbers R s are read; a network ψ sees those of a cell and its neighbours, and says how much of
    each function in the table C there is to add:

        h(s)(x) = Σ_c C(x - x_c) ψ(R s around c).

    Parameters
    ----------
    out_dim : int
        Number of channels c.
    cells : Cells
        Of the field's latents, which are no smaller than those of its detail.
    hidden_dim : int
        Width of ψ.
    features : int
        Number of functions in C.
    """

    window: Tensor
    net: nn.Sequential

    def __init__(self, out_dim: int, cells: Cells, hidden_dim: int, features: int) -> None:
        super().__init__()
        d = len(cells.shape)
        side = _SIDE_OF_WHOLE if d == 2 and all(cells.whole) else _SIDE
        self.side = tuple(min(side, of_cell) for of_cell in cells.side)
        size = out_dim * math.prod(2 * n for n in self.side)
        n_read = min(_MOST_READ, size)
        conv: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[d]
        self.reader = nn.Parameter(torch.empty(n_read, size))
        self.net = nn.Sequential(
            conv(n_read, hidden_dim, 3, padding="same"),
            nn.GELU(),
            conv(hidden_dim, hidden_dim, 1),
            nn.GELU(),
            conv(hidden_dim, features, 1),
        )
        self.table = nn.Parameter(torch.zeros(features, size))
        window = partition_of_unity(self.cells(cells.shape)).repeat(out_dim)
        self.register_buffer("window", window.to(torch.get_default_dtype()), persistent=False)

    def cells(self, shape: Sequence[int]) -> Cells:
        """Return the small cells of signals of some shape.

        Parameters
        ----------
        shape : sequence of d int
            Samples along each axis.
        """
        return Cells(tuple(shape), self.side)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the initial weights: R and ψ at random, nothing in C.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of random numbers; by default torch's own.
        """
        self.reader.normal_(generator=generator).mul_(self.reader.shape[1] ** -0.5)
        self.table.zero_()
        for layer in list(self.net)[::2]:
            weight, bias = layer.parameters()
            bound = 1.0 / math.sqrt(weight[0].numel())
            for parameter in (weight, bias):
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, signals: Tensor) -> Tensor:
        """Return the detail of signals.

        Parameters
        ----------
        signals : Tensor of shape (B, c, *shape)
            Of mean zero, on the grid of the field's tables.

        Returns
        -------
        Tensor of shape (B, c, *shape)
            What is added to them.
        """
        cells = self.cells(signals.shape[2:])
        read = (cells.windows(signals) @ self.reader.T).mT.unflatten(2, cells.counts)
        factors = self.net(read).flatten(2).mT
        return cells.overlap(factors @ (self.table * self.window))
