"""A SIREN whose shifts are read from a grid of latent vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from neurfield._compat import Interval, StrOptions
from neurfield.fields.recurrence import SineLayer
from neurfield.fields.shifted import ShiftedLinearization, ShiftedSiren, Trace
from neurfield.fields.spec import FieldSpec
from neurfield.sizes import along_axes


class SpatialSiren(ShiftedSiren):
    """Sine network whose latent is a grid of vectors, read where the field is evaluated.

    The extent of the signals is divided into equal cells with one vector each, in the order of
    their axes; the latent φ is all of them, one after another. At x the code is the vector of the
    cell that x lies in ("nearest"), or interpolated multilinearly between the centres of cells and
    constant beyond the outermost ("linear"). One linear map, the same everywhere, turns the code
    into the shifts of all sine layers. With "nearest" the first layer sees coordinates of the cell,
    from -1 to 1 in each; with "linear" those of the whole signal, and the field is continuous.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    latent_dim : int
        Length P of the latent: number of cells times length of their vectors.
    grid : int or sequence of d ints, default=4
        Cells along each axis; one number serves all axes.
    interpolation : {"linear", "nearest"}, default="linear"
        How the grid is read.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=30.0
        One ω for all layers, or the ends ω_1 → ω_K of a linear schedule.
    skip_connections : bool, default=False
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=1.0
        Factor ρ on the sine branch of a skip connection.
    output_scale : float, default=1.0
        Factor on the initial weights of the output layer.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If ``latent_dim`` or ``grid`` fits neither the other nor the axes.

    References
    ----------
    Bauer, Dupont, Brock, Rosenbaum, Schwarz, Kim, "Spatial Functa: Scaling Functa to ImageNet
    Classification and Generation", arXiv 2302.03130, 2023.

    Examples
    --------
    >>> import torch
    >>> field = SpatialSiren(2, 1, latent_dim=4 * 4 * 3, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2), torch.zeros(5, 48)).shape
    torch.Size([5, 100, 1])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        grid: int | Sequence[int] = 4,
        interpolation: Literal["linear", "nearest"] = "linear",
        hidden_dim: int = 128,
        n_layers: int = 5,
        omega: float | Sequence[float] = 30.0,
        *,
        skip_connections: bool = False,
        residual_scale: float = 1.0,
        output_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.check(in_dim, {"latent_dim": latent_dim, "grid": grid})
        cells = tuple(map(int, along_axes(grid, in_dim)))
        super().__init__(
            in_dim,
            out_dim,
            latent_dim,
            latent_dim // math.prod(cells),
            hidden_dim,
            n_layers,
            omega,
            skip_connections,
            residual_scale,
            output_scale,
        )
        self.grid, self.interpolation = cells, interpolation
        self.n_cells = math.prod(cells)
        self.modulation_size += self.n_cells  # each point weighs the cells
        self.reset_parameters(generator)

    @classmethod
    def check(cls, in_dim: int, options: Mapping[str, Any]) -> None:
        latent_dim, grid = options["latent_dim"], options["grid"]
        along = along_axes(grid, in_dim)
        if not all(isinstance(size, Integral) and size > 0 for size in along):
            raise ValueError(f"grid must hold positive integers, got {grid!r}")
        if len(along) != in_dim:
            raise ValueError(
                f"grid must have one number for each of the {in_dim} axes of the signals, "
                f"got {grid!r}"
            )
        if latent_dim % math.prod(along):
            cells = " × ".join(map(str, along))
            raise ValueError(
                f"latent_dim must be divisible by the {math.prod(along)} cells of grid "
                f"({cells}), got {latent_dim}"
            )

    @property
    def latent_parts(self) -> int:
        return self.n_cells

    def latent_names(self, axis_names: Sequence[str]) -> list[str]:
        cells = product(*(range(size) for size in self.grid))
        channels = range(self.latent_dim // self.n_cells)
        places = [
            "_".join(f"{name}{i}" for name, i in zip(axis_names, cell, strict=True))
            for cell in cells
        ]
        return [f"{place}_c{channel}" for place in places for channel in channels]

    def linearize(self, coords: Tensor, latents: Tensor) -> SpatialLinearization:
        return SpatialLinearization(self, self._trace(coords, latents), self.cell_weights(coords))

    def cell_weights(self, coords: Tensor) -> Tensor:
        """Return how much each cell counts at points: they sum to one.

        Parameters
        ----------
        coords : Tensor of shape (..., d)
            Normalised coordinates.

        Returns
        -------
        Tensor of shape (..., number of cells)
            Weights from 0 to 1, the cells in row-major order.
        """
        weights = torch.ones_like(coords[..., :1])
        for axis, size in enumerate(self.grid):
            position = 0.5 * (coords[..., axis, None] + 1.0) * size  # cell i goes from i to i + 1
            cells = torch.arange(size, device=coords.device)
            if self.interpolation == "nearest":
                along = (_cell(position, size) == cells).to(coords.dtype)
            else:
                between = (position - 0.5).clamp(0.0, size - 1.0)  # centre i lies at i
                left = between.floor().clamp(max=max(size - 2.0, 0.0))
                right_part = between - left
                along = torch.where(left == cells, 1.0 - right_part, 0.0)
                along = torch.where(left + 1.0 == cells, right_part, along)
            weights = (weights[..., :, None] * along[..., None, :]).flatten(-2)
        return weights

    def seen_spacing(self, spacing: Tensor) -> Tensor:
        if self.interpolation == "linear":
            return spacing
        return spacing * torch.tensor(self.grid).to(spacing)

    def shares(self, coords: Tensor, values: Tensor) -> Tensor:
        weights = self.cell_weights(coords).T
        return (values[:, None] * weights[..., None]).flatten(0, 1)

    def _seen(self, coords: Tensor) -> Tensor:
        if self.interpolation == "linear":
            return coords
        sizes = torch.tensor(self.grid, dtype=coords.dtype, device=coords.device)
        position = 0.5 * (coords + 1.0) * sizes
        return 2.0 * (position - _cell(position, sizes)) - 1.0

    def _modulated(self, coords: Tensor, latents: Tensor) -> Iterable[SineLayer]:
        vectors = latents.view(len(latents), self.n_cells, -1)
        codes = self.cell_weights(coords) @ vectors
        weights = self.modulation.weight.split(self.hidden_dim)
        biases = self.modulation.bias.split(self.hidden_dim)
        for omega, layer, weight, bias in zip(
            self.omegas, self.layers, weights, biases, strict=False
        ):
            phases = functional.linear(codes, omega * weight, omega * (layer.bias + bias))
            yield SineLayer(omega * layer.weight, phases)

    @torch.no_grad()
    def reparametrize(self, matrix: Tensor) -> None:
        block = matrix[: self.modulation.in_features, : self.modulation.in_features]
        block = block.double().contiguous()
        eye = torch.eye(self.n_cells, dtype=block.dtype, device=block.device)
        if not torch.allclose(matrix.double(), torch.kron(eye, block)):
            raise ValueError(
                "matrix must change the vector of every cell alike (a block-diagonal matrix of "
                f"{self.n_cells} equal blocks), or latents would no longer belong to cells"
            )
        weight = self.modulation.weight.double()
        self.set_shift_weight(torch.linalg.solve(block.T, weight.T).T)


def _cell(position: Tensor, size: Tensor | int) -> Tensor:
    """Return the cell that a position lies in; what lies outside belongs to the outermost."""
    return position.floor().clamp(min=0).minimum(torch.as_tensor(size - 1).to(position))


class SpatialLinearization(ShiftedLinearization):
    """One forward sweep of a :class:`SpatialSiren`, kept for backward sweeps."""

    def __init__(self, field: SpatialSiren, trace: Trace, cell_weights: Tensor) -> None:
        super().__init__(field, trace)
        self.weight, self.cell_weights = field.modulation.weight, cell_weights

    def jacobian(self) -> Tensor:
        of_codes = self.sensitivity() @ self.weight
        weights = self.cell_weights[..., None, :, None]  # over channels, cells, entries
        return (weights * of_codes.unsqueeze(-2)).flatten(-2)

    def vjp(self, cotangent: Tensor) -> Tensor:
        gradients = torch.cat(self.modulation_gradients(cotangent), dim=-1)
        return (self.cell_weights.mT @ (gradients @ self.weight)).flatten(1)


class Spatial(FieldSpec):
    """Options of :class:`SpatialSiren`: a grid of vectors, read where the field is evaluated.

    Parameters
    ----------
    grid : int or tuple of d int, default=4
        Cells along each axis; one number serves all axes. The encoder's ``latent_dim``, the length
        of all vectors together, must be divisible by the number of cells.
    interpolation : {"linear", "nearest"}, default="linear"
        How the grid of vectors is read between the centres of its cells.
    hidden_dim : int, default=None
        Width L; None takes the encoder's.
    n_layers : int, default=None
        Number of layers K, the output layer included; None takes the encoder's, or the learner's
        where that is None too.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=None
        Factor ρ on the sine branch of each skip connection; None takes the learner's.
    output_scale : float, default=None
        Factor on the output layer's initial weights, as in :class:`Siren`; None takes the
        learner's.

    Examples
    --------
    >>> Spatial(grid=(8, 8)).interpolation
    'linear'
    """

    name: ClassVar[str] = "spatial"
    module: ClassVar[type[SpatialSiren]] = SpatialSiren

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "grid": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "interpolation": [StrOptions({"linear", "nearest"})],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
        "skip_connections": ["boolean"],
        "residual_scale": [Interval(Real, 0, None, closed="neither"), None],
        "output_scale": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        grid: int | tuple[int, ...] = 4,
        interpolation: str = "linear",
        hidden_dim: int | None = None,
        n_layers: int | None = None,
        skip_connections: bool = True,
        residual_scale: float | None = None,
        output_scale: float | None = None,
    ) -> None:
        self.grid = grid
        self.interpolation = interpolation
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
