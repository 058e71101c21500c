"""First- and second-order sweeps through a modulated SIREN, derived by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.base import Block, Sweeps

if TYPE_CHECKING:
    from neurfield.fields.siren import ModulatedSiren


class SirenTape:
    """What the forward and the backward sweep over one block leave for the second-order sweep.

    With u_k the phases of sine layer k and a_k = ∂ℓ/∂h_k, the buffers hold h_k, cos u_k,
    a_k cos u_k and a_k sin u_k, each of shape (K-1, rows, L).
    """

    def __init__(self, n_sines: int, rows: int, width: int, like: Tensor) -> None:
        shape = (n_sines, rows, width)
        self.hidden, self.cosines, self.deltas, self.bends = (
            like.new_empty(shape) for _ in range(4)
        )
        self.cotangent = like.new_empty(0)


class SirenSweeps(Sweeps):
    """Sweeps of a :class:`~neurfield.fields.ModulatedSiren`, for its weights as they stand.

    Everything is written into buffers that are made once, and the factors ω_k and ρ are multiplied
    into the weights, so that a layer costs its matrix products and little else. The second-order
    sweep is forward over reverse: along a direction ṁ of the shifts,
    u̇_k = ω_k (W_k ḣ_{k-1} + ṁ_k), then backwards ȧ_{k-1} = ȧ_k + δ̇_k W_k with
    δ̇_k ∝ ȧ_k cos u_k − a_k sin u_k u̇_k.

    Parameters
    ----------
    field : ModulatedSiren
    rows : int
        Most points, over all signals, of a block.

    References
    ----------
    Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6, 1994.
    """

    def __init__(self, field: ModulatedSiren, rows: int) -> None:
        self.skips, self.residual_scale = field.skip_connections, field.residual_scale
        self.n_sines, self.width, self.rows = len(field.layers), field.hidden_dim, rows
        self.omegas = field.omegas[: self.n_sines]
        gain = field.residual_scale if field.skip_connections else 1.0
        self.scales = [self.omegas[0], *(gain * omega for omega in self.omegas[1:])]
        weights = [layer.weight.detach() for layer in field.layers]
        self.weights = [w * omega for w, omega in zip(weights, self.omegas, strict=True)]
        self.back = [w * scale for w, scale in zip(weights, self.scales, strict=True)]
        self.output, self.offset = field.output.weight.detach(), field.output.bias.detach() + 0.5
        self.modulation = field.modulation.weight.detach()
        biases = torch.cat([layer.bias.detach() for layer in field.layers])
        self.biases = biases + field.modulation.bias.detach()
        self._weight_gradients = [torch.zeros_like(weight) for weight in weights]
        self._output_gradient = torch.zeros_like(self.output)
        self._offset_gradient = torch.zeros_like(self.offset)
        self._shift_gradient = torch.zeros_like(self.biases)
        self._outer_products: list[tuple[Tensor, Tensor]] = []
        self._flow, self._tangent, self._phases = (
            self.output.new_empty(rows, self.width) for _ in range(3)
        )

    def tape(self) -> SirenTape:
        return SirenTape(self.n_sines, self.rows, self.width, self.output)

    def shifts(self, latents: Tensor) -> Tensor:
        return torch.addmm(self.biases, latents, self.modulation.T)

    def pull(self, shift_gradient: Tensor) -> Tensor:
        return shift_gradient @ self.modulation

    def push(self, direction: Tensor) -> Tensor:
        return direction @ self.modulation.T

    def descend(
        self, tape: SirenTape, block: Block, shifts: Tensor, second_order: bool
    ) -> tuple[Tensor, Tensor]:
        n_signals, n_points = block.values.shape[:2]
        rows, shape = n_signals * n_points, (n_signals, n_points, self.width)
        phases = tape.bends
        biases = shifts.view(n_signals, self.n_sines, 1, self.width)
        for k in range(self.n_sines):
            phase, hidden = phases[k, :rows], tape.hidden[k, :rows]
            bias = biases[:, k] * self.omegas[k]
            if k == 0:
                first = functional.linear(block.coords, self.weights[0])
                torch.add(first, bias, out=phase.view(shape))
            else:
                torch.mm(tape.hidden[k - 1, :rows], self.weights[k].T, out=phase)
                phase.view(shape).add_(bias)
            torch.cos(phase, out=tape.cosines[k, :rows])
            if k and self.skips:
                phase.sin_()
                torch.add(tape.hidden[k - 1, :rows], phase, alpha=self.residual_scale, out=hidden)
            else:
                torch.sin(phase, out=hidden)
        values = functional.linear(tape.hidden[-1, :rows], self.output, self.offset)
        residual = values.view_as(block.values).sub_(block.values)
        if block.weights is not None:
            residual.mul_(block.weights)
        losses = residual.square().sum(dim=(1, 2)) / block.counts
        tape.cotangent = residual.mul_(2.0 / block.counts[:, None, None]).flatten(0, 1)
        return losses, self._backward(tape, shape, second_order)

    def _backward(self, tape: SirenTape, shape: tuple[int, int, int], second_order: bool) -> Tensor:
        rows = shape[0] * shape[1]
        flow = self._flow[:rows]
        gradient = flow.new_empty(shape[0], self.n_sines, self.width)
        torch.mm(tape.cotangent, self.output, out=flow)
        for k in reversed(range(self.n_sines)):
            delta, bend = tape.deltas[k, :rows], tape.bends[k, :rows]
            torch.mul(flow, tape.cosines[k, :rows], out=delta)
            torch.sum(delta.view(shape), dim=1, out=gradient[:, k])
            if second_order:
                sine = bend if k and self.skips else tape.hidden[k, :rows]
                torch.mul(flow, sine, out=bend)
            if k:
                torch.addmm(flow, delta, self.back[k], beta=int(self.skips), out=flow)
        return self._scaled(gradient)

    def collect(self, tape: SirenTape, block: Block) -> None:
        rows = len(tape.cotangent)
        for k in range(1, self.n_sines):
            self._weight_gradients[k].addmm_(tape.deltas[k, :rows].T, tape.hidden[k - 1, :rows])
        self._collect_first(tape.deltas[0, :rows], block, 1.0)
        self._collect_output(tape.cotangent, tape.hidden[-1, :rows])
        self._offset_gradient.add_(tape.cotangent.sum(dim=0))

    def bend(self, tape: SirenTape, block: Block, direction: Tensor) -> Tensor:
        n_signals, n_points = block.values.shape[:2]
        rows, shape = n_signals * n_points, (n_signals, n_points, self.width)
        tangent, change = self._tangent[:rows], self._phases[:rows]
        shifts = direction.view(n_signals, self.n_sines, 1, self.width)
        for k in range(self.n_sines):
            shift, cosine = shifts[:, k] * self.omegas[k], tape.cosines[k, :rows]
            if k == 0:
                change.view(shape).copy_(shift.expand(shape))
            else:
                self._weight_gradients[k].addmm_(tape.deltas[k, :rows].T, tangent)
                torch.mm(tangent, self.weights[k].T, out=change)
                change.view(shape).add_(shift)
            tape.bends[k, :rows].mul_(change)
            if k and self.skips:
                tangent.addcmul_(cosine, change, value=self.residual_scale)
            else:
                torch.mul(cosine, change, out=tangent)
        cotangent = (tangent @ self.output.T).mul_(
            (2.0 / block.counts).repeat_interleave(n_points)[:, None]
        )
        if block.weights is not None:
            cotangent.mul_(block.weights.flatten(0, 1))
        self._collect_output(cotangent, tape.hidden[-1, :rows])
        self._collect_output(tape.cotangent, tangent)
        self._offset_gradient.add_(cotangent.sum(dim=0))
        return self._bend_backward(tape, block, cotangent)

    def _bend_backward(self, tape: SirenTape, block: Block, cotangent: Tensor) -> Tensor:
        """Carry −ȧ_k back; the sign lets a_k sin u_k u̇_k be added to in place."""
        n_signals, n_points = block.values.shape[:2]
        rows, shape = n_signals * n_points, (n_signals, n_points, self.width)
        flow = self._flow[:rows]
        torch.mm(cotangent, -self.output, out=flow)
        gradient = flow.new_empty(n_signals, self.n_sines, self.width)
        for k in reversed(range(self.n_sines)):
            delta = tape.bends[k, :rows].addcmul_(flow, tape.cosines[k, :rows])
            torch.sum(delta.view(shape), dim=1, out=gradient[:, k])
            if k:
                before = tape.hidden[k - 1, :rows]
                self._weight_gradients[k].addmm_(delta.T, before, alpha=-1.0)
                torch.addmm(flow, delta, self.back[k], beta=int(self.skips), out=flow)
            else:
                self._collect_first(delta, block, -1.0)
        return self._scaled(gradient).neg_()

    def collect_shifts(self, gradient: Tensor, latents: Tensor, direct: bool) -> None:
        self._outer_products.append((gradient, latents))
        if direct:
            self._shift_gradient.add_(gradient.sum(dim=0))

    def gradients(self) -> dict[str, Tensor]:
        gradients, latents = zip(*self._outer_products, strict=True)
        found = {
            "modulation.weight": torch.cat(gradients).T @ torch.cat(latents),
            "modulation.bias": self._shift_gradient,
            "output.weight": self._output_gradient,
            "output.bias": self._offset_gradient,
        }
        biases = self._shift_gradient.view(self.n_sines, self.width)
        for k, gradient in enumerate(self._weight_gradients):
            found[f"layers.{k}.weight"] = gradient * self.scales[k]
            found[f"layers.{k}.bias"] = biases[k]
        return found

    def _scaled(self, gradient: Tensor) -> Tensor:
        """Multiply by ∂(phase)/∂(shift) and the gain of the residual branch."""
        for k, scale in enumerate(self.scales):
            gradient[:, k].mul_(scale)
        return gradient.flatten(1)

    def _collect_output(self, cotangent: Tensor, hidden: Tensor) -> None:
        self._output_gradient.addmm_(cotangent.T, hidden)

    def _collect_first(self, delta: Tensor, block: Block, sign: float) -> None:
        coords = block.coords
        if coords.ndim == 2:
            delta = delta.view(len(block.values), -1, self.width).sum(dim=0)
        self._weight_gradients[0].addmm_(delta.T, coords.reshape(-1, coords.shape[-1]), alpha=sign)
