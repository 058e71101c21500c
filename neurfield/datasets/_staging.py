"""Several files that appear in a folder once all of them are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from neurfield.errors import MissingFileError


@contextmanager
def moving_into(
    folder: Path, *, beside: Path, is_last: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yield a temporary folder, from which all files move into `folder` if the block ends well.

    Parameters
    ----------
    folder : Path
        Where the files go; made for the first of them. Files in subfolders go into the like.
    beside : Path
        Folder that is there, on the same disk, in which the temporary one is made.
    is_last : callable, optional
        Says of a file whether it comes after the others. Headers do, so that none ever speaks of
        values that are not there.

    Raises
    ------
    MissingFileError
        If `beside` is not there.
    """
    if not beside.is_dir():
        raise MissingFileError(beside, f"no such folder to make {folder.name} in")
    with TemporaryDirectory(dir=beside, prefix=".writing-") as staging:
        yield Path(staging)
        written = [file for file in Path(staging).rglob("*") if file.is_file()]
        for file in sorted(written, key=is_last):
            target = folder / file.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
