"""What every reader and writer does around its library: find it, and name the file."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from neurfield.errors import FileError, MissingFileError


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
    MissingFileError
        If there is neither a file nor a folder of that name.
    FileError
        If it is a pipe, a socket or a device, which might be read for ever.
    """
    found = Path(path)
    if not found.exists():
        raise MissingFileError(found, "no such file or folder")
    if not found.is_file() and not found.is_dir():
        raise FileError(found, "is neither a file nor a folder")
    return found


@contextmanager
def reading(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Turn whatever a file library raises into one FileError.

    Parameters
    ----------
    path : path-like
        File being read inside the block.
    expected : str
        What the file should be, in words.
    """
    try:
        yield
    except (FileError, ImportError):
        raise
    except FileNotFoundError as error:
        raise MissingFileError(
            path, "is no longer there, or refers to a file that is not"
        ) from error
    except PermissionError as error:
        raise FileError(path, "may not be read by this user") from error
    except MemoryError as error:
        raise FileError(path, f"does not fit into memory as {expected}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or "no further reason given"
        raise FileError(
            path,
            f"could not be read as {expected}; is it truncated or of another kind? "
            f"({type(error).__name__}: {reason:.500})",
        ) from error
