"""Fields with weights that came from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from neurfield.fields.base import Field

_SIZES = ("in_dim", "out_dim", "hidden_dim", "intermediate_dim")
_OURS = __name__.partition(".")[0]


def field_of_weights(
    module: type[Field],
    arguments: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> Field:
    """Return a field of the given weights, made only if they are those that it asks for.

    What a file says of a field may ask for any amount of memory or time, its weights take no more
    than the file. So shapes are compared first, on a field without numbers.

    Parameters
    ----------
    module : type of Field
        Class of the field.
    arguments : mapping
        Of its constructor, by name, as :meth:`Field.config` returns them.
    weights : mapping of str to Tensor
        Its state dict.
    dtype : torch.dtype, default=torch.float32
        Floating-point type of the field.

    Raises
    ------
    ValueError
        If weights are missing, of other shapes, not finite, or of no use to the field.

    Examples
    --------
    >>> from neurfield.fields import ModulatedSiren
    >>> weights = ModulatedSiren(2, 1, 4, hidden_dim=8).state_dict()
    >>> arguments = {"in_dim": 2, "out_dim": 1, "latent_dim": 10**12, "hidden_dim": 8}
    >>> field_of_weights(ModulatedSiren, arguments, weights)
    Traceback (most recent call last):
    ValueError: ... modulation.weight must have shape (32, 1000000000000), got (32, 4)
    """
    _check_sizes(arguments, weights)
    expected = {name: tuple(w.shape) for name, w in _blank(module, arguments).state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    wrong = [
        f"{name} must have shape {expected.get(name)}, got {found.get(name)}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise ValueError(f"weights do not fit together: {'; '.join(wrong[:3])}")
    check_finite(weights)
    field = module(**arguments).to(dtype)
    field.load_state_dict(dict(weights))
    return field


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that no training leaves.

    Parameters
    ----------
    weights : mapping of str to Tensor
        A state dict.

    Raises
    ------
    ValueError
        If one is NaN or infinite.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise ValueError(f"weights must be finite, {name} holds some that are not")


def _check_sizes(arguments: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse sizes beyond what there are weights for: a layer has one tensor at the least."""
    room = {name: sum(weight.numel() for weight in weights.values()) for name in _SIZES}
    room["n_layers"] = len(weights)
    for name, most in room.items():
        if not isinstance(arguments.get(name, 1), int) or arguments.get(name, 1) > most:
            raise ValueError(
                f"{name}={arguments[name]!r:.40} does not fit {len(weights)} weights of "
                f"{sum(weight.numel() for weight in weights.values())} numbers"
            )


def _blank(module: type[Field], arguments: Mapping[str, Any]) -> Field:
    try:
        with torch.device("meta"):
            return module(**arguments)
    except (NotImplementedError, RuntimeError):
        # A class of the user's own may look at the numbers that it starts from.
        if module.__module__.partition(".")[0] == _OURS:
            raise
        return module(**arguments)
