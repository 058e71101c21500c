"""``neurfield info``: say what is inside a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.cli.formatting import add_command

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

_EPILOG = """\
examples:
  neurfield info digits.field"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "info",
        help="say what is inside a saved model",
        description="Say what is inside a saved model: the signals it was fitted to, its field, "
        "how it was trained, and every parameter.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that 'neurfield fit' saved")
    return parser


def run(args: argparse.Namespace) -> None:
    """Load and describe."""
    from neurfield.cli.models import load_model

    encoder = load_model(args.model)
    size = args.model.stat().st_size
    print(f"{args.model}, {size / 2**20:.2f} MiB, FunctaEncoder")
    for title, lines in (
        ("signals", _signals(encoder)),
        ("field", _field(encoder)),
        ("training", _training(encoder)),
        ("parameters", {key: repr(value) for key, value in encoder.get_params(deep=False).items()}),
    ):
        print(f"\n{title}")
        for name, text in lines.items():
            print(f"  {name:<20}{text}")


def _signals(encoder: FunctaEncoder) -> dict[str, str]:
    from neurfield.patched import patches_of

    layout, frame, scaler = encoder.layout_, encoder.codec_.whole_frame, encoder.codec_.units.scaler
    lines = {}
    for index, name in enumerate(layout.axis_names):
        unit = layout.units[index]
        extent = f"{frame.lower[index]:g} to {frame.upper[index]:g}" + (f" {unit}" if unit else "")
        points = "" if layout.axes is None else f", {len(layout.axes[index])} points"
        lines[f"axis {name}"] = extent + points
    for channel in range(layout.n_channels):
        name = (
            f"channel {channel}"
            if layout.channel_labels is None
            else layout.channel_labels[channel]
        )
        name = "values" if layout.n_channels == 1 else str(name)
        lines[name] = f"{scaler.lower[channel]:g} to {scaler.upper[channel]:g}"
    lines["grids"] = "one of each signal's own" if layout.is_list else "one for all"
    if (patches := patches_of(encoder.codec_)) is not None:
        counts, sizes = (" × ".join(map(str, n)) for n in (patches.counts, patches.size))
        lines["patches"] = f"{counts} of {sizes} points"
    return lines


def _field(encoder: FunctaEncoder) -> dict[str, str]:
    from neurfield.fields import FieldSpec

    field = encoder.field_
    lines = {name.replace("_", " "): str(value) for name, value in field.config().items()}
    return {"family": FieldSpec.family_of(field), **lines, "weights": f"{field.n_parameters:,}"}


def _training(encoder: FunctaEncoder) -> dict[str, str]:
    lines = {"learner": repr(encoder.learner_), "meta-steps": str(encoder.n_iter_)}
    curves = {
        "last loss": (encoder.loss_curve_, "{:.4g}"),
        "PSNR on last batch": (getattr(encoder, "psnr_curve_", None), "{:.2f} dB"),
        "held-out PSNR, best": (sorted(getattr(encoder, "validation_curve_", [])), "{:.2f} dB"),
    }
    for name, (curve, form) in curves.items():
        if curve:
            lines[name] = form.format(curve[-1])
    lines["device"] = encoder.device_
    return lines
