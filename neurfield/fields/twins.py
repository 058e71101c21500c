"""Copies of networks with parameters of their own over the same numbers, one for each thread."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def twin(module: Network, trains: bool = False) -> Network:
    """Return the same network with parameters of its own, over the same numbers.

    Threads that record operations on one parameter may wait for each other for ever: one of
    them holds the parameter and waits for the interpreter, the other the other way round.

    Parameters
    ----------
    module : Module
        Whose numbers are shared, not copied; what is not a parameter is shared too.
    trains : bool, default=False
        Whether operations are recorded on those parameters of which they are in `module`.

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> other = twin(layer)
    >>> other.weight is layer.weight, other.weight.data_ptr() == layer.weight.data_ptr()
    (False, True)
    """
    return _twin(module, trains, {})


def _twin(module: Network, trains: bool, made: dict[nn.Parameter, nn.Parameter]) -> Network:
    """Copy one module; `made` keeps parameters that are in several places one parameter."""
    found = copy.copy(module)
    own: dict[str, nn.Parameter | None] = {}
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter not in made:
            records = trains and parameter.requires_grad
            made[parameter] = nn.Parameter(parameter.detach(), requires_grad=records)
        own[name] = None if parameter is None else made[parameter]
    found._parameters = own
    found._modules = {
        name: None if part is None else _twin(part, trains, made)
        for name, part in module._modules.items()
    }
    return found
