"""The parser of the command line, and what happens to errors on the way."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from neurfield import __version__
from neurfield.cli import decode, demo, evaluate, experiment, fit, info, mednf, transform
from neurfield.cli.formatting import HelpFormatter

_COMMANDS = (demo, fit, transform, decode, mednf, evaluate, experiment, info)

_UNEXPECTED = 70  # what sysexits.h calls an internal software error

_DESCRIPTION = """\
Learn a neural field over many signals of one kind (time series, images,
volumes), encode each signal into a short latent vector, and decode latents at
any resolution."""

_EPILOG = """\
examples:
  neurfield demo
  neurfield fit digits -o digits.field --latent-dim 32 --max-time 30
  neurfield transform digits.field digits -o latents.npz
  neurfield decode digits.field latents.npz -o large.nc --grid 24 24
  neurfield evaluate digits.field digits

'neurfield COMMAND --help' explains a command and gives more examples."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints take one line, like all errors of this program."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"neurfield: error: {message} (see '{self.prog} --help')\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = _Parser(
        prog="neurfield",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"neurfield {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        subparser = command.add_parser(subparsers)
        subparser.set_defaults(run=command.run)
        subparser.add_argument(
            "--debug", action="store_true", help="show the full traceback of an error"
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 if all went well, 1 if nobody reads the output any more, 2 after an error of
        the user, 70 after one that is not, 130 if interrupted.
    """
    try:
        args = build_parser().parse_args(argv)
        args.command_line = shlex.join(["neurfield", *(sys.argv[1:] if argv is None else argv)])
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as in `neurfield info ... | head`; keep Python silent at exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("neurfield: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        message, status = _explained(error)
        print(f"neurfield: error: {message}", file=sys.stderr)
        return status
    return 0


def _explained(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, in one line, and the exit status."""
    message = " ".join(str(error).split()) or type(error).__name__
    if _is_out_of_memory(error):
        return f"not enough memory ({message})", 2
    if isinstance(error, ValueError | OSError | ImportError):
        return message, 2
    return (
        f"unexpected {type(error).__name__}: {message}; please report it, with what the option "
        "--debug shows",
        _UNEXPECTED,
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory has run out; on a CPU, torch says so in words only."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning like an error, without the place in the source that raised it."""
    print(f"neurfield: warning: {' '.join(str(message).split())}", file=sys.stderr)
