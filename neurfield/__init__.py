"""neurfield: 1-D, 2-D and 3-D signals as vectors, through meta-learned neural fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder
    from neurfield.presets import list_presets
    from neurfield.single import NeuralField

__version__ = "0.1.0"

__all__ = ["FunctaEncoder", "NeuralField", "__version__", "list_presets"]

_HOMES = {
    "FunctaEncoder": "neurfield.encoder",
    "NeuralField": "neurfield.single",
    "list_presets": "neurfield.presets",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that what needs no torch does not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what can be imported from here."""
    return sorted(__all__)
