"""``neurfield evaluate``: how well a field reconstructs and separates signals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, describe, labels_of, read_input
from neurfield.cli.outputs import add_overwrite, check_output

_EPILOG = """\
examples:
  neurfield evaluate digits.field digits --limit 500
  neurfield evaluate xray.field pneumoniamnist.npz --split test --json xray.json

Each signal is encoded and decoded on its own grid. PSNR is in decibel relative
to the range of values seen in fit; MSE is in the data's own units, squared.
The baseline is what a field has to beat that knows nothing of the single
signal: the mean of all signals given (of volumes of various shapes, each one's
own mean value). Where the input has labels, 5 nearest neighbours classify the
latents in a stratified cross-validation."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "evaluate",
        help="measure how well signals are reconstructed and classified",
        description="Measure how well signals are reconstructed and, if they have labels, "
        "classified from their latents.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that 'neurfield fit' saved")
    add_input(parser)
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="write all figures, those of each signal too"
    )
    parser.add_argument(
        "--each", action="store_true", help="print the figures of each signal, not only the spread"
    )
    add_overwrite(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Encode, decode, compare, print."""
    if args.json is not None:
        check_output(args.json, args.overwrite, (".json",))

    from neurfield.cli.measures import classification, reconstruction
    from neurfield.cli.models import load_model
    from neurfield.datasets._files import replacing

    encoder = load_model(args.model)
    signals = read_input(args)
    latents = encoder.transform(signals)
    measured = reconstruction(encoder, signals, latents)
    labels = labels_of(signals)
    figures: dict[str, Any] = {"input": describe(signals), **measured.summary()}
    if labels is not None:
        figures["classification"] = classification(latents, labels)
    _print(figures, measured, args.each)
    if args.json is not None:
        figures["per_signal"] = {"psnr": measured.psnr.tolist(), "mse": measured.mse.tolist()}
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"\nsaved to {args.json}")


def _print(figures: dict[str, Any], measured: Any, each: bool) -> None:
    print(figures["input"])
    if each:
        print(f"\n{'signal':>8}{'PSNR (dB)':>12}{'MSE':>14}")
        for index, (psnr, mse) in enumerate(zip(measured.psnr, measured.mse, strict=True)):
            print(f"{index:>8}{psnr:>12.2f}{mse:>14.6g}")
    print(f"\n{'':<16}{'mean':>12}{'least':>12}{'median':>12}{'most':>12}")
    for name, key, form in (("PSNR (dB)", "psnr", ".2f"), ("MSE", "mse", ".4g")):
        row = figures[key]
        cells = "".join(f"{row[column]:>12{form}}" for column in ("mean", "min", "median", "max"))
        print(f"{name:<16}{cells}")
    baseline = figures["mean_signal_baseline"]
    print(f"{'mean signal':<16}{baseline['psnr']:>9.2f} dB{baseline['mse']:>12.4g} MSE")
    if "classification" in figures:
        found = figures["classification"]
        print()
        if "reason" in found:
            print(f"not classified: {found['reason']}")
            return
        print(
            f"{found['neighbors']} nearest neighbours, {found['folds']} folds, "
            f"{found['classes']} classes"
        )
        print(f"accuracy {found['accuracy']:.4f}   macro F1 {found['macro_f1']:.4f}")
        print(f"(always the largest class: {found['majority']:.4f})")
