"""What goes wrong with files: one family of errors, each with the path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileError(OSError, ValueError):
    """A file is missing, damaged, of another kind, or asks for more than it may.

    It is an ``OSError`` and a ``ValueError``, so that code that catches either catches it.

    Parameters
    ----------
    path : path-like
        The file.
    reason : str
        What is wrong with it and what to do, without the path.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it.

    Examples
    --------
    >>> try:
    ...     raise FileError("scan.nii", "has no voxel size; set pixdim in its header")
    ... except ValueError as error:
    ...     print(error)
    scan.nii: has no voxel size; set pixdim in its header
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        # What a damaged file says of itself may be no text that can be printed or sent.
        reason = reason.encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[FileError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


class MissingFileError(FileError, FileNotFoundError):
    """There is nothing of that name.

    Examples
    --------
    >>> issubclass(MissingFileError, FileNotFoundError)
    True
    """


def existing(path: str | os.PathLike[str]) -> Path:
    """Return `path`, which must be there.

    Parameters
    ----------
    path : path-like
        A file or a folder; links are followed.

    Raises
    ------
    MissingFileError
        If there is neither a file nor a folder of that name.
    FileError
        If it is a pipe, a socket or a device, which might be read for ever, or cannot be reached.

    Examples
    --------
    >>> existing(__file__).name
    'errors.py'
    """
    found = Path(path)
    try:
        is_there, is_plain = found.exists(), found.is_file() or found.is_dir()
    except OSError as error:
        raise FileError(found, f"cannot be reached ({error.strerror})") from error
    if not is_there:
        raise MissingFileError(found, "no such file or folder")
    if not is_plain:
        raise FileError(found, "is neither a file nor a folder")
    return found


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return `path`, which must be a file; like :func:`existing` otherwise.

    Parameters
    ----------
    path : path-like
        Links are followed.

    Raises
    ------
    MissingFileError
        If there is nothing of that name.
    FileError
        If it is something else than a file, or cannot be reached.

    Examples
    --------
    >>> existing_file(__file__).name
    'errors.py'
    """
    found = existing(path)
    if found.is_dir():
        raise FileError(found, "is a folder, not a file")
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

    Raises
    ------
    FileError
        In place of any error but an ImportError and a FileError, which pass.

    Examples
    --------
    >>> try:
    ...     with reading("a.json", "a list"):
    ...         [][0]
    ... except FileError as error:
    ...     print(error.path)
    a.json
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
        # Some libraries quote what they were given, whole; 10 000 characters hold any reason.
        reason = " ".join(str(error)[:10_000].split()) or "no further reason given"
        raise FileError(
            path,
            f"could not be read as {expected}; is it truncated or of another kind? "
            f"({type(error).__name__}: {reason:.500})",
        ) from error
