"""Sine layers whose sweeps are compiled functions."""

from __future__ import annotations

from functools import lru_cache
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
        self._scratch = np.empty((5, min(rows, piece), width), np.float32)
        self._wide = np.empty((0, 0), np.float32)
        self._is_apart = False

    def keep_apart(self) -> bool:
        self._is_apart = True
        return True

    def evaluate(self, tape: SirenTape, first: Tensor, shifts: Tensor) -> Tensor:
        weights, rows = self._weights, tape.n_signals * tape.n_points
        values = first.new_empty(rows, len(weights.output))
        arrays = _arrays(first, shifts, weights.forward, weights.output, tape.whole)
        cuts = self._cuts(tape)
        evaluate(*self._geometry(tape), cuts, *arrays, self._scratch, values.numpy())
        return values

    def carry_back(self, tape: SirenTape, cotangent: Tensor) -> Tensor:
        weights, sums = self._weights, self._no_sums(tape)
        arrays = _arrays(weights.back, weights.output, tape.whole)
        found, cuts = _arrays(cotangent, sums), self._cuts(tape)
        carry_back(tape.n_points, weights.skips, cuts, *arrays, self._scratch, *found)
        return sums

    def jacobian(self, tape: SirenTape, channel: int, phases: Tensor, out: Tensor) -> None:
        if not self._wide.size:
            self._wide = np.empty((self._scratch.shape[1], len(phases)), np.float32)
        weights = self._weights
        arrays = _arrays(weights.back, weights.output, phases, tape.whole)
        kept = self._scratch, self._wide, out.numpy()
        jacobian(channel, weights.skips, self._cuts(tape), *arrays, *kept)

    def collect(self, tape: SirenTape, cotangent: Tensor) -> None:
        skips, rho = self._weights.skips, self._weights.residual_scale
        found = _arrays(cotangent, self.weight_gradients, self.output_gradient)
        collect(skips, rho, self._cuts(tape), tape.whole.numpy(), self._scratch, *found)

    def bend(self, tape: SirenTape, shifts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        # Takes longest to compile, and only second-order learners need it.
        from neurfield.fields.fused.second_order import bend

        weights, sums, cotangent = self._weights, self._no_sums(tape), torch.empty_like(scale)
        found = cotangent, self.weight_gradients, self.output_gradient, sums
        bend(
            *self._geometry(tape),
            self._cuts(tape),
            *_arrays(shifts, weights.forward, weights.back, weights.output, tape.whole),
            self._scratch,
            *_arrays(scale, tape.cotangent, *found),
        )
        return sums, cotangent

    def _cuts(self, tape: SirenTape) -> Any:
        """Return where a block is cut into pieces."""
        if self._is_apart:
            return _cuts(tape.n_signals, tape.n_points, self._piece)
        return _cuts(1, tape.n_signals * tape.n_points, self._piece)

    def _geometry(self, tape: SirenTape) -> tuple[int, bool, float]:
        return tape.n_points, self._weights.skips, self._weights.residual_scale

    def _no_sums(self, tape: SirenTape) -> Tensor:
        n_layers, _, _, width = tape.whole.shape
        return tape.whole.new_zeros(tape.n_signals, n_layers, width)


@lru_cache
def _cuts(n_parts: int, rows: int, most: int) -> Any:
    """Cut parts of so many rows into pieces of one size: a short one would cost as much."""
    piece = -(-rows // -(-rows // most))
    starts = np.arange(n_parts)[:, None] * rows + np.arange(0, rows, piece)
    return np.append(starts, n_parts * rows)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.contiguous().numpy() for tensor in tensors]
