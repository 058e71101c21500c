"""What every neural field offers to the solvers and learners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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
            A linearization at one latent takes those of any number of signals.
        """


class Field(nn.Module, ABC):
    """A function of coordinates and of one latent vector per signal.

    Attributes
    ----------
    family : str
        What ``FunctaEncoder(field=...)`` takes.
    options : tuple of str
        What the constructor takes beside the numbers of axes and channels.
    in_dim, out_dim, latent_dim : int
        Number of coordinate axes d, of channels c, and length of the latent P.
    hidden_dim : int
        Width of the hidden layers.
    modulation_size : int
        How many numbers the latent modulates at each point, such as the (K-1)·L shifts, and what it
        takes to find them: the measure of how much memory a point needs.
    """

    family: ClassVar[str]
    options: ClassVar[tuple[str, ...]]

    in_dim: int
    out_dim: int
    latent_dim: int
    hidden_dim: int
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
    def hidden(self, coords: Tensor, latents: Tensor) -> Tensor:
        """Return the features that the linear output layer reads, of shape (B, N, L).

        Parameters
        ----------
        coords : Tensor of shape (N, d) or (B, N, d)
        latents : Tensor of shape (B, P)
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
            Values by the names in :attr:`options`.

        Raises
        ------
        ValueError
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
        """Whether there are sweeps that are derived by hand; no by default."""
        return False

    def sweeps(self, rows: int) -> Sweeps:
        """Return hand-derived sweeps, if the field has them.

        Parameters
        ----------
        rows : int
            Most points of a block, over all its signals.

        Raises
        ------
        NotImplementedError
            If it has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sweeps derived by hand")

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


@dataclass(frozen=True)
class Block:
    """Some points of some signals, small enough for its activations to stay in the cache.

    Parameters
    ----------
    coords : Tensor of shape (M, d) or (B, M, d)
    values : Tensor of shape (B, M, c)
    weights : Tensor of shape (B, M, c) or None
        One where a value was observed, zero elsewhere.
    counts : Tensor of shape (B,)
        What a signal's sum of squares is divided by: ℓ = Σ (f − y)² / count.
    """

    coords: Tensor
    values: Tensor
    weights: Tensor | None
    counts: Tensor


class Sweeps(ABC):
    """Derivatives of ℓ with respect to the shifts and θ, up to second order, block by block.

    Derivatives with respect to θ add up inside until :meth:`gradients` is asked for them.

    Attributes
    ----------
    rows : int
        Most points of a block, over all its signals.
    """

    rows: int

    @abstractmethod
    def refresh(self, field: Any) -> None:
        """Take over the weights of a field of the same shape, and forget what was added up."""

    @abstractmethod
    def tape(self) -> Any:
        """Return buffers for what :meth:`descend` leaves to :meth:`bend`."""

    @abstractmethod
    def shifts(self, latents: Tensor) -> Tensor:
        """Return the shifts m = S φ + s, of shape (B, (K-1)·L)."""

    @abstractmethod
    def pull(self, shift_gradient: Tensor) -> Tensor:
        """Carry a gradient back from the shifts to the latents."""

    @abstractmethod
    def push(self, direction: Tensor) -> Tensor:
        """Carry a direction from the latents to the shifts."""

    @abstractmethod
    def evaluate(self, tape: Any, block: Block, shifts: Tensor) -> Tensor:
        """Return f − y, zero where nothing was observed, and leave the activations on the tape."""

    @abstractmethod
    def carry_back(self, tape: Any, block: Block, cotangent: Tensor) -> Tensor:
        """Return Σ cotangent · ∂f/∂m of the block on the tape, of shape (B, (K-1)·L)."""

    @abstractmethod
    def jacobian(self, tape: Any, block: Block) -> Tensor:
        """Return ∂f/∂φ of the block on the tape, of shape (B, M, c, P), in a buffer used again."""

    def descend(self, tape: Any, block: Block, shifts: Tensor) -> tuple[Tensor, Tensor]:
        """Return ℓ of shape (B,) and ∂ℓ/∂m, and leave on the tape what the others need."""
        residual = self.evaluate(tape, block, shifts)
        losses = residual.square().sum(dim=(1, 2)) / block.counts
        cotangent = residual.mul_(2.0 / block.counts[:, None, None])
        return losses, self.carry_back(tape, block, cotangent)

    @abstractmethod
    def collect(self, tape: Any, block: Block) -> None:
        """Add ∂ℓ/∂θ of the block on the tape, at fixed shifts."""

    @abstractmethod
    def bend(self, tape: Any, block: Block, direction: Tensor) -> Tensor:
        """Return ∂(ṁ · ∂ℓ/∂m)/∂m for a direction ṁ, and add the same with respect to θ.

        It uses the tape up.
        """

    @abstractmethod
    def collect_shifts(self, gradient: Tensor, latents: Tensor, direct: bool) -> None:
        """Add the outer product of a gradient of the shifts with what the latents' map multiplied.

        ``direct`` says that the shifts were m = S φ + s, and not a direction S p without the bias.
        """

    @abstractmethod
    def gradients(self) -> dict[str, Tensor]:
        """Return all that was added up, by the names of the field's parameters."""
