"""Sizes of networks of one signal that have about as many weights as are allowed."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import torch

from neurfield.fields.by_name import COORDINATE_FIELDS, make_coordinate_field
from neurfield.signals.groups import nyquist_of

_N_LAYERS = 3
_LEAST_WIDTH = 4
_PART_OF_MLP = 0.25  # most of the weights of a hash grid that the network after it has


def sizes_within(
    field: str, shape: tuple[int, ...], n_channels: int, room: float
) -> dict[str, Any]:
    """Return the sizes of the largest network with at most so many weights.

    It has three layers, and is at least four wide where even that has more weights.

    Parameters
    ----------
    field : str
        What ``NeuralField(field=...)`` takes.
    shape : tuple of int
        Points of the signal along each axis.
    n_channels : int
        Number of channels c.
    room : float
        Most weights.

    Returns
    -------
    dict
        Parameters of ``NeuralField``.

    Examples
    --------
    >>> sizes_within("siren", (28, 28), 1, 784)
    {'hidden_dim': 25, 'n_layers': 3}
    """
    options = COORDINATE_FIELDS[field]
    nyquist = nyquist_of(shape)

    def weights(**sizes: int) -> int:
        chosen = options.but({"n_layers": _N_LAYERS, **sizes})
        generator = torch.Generator().manual_seed(0)
        return make_coordinate_field(field, chosen, nyquist, n_channels, generator).n_parameters

    def width(room: float, most: int) -> int:
        widths = range(_LEAST_WIDTH, max(_LEAST_WIDTH, most) + 1)
        fitting = bisect_right(widths, room, key=lambda n: weights(hidden_dim=n, table_size=1))
        return widths[max(0, fitting - 1)]

    if field != "hash-grid":  # the matrix between two hidden layers alone has width² weights
        return {"hidden_dim": width(room, math.isqrt(int(room))), "n_layers": _N_LAYERS}
    hidden_dim = width(_PART_OF_MLP * room, options.hidden_dim)
    tables = range(1, max(1, int(room)) + 1)
    fitting = bisect_right(
        tables, room, key=lambda size: weights(hidden_dim=hidden_dim, table_size=size)
    )
    table_size = tables[max(0, fitting - 1)]
    return {"hidden_dim": hidden_dim, "n_layers": _N_LAYERS, "table_size": table_size}
