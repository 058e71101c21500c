"""What every reader and writer does around its library: find it, and name the file."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


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


def existing(path: str | os.PathLike[str]) -> Path:
    """Return `path`, which must be there.

    Raises
    ------
    FileNotFoundError
        If there is neither a file nor a folder of that name.
    """
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"{found}: no such file or folder")
    return found


@contextmanager
def reading(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Turn whatever a file library raises into one ValueError that names the file.

    Parameters
    ----------
    path : path-like
        File being read inside the block.
    expected : str
        What the file should be, in words.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, ImportError, MemoryError):
        raise  # these say what is wrong, and it is not the content of the file
    except Exception as error:
        reason = " ".join(str(error).split()) or "no further reason given"
        raise ValueError(
            f"{path}: could not be read as {expected}; is it truncated or of another kind? "
            f"({type(error).__name__}: {reason})"
        ) from error
