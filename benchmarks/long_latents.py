"""Encoding with long latents of whole signals: seconds a signal and PSNR, step by step.

    python benchmarks/long_latents.py DATA_FOLDER [--latent-dims 1024 2048] [--meta-steps 10]

Blood smears of 64×64 in colour. For each P an encoder with ``field="siren"`` takes a few meta-steps
(the network need not be good), then encodes a few held-out signals with 1 to ``--most-steps``
steps. "s / signal" is what each further signal takes, "shared s" what they share; both in
processor seconds, which a busy machine disturbs less than a clock's, and without a first call,
which compiles.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from scale import mean_psnr
from signals import smears
from tables import report

from neurfield import FunctaEncoder


def measured(folder: Path, latent_dim: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one length of the latents."""
    data = smears(folder, 64, args.train, args.held_out)
    settings = {"batch_size": 64, "max_iter": args.meta_steps, "random_state": 0}
    encoder = FunctaEncoder(latent_dim=latent_dim, field="siren", **settings)
    began = time.process_time()
    encoder.fit(data.train)
    print(f"P = {latent_dim}: fit in {time.process_time() - began:.0f} s", file=sys.stderr)
    held_out, rows = data.held_out, []
    for steps in range(1, args.most_steps + 1):
        encoder.set_params(transform_steps=steps)
        if steps <= 2:  # the first call of its kind
            encoder.transform(held_out[:1])
        of_one = _seconds(encoder, held_out[:1])
        of_all = _seconds(encoder, held_out)
        each = (of_all - of_one) / (len(held_out) - 1)
        decoded = encoder.inverse_transform(encoder.transform(held_out))
        row: dict[str, Any] = {"P": latent_dim, "steps": steps, "s / signal": round(each, 3)}
        row["shared s"] = round(of_one - each, 2)
        row["PSNR"] = round(mean_psnr(held_out.values, decoded.values), 2)
        rows.append(row)
        print(row, flush=True)
    return rows


def _seconds(encoder: FunctaEncoder, signals: Any) -> float:
    began = time.process_time()
    encoder.transform(signals)
    return time.process_time() - began


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--most-steps", type=int, default=4)
    parser.add_argument("--meta-steps", type=int, default=10)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--held-out", type=int, default=5, help="two or more")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = [row for p in args.latent_dims for row in measured(args.folder, p, args)]
    report(rows, args.csv)


if __name__ == "__main__":
    main()
