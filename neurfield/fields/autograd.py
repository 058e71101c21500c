"""Derivatives of any field by automatic differentiation: the reference for all derived by hand.

A field needs nothing but its formula for them. Sweeps and linearizations that are derived by hand
are quicker forks, and tests hold each of their entries against what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurfield.fields.sweeps import Block, Linearization, Sweeps

if TYPE_CHECKING:
    from neurfield.fields.base import Field


class AutogradLinearization(Linearization):
    """A field around given latents, for any field.

    All of it can be differentiated once more, so a meta-gradient passes through it. Without
    gradients the field's parameters have no part in it, as lanes may be there side by side.

    Parameters
    ----------
    field : Field
        Whose ``forward`` is differentiated.
    coords : Tensor of shape (N, d) or (B, N, d)
        Shared or per-signal coordinates.
    latents : Tensor of shape (B, P) or (1, P)
        One for each signal, or one for all.
    """

    def __init__(self, field: Field, coords: Tensor, latents: Tensor) -> None:
        if coords.ndim == 3:
            latents = latents.expand(len(coords), -1)
        if not torch.is_grad_enabled():
            field = field.twin()
        self._field, self._coords, self._latents = field, coords, latents
        self.values, self._pull = _with_pull(lambda own: field(coords, own), latents)

    def jacobian(self) -> Tensor:
        return point_jacobian(self._field, self._coords, self._latents)

    def vjp(self, cotangent: Tensor) -> Tensor:
        pull = self._pull
        if len(self.values) == 1 < len(cotangent):
            each = self._latents.expand(len(cotangent), -1)
            _, pull = _with_pull(lambda own: self._field(self._coords, own), each)
        return pull(cotangent)


def point_jacobian(field: Field, coords: Tensor, latents: Tensor) -> Tensor:
    """Return ∂f/∂φ, of shape (B, N, c, P), by one backward sweep for each channel.

    Each point is given a copy of its signal's latent, so that a sum over points keeps their
    derivatives apart.

    Parameters
    ----------
    field : Field
        Whose ``forward`` is differentiated.
    coords : Tensor of shape (N, d) or (B, N, d)
        Normalised coordinates, shared or one set per signal.
    latents : Tensor of shape (B, P)
        Where the field is linearized.
    """
    n_signals, (n_points, n_axes) = len(latents), coords.shape[-2:]
    points = coords.expand(n_signals, -1, -1).reshape(-1, 1, n_axes)
    copies = latents.repeat_interleave(n_points, dim=0)
    values, pull = _with_pull(lambda own: field(points, own)[:, 0], copies)
    channels = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    found = [pull(channel.expand_as(values)) for channel in channels]
    return torch.stack(found, dim=1).unflatten(0, (n_signals, n_points))


def _with_pull(
    function: Callable[[Tensor], Tensor], latents: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the values, and what carries a gradient back from them to the latents."""
    found: Any = torch.func.vjp(function, latents)
    values, pull = found
    return values, lambda cotangent: pull(cotangent)[0]


