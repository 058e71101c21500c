"""First- and second-order sweeps through a modulated SIREN, derived by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.base import Block, Sweeps

if TYPE_CHECKING:
    from neurfield.fields.siren import ModulatedSiren


class SirenTape:
    """What the forward and the backward sweep over one block leave for the second-order sweep.

    With u_k the phases of sine layer k and a_k = ∂ℓ/∂h_k, the lists hold h_k, cos u_k, a_k cos u_k
    and a_k sin u_k, each of shape (rows, L). They are cut to size once for blocks of one shape, as
    taking slices layer by layer costs as much as the work on a small layer.
    """

    def __init__(self, n_sines: int, rows: int, width: int, like: Tensor) -> None:
        self._buffers = like.new_empty(4, n_sines, rows, width)
        self._shape = (0, 0)
        self.cotangent = like.new_empty(0)

    def fit(self, n_signals: int, n_points: int) -> None:
        """Cut the buffers to the shape of a block."""
        if self._shape == (n_signals, n_points):
            return
        self._shape = (n_signals, n_points)
        cut = self._buffers[:, :, : n_signals * n_points]
        self.hidden, self.cosines, self.deltas, self.bends = (
            list(buffer.unbind()) for buffer in cut.unbind()
        )
        by_signal = cut.unflatten(2, self._shape)
        self.deltas_by_signal = list(by_signal[2].unbind())
        self.bends_by_signal = list(by_signal[3].unbind())


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
        omegas = field.omegas[: self.n_sines]
        gain = field.residual_scale if field.skip_connections else 1.0
        scales = [omegas[0], *(gain * omega for omega in omegas[1:])]
        weights = [layer.weight.detach() for layer in field.layers]
        self.weights = [(w * omega).T for w, omega in zip(weights, omegas, strict=True)]
        self.back = [w * scale for w, scale in zip(weights, scales, strict=True)]
        self._omegas = weights[0].new_tensor(omegas)[:, None, None]
        self._scales = weights[0].new_tensor(scales)[:, None]
        self.output, self.offset = field.output.weight.detach(), field.output.bias.detach() + 0.5
        self.modulation = field.modulation.weight.detach()
        biases = torch.cat([layer.bias.detach() for layer in field.layers])
        self.biases = biases + field.modulation.bias.detach()
        self._weight_gradients = [torch.zeros_like(weight) for weight in weights]
        self._output_gradient = torch.zeros_like(self.output)
        self._offset_gradient = torch.zeros_like(self.offset)
        self._shift_gradient = torch.zeros_like(self.biases)
        self._outer_products: list[tuple[Tensor, Tensor]] = []
        self._flow, self._tangent, self._change = (
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
        tape.fit(n_signals, n_points)
        before = tape.hidden[0]
        for k, bias in enumerate(self._phase_shifts(shifts)):
            phase, hidden = tape.bends[k], tape.hidden[k]
            if k == 0:
                torch.add(block.coords @ self.weights[0], bias, out=tape.bends_by_signal[0])
            else:
                torch.mm(before, self.weights[k], out=phase)
                tape.bends_by_signal[k].add_(bias)
            _cos(phase, tape.cosines[k])
            if k and self.skips:
                _sin(phase, phase)
                torch.add(before, phase, alpha=self.residual_scale, out=hidden)
            else:
                _sin(phase, hidden)
            before = hidden
        values = functional.linear(before, self.output, self.offset)
        residual = values.view_as(block.values).sub_(block.values)
        if block.weights is not None:
            residual.mul_(block.weights)
        losses = residual.square().sum(dim=(1, 2)) / block.counts
        tape.cotangent = residual.mul_(2.0 / block.counts[:, None, None]).flatten(0, 1)
        return losses, self._backward(tape, n_signals, second_order)

    def _backward(self, tape: SirenTape, n_signals: int, second_order: bool) -> Tensor:
        flow = self._flow[: len(tape.cotangent)]
        torch.mm(tape.cotangent, self.output, out=flow)
        sums = []
        for k in reversed(range(self.n_sines)):
            torch.mul(flow, tape.cosines[k], out=tape.deltas[k])
            sums.append(tape.deltas_by_signal[k].sum(dim=1))
            if second_order:
                sine = tape.bends[k] if k and self.skips else tape.hidden[k]
                torch.mul(flow, sine, out=tape.bends[k])
            if k:
                torch.addmm(flow, tape.deltas[k], self.back[k], beta=int(self.skips), out=flow)
        return self._of_shifts(sums)

    def collect(self, tape: SirenTape, block: Block) -> None:
        for k in range(1, self.n_sines):
            _add_product(self._weight_gradients[k], tape.deltas[k].T, tape.hidden[k - 1])
        self._collect_first(tape.deltas_by_signal[0], block, 1.0)
        _add_product(self._output_gradient, tape.cotangent.T, tape.hidden[-1])
        self._offset_gradient.add_(tape.cotangent.sum(dim=0))

    def bend(self, tape: SirenTape, block: Block, direction: Tensor) -> Tensor:
        shape = (*block.values.shape[:2], self.width)
        rows = shape[0] * shape[1]
        tangent, change = self._tangent[:rows], self._change[:rows]
        change_by_signal = change.view(shape)
        for k, shift in enumerate(self._phase_shifts(direction)):
            if k == 0:
                tape.bends_by_signal[0].mul_(shift)
                torch.mul(tape.cosines[0].view(shape), shift, out=tangent.view(shape))
                continue
            _add_product(self._weight_gradients[k], tape.deltas[k].T, tangent)
            torch.mm(tangent, self.weights[k], out=change)
            change_by_signal.add_(shift)
            tape.bends[k].mul_(change)
            if self.skips:
                tangent.addcmul_(tape.cosines[k], change, value=self.residual_scale)
            else:
                torch.mul(tape.cosines[k], change, out=tangent)
        cotangent = (tangent @ self.output.T).view_as(block.values)
        cotangent.mul_(2.0 / block.counts[:, None, None])
        if block.weights is not None:
            cotangent.mul_(block.weights)
        cotangent = cotangent.flatten(0, 1)
        _add_product(self._output_gradient, cotangent.T, tape.hidden[-1])
        _add_product(self._output_gradient, tape.cotangent.T, tangent)
        self._offset_gradient.add_(cotangent.sum(dim=0))
        return self._bend_backward(tape, block, cotangent)

    def _bend_backward(self, tape: SirenTape, block: Block, cotangent: Tensor) -> Tensor:
        """Carry −ȧ_k back; the sign lets a_k sin u_k u̇_k be added to in place."""
        flow = self._flow[: len(cotangent)]
        torch.mm(cotangent, -self.output, out=flow)
        sums = []
        for k in reversed(range(self.n_sines)):
            delta = tape.bends[k].addcmul_(flow, tape.cosines[k])
            sums.append(tape.bends_by_signal[k].sum(dim=1))
            if k:
                _add_product(self._weight_gradients[k], delta.T, tape.hidden[k - 1], -1.0)
                torch.addmm(flow, delta, self.back[k], beta=int(self.skips), out=flow)
        self._collect_first(tape.bends_by_signal[0], block, -1.0)
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
            "output.weight": self._output_gradient,
            "output.bias": self._offset_gradient,
        }
        biases = self._shift_gradient.view(self.n_sines, self.width)
        for k, gradient in enumerate(self._weight_gradients):
            found[f"layers.{k}.weight"] = gradient * self._scales[k]
            found[f"layers.{k}.bias"] = biases[k]
        return found

    def _phase_shifts(self, shifts: Tensor) -> tuple[Tensor, ...]:
        """Return ω_k m_k of each sine layer, of shape (B, 1, L)."""
        by_layer = shifts.view(len(shifts), self.n_sines, 1, self.width)
        return (by_layer * self._omegas).unbind(dim=1)

    def _of_shifts(self, sums: list[Tensor]) -> Tensor:
        """Return a gradient at the shifts from sums over points at the phases, last layer first."""
        return (torch.stack(sums[::-1], dim=1) * self._scales).flatten(1)

    def _collect_first(self, delta: Tensor, block: Block, sign: float) -> None:
        delta = delta.sum(dim=0) if block.coords.ndim == 2 else delta.flatten(0, 1)
        coords = block.coords.reshape(-1, block.coords.shape[-1])
        _add_product(self._weight_gradients[0], delta.T, coords, sign)


def _add_product(total: Tensor, left: Tensor, right: Tensor, sign: float = 1.0) -> None:
    torch.addmm(total, left, right, alpha=sign, out=total)


def _sin(phase: Tensor, out: Tensor) -> None:
    if _numpy_is_quicker(phase):
        np.sin(phase.numpy(), out=out.numpy())
    else:
        torch.sin(phase, out=out)


def _cos(phase: Tensor, out: Tensor) -> None:
    if _numpy_is_quicker(phase):
        np.cos(phase.numpy(), out=out.numpy())
    else:
        torch.cos(phase, out=out)


def _numpy_is_quicker(phase: Tensor) -> bool:
    """NumPy's sine in single precision takes less than half of torch's time."""
    return phase.dtype == torch.float32 and phase.device.type == "cpu"
