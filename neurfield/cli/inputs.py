"""Reading of signals, the same for every sub-command that takes an INPUT."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurfield import FunctaEncoder
    from neurfield.datasets import Container

INPUT_HELP = (
    "signals: a NumPy, NetCDF, NIfTI, DICOM, EDF or BDF file, a picture, a volume (.mgz, .nrrd, "
    ".mha, ...), a heartbeat .csv, a WFDB record, a Zarr store, a BIDS data set, the folder of "
    "PTB-XL, a folder of volumes, recordings, DICOM files or pictures (in subfolders: one for each "
    "class), or one of the words 'digits', 'ecg' and 'phantoms' (signals that need no file)"
)


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add INPUT and the options of the readers."""
    parser.add_argument("input", metavar="INPUT", help=INPUT_HELP)
    group = parser.add_argument_group("reading options")
    group.add_argument("--limit", type=int, metavar="N", help="use the first N signals only")
    group.add_argument("--key", help=".npz: name of the array of signals")
    group.add_argument(
        "--split",
        help=".npz laid out like MedMNIST's: train, val or test; WFDB: ds1 or ds2, the two halves "
        "of the MIT-BIH records that share no patient; PTB-XL: train, val or test",
    )
    group.add_argument(
        "--channel-axis",
        type=int,
        metavar="AXIS",
        help=".npz: axis of the array that holds channels",
    )
    group.add_argument("--variable", help="NetCDF, Zarr: name of the variable of signals")
    group.add_argument(
        "--sample-dim", metavar="DIM", help="NetCDF, Zarr: dimension that counts signals"
    )
    group.add_argument(
        "--clip",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="NIfTI: percentiles to cut each volume's values at (default: 0.1 99.9; 0 100: none)",
    )
    group.add_argument(
        "--no-scale",
        action="store_true",
        help="NIfTI, WFDB: keep the values instead of mapping each volume or beat to [0, 1]",
    )
    group.add_argument(
        "--windows",
        action="store_true",
        help="WFDB: windows side by side instead of beats cut around annotations",
    )
    group.add_argument(
        "--events", action="store_true", help="EDF: windows around annotations, not side by side"
    )
    group.add_argument(
        "--length", type=int, metavar="N", help="WFDB, EDF: samples in a window (187; 256)"
    )
    group.add_argument(
        "--frequency",
        type=float,
        metavar="HZ",
        help="WFDB, EDF: samples per second (125; that of the file); PTB-XL: 100 or 500 (100)",
    )
    group.add_argument("--unit", help="WFDB, EDF: unit of the values, such as uV")
    group.add_argument(
        "--annotations",
        metavar="NAME",
        help="WFDB: ending of the annotation files (atr); EDF: file with the annotations",
    )
    group.add_argument(
        "--label", metavar="KIND", help="PTB-XL: statements that are labels (diagnostic_superclass)"
    )
    group.add_argument(
        "--no-verify",
        action="store_true",
        help="WFDB, PTB-XL: read signals that do not add up to their checksum, with a warning",
    )
    group.add_argument(
        "--lead",
        action="append",
        metavar="NAME",
        help="WFDB, EDF, PTB-XL, DICOM waveforms: name or place of a lead (default: the first; of "
        "PTB-XL and DICOM all); several give channels",
    )
    _add_picture_options(group)
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any option of the reader, under its name in Python, such as suffix=bold (BIDS), "
        "fourth=time (volumes) or mode=records (WFDB, EDF); repeat it for several, values of a "
        "list between commas",
    )


def _add_picture_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pages",
        metavar="WHAT",
        help="TIFF stacks, animations: pages are places in depth or samples",
    )
    group.add_argument(
        "--drop-alpha",
        action="store_true",
        help="pictures: read transparent ones too, without their alpha",
    )


