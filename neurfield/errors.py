"""What goes wrong with files: one family of errors, each with the path."""

from __future__ import annotations

import os
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
