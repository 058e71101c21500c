"""Sweeps through the sine layers of a SIREN, by torch's operations."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from neurfield.fields.sine import write_sine_and_cosine
from neurfield.optional import require


class SirenTape:
    """What the forward and the backward sweep over one block leave for the second-order sweep.

    With u_k the phases of sine layer k, the lists hold sin u_k, cos u_k and a_k = ∂ℓ/∂h_k, each of
    shape (B·N, L), the points of one signal after those of another. h_k is added up from the sines
    again, which is as quick as to fetch it from memory. The lists are cut to size once for blocks
    of one shape, as taking slices layer by layer costs as much as the work on a small layer.

    Parameters
    ----------
    n_sines, rows, width : int
        How many layers, the most points of a block over all its signals, and L.
    like : Tensor
        Of their type and device.
    """

    def __init__(self, n_sines: int, rows: int, width: int, like: Tensor) -> None:
        # An odd number of rows: matrices that begin at the same place of a page of memory push each
        # other out of the cache.
        self.whole = like.new_empty(n_sines, 3, rows | 1, width)
        self.n_signals = self.n_points = 0
        self.cotangent = like.new_empty(0)

    def fit(self, n_signals: int, n_points: int) -> None:
        """Cut the matrices to a block.

        Parameters
        ----------
        n_signals, n_points : int
            Signals of the block, and points of each; their product is at most the number of rows
            that there is room for.
        """
        if (self.n_signals, self.n_points) != (n_signals, n_points):
            self.n_signals, self.n_points = n_signals, n_points
            cut = self.whole[:, :, : n_signals * n_points]
            self.sines, self.cosines, self.flows = (list(cut[:, kind]) for kind in range(3))


@dataclass
class LayerWeights:
    """What sweeps take from a SIREN, its factors ω_k and ρ multiplied into the weights.

    Parameters
    ----------
    forward : Tensor of shape (K-1, L, L)
        ω_k W_kᵀ of all layers but the first.
    back : Tensor of shape (K-1, L, L)
        ρ ω_k W_k.
    output : Tensor of shape (c, L)
        The weights of the output layer.
    skips : bool
        Whether there are skip connections.
    residual_scale : float
        ρ of h_k = h_{k-1} + ρ sin u_k.
    """

    forward: Tensor
    back: Tensor
    output: Tensor
    skips: bool
    residual_scale: float


class SineLayers:
    """The layers between the first phases and the values, forwards and backwards.

    Everything is written into buffers that are made once, so that a layer costs its matrix products
    and little else. The second-order sweep is forward over reverse: along a direction ṁ of the
    shifts, u̇_k = ω_k (W_k ḣ_{k-1} + ṁ_k), then backwards ȧ_{k-1} = ȧ_k + δ̇_k W_k with
    δ̇_k ∝ ȧ_k cos u_k − a_k sin u_k u̇_k.

    Parameters
    ----------
    rows : int
        Most points, over all signals, of a block.
    output : Tensor of shape (c, L)
        The weights of the output layer.

    Attributes
    ----------
    weight_gradients : Tensor of shape (K-1, L, L)
        Sums of outer products, of gradients at the phases with h_{k-1}.
    output_gradient : Tensor of shape (c, L)
        Sum of outer products, of gradients at the values with the last h.

    References
    ----------
    Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6, 1994.
    """

    def __init__(self, rows: int, output: Tensor) -> None:
        self._flow, self._tangent, self._change, self._hidden = (
            output.new_empty(rows, output.shape[1]) for _ in range(4)
        )
        self._deltas = output.new_empty(0)

    def keep_apart(self) -> bool:
        """Multiply the matrices of each signal as if it were alone; return whether that is known.

        Products and sums of several signals round differently for other numbers of them.
        """
        return False

    def refresh(self, weights: LayerWeights) -> None:
        """Take weights as they stand, and begin their gradients anew.

        Parameters
        ----------
        weights : LayerWeights
            What the sweeps that follow take; its tensors are kept, not copied.
        """
        self._weights = weights
        self.weight_gradients = weights.back.new_zeros(weights.back.shape)
        self.output_gradient = weights.output.new_zeros(weights.output.shape)

    def evaluate(self, tape: SirenTape, first: Tensor, shifts: Tensor) -> Tensor:
        """Return the values without their offset, of shape (B·N, c).

        Parameters
        ----------
        tape : SirenTape
            Fit to the block.
        first : Tensor of shape (N, L) or (B·N, L)
            ω_1 W_1 x, at points that signals share, or at each one's own.
        shifts : Tensor of shape (B, K, L)
            Of the phases.
        """
        by_signal = (tape.n_signals, tape.n_points)
        hidden = first
        for k, shift in enumerate(shifts[:, :, None].unbind(dim=1)):
            sine = tape.sines[k]
            phase = sine.unflatten(0, by_signal)
            if k:
                torch.mm(hidden, self._weights.forward[k - 1], out=sine)
                phase.add_(shift)
            else:
                torch.add(first.view(-1, tape.n_points, first.shape[1]), shift, out=phase)
            write_sine_and_cosine(sine, sine, tape.cosines[k])
            hidden = self._hidden_after(tape, k)
        return hidden @ self._weights.output.T

    def carry_back(self, tape: SirenTape, cotangent: Tensor) -> Tensor:
        """Return sums over each signal's points of a gradient at the phases, of shape (B, K, L).

        Parameters
        ----------
        tape : SirenTape
            After :meth:`evaluate`; its flows are written.
        cotangent : Tensor of shape (B·N, c)
            The gradient at the values.
        """
        delta = self._change[: len(cotangent)]
        by_signal = delta.unflatten(0, (tape.n_signals, tape.n_points))
        torch.mm(cotangent, self._weights.output, out=tape.flows[-1])
        sums = []
        for k in reversed(range(len(tape.flows))):
            torch.mul(tape.flows[k], tape.cosines[k], out=delta)
            sums.append(by_signal.sum(dim=1))
            if k:
                self._add_back(k, delta, tape.flows[k], tape.flows[k - 1])
        return torch.stack(sums[::-1], dim=1)

    def carry_forward(self, tape: SirenTape, shifts: Tensor) -> Tensor:
        """Return the change of the values along a direction, of shape (B·N, c).

        Parameters
        ----------
        tape : SirenTape
            After :meth:`evaluate`; it stays as it is.
        shifts : Tensor of shape (B, K, L)
            Of the phases, along the direction.
        """
        rows = tape.n_signals * tape.n_points
        tangent, change = self._tangent[:rows], self._change[:rows]
        for k, shift in enumerate(shifts[:, :, None].unbind(dim=1)):
            self._tilt(tape, k, shift, tangent, change)
        return tangent @ self._weights.output.T

    def jacobian(self, tape: SirenTape, channel: int, phases: Tensor, out: Tensor) -> None:
        """Write the derivative of the values by the latents.

        Parameters
        ----------
        tape : SirenTape
            After :meth:`evaluate`.
        channel : int
            Which value.
        phases : Tensor of shape (K·L, P)
            The derivative of the phases by the latents, layer by layer.
        out : Tensor of shape (B·N, P)
            Written in place.
        """
        n_layers, width = len(tape.cosines), self._weights.output.shape[1]
        if not self._deltas.numel():
            self._deltas = out.new_empty(len(self._flow), n_layers * width)
        flow, deltas = self._flow[: len(out)], self._deltas[: len(out)]
        above, by_layer = self._weights.output[channel : channel + 1], deltas.split(width, dim=1)
        for k in reversed(range(n_layers)):
            torch.mul(above, tape.cosines[k], out=by_layer[k])
            if k:
                self._add_back(k, by_layer[k], above, flow)
            above = flow
        torch.mm(deltas, phases, out=out)

    def collect(self, tape: SirenTape, cotangent: Tensor) -> None:
        """Add the gradient at the weights, after :meth:`carry_back`.

        Parameters
        ----------
        tape : SirenTape
            After :meth:`carry_back`.
        cotangent : Tensor of shape (B·N, c)
            The gradient at the values that was carried back.
        """
        hidden = self._hidden_after(tape, 0)
        for k in range(1, len(tape.flows)):
            delta = torch.mul(tape.flows[k], tape.cosines[k], out=self._change[: len(cotangent)])
            add_product(self.weight_gradients[k - 1], delta.T, hidden)
            hidden = self._hidden_after(tape, k)
        add_product(self.output_gradient, cotangent.T, hidden)

    def bend(self, tape: SirenTape, shifts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of both gradients along a direction, and add it at the weights.

        Parameters
        ----------
        tape : SirenTape
            After :meth:`carry_back`. Its flows then hold −δ̇_k in the units of the phases.
        shifts : Tensor of shape (B, K, L)
            Of the phases, along the direction.
        scale : Tensor of shape (B·N, c)
            What the values' change is multiplied by to give that of their gradient.

        Returns
        -------
        sums : Tensor of shape (B, K, L)
            Over each signal's points, at the phases, with the opposite sign.
        cotangent : Tensor of shape (B·N, c)
            At the values.
        """
        tangent, change = self._tangent[: len(scale)], self._change[: len(scale)]
        for k, shift in enumerate(shifts[:, :, None].unbind(dim=1)):
            sine, flow = tape.sines[k], tape.flows[k]
            if k:
                torch.mul(flow, tape.cosines[k], out=change)
                add_product(self.weight_gradients[k - 1], change.T, tangent)
            self._tilt(tape, k, shift, tangent, change)
            flow.mul_(change.mul_(sine))
            hidden = self._hidden_after(tape, k)
        cotangent = (tangent @ self._weights.output.T).mul_(scale)
        add_product(self.output_gradient, cotangent.T, hidden)
        add_product(self.output_gradient, tape.cotangent.T, tangent)
        return self._bend_back(tape, cotangent), cotangent

    def _tilt(
        self, tape: SirenTape, k: int, shift: Tensor, tangent: Tensor, change: Tensor
    ) -> None:
        """Write u̇_k into `change`, and ḣ_k into `tangent` in the place of ḣ_{k-1}."""
        by_signal = change.unflatten(0, (tape.n_signals, tape.n_points))
        if k:
            torch.mm(tangent, self._weights.forward[k - 1], out=change)
            by_signal.add_(shift)
        else:
            by_signal.copy_(shift.expand_as(by_signal))
        if k and self._weights.skips:
            tangent.addcmul_(tape.cosines[k], change, value=self._weights.residual_scale)
        else:
            torch.mul(tape.cosines[k], change, out=tangent)

    def _bend_back(self, tape: SirenTape, cotangent: Tensor) -> Tensor:
        """Carry −ȧ_k back; the sign lets a_k sin u_k u̇_k be added to in place."""
        by_signal = (tape.n_signals, tape.n_points)
        flow, sums = self._flow[: len(cotangent)], []
        torch.mm(cotangent, -self._weights.output, out=flow)
        for k in reversed(range(len(tape.flows))):
            delta = tape.flows[k].addcmul_(flow, tape.cosines[k])
            sums.append(delta.unflatten(0, by_signal).sum(dim=1))
            if k:
                before = self._hidden_before(tape, k)
                add_product(self.weight_gradients[k - 1], delta.T, before, -1.0)
                self._add_back(k, delta, flow, flow)
        return torch.stack(sums[::-1], dim=1)

    def _add_back(self, k: int, delta: Tensor, flow: Tensor, out: Tensor) -> None:
        beta = int(self._weights.skips)
        torch.addmm(flow, delta, self._weights.back[k - 1], beta=beta, out=out)

    def _hidden_after(self, tape: SirenTape, k: int) -> Tensor:
        """Return h_k, where the last call was for layer k − 1."""
        sine = tape.sines[k]
        if not self._weights.skips:
            return sine
        hidden = self._hidden[: len(sine)]
        if k:
            return hidden.add_(sine, alpha=self._weights.residual_scale)
        return hidden.copy_(sine)

    def _hidden_before(self, tape: SirenTape, k: int) -> Tensor:
        """Return h_{k-1}, where the last call was for h_k."""
        if not self._weights.skips:
            return tape.sines[k - 1]
        hidden = self._hidden[: len(tape.sines[k])]
        return hidden.sub_(tape.sines[k], alpha=self._weights.residual_scale)


def add_product(total: Tensor, left: Tensor, right: Tensor, sign: float = 1.0) -> None:
    """Add a matrix product in place.

    Parameters
    ----------
    total, left, right : Tensor of shape (n, m), (n, k), (k, m)
        Matrices of one dtype; `total` becomes total + sign · left right.
    sign : float, default=1.0
        What the product is multiplied by.
    """
    torch.addmm(total, left, right, alpha=sign, out=total)


def layers_for(like: Tensor) -> type[SineLayers]:
    """Return the class that is quickest for tensors like the given one, in this thread.

    Parameters
    ----------
    like : Tensor
        Of the dtype and on the device of the weights.
    """
    alone = like.device.type == "cpu" and torch.get_num_threads() == 1
    if alone and like.dtype == torch.float32:
        return _fused() or SineLayers
    return SineLayers


@cache
def _fused() -> type[SineLayers] | None:
    try:
        require("numba", "fast")
    except ImportError as error:
        if importlib.util.find_spec("numba") is not None:
            warnings.warn(f"sine layers are slower than they could be: {error}", stacklevel=2)
        return None
    from neurfield.fields.fused import FusedSineLayers

    return FusedSineLayers
