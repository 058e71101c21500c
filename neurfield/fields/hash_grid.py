"""Networks of one signal on learnt features of grids of many sizes, which hashing keeps small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.linears import (
    blank_stack,
    check_n_layers,
    draw_for_relus,
    through_relus,
)

_PRIMES = (1, 2_654_435_761, 805_459_861)
_WORD = 2**32 - 1  # products are those of unsigned numbers of 32 bits
_FIRST_FEATURES = 1e-4


def level_sizes(coarsest: Sequence[int], finest: Sequence[int], n_levels: int) -> np.ndarray:
    """Return the number of cells of each level along each axis.

    Parameters
    ----------
    coarsest, finest : sequence of d ints
        Cells along each axis of the first and of the last level.
    n_levels : int
        Number of levels L, between which sizes grow by one factor for each axis.

    Returns
    -------
    ndarray of int64 and shape (L, d)
        One level a row.

    References
    ----------
    Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
    ACM Transactions on Graphics 41 (2022), Eq. (2) and (3).

    Examples
    --------
    >>> level_sizes((4, 2), (32, 2), 4).tolist()
    [[4, 2], [8, 2], [16, 2], [32, 2]]
    """
    sizes = np.geomspace(coarsest, finest, n_levels)
    return np.floor(sizes + 1e-6).astype(np.int64)  # 15.999.. is a 16 that was rounded


class HashGrid(CoordinateField):
    """ReLU network on features that are interpolated on grids of several sizes.

    Each level has a grid of its own, at whose nodes stand F learnt numbers, linear in between. A
    level whose nodes are no more than the T entries of a table has one for each; of a finer level,
    nodes share entries as a hash of their position says, which training sorts out. What all levels
    say of a point goes through a small ReLU network. Beyond the extent of the signal stands what
    stands at its edge.

    Parameters
    ----------
    finest : sequence of d ints
        Cells of the last level along each of one to three axes.
    out_dim : int
        Number of channels c.
    hidden_dim : int, default=64
        Width of the ReLU network.
    n_layers : int, default=3
        Number of its layers, the linear output layer included; at least 2.
    table_size : int, default=16384
        Most entries T of a level.
    coarsest : sequence of d ints, default=None
        Cells of the first level; None = 16 along each axis, or `finest` where that is less.
    n_levels : int, default=16
        Number of levels L.
    n_features : int, default=2
        Numbers F at each node.
    generator : torch.Generator, optional
        Source of the random initial weights and features.

    Attributes
    ----------
    sizes : Tensor of int64 and shape (L, d)
        Cells of each level along each axis.
    n_dense : int
        How many levels, from the first, have an entry for each node.
    table : Tensor of shape (n_entries, F)
        Features of all levels, one after the other.

    Raises
    ------
    ValueError
        If there are more than three axes, a number of cells, levels, features or entries is less
        than 1, or `n_layers` is less than 2.

    References
    ----------
    Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
    ACM Transactions on Graphics 41 (2022), Section 3 and Eq. (4); He et al., "Delving Deep into
    Rectifiers", ICCV 2015, Section 2.2 (initialisation of the ReLU network).

    Examples
    --------
    >>> field = HashGrid((32, 32), 1, table_size=400, n_levels=4)
    >>> field(torch.zeros(100, 2)).shape
    torch.Size([100, 1])
    >>> field.sizes.tolist(), field.n_dense
    ([[16, 16], [20, 20], [25, 25], [32, 32]], 1)
    """

    sizes: Tensor
    strides: Tensor
    starts: Tensor
    corners: Tensor
    primes: Tensor

    def __init__(
        self,
        finest: Sequence[int],
        out_dim: int,
        hidden_dim: int = 64,
        n_layers: int = 3,
        table_size: int = 2**14,
        *,
        coarsest: Sequence[int] | None = None,
        n_levels: int = 16,
        n_features: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_n_layers(n_layers, "hidden")
        d = len(finest)
        if not 1 <= d <= len(_PRIMES):
            raise ValueError(f"finest must have one to three axes, got {tuple(finest)}")
        first = [min(16, size) for size in finest] if coarsest is None else list(coarsest)
        if len(first) != d:
            raise ValueError(f"coarsest must have the {d} axes of finest, got {tuple(first)}")
        least = {
            "finest": min(finest),
            "coarsest": min(first),
            "table_size": table_size,
            "n_levels": n_levels,
            "n_features": n_features,
        }
        for name, number in least.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if any(a > b for a, b in zip(first, finest, strict=True)):
            raise ValueError(
                f"coarsest must not exceed finest, which is {tuple(finest)}, got {tuple(first)}"
            )
        self.in_dim, self.out_dim, self.hidden_dim = d, out_dim, hidden_dim
        self.table_size = table_size
        sizes = level_sizes(first, finest, n_levels)
        n_nodes = [math.prod(nodes) for nodes in (sizes + 1).tolist()]
        n_entries = [min(n, table_size) for n in n_nodes]
        # Nodes never become fewer from level to level, so dense levels come first.
        self.n_dense = sum(n <= table_size for n in n_nodes)
        self.register_buffer("sizes", torch.tensor(sizes))
        # Row by row, the last axis fastest.
        strides = np.cumprod(np.c_[np.ones(n_levels, int), sizes[:, :0:-1] + 1], axis=1)[:, ::-1]
        self.register_buffer("strides", torch.tensor(strides.copy()))
        self.register_buffer("starts", torch.tensor([0, *np.cumsum(n_entries)[:-1].tolist()]))
        self.register_buffer("corners", torch.tensor(list(product((0, 1), repeat=d))))
        self.register_buffer("primes", torch.tensor(_PRIMES[:d]))
        self.table = nn.Parameter(torch.empty(sum(n_entries), n_features))
        widths = [n_levels * n_features, *[hidden_dim] * (n_layers - 1), out_dim]
        self.layers = blank_stack(widths)
        self.reset_parameters(generator)

    @property
    def numbers_per_point(self) -> int:
        return max(self.hidden_dim, len(self.sizes) * len(self.corners))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights and features anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the draws; torch's global one by default.
        """
        self.table.uniform_(-_FIRST_FEATURES, _FIRST_FEATURES, generator=generator)
        draw_for_relus(self.layers, generator)

    def entries(self, nodes: Tensor) -> Tensor:
        """Return where in the table the features of nodes stand.

        Parameters
        ----------
        nodes : Tensor of int64 and shape (N, L, k, d)
            Positions of k nodes of each level, from 0 along each axis.

        Returns
        -------
        Tensor of int64 and shape (N, L, k)
            Rows of the table.
        """
        dense, hashed = nodes.tensor_split([self.n_dense], dim=1)
        places = (dense * self.strides[: self.n_dense, None]).sum(-1)
        products = (hashed * self.primes) & _WORD
        mixed = products[..., 0]
        for axis in range(1, self.in_dim):
            mixed = mixed ^ products[..., axis]
        return torch.cat([places, mixed % self.table_size], dim=1) + self.starts[:, None]

    def features(self, coords: Tensor) -> Tensor:
        """Return the features of points, of shape (N, L·F), level by level.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
            In [-1, 1]^d.
        """
        place = ((coords.clamp(-1.0, 1.0) + 1.0) / 2.0).unsqueeze(1) * self.sizes
        # The last node has no cell of its own: it is the far corner of the last cell.
        cell = torch.minimum(place.detach().floor().long(), self.sizes - 1)
        within = (place - cell).unsqueeze(2)
        weights = torch.where(self.corners.bool(), within, 1.0 - within).prod(-1)
        entries = self.entries(cell.unsqueeze(2) + self.corners)
        n_corners = len(self.corners)
        mixed = F.embedding_bag(
            entries.reshape(-1, n_corners),
            self.table,
            mode="sum",
            per_sample_weights=weights.reshape(-1, n_corners),
        )
        return mixed.reshape(len(coords), -1)

    def forward(self, coords: Tensor) -> Tensor:
        return through_relus(self.features(coords), self.layers)
