"""Stacks of linear layers, without weights or with those of networks of one signal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn


def blank_linear(n_in: int, n_out: int) -> nn.Linear:
    """Return a linear layer, on the CPU, or without numbers where torch's default is "meta".

    Parameters
    ----------
    n_in, n_out : int
        Number of features before and after.
    """
    device = "meta" if torch.get_default_device().type == "meta" else "cpu"
    # skip_init leaves torch's global random numbers alone; fields draw their weights themselves.
    return cast("nn.Linear", nn.utils.skip_init(nn.Linear, n_in, n_out, device=device))


def blank_stack(widths: Sequence[int]) -> Sequence[nn.Linear]:
    """Return the layers between neighbouring widths, as a module list.

    Parameters
    ----------
    widths : sequence of int
        Number of features before, between and after the layers.
    """
    layers = nn.ModuleList(blank_linear(n, m) for n, m in pairwise(widths))
    return cast("Sequence[nn.Linear]", layers)


def check_n_layers(n_layers: int, hidden: str = "sine") -> None:
    """Refuse a network without a hidden layer.

    Parameters
    ----------
    n_layers : int
        The output layer included.
    hidden : str, default="sine"
        What the message calls a hidden layer.

    Raises
    ------
    ValueError
        If `n_layers` is less than 2.
    """
    if n_layers < 2:
        raise ValueError(f"n_layers must be at least 2 ({hidden} and output), got {n_layers}")


@torch.no_grad()
def draw_uniform(layers: Sequence[nn.Linear], generator: torch.Generator | None = None) -> None:
    """Draw weights and biases of ±1/√(features before), as torch does by default.

    Parameters
    ----------
    layers : sequence of nn.Linear
        Filled in place.
    generator : torch.Generator, optional
        Source of the draws; torch's global one by default.
    """
    for layer in layers:
        bound = 1.0 / math.sqrt(layer.in_features)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def draw_for_relus(layers: Sequence[nn.Linear], generator: torch.Generator | None = None) -> None:
    """Draw weights that keep the size of features through ReLUs; biases are zero.

    Parameters
    ----------
    layers : sequence of nn.Linear
        Filled in place; no ReLU follows the last.
    generator : torch.Generator, optional
        Source of the draws; torch's global one by default.

    References
    ----------
    He et al., "Delving Deep into Rectifiers", ICCV 2015, Section 2.2.
    """
    for layer in layers:
        gain = 1.0 if layer is layers[-1] else math.sqrt(2.0)
        bound = gain * math.sqrt(3.0 / layer.in_features)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()


def through_relus(features: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return what a ReLU network makes of features; no ReLU follows its last layer.

    Parameters
    ----------
    features : Tensor of shape (N, n)
        One point a row.
    layers : sequence of nn.Linear
        From n features to c values.
    """
    for layer in layers[:-1]:
        features = torch.relu(layer(features))
    return layers[-1](features)
