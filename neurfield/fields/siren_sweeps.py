"""First- and second-order sweeps through a modulated SIREN, derived by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.base import Block, Sweeps
from neurfield.fields.sine import write_sine_and_cosine

if TYPE_CHECKING:
    from neurfield.fields.siren import ModulatedSiren


class SirenTape:
    """What the forward and the backward sweep over one block leave for the second-order sweep.

    With u_k the phases of sine layer k, the lists hold sin u_k, cos u_k and ∂ℓ/∂h_k, each of shape
    (rows, L). h_k is added up from the sines again, which is quicker than to fetch it from memory.
    The lists are cut to size once for blocks of one shape, as taking slices layer by layer costs as
    much as the work on a small layer.
    """

    def __init__(self, n_sines: int, rows: int, width: int, like: Tensor) -> None:
        self._buffers = like.new_empty(3, n_sines, rows, width)
        self._shape = (0, 0)
        self.cotangent = like.new_empty(0)

    def fit(self, n_signals: int, n_points: int) -> None:
        """Cut the buffers to the shape of a block."""
        if self._shape == (n_signals, n_points):
            return
        self._shape = (n_signals, n_points)
        cut = self._buffers[:, :, : n_signals * n_points]
        self.sines, self.cosines, self.flows = (list(buffer.unbind()) for buffer in cut.unbind())
        by_signal = cut.unflatten(2, self._shape)
        self.sines_by_signal = list(by_signal[0].unbind())
        self.flows_by_signal = list(by_signal[2].unbind())


class SirenSweeps(Sweeps):
    """Sweeps of a :class:`~neurfield.fields.ModulatedSiren`, for its weights as they stand.

    Everything is written into buffers that are made once, and the factors ω_k and ρ are multiplied
    into the weights, so that a layer costs its matrix products and little else. The second-order
    sweep is forward over reverse: along a direction ṁ of the shifts,
    u̇_k = ω_k (W_k ḣ_{k-1} + ṁ_k), then backwards ȧ_{k-1} = ȧ_k + δ̇_k W_k with
    δ̇_k ∝ ȧ_k cos u_k − a_k sin u_k u̇_k and a_k = ∂ℓ/∂h_k.

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
        self._jacobian: Tensor | None = None
        self.refresh(field)
        self._flow, self._tangent, self._change, self._hidden = (
            self.output.new_empty(rows, self.width) for _ in range(4)
        )

    def refresh(self, field: ModulatedSiren) -> None:
        omegas = field.omegas[: self.n_sines]
        gain = self.residual_scale if self.skips else 1.0
        scales = [omegas[0], *(gain * omega for omega in omegas[1:])]
        weights = [layer.weight.detach() for layer in field.layers]
        self.weights = [(w * omega).T for w, omega in zip(weights, omegas, strict=True)]
        self.back = [w * scale for w, scale in zip(weights, scales, strict=True)]
        self._omegas = weights[0].new_tensor(omegas)[:, None, None]
        self._scales = weights[0].new_tensor(scales)[:, None]
        self.output, self.offset = field.output.weight.detach(), field.output.bias.detach() + 0.5
        self.modulation, offset = (part.detach() for part in field.shift_map())
        of_phases = self.modulation.unflatten(0, (self.n_sines, -1)) * self._scales[..., None]
        self._map_of_phases = of_phases.flatten(0, 1)
        biases = torch.cat([layer.bias.detach() for layer in field.layers])
        self.biases = biases + offset
        self._weight_gradients = [torch.zeros_like(weight) for weight in weights]
        self._output_gradient = torch.zeros_like(self.output)
        self._offset_gradient = torch.zeros_like(self.offset)
        self._shift_gradient = torch.zeros_like(self.biases)
        self._outer_products: list[tuple[Tensor, Tensor]] = []

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
        before = self.output
        for k, bias in enumerate(self._phase_shifts(shifts)):
            if k == 0:
                torch.add(block.coords @ self.weights[0], bias, out=tape.sines_by_signal[0])
            else:
                torch.mm(before, self.weights[k], out=tape.sines[k])
                tape.sines_by_signal[k].add_(bias)
            write_sine_and_cosine(tape.sines[k], tape.sines[k], tape.cosines[k])
            before = self._hidden_after(tape, k)
        values = functional.linear(before, self.output, self.offset)
        residual = values.view_as(block.values).sub_(block.values)
        return residual if block.weights is None else residual.mul_(block.weights)

    def carry_back(self, tape: SirenTape, block: Block, cotangent: Tensor) -> Tensor:
        tape.cotangent = cotangent.flatten(0, 1)
        delta = self._change[: len(tape.cotangent)]
        delta_by_signal = delta.unflatten(0, block.values.shape[:2])
        torch.mm(tape.cotangent, self.output, out=tape.flows[-1])
        sums = []
        for k in reversed(range(self.n_sines)):
            torch.mul(tape.flows[k], tape.cosines[k], out=delta)
            sums.append(delta_by_signal.sum(dim=1))
            if k:
                flow, beta = tape.flows[k], int(self.skips)
                torch.addmm(flow, delta, self.back[k], beta=beta, out=tape.flows[k - 1])
        return self._of_shifts(sums)

    def jacobian(self, tape: SirenTape, block: Block) -> Tensor:
        n_signals, n_points, n_channels = block.values.shape
        rows = n_signals * n_points
        if self._jacobian is None:
            shifts = self.n_sines * self.width
            self._deltas = self.output.new_empty(self.rows, shifts)
            self._jacobian = self.output.new_empty(self.rows * n_channels, self.modulation.shape[1])
        deltas, found = self._deltas[:rows], self._jacobian[: rows * n_channels]
        flow, by_layer = self._flow[:rows], deltas.split(self.width, dim=1)
        for channel, row in enumerate(self.output.split(1)):
            above = row
            for k in reversed(range(self.n_sines)):
                torch.mul(above, tape.cosines[k], out=by_layer[k])
                if k:
                    torch.addmm(above, by_layer[k], self.back[k], beta=int(self.skips), out=flow)
                above = flow
            torch.mm(deltas, self._map_of_phases, out=found[channel * rows : (channel + 1) * rows])
        by_signal = found.view(n_channels, n_signals, n_points, -1)
        return by_signal.movedim(0, 2)

    def collect(self, tape: SirenTape, block: Block) -> None:
        delta, before = self._change[: len(tape.cotangent)], self.output
        for k in range(self.n_sines):
            torch.mul(tape.flows[k], tape.cosines[k], out=delta)
            if k:
                _add_product(self._weight_gradients[k], delta.T, before)
            else:
                self._collect_first(delta, block, 1.0)
            before = self._hidden_after(tape, k)
        _add_product(self._output_gradient, tape.cotangent.T, before)
        self._offset_gradient.add_(tape.cotangent.sum(dim=0))

    def bend(self, tape: SirenTape, block: Block, direction: Tensor) -> Tensor:
        shape = (*block.values.shape[:2], self.width)
        rows = shape[0] * shape[1]
        tangent, change, before = self._tangent[:rows], self._change[:rows], self.output
        change_by_signal = change.view(shape)
        for k, shift in enumerate(self._phase_shifts(direction)):
            if k == 0:
                torch.mul(tape.cosines[0].view(shape), shift, out=tangent.view(shape))
                torch.mul(tape.sines_by_signal[0], shift, out=change_by_signal)
            else:
                delta = torch.mul(tape.flows[k], tape.cosines[k], out=change)
                _add_product(self._weight_gradients[k], delta.T, tangent)
                torch.mm(tangent, self.weights[k], out=change)
                change_by_signal.add_(shift)
                if self.skips:
                    tangent.addcmul_(tape.cosines[k], change, value=self.residual_scale)
                else:
                    torch.mul(tape.cosines[k], change, out=tangent)
                change.mul_(tape.sines[k])
            tape.flows[k].mul_(change)
            before = self._hidden_after(tape, k)
        cotangent = (tangent @ self.output.T).view_as(block.values)
        cotangent.mul_(2.0 / block.counts[:, None, None])
        if block.weights is not None:
            cotangent.mul_(block.weights)
        cotangent = cotangent.flatten(0, 1)
        _add_product(self._output_gradient, cotangent.T, before)
        _add_product(self._output_gradient, tape.cotangent.T, tangent)
        self._offset_gradient.add_(cotangent.sum(dim=0))
        return self._bend_backward(tape, block, cotangent)

    def _bend_backward(self, tape: SirenTape, block: Block, cotangent: Tensor) -> Tensor:
        """Carry −ȧ_k back; the sign lets a_k sin u_k u̇_k be added to in place."""
        flow = self._flow[: len(cotangent)]
        torch.mm(cotangent, -self.output, out=flow)
        sums = []
        for k in reversed(range(self.n_sines)):
            delta = tape.flows[k].addcmul_(flow, tape.cosines[k])
            sums.append(tape.flows_by_signal[k].sum(dim=1))
            if k:
                before = self._hidden_before(tape, k)
                _add_product(self._weight_gradients[k], delta.T, before, -1.0)
                torch.addmm(flow, delta, self.back[k], beta=int(self.skips), out=flow)
        self._collect_first(tape.flows[0], block, -1.0)
        return self._of_shifts(sums).neg_()

    def _hidden_after(self, tape: SirenTape, k: int) -> Tensor:
        """Return h_k, where the last call was for layer k − 1."""
        sine = tape.sines[k]
        if not self.skips:
            return sine
        hidden = self._hidden[: len(sine)]
        return hidden.add_(sine, alpha=self.residual_scale) if k else hidden.copy_(sine)

    def _hidden_before(self, tape: SirenTape, k: int) -> Tensor:
        """Return h_{k-1}, where the last call was for h_k."""
        if not self.skips:
            return tape.sines[k - 1]
        return self._hidden[: len(tape.sines[k])].sub_(tape.sines[k], alpha=self.residual_scale)

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
        if block.coords.ndim == 2:
            delta = delta.unflatten(0, block.values.shape[:2]).sum(dim=0)
        coords = block.coords.reshape(-1, block.coords.shape[-1])
        _add_product(self._weight_gradients[0], delta.T, coords, sign)


def _add_product(total: Tensor, left: Tensor, right: Tensor, sign: float = 1.0) -> None:
    torch.addmm(total, left, right, alpha=sign, out=total)
