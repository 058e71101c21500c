"""``neurfield demo``: the whole job on handwritten digits."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from neurfield.cli.formatting import add_command
from neurfield.cli.outputs import add_overwrite, check_output

_EPILOG = """\
examples:
  neurfield demo
  neurfield demo --seed 1 --max-time 20 --output digits.pdf

The digits (1797 grey images of 8 × 8 pixels) come with scikit-learn, so
nothing is downloaded. A quarter of them is held out: the field never sees
them, and all figures are about them."""

LATENT_DIM, SCALE = 32, 3
_PICTURE = Path("neurfield_demo.png")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "demo",
        help="run the whole job on handwritten digits and draw a picture",
        description="Learn a field from handwritten digits, encode digits it has not seen, decode "
        "them at three times the resolution, classify them by their latents, print the figures and "
        "draw a picture.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_PICTURE,
        metavar="PICTURE",
        help="picture to write: .png, .pdf or .svg (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of all random numbers (%(default)s)"
    )
    parser.add_argument(
        "--max-time",
        type=float,
        default=90.0,
        metavar="S",
        help="seconds to learn at most (default: %(default)s)",
    )
    parser.add_argument(
        "--max-iter", type=int, default=200, metavar="N", help="meta-steps at most (%(default)s)"
    )
    add_overwrite(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Learn, encode, decode, classify, print, draw."""
    # The demo may replace its own picture, so that it can be run again as it stands.
    overwrite = args.overwrite or args.output == _PICTURE
    check_output(args.output, overwrite, (".png", ".pdf", ".svg"))

    from sklearn.model_selection import train_test_split
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline

    from neurfield import FunctaEncoder
    from neurfield.datasets import digits

    begin = time.perf_counter()
    images = digits()
    train, test = train_test_split(
        range(len(images)), test_size=0.25, stratify=images["label"], random_state=args.seed
    )
    seen, unseen = images[train], images[test]
    print(f"data        {len(images)} digits of 8 × 8 pixels, {len(unseen)} of them held out")

    # Low frequencies and few meta-steps, because 8 × 8 pixels say nothing about what lies between
    # them: trained much longer, a field fits the pixels better and makes up detail in between.
    encoder = FunctaEncoder(
        latent_dim=LATENT_DIM,
        omega=(6.0, 12.0),
        meta_lr=1e-3,
        max_iter=args.max_iter,
        max_time=args.max_time,
        random_state=args.seed,
        verbose=1,
    )
    pipeline = Pipeline([("enc", encoder), ("clf", KNeighborsClassifier())])
    start = time.perf_counter()
    pipeline.fit(seen, seen["label"].values)
    seconds = time.perf_counter() - start
    print(f"learnt      in {seconds:.1f} s, {encoder.n_iter_} meta-steps")

    start = time.perf_counter()
    latents = encoder.transform(unseen)
    milliseconds = 1000 * (time.perf_counter() - start) / len(unseen)
    print(f"encoded     64 pixels into {latents.shape[1]} numbers, {milliseconds:.2f} ms a digit")

    same = encoder.inverse_transform(latents)
    large = encoder.inverse_transform(latents, grid=(8 * SCALE, 8 * SCALE))
    print(f"decoded     {encoder.score(unseen):.2f} dB PSNR on held-out digits")

    accuracy = pipeline.score(unseen, unseen["label"].values)
    reference = KNeighborsClassifier().fit(_flat(seen), seen["label"].values)
    raw = reference.score(_flat(unseen), unseen["label"].values)
    print(
        f"classified  {accuracy:.1%} right by nearest neighbours of the {latents.shape[1]} numbers"
    )
    print(f"            {raw:.1%} right by nearest neighbours of the 64 pixels")
    _draw(unseen, same, large, args.output)
    print(f"total       {time.perf_counter() - begin:.1f} s")


def _flat(images: Any) -> Any:
    return images.values.reshape(len(images), -1)


def _draw(unseen: Any, same: Any, large: Any, output: Path) -> None:
    from neurfield.cli.demo_picture import draw

    try:
        draw(unseen, same, large, output)
    except ImportError as error:
        print(f"neurfield: no picture: {error}", file=sys.stderr)
    else:
        print(f"picture     {output}")
