"""``neurfield evaluate``: how well a field reconstructs and separates signals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from neurfield.cli.experiment import NAMES
from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, labels_of, read_input_of
from neurfield.cli.outputs import add_overwrite, check_output
from neurfield.signals.describing import describe

_EPILOG = """\
examples:
  neurfield evaluate digits.field digits --limit 500
  neurfield evaluate xray.field pneumoniamnist.npz --split test --json xray.json

The model encodes and decodes each signal on its own grid. PSNR is in decibel
relative to the range of values seen in fit; MSE is in the data's own units,
squared. The baseline is what a field has to beat that knows nothing of the
single signal: the mean of all signals given (of volumes of various shapes,
each one's own mean value). Where the input has labels, 5 nearest neighbours
classify the latents in a stratified cross-validation; of several labels a
signal, accuracy and F1 are means over the labels.

Tables that compare methods are made by 'neurfield experiment'."""


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
    parser.add_argument("model", metavar="MODEL", help="file that 'neurfield fit' saved")
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
    if args.model in NAMES and not Path(args.model).exists():
        raise ValueError(f"{args.model!r} is a table: use 'neurfield experiment {args.model} ...'")
    if args.json is not None:
        check_output(args.json, args.overwrite, (".json",), (args.model, args.input))

    from neurfield.atomic import replacing
    from neurfield.cli.models import load_model
    from neurfield.evaluation import cross_validated_neighbors, reconstruction
    from neurfield.evaluation.tables.data import labels_beside

    encoder = load_model(Path(args.model))
    signals = read_input_of(encoder, args)
    latents = encoder.transform(signals)
    measured = reconstruction(encoder, signals, latents)
    labels = labels_of(signals) if isinstance(signals, list) else labels_beside(signals)
    figures: dict[str, Any] = {"input": describe(signals), **measured.summary()}
    if labels is not None:
        figures["classification"] = cross_validated_neighbors(latents, labels)
    _print(figures, measured.scores, args.each)
    if args.json is not None:
        scores = measured.scores
        figures["per_signal"] = {"psnr": scores.psnr.tolist(), "mse": scores.mse.tolist()}
        for name in ("ssim", "lpips"):
            if (values := getattr(scores, name)) is not None:
                figures["per_signal"][name] = values.tolist()
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"\nsaved to {args.json}")


def _print(figures: dict[str, Any], scores: Any, each: bool) -> None:
    print(figures["input"])
    if each:
        print(f"\n{'signal':>8}{'PSNR (dB)':>12}{'MSE':>14}")
        for index, (psnr, mse) in enumerate(zip(scores.psnr, scores.mse, strict=True)):
            print(f"{index:>8}{psnr:>12.2f}{mse:>14.6g}")
    print(f"\n{'':<16}{'mean':>12}{'least':>12}{'median':>12}{'most':>12}")
    measures = {"PSNR (dB)": "psnr", "MSE": "mse", "SSIM": "ssim", "LPIPS": "lpips"}
    for name, key in measures.items():
        if key in figures:
            row, form = figures[key], ".2f" if key == "psnr" else ".4g"
            columns = ("mean", "min", "median", "max")
            print(f"{name:<16}{''.join(f'{row[column]:>12{form}}' for column in columns)}")
    for name, reason in figures["not_measured"].items():
        print(f"{name.upper():<16}not measured: {reason}")
    baseline = figures["mean_signal_baseline"]
    print(f"{'mean signal':<16}{baseline['psnr']:>9.2f} dB{baseline['mse']:>12.4g} MSE")
    if "classification" in figures:
        found = figures["classification"]
        print()
        if "reason" in found:
            print(f"not classified: {found['reason']}")
            return
        several = "labels" in found
        kinds = f"{found['labels']} labels" if several else f"{found['classes']} classes"
        most = "more frequent value of each label" if several else "largest class"
        print(f"{found['neighbors']} nearest neighbours, {found['folds']} folds, {kinds}")
        print(f"accuracy {found['accuracy']:.4f}   macro F1 {found['macro_f1']:.4f}")
        print(f"(always the {most}: {found['majority']:.4f})")
