"""The tables behind ``neurfield evaluate TABLE DATA``."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

from neurfield.cli.inputs import describe, read_input

#: Names and contents, told here so that help texts need no import of what computes the tables.
NAMES = {
    "methods": "presets, learners, networks of single signals, PCA, the mean",
    "classification": "k-NN and MLP on latents and PCA, CNNs on the signals",
    "gamma": "context ratio: PSNR, SSIM, memory, time",
    "omega": "heat map of PSNR over ω_1 and δ = ω_K/ω_1",
    "schedule": "constant against cosine learning rate",
    "components": "each learner with one of its parts taken away",
    "convergence": "five kinds of networks of one signal: PSNR over seconds",
}
_REDUCED_LIMITS = (4000, 1000)  # signals to learn from and to measure on, unless in full

_OPTIONS = (
    "full",
    "grid",
    "max_time",
    "methods",
    "output",
    "seeds",
    "set",
    "splits",
    "table_latent_dim",
)


def listing() -> str:
    """Return names and contents of the tables, for a help text."""
    return "\n".join(f"  {name:<16}{text}" for name, text in NAMES.items())


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tables, all of them unset by default."""
    group = parser.add_argument_group("options of a TABLE")
    group.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where to write")
    group.add_argument(
        "--splits",
        nargs=2,
        metavar=("TRAIN", "TEST"),
        help="values of --split to learn from and to measure on (default: hold out a quarter)",
    )
    group.add_argument(
        "--full",
        action="store_true",
        help="published sizes and steps on all signals, which takes days",
    )
    group.add_argument("--seeds", type=int, nargs="+", metavar="N", help="seeds to repeat with (0)")
    group.add_argument("--max-time", type=float, metavar="S", help="seconds to train each fit")
    group.add_argument(
        "--latent-dim", type=int, dest="table_latent_dim", metavar="P", help="numbers in a latent"
    )
    group.add_argument(
        "--methods", nargs="+", metavar="NAME", help="names of rows, to leave others out"
    )
    group.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="parameter of the encoder for all cells, such as meta_lr=1e-3, or option of its field "
        "or learner, such as learner__context_ratio=0.5",
    )
    group.add_argument(
        "--grid", type=int, nargs="+", metavar="N", help="resample all signals to these points"
    )


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse options of tables where a model is evaluated.

    Raises
    ------
    ValueError
        If one was given.
    """
    for name in _OPTIONS:
        if getattr(args, name):
            option = name.removeprefix("table_").replace("_", "-")
            raise ValueError(
                f"--{option} belongs to a TABLE ({', '.join(NAMES)}), and {args.what!r} is none"
            )


def run(args: argparse.Namespace) -> None:
    """Read the signals, compute the table, write it."""
    if args.output is None:
        raise ValueError("a table needs a folder to write to: -o FOLDER")
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"{args.output}: is a file, and a table needs a folder")
    if not args.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.output.parent}: no such folder to make {args.output} in")
    if args.splits is not None and args.split is not None:
        raise ValueError("give either --splits or --split")
    parameters = dict(_parameter(text) for text in args.set or ())

    from neurfield.evaluation.tables import TABLES, Budget, make_data, run_table

    budget = Budget(
        full=args.full,
        latent_dim=args.table_latent_dim,
        max_time=args.max_time,
        seeds=tuple(args.seeds or (0,)),
        parameters=parameters,
        methods=args.methods,
    )
    signals = [_read(args, split) for split in args.splits or (None,)]
    data = make_data(
        *signals, limits=(None, None) if args.full else _REDUCED_LIMITS, grid=args.grid
    )
    print(f"learns from   {describe(data.train)}")
    print(f"measured on   {describe(data.test)}")
    args.output.mkdir(exist_ok=True)
    run_table(TABLES[args.what](), data, budget, args.output, report=_report)
    print(f"saved to      {args.output / args.what}.csv, .png")


def _read(args: argparse.Namespace, split: str | None) -> Any:
    if split is None:
        return read_input(args)
    return read_input(argparse.Namespace(**{**vars(args), "split": split}))


def _report(line: str) -> None:
    print(line, flush=True)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--set takes NAME=VALUE, got {text!r}")
    try:
        found = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        found = value  # a plain word, such as the name of a device
    return name, list(found) if isinstance(found, tuple) else found
