"""Sine and cosine of phases, together and as quickly as the machine offers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_FEW_THREADS = 2  # between which torch divides the work without being quicker


def sine(phase: Tensor) -> Tensor:
    """Return sin(phase), whose gradient needs no further evaluation.

    Parameters
    ----------
    phase : Tensor
        In radians, of any shape.
    """
    if torch.is_grad_enabled() and phase.requires_grad:
        return sine_and_cosine(phase)[0]
    return torch.sin(phase)


def sine_and_cosine(phase: Tensor) -> tuple[Tensor, Tensor]:
    """Return sin(phase) and cos(phase); each is the other's derivative, so both serve twice.

    Parameters
    ----------
    phase : Tensor
        In radians, of any shape.
    """
    if torch.compiler.is_compiling():  # which fuses them with what follows
        return torch.sin(phase), torch.cos(phase)
    found: tuple[Tensor, Tensor] = _SineAndCosine.apply(phase)
    return found


def write_sine_and_cosine(phase: Tensor, sine: Tensor, cosine: Tensor) -> None:
    """Write sin(phase) and cos(phase), in the calling thread where NumPy does it.

    Parameters
    ----------
    phase : Tensor
        Without gradients.
    sine, cosine : Tensor
        Of the phase's shape; the sine may take its place.
    """
    if _numpy_is_quicker(phase):
        with np.errstate(invalid="ignore"):
            np.cos(phase.numpy(), out=cosine.numpy())
            np.sin(phase.numpy(), out=sine.numpy())
    else:
        torch.cos(phase, out=cosine)
        torch.sin(phase, out=sine)


class _SineAndCosine(torch.autograd.Function):
    """Keeps both values, from which derivatives of any order are made, and not the phase."""

    @staticmethod
    def forward(phase: Tensor) -> tuple[Tensor, Tensor]:
        phase = phase.detach()
        found = torch.empty_like(phase), torch.empty_like(phase)
        write_sine_and_cosine(phase, *found)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, at_sine: Tensor | None, at_cosine: Tensor | None) -> Tensor | None:
        sine, cosine = ctx.saved_tensors
        if at_cosine is None:
            return None if at_sine is None else at_sine * cosine
        falling = at_cosine * sine
        return -falling if at_sine is None else at_sine * cosine - falling

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, Tensor]:
        sine, cosine = ctx.saved_tensors
        return tangent * cosine, -tangent * sine


def _numpy_is_quicker(phase: Tensor) -> bool:
    """In single precision NumPy takes half of torch's time, on one thread."""
    few_threads = torch.get_num_threads() <= _FEW_THREADS
    is_plain = phase.device.type == "cpu" and phase.is_contiguous()
    return few_threads and is_plain and phase.dtype == torch.float32