def read_input(args: argparse.Namespace) -> Container:
    """Read the signals that the arguments ask for.

    Raises
    ------
    FileNotFoundError, ValueError
        If they cannot be read, or an option does not belong to the kind of file.
    """
    from neurfield.datasets import open_signals
    from neurfield.datasets.ptbxl import is_ptbxl
    from neurfield.errors import FileError
    from neurfield.provenance import fingerprint_of

    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    options = _options(args)
    if args.limit is not None and is_ptbxl(Path(args.input)):
        options["limit"] = args.limit  # all its records would fill a gigabyte
    signals = open_signals(args.input, **options)
    if not isinstance(signals, list) and fingerprint_of(signals) is not None:
        raise FileError(args.input, "holds latents, and signals are asked for")
    return signals if args.limit is None else head(signals, args.limit)


def read_input_of(encoder: FunctaEncoder, args: argparse.Namespace) -> Container:
    """Read signals that a fitted encoder is to encode.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_input`, and if signals have another size than in fit and nothing but pixel
        indices for coordinates, which cannot say where they lie.
    """
    from neurfield.errors import FileError

    signals, layout = read_input(args), encoder.layout_
    if layout.is_list or layout.axes is None or isinstance(signals, list):
        return signals
    seen = dict(zip(layout.axis_names, layout.axes, strict=True))
    bare = [
        name
        for name, axis in seen.items()
        if name in signals.dims
        and _counts(axis, layout.axis_attrs.get(name, {}))
        and (name not in signals.coords or _counts(signals[name].values, signals[name].attrs))
        and signals.sizes[name] != len(axis)
    ]
    if bare:
        here = " × ".join(str(signals.sizes[name]) for name in bare)
        there = " × ".join(str(len(seen[name])) for name in bare)
        raise FileError(
            args.input,
            f"has {here} points along {', '.join(bare)}, and the field was fitted on {there}; "
            "coordinates that only count points do not say where signals of another size lie: "
            "resample them, or give both coordinates with the attribute units (NetCDF, Zarr)",
        )
    return signals


def _counts(axis: Any, attrs: Mapping[str, Any]) -> bool:
    """Tell whether coordinates only count points from 0, in no unit."""
    import numpy as np

    return "units" not in attrs and np.array_equal(axis, np.arange(len(axis)))


def head(signals: Container, n_signals: int) -> Container:
    """Return the first signals."""
    if isinstance(signals, list):
        return signals[:n_signals]
    return signals.isel(sample=slice(n_signals))


def labels_of(signals: Container) -> Any | None:
    """Return one label per signal, of shape (n_samples,), or None."""
    import numpy as np

    if isinstance(signals, list):
        labels = [signal.coords.get("label") for signal in signals]
        if any(label is None or label.ndim for label in labels):
            return None
        return np.array([label.item() for label in labels])  # type: ignore[union-attr]
    return signals["label"].values if "label" in signals.coords else None


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the reading options that were given, under the readers' names for them."""
    given: dict[str, Any] = {
        name: getattr(args, name)
        for name in (
            "key",
            "split",
            "channel_axis",
            "variable",
            "sample_dim",
            "length",
            "frequency",
            "unit",
            "annotations",
            "label",
            "pages",
        )
        if getattr(args, name) is not None
    }
    if args.clip is not None:
        given["clip"] = tuple(args.clip)
    if args.no_scale:
        given["scale"] = False
    if args.windows and args.events:
        raise ValueError("give either --windows or --events, not both")
    if args.windows or args.events:
        given["mode"] = "windows" if args.windows else "events"
    if args.no_verify:
        given["verify"] = False
    if args.drop_alpha:
        given["alpha"] = "drop"
    if args.lead:
        leads = [int(lead) if lead.isdigit() else lead for lead in args.lead]
        given["leads"] = leads[0] if len(leads) == 1 else leads
    for text in args.option:
        name, is_given, value = text.partition("=")
        if not is_given or not name.isidentifier():
            raise ValueError(f"--option must be NAME=VALUE, got {text!r}")
        if name in given:
            raise ValueError(f"--option {name}: is given twice")
        parts = [_value(part) for part in value.split(",")]
        given[name] = parts[0] if len(parts) == 1 else parts
    return given


def _value(text: str) -> Any:
    """Return what a text means in Python: None, a truth value, a number, or itself."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    # Zeros in front make a name, such as that of subject 01.
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text):
        return float(text)
    return text
