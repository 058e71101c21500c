"""Exact derivatives of decoded signals with respect to their coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neurfield.codec import Codec
from neurfield.memory import at_once


def gradient(
    codec: Codec, latents: np.ndarray, points: np.ndarray, axes: Sequence[int]
) -> list[np.ndarray]:
    """Differentiate decoded signals with respect to coordinates.

    A forward-mode product carries the derivative through the network beside its value, so the
    result is the field's own derivative to rounding, and no difference quotient of samples.

    Parameters
    ----------
    codec : Codec
        The fitted field with the units it works in.
    latents : array of shape (n, P)
        One row for each signal to differentiate.
    points : array of shape (M, d)
        In the caller's units, shared by all signals.
    axes : sequence of int
        Coordinate axes to differentiate by.

    Returns
    -------
    list of arrays of shape (n, M, c), of the type of decoded values
        ∂f/∂x_j for each of the axes, in the caller's units of values per unit of that axis.

    References
    ----------
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020, Section 3 (any derivative of a SIREN is a composition of SIRENs).
    """
    coords = torch.as_tensor(
        codec.units.coordinates(points), dtype=codec.dtype, device=codec.device
    )
    codes = torch.as_tensor(latents, dtype=codec.dtype, device=codec.device)
    most = max(1, at_once("derivatives") // codec.field.modulation_size)
    n_points = min(len(coords), most)
    n_signals = max(1, most // n_points)
    shape = (len(codes), len(coords), codec.field.out_dim)
    partials = [np.empty(shape, dtype=codec.value_dtype) for _ in axes]
    for i in range(0, len(codes), n_signals):
        for j in range(0, len(coords), n_points):
            block = coords[j : j + n_points]
            for partial, axis in zip(partials, axes, strict=True):
                slope = _partial(codec, block, codes[i : i + n_signals], axis)
                # Chain rule through both affine maps, which act axis by axis.
                in_units = slope * (codec.units.value_scale / codec.units.frame.half_width[axis])
                partial[i : i + n_signals, j : j + n_points] = in_units
    return partials


@torch.no_grad()
def _partial(codec: Codec, coords: Tensor, latents: Tensor, axis: int) -> np.ndarray:
    return codec.field.partial(coords, latents, axis).cpu().double().numpy()