class AutogradProducts:
    """Products with the derivative J of values by latents, forwards and back.

    Forwards, the way back is differentiated by what it carries, in which it is linear: the forward
    mode of torch has one state for all threads, and lanes are several.

    Parameters
    ----------
    values : Tensor of shape (B, N, c)
        As they were evaluated, with a graph.
    latents : Tensor of shape (B, P)
        From which the graph begins.
    """

    def __init__(self, values: Tensor, latents: Tensor) -> None:
        self.values, self._latents = values, latents
        with torch.enable_grad():
            self._carried = torch.zeros_like(values, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(
                values, latents, self._carried, create_graph=True, materialize_grads=True
            )

    def jvp(self, direction: Tensor) -> Tensor:
        """Return J · direction: (B, P) to (B, N, c).

        Parameters
        ----------
        direction : Tensor of shape (B, P)
            Of the latents.
        """
        (found,) = torch.autograd.grad(
            self._pulled, self._carried, direction, retain_graph=True, materialize_grads=True
        )
        return found

    def vjp(self, cotangent: Tensor) -> Tensor:
        """Return Jᵀ · cotangent: (B, N, c) to (B, P).

        Parameters
        ----------
        cotangent : Tensor of shape (B, N, c)
            Of the values.
        """
        (found,) = torch.autograd.grad(
            self.values, self._latents, cotangent, retain_graph=True, materialize_grads=True
        )
        return found


class AutogradTape:
    """The graph of one block, from :meth:`AutogradSweeps.evaluate` on.

    Attributes
    ----------
    latents : Tensor of shape (B, P)
        φ of the block's signals, from which the graph begins.
    values, residual, cotangent : Tensor of shape (B, M, c)
        f, f − y, and the gradient of ℓ at f that was last carried back.
    products : AutogradProducts or None
        With ∂f/∂φ; None until they are asked for.
    """

    latents: Tensor
    values: Tensor
    residual: Tensor
    cotangent: Tensor
    products: AutogradProducts | None


class AutogradSweeps(Sweeps):
    """Sweeps through any field. Its latents stand for the shifts: nothing is between the two.

    Parameters
    ----------
    field : Field
        Any; its weights are read where it stands. Operations are recorded on parameters of the
        sweeps' own, as lanes have sweeps of one field side by side.
    rows : int
        Most points, over all signals, of a block.
    """

    def __init__(self, field: Field, rows: int) -> None:
        self.rows = rows
        self.refresh(field)

    def refresh(self, field: Field) -> None:
        self._field = field.twin(trains=True)
        parameters = dict(self._field.named_parameters())
        self._learnt = {name: p for name, p in parameters.items() if p.requires_grad}
        self._found = {name: torch.zeros_like(p) for name, p in parameters.items()}

    def tape(self) -> AutogradTape:
        return AutogradTape()

    def shifts(self, latents: Tensor) -> Tensor:
        return latents

    def pull(self, shift_gradient: Tensor) -> Tensor:
        return shift_gradient

    def push(self, direction: Tensor) -> Tensor:
        return direction

    @torch.enable_grad()
    def evaluate(self, tape: AutogradTape, block: Block, shifts: Tensor) -> Tensor:
        tape.latents = shifts.detach().requires_grad_()
        tape.values, tape.products = self._field(block.coords, tape.latents), None
        residual = tape.values - block.values
        tape.residual = residual if block.weights is None else residual * block.weights
        return tape.residual.detach().clone()

    def carry_back(self, tape: AutogradTape, block: Block, cotangent: Tensor) -> Tensor:
        tape.cotangent = cotangent
        return self._gradients(tape.values, [tape.latents], cotangent)[0]

    def carry_forward(self, tape: AutogradTape, block: Block, direction: Tensor) -> Tensor:
        if tape.products is None:
            tape.products = AutogradProducts(tape.values, tape.latents)
        return tape.products.jvp(direction)

    @torch.no_grad()
    def jacobian(self, tape: AutogradTape, block: Block) -> Tensor:
        return point_jacobian(self._field, block.coords, tape.latents.detach())

    def collect(self, tape: AutogradTape, block: Block) -> None:
        learnt = list(self._learnt.values())
        self._add(self._gradients(tape.values, learnt, tape.cotangent))

    @torch.enable_grad()
    def bend(self, tape: AutogradTape, block: Block, direction: Tensor) -> Tensor:
        losses = tape.residual.square().sum(dim=(1, 2)) / block.counts
        (slope,) = torch.autograd.grad(losses.sum(), tape.latents, create_graph=True)
        inputs = [tape.latents, *self._learnt.values()]
        bent, *at_weights = self._gradients(slope, inputs, direction)
        self._add(at_weights)
        tape.products = None
        del tape.values, tape.residual
        return bent

    def collect_shifts(self, gradient: Tensor, latents: Tensor, direct: bool) -> None:
        """Add nothing: what the latents are multiplied by is among the weights of the graph."""

    def gradients(self) -> dict[str, Tensor]:
        return self._found

    def _gradients(self, of: Tensor, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
        if not inputs:
            return []
        return list(
            torch.autograd.grad(of, inputs, cotangent, retain_graph=True, materialize_grads=True)
        )

    def _add(self, gradients: list[Tensor]) -> None:
        for name, gradient in zip(self._learnt, gradients, strict=True):
            self._found[name].add_(gradient)
