"""The command line: the main job on files, without writing Python."""

from neurfield.cli.app import main

__all__ = ["main"]
