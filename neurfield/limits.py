"""How much a file may grow when it is unpacked, so that a small one cannot fill the machine."""

from __future__ import annotations

import os
from pathlib import Path

from neurfield.errors import FileError

#: Variable of the environment that raises, or lowers, the limit.
VARIABLE = "NEURFIELD_MAX_BYTES"

#: How many times smaller than its content a deflated file, such as of gzip, is at most.
DEFLATED = 1032

_LEAST = 2**30  # whatever the file's size, so much is always allowed
_GROWTH = 20  # real images, masks and recordings hardly ever pack better


def most_bytes(path: str | os.PathLike[str]) -> int:
    """Return how many bytes the content of a packed file may have.

    A gibibyte, or twenty times the file's own size where that is more; the variable
    ``NEURFIELD_MAX_BYTES`` of the environment sets another limit. A folder counts as all the files
    in it.

    Parameters
    ----------
    path : path-like
        The file or folder, which must be there.

    Raises
    ------
    ValueError
        If the variable is no positive whole number.

    Examples
    --------
    >>> most_bytes(__file__)
    1073741824
    """
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return max(_LEAST, _GROWTH * _size(Path(path)))
    if not asked.isdecimal() or int(asked) < 1:
        raise ValueError(f"{VARIABLE} must be a positive whole number of bytes, got {asked!r}")
    return int(asked)


def check_unpacked(path: str | os.PathLike[str], n_bytes: int, what: str = "its content") -> None:
    """Refuse a file whose content would have more bytes than it may.

    Parameters
    ----------
    path : path-like
        The file, which must be there.
    n_bytes : int
        Size of the content, or of as much of it as was seen.
    what : str, default="its content"
        Which content that is, in words.

    Raises
    ------
    FileError
        If it is too much; the message says how to allow it.
    """
    if n_bytes <= _LEAST and VARIABLE not in os.environ:
        return  # whatever its size, which takes long to ask of a store of many files
    limit = most_bytes(path)
    if n_bytes > limit:
        raise FileError(
            path,
            f"{what} takes {n_bytes} bytes or more, and {limit} are allowed; if the file is one "
            f"that you trust, set the variable {VARIABLE} of the environment to a larger number",
        )


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    files = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files)
