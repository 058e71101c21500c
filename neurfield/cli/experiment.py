"""``neurfield experiment``: tables that compare methods, with their pictures."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, read_input

if TYPE_CHECKING:
    from neurfield.evaluation.tables import Budget

#: Names and contents, told here so that help texts need no import of what computes the tables.
NAMES = {
    "methods": "presets, learners, defaults, PCA, autoencoders, the mean",
    "gaps": "hidden parts: the default, PPCA, imputer, GP, interpolation",
    "curves": "quality after fits of ever more seconds",
    "panels": "signals, what methods make of them, and errors, in pictures",
    "classification": "k-NN and MLP on latents and PCA, CNNs on the signals",
    "gamma": "context ratio: PSNR, SSIM, memory, time",
    "omega": "heat maps of PSNR over ω_1 and δ = ω_K/ω_1, both learners",
    "equivalence": "ω of a layer against its learning rate",
    "schedule": "constant against cosine learning rate",
    "ladder": "the published recipe, one part after the other",
    "components": "each learner with one of its parts taken away",
    "variants": "what papers found no better, an auto-decoder",
    "convergence": "five kinds of networks of one signal: PSNR over seconds",
    "resolution": "cost and quality at the published sizes, and by default",
}
_REDUCED_LIMITS = (4000, 1000)  # signals to learn from and to measure on, unless in full

_EPILOG = """\
experiments:
{tables}
  {all:<16}all of these, on the data sets of a folder, as one page

examples:
  neurfield experiment methods pneumoniamnist.npz --splits train test -o xray/
  neurfield experiment gamma mitbih/ --splits ds1 ds2 -o ecg/ --seeds 0 1 2
  neurfield experiment all data/ --budget small -o docs/

An experiment fits what it compares, and measures it on signals held out. It
writes FOLDER/NAME.csv, .md, .png and .svg. Cells that are finished are kept in
FOLDER/NAME.jsonl; stopped and run again, the command goes on where it was.

INPUT of 'all' is a folder with some of pneumoniamnist.npz, mitbih/,
hippocampus/images/, blood_smear/, brain_slices.npz, ecg12.npz and, of
MedMNIST, chestmnist_64.npz, octmnist_64.npz and so on. It writes
FOLDER/results.md, and what belongs to it into FOLDER/results/."""

ALL = "all"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    listing = "\n".join(f"  {name:<16}{text}" for name, text in NAMES.items())
    parser = add_command(
        subparsers,
        "experiment",
        help="compare methods on signals, as a table and a picture",
        description="Fit methods that are to be compared, measure them on signals held out, and "
        "write a table, a picture and the command that makes them.",
        epilog=_EPILOG.format(tables=listing, all=ALL),
    )
    parser.add_argument("name", metavar="NAME", choices=(*NAMES, ALL), help="of the experiment")
    add_input(parser)
    group = parser.add_argument_group("options of experiments")
    group.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where to write")
    group.add_argument(
        "--splits",
        nargs=2,
        metavar=("TRAIN", "TEST"),
        help="values of --split to learn from and to measure on (default: hold out a quarter)",
    )
    group.add_argument(
        "--budget",
        choices=("small", "full"),
        default="small",
        help="small: reduced sizes, which take minutes (default); full: published sizes and steps "
        "on all signals, which take days",
    )
    group.add_argument("--seeds", type=int, nargs="+", metavar="N", help="seeds to repeat with (0)")
    group.add_argument("--max-time", type=float, metavar="S", help="seconds to train each fit")
    group.add_argument("--latent-dim", type=int, metavar="P", help="numbers in a latent")
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
    group.add_argument(
        "--only", nargs="+", metavar="STUDY", help="of 'all': names of studies, to leave others out"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Read the signals, compute the table, write it."""
    if args.output is None:
        raise ValueError("an experiment needs a folder to write to: -o FOLDER")
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"{args.output}: is a file, and an experiment needs a folder")
    if not args.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.output.parent}: no such folder to make {args.output} in")
    if args.splits is not None and args.split is not None:
        raise ValueError("give either --splits or --split")
    parameters = dict(_parameter(text) for text in args.set or ())

    from neurfield.evaluation.tables import Budget

    budget = Budget(
        full=args.budget == "full",
        latent_dim=args.latent_dim,
        max_time=args.max_time,
        seeds=tuple(args.seeds or (0,)),
        parameters=parameters,
        methods=args.methods,
    )
    _run_all(args, budget) if args.name == ALL else _run_one(args, budget)


def _run_one(args: argparse.Namespace, budget: Budget) -> None:
    if args.only:
        raise ValueError(f"--only belongs to {ALL!r}, not to {args.name!r}")

    from neurfield.evaluation.tables import TABLES, make_data, run_table

    signals = [_read(args, split) for split in args.splits or (None,)]
    limits = (None, None) if budget.full else _REDUCED_LIMITS
    data = make_data(*signals, limits=limits, grid=args.grid)
    for line in data.described():
        print(line)
    args.output.mkdir(exist_ok=True)
    run_table(TABLES[args.name](), data, budget, args.output, _report, args.command_line)
    print(f"saved to {args.output / args.name}.csv, .md, .png, .svg")


def _run_all(args: argparse.Namespace, budget: Budget) -> None:
    for option in ("splits", "split", "grid", "limit", "methods", "latent_dim", "set"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise ValueError(f"--{name} belongs to a single experiment, not to {ALL!r}")

    from neurfield.evaluation.studies import STUDIES, run_studies, select

    studies = select(STUDIES, args.only)
    args.output.mkdir(exist_ok=True)
    path = run_studies(
        studies, Path(args.input), budget, args.output, _report, f"neurfield experiment {ALL}"
    )
    print(f"saved to {path}")


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
