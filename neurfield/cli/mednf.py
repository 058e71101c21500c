"""``neurfield mednf``: encode signals into a set of latents as MedFuncta publishes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, read_input_of
from neurfield.cli.outputs import add_output, check_output
from neurfield.signals.describing import describe

if TYPE_CHECKING:
    from neurfield import FunctaEncoder
    from neurfield.datasets import Container

_SPLITS = ("train", "val", "test")

_EPILOG = """\
examples:
  neurfield mednf xray.field pneumoniamnist.npz -o PneumoniaNF
      --splits train val test
  neurfield mednf beats.field mitdb/ -o BeatNF --splits train=ds1 test=ds2
  neurfield mednf digits.field digits -o DigitNF

FOLDER gets the folders train, val and test, with one file datapoint_N.pt for
each signal: a dict of its latent, 'modulations', and its 'label'. The network
lies beside them as model.safetensors. Labels that are text become numbers; its
metadata have their names. Fit MODEL with --preset medfuncta-2d-64 or the like."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "mednf",
        help="encode signals into a set of latents in MedNF's layout",
        description="Encode labelled signals into a set of latents in the layout of MedFuncta's "
        "published ones (MedNF), with labels, splits and the network. MODEL must have a field "
        "that the published network can express, such as that of a medfuncta preset.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that 'neurfield fit' saved")
    add_input(parser)
    add_output(parser, "FOLDER", "folder to write")
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="NAME",
        help="parts of INPUT to encode, of train, val and test; NAME=VALUE where the reader's "
        "--split has another name for it (default: all signals as one split, named by --split if "
        "that is given, otherwise train)",
    )
    parser.add_argument(
        "--pickled",
        action="store_true",
        help="write best.model too, the network as the published tools load it",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Read, encode, write."""
    from neurfield.cli.models import load_model
    from neurfield.datasets import encode_to_mednf
    from neurfield.datasets._mednf_folder import check_target, check_weights

    splits = _splits(args.splits, args.split)
    check_output(args.output, args.overwrite, (), (args.model, args.input))
    check_target(args.output, args.overwrite)
    encoder = load_model(args.model)
    check_weights(encoder)
    signals = {name: _read(encoder, args, split) for name, split in splits.items()}
    encode_to_mednf(signals, args.output, encoder, pickled=args.pickled, overwrite=args.overwrite)
    for name, part in signals.items():
        print(f"{name:<12}{describe(part)}")
    print(f"saved to    {args.output}")


def _splits(asked: Sequence[str] | None, split: str | None) -> dict[str, str | None]:
    """Return the value of --split for each folder of the set.

    Raises
    ------
    ValueError
        If there is no such folder, one is asked for twice, or both options are given.
    """
    if asked is None:
        return {split if split in _SPLITS else "train": split}
    if split is not None:
        raise ValueError("give either --splits or --split")
    found: dict[str, str | None] = {}
    for text in asked:
        name, _, value = text.partition("=")
        if name not in _SPLITS or name in found:
            raise ValueError(
                f"--splits must be different ones of {', '.join(_SPLITS)}, with =VALUE where "
                f"--split has another name for it, got {' '.join(asked)}"
            )
        found[name] = value or name
    return found


def _read(encoder: FunctaEncoder, args: argparse.Namespace, split: str | None) -> Container:
    return read_input_of(encoder, argparse.Namespace(**{**vars(args), "split": split}))
