"""Sine layers one after another and their derivative, in ordinary differentiable operations.

Every field of sine layers is evaluated here. The one other place where the layers are written out
is the fork that is derived by hand to be faster, :mod:`neurfield.fields.siren_layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from neurfield.fields.sine import sine, sine_and_cosine


class SineLayer(NamedTuple):
    """The phases of one sine layer, ω (1 + u) (W h + b) + ω m, in two parts.

    Without scales u the shift m is in the bias already. The bias has the shape (L,), (B, 1, L), or
    (B, N, L) where it depends on the point.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None

    def product(self, features: Tensor) -> Tensor:
        """Return ω (W h + b), with the shift where there is no scale.

        Parameters
        ----------
        features : Tensor of shape (N, n_in) or (B, N, n_in)
            What the layer before gives, h.
        """
        return _affine(features, self.weight, self.bias)

    def phase(self, product: Tensor) -> Tensor:
        """Return the phase, of which the layer takes the sine.

        Parameters
        ----------
        product : Tensor of shape (N, L) or (B, N, L)
            As :meth:`product` returns it.
        """
        if self.scale is None or self.shift is None:
            return product
        return self.scale * product + self.shift


def through_sines(
    seen: Tensor,
    layers: Iterable[SineLayer],
    residual_scale: float | None,
    keep: Callable[[SineLayer, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Return h_{K-1} of h_1 = sin u_1 and h_k = h_{k-1} + ρ sin u_k, with u_k the phases.

    Parameters
    ----------
    seen : Tensor of shape (N, d) or (B, N, d)
        What the first layer sees.
    layers : iterable of SineLayer
        First sine layer first.
    residual_scale : float or None
        ρ; None = without skip connections, h_k = sin u_k.
    keep : callable, optional
        Is given each layer, its products W h + b with ω multiplied in, and cos u_k.

    Returns
    -------
    Tensor of shape (B, N, L), or (N, L) where no layer's bias tells signals apart
        What the output layer reads.
    """
    hidden = seen
    for k, layer in enumerate(layers):
        product = layer.product(hidden)
        if keep is None:
            branch = sine(layer.phase(product))
        else:
            branch, cosine = sine_and_cosine(layer.phase(product))
            keep(layer, product, cosine)
        joins = k > 0 and residual_scale is not None
        hidden = torch.add(hidden, branch, alpha=residual_scale) if joins else branch
    return hidden


def back_through_sines(
    gradient: Tensor,
    weights: Sequence[Tensor],
    slopes: Sequence[Tensor],
    scales: Sequence[Tensor],
    skips: bool,
) -> list[Tensor]:
    """Carry a gradient at h_{K-1} back to the shifts m_k, first sine layer first.

    Parameters
    ----------
    gradient : Tensor of shape (..., L)
        Of a scalar, at the features that the output layer reads.
    weights : sequence of Tensor
        W_k, without ω.
    slopes : sequence of Tensor
        ∂h_k/∂m_k at a given h_{k-1}.
    scales : sequence of Tensor
        1 + u_k; empty where nothing is scaled.
    skips : bool
        Whether there are skip connections.

    Returns
    -------
    list of Tensor of shape (..., L)
        Of the same scalar, at the shifts of each layer.
    """
    deltas = []
    for k in reversed(range(1, len(slopes))):
        delta = gradient * slopes[k]
        deltas.append(delta)
        through = (delta * scales[k] if scales else delta) @ weights[k]
        gradient = gradient + through if skips else through
    deltas.append(gradient * slopes[0])
    deltas.reverse()
    return deltas


def _affine(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply one layer to features of shape (N, n_in) or (B, N, n_in)."""
    if bias.ndim == 1:
        return functional.linear(features, weight, bias)
    product = functional.linear(features, weight)
    return product.add_(bias) if product.shape[:-2] == bias.shape[:-2] else product + bias
