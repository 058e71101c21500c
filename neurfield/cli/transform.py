"""``neurfield transform``: encode signals into latents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, labels_of, read_input_of
from neurfield.cli.outputs import add_output, check_output
from neurfield.errors import FileError
from neurfield.signals.describing import describe

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

_EPILOG = """\
examples:
  neurfield transform digits.field digits -o latents.npz
  neurfield transform xray.field pneumoniamnist.npz --split test -o test.csv
  neurfield transform brain.field volumes/ -o latents.nc

A .npz or .nc file holds 'latents' (n_signals, P), 'features', a fingerprint
of MODEL, and, where the input has them, 'labels' and 'names'; of volumes of
various shapes also their grids and affines, so that 'neurfield decode' can put
each back where it was. A .csv file is a plain table: sample, label, one column
per number; it has no place for the rest."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "transform",
        help="encode signals into latents",
        description="Encode signals into latents, one row of numbers per signal.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that 'neurfield fit' saved")
    add_input(parser)
    add_output(parser, "LATENTS", "file to write: .npz, .nc or .csv")
    return parser


def run(args: argparse.Namespace) -> None:
    """Read, encode, write."""
    from neurfield.cli.latent_file import ENDINGS, LatentSet
    from neurfield.cli.models import load_model

    check_output(args.output, args.overwrite, ENDINGS, (args.model, args.input))
    encoder = load_model(args.model)
    signals = read_input_of(encoder, args)
    _check_sizes(encoder, signals, args)
    found = LatentSet(
        latents=encoder.transform(signals),
        features=[str(name) for name in encoder.get_feature_names_out()],
        labels=labels_of(signals),
        names=_names(signals),
        fingerprint=encoder.codec_.fingerprint,
    )
    if isinstance(signals, list):
        axes = [str(dim) for dim in signals[0].dims if dim != "channel"]
        found.grids = [{axis: signal[axis].values for axis in axes} for signal in signals]
        found.affines = _affines(signals)
    found.write(args.output)
    print(f"encoded     {describe(signals)}")
    print(f"latents     {' × '.join(map(str, found.latents.shape))}, in {args.output}")


def _check_sizes(encoder: FunctaEncoder, signals: Any, args: argparse.Namespace) -> None:
    """Refuse signals whose latents are longer or shorter than those of fit: files hold a table."""
    from neurfield.validation import validated_signals

    codec = encoder.codec_
    groups = validated_signals(encoder, signals, reset=False).groups
    lengths = {codec.latents_on(group.axes) for group in groups if not group.is_scattered}
    if others := sorted(lengths - {codec.latent_size}):
        raise FileError(
            args.input,
            f"holds signals of another size than those of fit: their latents have {others[0]} "
            f"numbers, and a file has columns for {codec.latent_size}; encode them in Python, or "
            'fit with Lapped(pool="mean")',
        )


def _names(signals: Any) -> list[str] | None:
    if isinstance(signals, list):
        names = [signal.attrs.get("filename") for signal in signals]
        return None if None in names else [str(name) for name in names]
    if "sample" in signals.coords:
        return [str(name) for name in signals["sample"].values]
    return None


def _affines(signals: list[Any]) -> Any | None:
    import numpy as np

    affines = [signal.attrs.get("affine") for signal in signals]
    return None if None in affines else np.array(affines, dtype=np.float64)
