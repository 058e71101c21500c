"""A field whose latents are those of cells, with windows that overlap."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from neurfield.fields.base import Field
from neurfield.fields.lapped import spline
from neurfield.fields.lapped.cells import Cells, partition_of_unity
from neurfield.fields.lapped.detail import Detail
from neurfield.sizes import along_axes

_ON_GRID = 1e-3  # samples by which points may be off the grid of the tables


class LappedField(Field):
    """Sum over cells of local fields that fade into each other.

    Each cell of side b has a vector φ_c of k latents and a window of side 2b around it. With
    relative coordinates u = x - x_c,

        f(x; φ) = m + s(x) + h(s)(x),    s(x) = Σ_c B(u) φ_c,

    where B is a table of functions on the window. The linear part s is that in which latents are
    found in closed form; the :class:`Detail` h adds what goes with it and is not linear in the
    latents, and begins at zero. Between the samples of the tables the sum is read by cubic splines.
    At the borders of the signal a window is folded back, so that one θ serves signals of any size
    and no latent lies outside.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    latent_dim : int
        Length P of the latent: number of cells times k.
    shape : sequence of d int
        Samples of a signal along each axis, on the grid of the tables, which spans [-1, 1]^d.
    cell : int or sequence of d int
        Samples of a cell along each axis.
    hidden_dim : int, default=128
        Twice the width of the network in h, which is evaluated more often than others are.
    features : int, default=64
        Number of functions that h adds in each of its cells.
    pool : {"mean"}, optional
        What codecs describe a signal by: None = the vectors of its cells, "mean" = their mean.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If ``latent_dim`` is no multiple of the number of cells, or cells do not fit.

    References
    ----------
    Malvar and Staelin, "The LOT: transform coding without blocking effects", IEEE Trans. ASSP 37,
    1989 (lapped bases).

    Examples
    --------
    >>> import torch
    >>> field = LappedField(2, 1, latent_dim=4 * 3, shape=(8, 8), cell=4)
    >>> field(torch.zeros(100, 2), torch.zeros(5, 12)).shape
    torch.Size([5, 100, 1])
    """

    window: Tensor

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        shape: Sequence[int],
        cell: int | Sequence[int],
        hidden_dim: int = 128,
        features: int = 64,
        pool: str | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.check(in_dim, {"latent_dim": latent_dim, "shape": shape, "cell": cell})
        self.in_dim, self.out_dim, self.latent_dim = in_dim, out_dim, latent_dim
        self.cells = Cells.covering(shape, along_axes(cell, in_dim))
        self.shape, self.cell = self.cells.shape, self.cells.side
        self.hidden_dim, self.features, self.pool = hidden_dim, features, pool
        k = latent_dim // self.cells.n_cells
        size = out_dim * self.cells.window_size
        self.mean = nn.Parameter(torch.zeros(out_dim))
        self.basis = nn.Parameter(torch.empty(k, size))
        width = max(1, hidden_dim // 2)
        self.detail = Detail(out_dim, self.cells, width, features)
        # Windows, of the linear part and of its detail, and what ψ makes of each.
        of_network = (3 * width + features) / math.prod(self.detail.side)
        self.modulation_size = math.ceil(out_dim * 2 ** (in_dim + 1) + of_network)
        window = partition_of_unity(self.cells).repeat(out_dim)
        self.register_buffer("window", window.to(torch.get_default_dtype()), persistent=False)
        self.reset_parameters(generator)

    @classmethod
    def check(cls, in_dim: int, options: Mapping[str, Any]) -> None:
        if in_dim > 3:
            raise ValueError(f"lapped fields have one to three axes, got {in_dim}")
        cell, shape, latent_dim = options["cell"], options["shape"], options["latent_dim"]
        sides = along_axes(cell, in_dim)
        if len(sides) != in_dim or not all(isinstance(n, Integral) and n > 0 for n in sides):
            raise ValueError(
                f"cell must be a positive number of samples or one for each of the {in_dim} axes "
                f"of the signals, got {cell!r}"
            )
        n_cells = Cells.covering(shape, sides).n_cells
        if latent_dim % n_cells:
            raise ValueError(
                f"latent_dim must be divisible by the {n_cells} cells of a signal of "
                f"{tuple(shape)} samples, the largest, got {latent_dim}"
            )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the initial weights: smooth random functions in B, no detail.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of random numbers; by default torch's own.
        """
        with torch.no_grad():
            self.basis.normal_(generator=generator)
            self.basis.mul_(self.window / len(self.window) ** 0.5)
        self.detail.reset_parameters(generator)

    @property
    def cell_latents(self) -> int:
        """Length k of the vector of one cell."""
        return len(self.basis)

    @property
    def level(self) -> Tensor:
        """The mean m of each channel, of shape (c, 1, ...), to go with values on the grid."""
        return self.mean.reshape(-1, *[1] * self.in_dim)

    @property
    def latent_parts(self) -> int:
        return self.cells.n_cells

    def latent_names(self, axis_names: Sequence[str]) -> list[str]:
        cells = product(*(range(size) for size in self.cells.counts))
        places = [
            "_".join(f"{name}{i}" for name, i in zip(axis_names, cell, strict=True))
            for cell in cells
        ]
        return [f"{place}_l{i}" for place in places for i in range(self.cell_latents)]

    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        values = self.values_on_grid(latents)
        if coords.ndim == 3:
            found = [self.read(one[None], where) for one, where in zip(values, coords, strict=True)]
            return torch.cat(found)
        return self.read(values, coords)

    def partial(self, coords: Tensor, latents: Tensor, axis: int) -> Tensor:
        values = self.values_on_grid(latents)
        direction = torch.zeros_like(coords)
        direction[..., axis] = 1.0

        def along(where: Tensor) -> Tensor:
            return self.at_places(values, self.places(where)).mT

        return torch.func.jvp(along, (coords,), (direction,))[1]

    def values_on_grid(self, latents: Tensor, cells: Cells | None = None) -> Tensor:
        """Evaluate the field on the grid of the tables.

        Parameters
        ----------
        latents : Tensor of shape (B, n_cells · k)
            One latent a row.
        cells : Cells, optional
            Of signals of another shape; by default those of the field.

        Returns
        -------
        Tensor of shape (B, c, *shape)
            Scaled values.
        """
        cells = self.cells if cells is None else cells
        linear_part = self.linear_part(latents, cells)
        return self.level + linear_part + self.detail(linear_part)

    def linear_part(self, latents: Tensor, cells: Cells) -> Tensor:
        """Evaluate Σ B φ_c on the grid of the tables, of shape (B, c, *shape).

        Parameters
        ----------
        latents : Tensor of shape (B, n_cells · k)
            One latent a row.
        cells : Cells
            Of the signals.
        """
        # As one product of two matrices, whatever order latents lie in.
        windows = latents.reshape(-1, self.cell_latents) @ self.basis
        return cells.overlap(windows.unflatten(0, (len(latents), cells.n_cells)))

    def adjoint(self, residual: Tensor, cells: Cells) -> Tensor:
        """Return what :meth:`linear_part` takes back: Σ_x B(x - x_c) r(x), of shape (B, P).

        Parameters
        ----------
        residual : Tensor of shape (B, c, *shape)
            On the grid of the tables.
        cells : Cells
            Of the signals.
        """
        return (cells.windows(residual) @ self.basis.T).flatten(1)

    def read(self, values: Tensor, coords: Tensor) -> Tensor:
        """Read signals on the grid of the tables at points.

        Parameters
        ----------
        values : Tensor of shape (B, c, *shape)
            As :meth:`values_on_grid` returns them.
        coords : Tensor of shape (N, d)
            Normalised coordinates.

        Returns
        -------
        Tensor of shape (B, N, c)
            Of the cubic spline through the values.
        """
        # Values on the grid itself have no slope by where they are read.
        if not coords.requires_grad and self.is_grid(coords):
            return values.flatten(2).mT
        return self.at_places(values, self.places(coords)).mT

    def at_places(self, values: Tensor, places: Tensor) -> Tensor:
        """Read signals on the grid of the tables between its samples, of shape (B, c, N).

        Parameters
        ----------
        values : Tensor of shape (B, c, *shape)
            As :meth:`values_on_grid` returns them.
        places : Tensor of shape (N, d)
            In samples of the grid.
        """
        return spline.read(spline.coefficients(values, self.in_dim), places, self.shape)

    def places(self, coords: Tensor) -> Tensor:
        """Return coordinates in samples of the grid of the tables.

        Parameters
        ----------
        coords : Tensor of shape (..., d)
            Normalised coordinates.
        """
        last = torch.tensor([n - 1 for n in self.shape], dtype=coords.dtype, device=coords.device)
        return 0.5 * (coords + 1.0) * last

    def is_grid(self, coords: Tensor) -> bool:
        """Tell whether points are the grid of the tables, in its order.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
            Normalised coordinates.
        """
        if len(coords) != math.prod(self.shape):
            return False
        places = self.places(coords).reshape(*self.shape, self.in_dim)
        for axis, size in enumerate(self.shape):
            expected = torch.arange(size, dtype=coords.dtype, device=coords.device)
            along = places[..., axis].movedim(axis, -1)
            if bool(((along - expected).abs() > _ON_GRID).any()):
                return False
        return True

    @torch.no_grad()
    def reparametrize(self, matrix: Tensor) -> None:
        k = self.cell_latents
        block = matrix[:k, :k].double()
        eye = torch.eye(self.cells.n_cells, dtype=block.dtype, device=block.device)
        if not torch.allclose(matrix.double(), torch.kron(eye, block)):
            raise ValueError("matrix must change the vector of every cell alike")
        self.rename(block)

    @torch.no_grad()
    def rename(self, block: Tensor) -> None:
        """Rename the vector of each cell in place: afterwards f(block @ φ_c) is what f(φ_c) was.

        Parameters
        ----------
        block : Tensor of shape (k, k)
            Invertible.
        """
        inverse = torch.linalg.inv(block.double())
        self.basis.copy_(inverse.T @ self.basis.double())

    def of_shape(self, shape: Sequence[int]) -> LappedField:
        """Return the same field for signals of another shape; weights are shared.

        Parameters
        ----------
        shape : sequence of d int
            Samples along each axis, with the spacing of the tables.
        """
        field = copy.copy(self)
        field.cells = self.cells.resized(shape)
        field.shape = field.cells.shape
        field.latent_dim = field.cells.n_cells * self.cell_latents
        return field
