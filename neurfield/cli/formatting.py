"""How help texts look."""

from __future__ import annotations

import argparse
from typing import Any


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wrap descriptions to the terminal, and leave examples as they are."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 28, **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_command(subparsers: Any, name: str, **texts: str) -> argparse.ArgumentParser:
    """Add a sub-command and return its parser.

    Parameters
    ----------
    subparsers : the object that ``add_subparsers`` returned
        Where to add it.
    name : str
        Name of the sub-command.
    **texts : str
        ``help``, ``description`` and ``epilog``.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, formatter_class=HelpFormatter, **texts
    )
    return parser
