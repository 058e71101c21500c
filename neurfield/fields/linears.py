"""Stacks of linear layers that no weights have been drawn for yet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import nn


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
