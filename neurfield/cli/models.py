"""Loading of fitted encoders for the sub-commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from neurfield.datasets._files import existing

if TYPE_CHECKING:
    from neurfield import FunctaEncoder


def load_model(path: Path) -> FunctaEncoder:
    """Load what ``neurfield fit`` saved.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is no fitted encoder.
    """
    existing(path)
    from neurfield import FunctaEncoder

    return FunctaEncoder.load(path)
