"""``neurfield fit``: learn a field from signals and save it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from neurfield.cli.formatting import add_command
from neurfield.cli.inputs import add_input, head, read_input
from neurfield.cli.outputs import add_output, check_output
from neurfield.signals.describing import count, describe

_EPILOG = """\
examples:
  neurfield fit digits -o digits.field --latent-dim 32 --max-time 30
  neurfield fit pneumoniamnist.npz --split train -o xray.field --max-time 300 --early-stopping
  neurfield fit mitbih/ --split ds1 -o beats.field --latent-dim 64 --hidden-dim 64
  neurfield fit volumes/ -o brain.field --checkpoint brain.checkpoint
  neurfield fit digits -o functa.field --preset functa --max-time 60

Interrupted (Ctrl-C), the command saves the field as far as it has come. With
--checkpoint, running the same command again goes on where it was stopped, even
by a crash. What is not given takes the default of neurfield.FunctaEncoder."""

_SEEN = 256  # signals to report the quality on; more would only cost time


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "fit",
        help="learn a field from signals and save it",
        description="Learn a neural field from signals and save it to a file that loads without "
        "running any code it contains.",
        epilog=_EPILOG,
    )
    add_output(parser, "MODEL", "file to save the fitted encoder in")
    add_input(parser)
    model = parser.add_argument_group("model")
    model.add_argument(
        "--preset",
        metavar="NAME",
        help="published configuration, of which all other options replace a part",
    )
    model.add_argument(
        "--field",
        metavar="NAME",
        help="family of fields: auto (by default), siren, lapped, spatial or low-rank",
    )
    model.add_argument("--latent-dim", type=int, metavar="P", help="numbers in a latent vector")
    model.add_argument("--hidden-dim", type=int, metavar="L", help="width of the network")
    model.add_argument("--n-layers", type=int, metavar="K", help="layers of the network")
    model.add_argument(
        "--omega",
        type=float,
        nargs="+",
        metavar="W",
        help="frequency of the first and of the last layer, rising linearly; one number: of all",
    )
    model.add_argument(
        "--isotropic",
        action="store_true",
        default=None,
        help="scale axes of one unit alike instead of each to its own extent",
    )
    model.add_argument(
        "--patch-size",
        type=int,
        nargs="+",
        metavar="N",
        help="describe patches of so many points along all axes, or each, and not whole signals",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--learner", metavar="NAME", help="how the network is learnt: varpro (fast) or cavia"
    )
    training.add_argument("--max-iter", type=int, metavar="N", help="meta-steps at most")
    training.add_argument("--max-time", type=float, metavar="S", help="seconds at most")
    training.add_argument("--batch-size", type=int, metavar="B", help="signals in a meta-step")
    training.add_argument("--meta-lr", type=float, metavar="RATE", help="learning rate")
    training.add_argument(
        "--seed", type=int, dest="random_state", help="seed of all random numbers"
    )
    training.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    training.add_argument("--precision", metavar="NAME", help="auto, float32, float64, tf32, bf16")
    training.add_argument(
        "--early-stopping",
        action="store_true",
        default=None,
        help="stop when signals held out from training no longer improve, and keep the best",
    )
    training.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="file to resume from and to save progress in",
    )
    training.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="meta-steps between two checkpoints"
    )
    training.add_argument("-q", "--quiet", action="store_true", help="no progress, no summary")
    return parser


_PARAMETERS = (
    "field",
    "latent_dim",
    "hidden_dim",
    "n_layers",
    "isotropic",
    "learner",
    "max_iter",
    "max_time",
    "batch_size",
    "meta_lr",
    "random_state",
    "device",
    "precision",
    "early_stopping",
    "checkpoint",
    "checkpoint_every",
)


def run(args: argparse.Namespace) -> None:
    """Fit and save."""
    check_output(args.output, args.overwrite, inputs=(args.input, args.checkpoint))
    parameters = {
        name: getattr(args, name) for name in _PARAMETERS if getattr(args, name) is not None
    }
    if args.omega is not None:
        parameters["omega"] = _omega(args.omega)
    if args.patch_size is not None:
        several = len(args.patch_size) > 1
        parameters["patch_size"] = tuple(args.patch_size) if several else args.patch_size[0]

    from neurfield import FunctaEncoder

    parameters["verbose"] = 0 if args.quiet else 1
    if args.preset is None:
        encoder = FunctaEncoder(**parameters)
    else:
        encoder = FunctaEncoder.from_preset(args.preset, **parameters)
    signals = read_input(args)
    start = time.perf_counter()
    encoder.fit(signals)
    seconds = time.perf_counter() - start
    encoder.save(args.output)
    if args.quiet:
        return
    seen = head(signals, _SEEN)
    print(f"fitted to   {describe(signals)}")
    print(f"in          {encoder.n_iter_} meta-steps, {seconds:.1f} s")
    print(f"quality     {encoder.score(seen):.2f} dB PSNR on {count(seen)} of the training signals")
    print(f"saved to    {args.output}")


def _omega(values: list[float]) -> float | tuple[float, float]:
    if len(values) > 2:
        raise ValueError(f"--omega takes one or two numbers, got {len(values)}")
    return values[0] if len(values) == 1 else (values[0], values[1])
