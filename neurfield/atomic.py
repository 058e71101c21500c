"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)  # what a folder answers that another is moved onto
_REMOVALS = 50  # attempts, while threads of a library still write into what is removed


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling that takes the place of `path` if the block ends well.

    If the block ends with an exception, an interrupt included, the temporary file or folder is
    removed and `path` stays as it was. Of several writers of one path, in threads or in processes,
    the last to end wins. What appears has the permissions of any new file in that folder.

    Parameters
    ----------
    path : path-like
        File or folder to write; a link is followed. The temporary name keeps its endings, because
        file libraries choose the format by them.

    Yields
    ------
    Path
        Where the block is to write a file, or to make a folder.

    Raises
    ------
    FileNotFoundError
        If there is no folder to write into.
    OSError
        If `path` is a device or a pipe, or a folder where a file was written, or the reverse.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with replacing(folder.name + "/note.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> os.listdir(folder.name)
    ['note.txt']
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such folder to write {target.name} into")
    if _is_special(target):
        raise OSError(f"{target}: is neither a file nor a folder, so it is not replaced")
    token = uuid.uuid4().hex
    temporary = target.with_name(f".{token}-{target.name}")
    try:
        yield temporary
        if temporary.is_dir():
            _move_folder(temporary, target, target.with_name(f".{token}-old-{target.name}"))
        else:
            _open_to_others(temporary)
            os.replace(temporary, target)
    finally:
        _remove(temporary)


def _is_special(path: Path) -> bool:
    """Tell whether there is something at `path` that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode  # asked once: other writers come and go
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_to_others(temporary: Path) -> None:
    """Give a file the permissions of a new one; some libraries write for the user alone."""
    # The umask cannot be asked for without setting it, for all threads, so a new file is asked.
    probe = temporary.with_name(temporary.name[:33])
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        os.chmod(temporary, probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()


def _move_folder(temporary: Path, target: Path, aside: Path) -> None:
    """Move a folder to its place, where there may be one that is not empty.

    Folders cannot be exchanged in one step everywhere: the old one steps aside for a moment.
    """
    try:
        while not _moved(temporary, target):
            _remove(aside)  # of the round before, after which another writer was faster
            with suppress(FileNotFoundError):  # another writer has just moved it
                os.replace(target, aside)
    except BaseException:
        if aside.exists() and not _moved(aside, target):
            _remove(aside)
        raise
    _remove(aside)


def _moved(folder: Path, target: Path) -> bool:
    """Move a folder, unless there is one in its place."""
    try:
        os.replace(folder, target)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        raise
    return True


def _remove(path: Path) -> None:
    """Remove a file, or a folder into which threads may still be writing."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(_REMOVALS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.02)
    shutil.rmtree(path)
