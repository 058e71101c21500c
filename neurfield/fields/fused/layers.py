"""Sine layers whose sweeps are compiled functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields.fused.first_order import carry_back, collect, evaluate, jacobian
from neurfield.fields.siren_layers import SineLayers, SirenTape

# Multiplications in the product of two matrices. Up to here OpenBLAS does without copies of them on
# processors with AVX-512, which is quicker than with larger ones; on others larger ones are.
_PRODUCT = 10**6


class FusedSineLayers(SineLayers):
    """For a CPU and single precision, in one thread.

    Parameters
    ----------
    rows : int
        Most points, over all signals, of a block.
    output : Tensor of shape (c, L)
        The weights of the output layer.
    """

    def __init__(self, rows: int, output: Tensor) -> None:
        super().__init__(rows, output)
        width = output.shape[1]
        piece = _PRODUCT // width**2
        # To add up the weights' gradients of many pieces would take longer than it gains.
        if piece < width // 4 or torch.backends.cpu.get_cpu_capability() != "AVX512":
            piece = 4 * width
        self._piece = piece
        self._buffer = np.empty(5 * min(rows, piece) * width, np.float32)

    def evaluate(self, tape: SirenTape, first: Tensor, shifts: Tensor) -> Tensor:
        weights, rows = self._weights, tape.n_signals * tape.n_points
        values = first.new_empty(rows, len(weights.output))
        arrays = _arrays(first, shifts, weights.forward, weights.output, tape.whole)
        evaluate(*self._geometry(tape), *arrays, self._scratch(rows), values.numpy())
        return values

    def carry_back(self, tape: SirenTape, cotangent: Tensor) -> Tensor:
        weights, sums = self._weights, self._no_sums(tape)
        arrays = _arrays(weights.back, weights.output, tape.whole)
        found = _arrays(cotangent, sums)
        scratch = self._scratch(len(cotangent))
        carry_back(tape.n_points, weights.skips, *arrays, scratch, *found)
        return sums

    def jacobian(self, tape: SirenTape, channel: int, out: Tensor) -> None:
        weights = self._weights
        arrays = _arrays(weights.back, weights.output, tape.whole)
        jacobian(channel, weights.skips, *arrays, self._scratch(len(out)), out.numpy())

    def collect(self, tape: SirenTape, cotangent: Tensor) -> None:
        skips, rho = self._weights.skips, self._weights.residual_scale
        found = _arrays(cotangent, self.weight_gradients, self.output_gradient)
        collect(skips, rho, tape.whole.numpy(), self._scratch(len(cotangent)), *found)

    def bend(self, tape: SirenTape, shifts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        # Takes longest to compile, and only second-order learners need it.
        from neurfield.fields.fused.second_order import bend

        weights, sums, cotangent = self._weights, self._no_sums(tape), torch.empty_like(scale)
        found = cotangent, self.weight_gradients, self.output_gradient, sums
        bend(
            *self._geometry(tape),
            *_arrays(shifts, weights.forward, weights.back, weights.output, tape.whole),
            self._scratch(len(scale)),
            *_arrays(scale, tape.cotangent, *found),
        )
        return sums, cotangent

    def _scratch(self, rows: int) -> Any:
        """Return buffers for pieces of a block; their size depends on that of the block alone."""
        piece, width = _piece_of(rows, self._piece), self._weights.output.shape[1]
        return self._buffer[: 5 * piece * width].reshape(5, piece, width)

    def _geometry(self, tape: SirenTape) -> tuple[int, bool, float]:
        return tape.n_points, self._weights.skips, self._weights.residual_scale

    def _no_sums(self, tape: SirenTape) -> Tensor:
        n_layers, _, _, width = tape.whole.shape
        return tape.whole.new_zeros(tape.n_signals, n_layers, width)


def _piece_of(rows: int, most: int) -> int:
    """Divide rows into pieces of one size: a short last one would cost as much as a whole."""
    return -(-rows // -(-rows // most))


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.contiguous().numpy() for tensor in tensors]
