"""What every reader and writer does around its library: find it, and name the file."""

from __future__ import annotations

import importlib
from types import ModuleType

from neurfield.errors import existing, existing_file, reading

__all__ = ["existing", "existing_file", "missing", "reading", "require"]


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Parameters
    ----------
    module : str
        Name the library is imported by.
    extra : str
        Extra of this package that installs it.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(module, extra) from error


def missing(module: str, extra: str) -> ImportError:
    """Return the error that says which extra brings an optional library."""
    return ImportError(
        f'this needs the package {module}; install it with: pip install "neurfield[{extra}]"'
    )
