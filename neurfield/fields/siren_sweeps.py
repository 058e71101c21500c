"""First- and second-order sweeps through a modulated SIREN, derived by hand.

They are a fork of :class:`neurfield.fields.autograd.AutogradSweeps`, for speed alone: each of their
entries is tested against it, with torch's operations and compiled by Numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neurfield.fields.siren_layers import (
    LayerWeights,
    SirenTape,
    add_product,
    layers_for,
)
from neurfield.fields.sweeps import Block, Sweeps

if TYPE_CHECKING:
    from neurfield.fields.siren import ModulatedSiren


class SirenSweeps(Sweeps):
    """Sweeps of a :class:`~neurfield.fields.ModulatedSiren`, for its weights as they stand.

    Parameters
    ----------
    field : ModulatedSiren
        Whose weights are read, and read anew by :meth:`refresh`.
    rows : int
        Most points, over all signals, of a block.
    """

    def __init__(self, field: ModulatedSiren, rows: int) -> None:
        self.n_sines, self.width, self.rows = len(field.layers), field.hidden_dim, rows
        self._jacobian: Tensor | None = None
        output = field.output.weight.detach()
        self._layers = layers_for(output)(rows, output)
        self.refresh(field)

    def refresh(self, field: ModulatedSiren) -> None:
        omegas, skips = field.omegas[: self.n_sines], field.skip_connections
        rho = field.residual_scale if skips else 1.0
        first, *hidden = (layer.weight.detach() for layer in field.layers)
        stacked = torch.stack(hidden) if hidden else first.new_empty(0, self.width, self.width)
        self._omegas = first.new_tensor(omegas)[:, None]
        self._scales = self._omegas.clone()
        self._scales[1:] *= rho
        self._first = (first * omegas[0]).T
        self.output, self.offset = field.output.weight.detach(), field.output.bias.detach() + 0.5
        weights = LayerWeights(
            (stacked * self._omegas[1:, :, None]).mT.contiguous(),
            stacked * self._scales[1:, :, None],
            self.output,
            skips,
            rho,
        )
        kind = layers_for(first)
        if type(self._layers) is not kind:  # in a thread of another kind
            self._layers = kind(self.rows, self.output)
        self._layers.refresh(weights)
        self.modulation, offset = (part.detach() for part in field.shift_map())
        of_phases = self.modulation.unflatten(0, (self.n_sines, -1)) * self._scales[..., None]
        self._map_of_phases = of_phases.flatten(0, 1)
        biases = torch.cat([layer.bias.detach() for layer in field.layers])
        self.biases = biases + offset
        self._first_gradient = torch.zeros_like(first)
        self._offset_gradient = torch.zeros_like(self.offset)
        self._shift_gradient = torch.zeros_like(self.biases)
        self._outer_products: list[tuple[Tensor, Tensor]] = []

    def keep_apart(self) -> bool:
        return self._layers.keep_apart()

    def tape(self) -> SirenTape:
        return SirenTape(self.n_sines, self.rows, self.width, self.output)

    def shifts(self, latents: Tensor) -> Tensor:
        return torch.addmm(self.biases, latents, self.modulation.T)

    def pull(self, shift_gradient: Tensor) -> Tensor:
        return shift_gradient @ self.modulation

    def push(self, direction: Tensor) -> Tensor:
        return direction @ self.modulation.T

    def evaluate(self, tape: SirenTape, block: Block, shifts: Tensor) -> Tensor:
        tape.fit(*block.values.shape[:2])
        first = (block.coords @ self._first).view(-1, self.width)
        values = self._layers.evaluate(tape, first, self._of_phases(shifts)).add_(self.offset)
        residual = values.view_as(block.values).sub_(block.values)
        return residual if block.weights is None else residual.mul_(block.weights)

    def carry_back(self, tape: SirenTape, block: Block, cotangent: Tensor) -> Tensor:
        tape.cotangent = cotangent.flatten(0, 1)
        return self._of_shifts(self._layers.carry_back(tape, tape.cotangent))

    def carry_forward(self, tape: SirenTape, block: Block, direction: Tensor) -> Tensor:
        found = self._layers.carry_forward(tape, self._of_phases(direction))
        return found.view_as(block.values)

    def jacobian(self, tape: SirenTape, block: Block) -> Tensor:
        n_signals, n_points, n_channels = block.values.shape
        rows = n_signals * n_points
        if self._jacobian is None:
            self._jacobian = self.output.new_empty(self.rows * n_channels, self.modulation.shape[1])
        found = self._jacobian[: rows * n_channels]
        for channel, of_channel in enumerate(found.split(rows)):
            self._layers.jacobian(tape, channel, self._map_of_phases, of_channel)
        by_signal = found.view(n_channels, n_signals, n_points, -1)
        return by_signal.movedim(0, 2)

    def collect(self, tape: SirenTape, block: Block) -> None:
        self._layers.collect(tape, tape.cotangent)
        self._collect_first(tape.flows[0] * tape.cosines[0], block, 1.0)
        self._offset_gradient.add_(tape.cotangent.sum(dim=0))

    def bend(self, tape: SirenTape, block: Block, direction: Tensor) -> Tensor:
        scale = (2.0 / block.counts)[:, None, None].expand_as(block.values)
        if block.weights is not None:
            scale = scale * block.weights
        scale = scale.reshape(tape.cotangent.shape)
        sums, cotangent = self._layers.bend(tape, self._of_phases(direction), scale)
        self._collect_first(tape.flows[0], block, -1.0)
        self._offset_gradient.add_(cotangent.sum(dim=0))
        return self._of_shifts(sums).neg_()

    def collect_shifts(self, gradient: Tensor, latents: Tensor, direct: bool) -> None:
        self._outer_products.append((gradient, latents))
        if direct:
            self._shift_gradient.add_(gradient.sum(dim=0))

    def gradients(self) -> dict[str, Tensor]:
        gradients, latents = zip(*self._outer_products, strict=True)
        found = {
            "modulation.weight": torch.cat(gradients).T @ torch.cat(latents),
            "modulation.bias": self._shift_gradient,
            "output.weight": self._layers.output_gradient,
            "output.bias": self._offset_gradient,
        }
        biases = self._shift_gradient.view(self.n_sines, self.width)
        weights = [self._first_gradient, *self._layers.weight_gradients]
        for k, gradient in enumerate(weights):
            found[f"layers.{k}.weight"] = gradient * self._scales[k]
            found[f"layers.{k}.bias"] = biases[k]
        return found

    def _of_phases(self, shifts: Tensor) -> Tensor:
        """Return ω_k m_k of each sine layer, of shape (B, K, L)."""
        return shifts.view(len(shifts), self.n_sines, self.width) * self._omegas

    def _of_shifts(self, sums: Tensor) -> Tensor:
        """Return a gradient at the shifts from sums over points at the phases."""
        return (sums * self._scales).flatten(1)

    def _collect_first(self, delta: Tensor, block: Block, sign: float) -> None:
        if block.coords.ndim == 2:
            delta = delta.unflatten(0, block.values.shape[:2]).sum(dim=0)
        coords = block.coords.reshape(-1, block.coords.shape[-1])
        add_product(self._first_gradient, delta.T, coords, sign)
