"""Sine layers whose sweeps are compiled functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields.fused.first_order import carry_back, collect, evaluate, jacobian
from neurfield.fields.siren_layers import SineLayers, SirenTape

# Multiplications in the product of two matrices. Up to here OpenBLAS does without copies of them on
# processors with AVX-512, which is quicker than with larger ones.
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
        if piece < width // 4:  # to add up the weights' gradients would take longer than it gains
            piece = 4 * width
        self._scratch = np.empty((5, min(rows, piece), width), np.float32)

    def evaluate(self, tape: SirenTape, first: Tensor, shifts: Tensor) -> Tensor:
        weights, rows = self._weights, tape.n_signals * tape.n_points
        values = first.new_empty(rows, len(weights.output))
        arrays = _arrays(first, shifts, weights.forward, weights.output, tape.whole)
        evaluate(*self._geometry(tape), *arrays, self._scratch, values.numpy())
        return values

    def carry_back(self, tape: SirenTape, cotangent: Tensor) -> Tensor:
        weights, sums = self._weights, self._no_sums(tape)
        arrays = _arrays(weights.back, weights.output, tape.whole)
        found = _arrays(cotangent, sums)
        carry_back(tape.n_points, weights.skips, *arrays, self._scratch, *found)
        return sums

    def jacobian(self, tape: SirenTape, channel: int, out: Tensor) -> None:
        weights = self._weights
        arrays = _arrays(weights.back, weights.output, tape.whole)
        jacobian(channel, weights.skips, *arrays, self._scratch, out.numpy())

    def collect(self, tape: SirenTape, cotangent: Tensor) -> None:
        skips, rho = self._weights.skips, self._weights.residual_scale
        found = _arrays(cotangent, self.weight_gradients, self.output_gradient)
        collect(skips, rho, tape.whole.numpy(), self._scratch, *found)

    def bend(self, tape: SirenTape, shifts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        # Takes longest to compile, and only second-order learners need it.
        from neurfield.fields.fused.second_order import bend

        weights, sums, cotangent = self._weights, self._no_sums(tape), torch.empty_like(scale)
        found = cotangent, self.weight_gradients, self.output_gradient, sums
        bend(
            *self._geometry(tape),
            *_arrays(shifts, weights.forward, weights.back, weights.output, tape.whole),
            self._scratch,
            *_arrays(scale, tape.cotangent, *found),
        )
        return sums, cotangent

    def _geometry(self, tape: SirenTape) -> tuple[int, bool, float]:
        return tape.n_points, self._weights.skips, self._weights.residual_scale

    def _no_sums(self, tape: SirenTape) -> Tensor:
        n_layers, _, _, width = tape.whole.shape
        return tape.whole.new_zeros(tape.n_signals, n_layers, width)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.contiguous().numpy() for tensor in tensors]
