"""How derivatives of a field by its latents and its weights are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor


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


@dataclass(frozen=True)
class Block:
    """Some points of some signals, small enough for its activations to stay in the cache.

    Parameters
    ----------
    coords : Tensor of shape (M, d) or (B, M, d)
        Normalised coordinates, shared or one set per signal.
    values : Tensor of shape (B, M, c)
        Scaled values; zero where nothing was observed.
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

    Shifts m are what the latents enter a field as: an affine map of the latents, or the latents
    themselves. Derivatives with respect to θ add up inside until :meth:`gradients` is asked for
    them.

    Attributes
    ----------
    rows : int
        Most points of a block, over all its signals.
    """

    rows: int

    @abstractmethod
    def refresh(self, field: Any) -> None:
        """Take over the weights of a field of the same shape, and forget what was added up."""

    def keep_apart(self) -> bool:
        """Treat each signal of a block as if it were alone; return whether that is known here.

        It holds for :meth:`evaluate`, :meth:`carry_back` and :meth:`jacobian`, bit for bit. By
        default it is not known, and blocks of one signal do the same.
        """
        return False

    @abstractmethod
    def tape(self) -> Any:
        """Return buffers for what :meth:`descend` leaves to :meth:`bend`."""

    @abstractmethod
    def shifts(self, latents: Tensor) -> Tensor:
        """Return the shifts, of shape (B, M); m = S φ + s with M = (K-1)·L for a SIREN."""

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
        """Return Σ cotangent · ∂f/∂m of the block on the tape, of shape (B, M)."""

    @abstractmethod
    def carry_forward(self, tape: Any, block: Block, direction: Tensor) -> Tensor:
        """Return ∂f/∂m · ṁ of the block on the tape for a direction ṁ, of shape (B, M, c)."""

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
        Where the latents are the shifts, there is nothing to add.
        """

    @abstractmethod
    def gradients(self) -> dict[str, Tensor]:
        """Return all that was added up, by the names of the field's parameters."""
