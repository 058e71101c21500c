"""Where results may be written, checked before any work is done."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from neurfield.errors import FileError


def add_output(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """Add ``-o`` and ``--overwrite``."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=f"{help}")
    add_overwrite(parser)


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """Add ``--overwrite``."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an output that is there already"
    )


def check_output(
    path: Path,
    overwrite: bool,
    endings: Sequence[str] = (),
    inputs: Iterable[Path | str | None] = (),
) -> None:
    """Refuse an output that could not or should not be written.

    Parameters
    ----------
    path : Path
        File or folder to write later.
    overwrite : bool
        Whether something of that name may be replaced.
    endings : sequence of str, default=()
        Endings that tell the format; "" among them allows names without an ending.
    inputs : iterable of path-like or None, optional
        What is read before; it may not be replaced, whatever `overwrite` says.

    Raises
    ------
    FileError
        If it is one of the inputs.
    FileExistsError
        If something of that name is there and may not be replaced.
    FileNotFoundError
        If the folder to write into is not there.
    ValueError
        If the ending tells no known format.
    """
    named = any(path.name.endswith(ending) for ending in endings if ending)
    if endings and not named and not ("" in endings and not path.suffix):
        known = ", ".join(ending or "a folder (no ending)" for ending in endings)
        raise ValueError(f"{path}: the ending of the output must be one of {known}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} into")
    for source in inputs:
        if source is not None and path.resolve() == Path(source).resolve() and path.exists():
            raise FileError(path, "is read by this command and would be replaced by its output")
    if not overwrite and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path}: is there already; --overwrite replaces it")
