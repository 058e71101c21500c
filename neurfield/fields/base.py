"""What every neural field offers to the solvers and learners."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from neurfield.fields.autograd import AutogradLinearization, AutogradSweeps
from neurfield.fields.sweeps import Linearization, Sweeps
from neurfield.fields.twins import twin


class Field(nn.Module, ABC):
    """A function of coordinates and of one latent vector per signal.

    A field of one's own has a constructor that keeps each argument as an attribute of the same
    name, and :meth:`forward`. All else has a default, and is there to be replaced where a field
    can do it faster, or more.

    Attributes
    ----------
    in_dim, out_dim, latent_dim : int
        Number of coordinate axes d, of channels c, and length of the latent P.
    """

    in_dim: int
    out_dim: int
    latent_dim: int
    _hidden_dim: int | None = None
    _modulation_size: int | None = None

    @abstractmethod
    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        """Evaluate the field. Neither signals nor the points of one have to do with each other.

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
            Shared or per-signal coordinates.
        latents : Tensor of shape (B, P)
            One latent a row.

        Returns
        -------
        Tensor of shape (B, N, c)
            Scaled values of each signal at each point.
        """

    @property
    def hidden_dim(self) -> int:
        """Width of the hidden layers, by which blocks of points are cut to the cache.

        By default what the largest of the weight matrices puts out, counted in rows.
        """
        return self._hidden_dim or max(_rows_of_matrices(self), default=1)

    @hidden_dim.setter
    def hidden_dim(self, width: int) -> None:
        self._hidden_dim = width

    @property
    def modulation_size(self) -> int:
        """How much memory a point needs, in numbers.

        How many of them the latent modulates, such as the (K-1)·L shifts, and what it takes to find
        them; by default what all weight matrices together put out.
        """
        return self._modulation_size or max(1, sum(_rows_of_matrices(self)))

    @modulation_size.setter
    def modulation_size(self, size: int) -> None:
        self._modulation_size = size

    def hidden(self, coords: Tensor, latents: Tensor) -> Tensor:
        """Return the features that the linear output layer reads, of shape (B, N, L).

        Only contexts that are selected by gradients need them.

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
            Normalised coordinates, shared or one set per signal.
        latents : Tensor of shape (B, P)
            One latent a row.

        Raises
        ------
        NotImplementedError
            Unless a field overrides it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say what its output layer reads: override "
            'Field.hidden, which context_selection="gradient" needs, or select at random'
        )

    def partial(self, coords: Tensor, latents: Tensor, axis: int) -> Tensor:
        """Differentiate the field by one coordinate, of shape (B, N, c).

        By default, forward-mode automatic differentiation.

        Parameters
        ----------
        coords : Tensor of shape (N, d)
            Normalised coordinates.
        latents : Tensor of shape (B, P)
            One latent a row.
        axis : int
            Which coordinate.
        """
        direction = torch.zeros_like(coords)
        direction[:, axis] = 1.0
        return torch.func.jvp(lambda x: self(x, latents), (coords,), (direction,))[1]

    def linearize(self, coords: Tensor, latents: Tensor) -> Linearization:
        """Evaluate the field and prepare its derivative with respect to the latents.

        By automatic differentiation unless a field overrides it.

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
            Normalised coordinates, shared or one set per signal.
        latents : Tensor of shape (B, P)
            Where the derivative is taken, one latent a row.
        """
        return AutogradLinearization(self, coords, latents)

    @classmethod
    def arguments(cls) -> list[str]:
        """Return the names of what the constructor takes, but for a source of random numbers."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [
            p.name
            for p in parameters
            if p.name != "generator" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]

    def config(self) -> dict[str, Any]:
        """Return plain arguments from which the constructor makes a field of the same shape.

        By default read from the attributes of the same names.

        Raises
        ------
        TypeError
            If an argument was not kept.
        """
        names = self.arguments()
        if lost := [name for name in names if not hasattr(self, name)]:
            raise TypeError(
                f"{type(self).__name__} takes arguments that are not its attributes, {lost}: keep "
                "each as an attribute of the same name, or override Field.config"
            )
        return {name: getattr(self, name) for name in names}

    def reparametrize(self, matrix: Tensor) -> None:
        """Rename the latent in place: afterwards ``f(matrix @ φ)`` is what ``f(φ)`` was.

        Parameters
        ----------
        matrix : Tensor of shape (P, P)
            Invertible.

        Raises
        ------
        NotImplementedError
            Unless a field overrides it; see :attr:`can_reparametrize`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot rename its latent")

    @property
    def can_reparametrize(self) -> bool:
        """Whether the latent can be renamed; learners leave it as it is otherwise."""
        return type(self).reparametrize is not Field.reparametrize

    @classmethod
    def check(cls, in_dim: int, options: Mapping[str, Any]) -> None:
        """Refuse options that do not go together; none by default.

        Parameters
        ----------
        in_dim : int
            Number of coordinate axes.
        options : mapping
            Arguments of the constructor by name.

        Raises
        ------
        ValueError
            If two options, or an option and the number of axes, do not go together.
        """

    @property
    def latent_parts(self) -> int:
        """In how many vectors of equal length and meaning the latent falls; 1 by default."""
        return 1

    def latent_names(self, axis_names: Sequence[str]) -> list[str] | None:
        """Return what each entry of the latent is called; None, the default, if by its number.

        Parameters
        ----------
        axis_names : sequence of d str
            Names of the coordinate axes.
        """
        return None

    def penalty(self) -> Tensor | float:
        """Return what the weights themselves add to the meta-loss, a scalar; nothing by default."""
        return 0.0

    @property
    def has_sweeps(self) -> bool:
        """Whether its sweeps are derived by hand, and so quicker than autograd; no by default."""
        return False

    def sweeps(self, rows: int) -> Sweeps:
        """Return sweeps, by automatic differentiation unless a field overrides it.

        Parameters
        ----------
        rows : int
            Most points of a block, over all its signals.
        """
        return AutogradSweeps(self, rows)

    def twin(self, trains: bool = False) -> Self:
        """Return the same field with parameters of its own, for use in a thread of its own.

        Parameters
        ----------
        trains : bool, default=False
            Whether operations are recorded on those of its parameters that are trained.
        """
        return twin(self, trains)

    def zero_latents(self, n_signals: int) -> Tensor:
        """Return the latents every inner loop starts from, of shape (n_signals, P).

        Parameters
        ----------
        n_signals : int
            Number of rows.
        """
        parameter = next(self.parameters())
        return torch.zeros(
            n_signals, self.latent_dim, dtype=parameter.dtype, device=parameter.device
        )

    @property
    def n_parameters(self) -> int:
        """Number of shared weights θ."""
        return sum(parameter.numel() for parameter in self.parameters())


def _rows_of_matrices(field: Field) -> list[int]:
    return [len(parameter) for parameter in field.parameters() if parameter.ndim > 1]
