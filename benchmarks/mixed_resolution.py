"""One encoder for signals of two resolutions, beside encoders for each of them alone.

    python benchmarks/mixed_resolution.py DATA_FOLDER [--max-time 60] [--csv out.csv]

Half of the training X-rays stay at 28×28; of the other half, different X-rays, means of 2×2 pixels
are taken: 14×14 pixels at the blocks' centres. One encoder is fitted on both halves together, and
one on each of them alone, for the same seconds (`--max-time`) or meta-steps (`--max-iter`). PSNR in
dB of held-out X-rays of either resolution, the mean over signals for values clamped to [0, 1].
`difference` is that of the mixed encoder less that of the encoder for this resolution alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from signals import pneumonia
from tables import report

from neurfield import FunctaEncoder
from neurfield.evaluation import psnr


def halved(images: xr.DataArray) -> xr.DataArray:
    """Return the means of blocks of 2×2 pixels, at the blocks' centres."""
    return images.coarsen(y=2, x=2).mean()


def as_list(images: xr.DataArray) -> list[xr.DataArray]:
    """Return the images one by one, as an encoder takes them when they differ in shape."""
    return [image.drop_vars("label", errors="ignore") for image in images]


def quality(encoder: FunctaEncoder, images: xr.DataArray) -> float:
    """Return the mean PSNR of images encoded and decoded where they were observed."""
    where = {dim: images[dim].values for dim in images.dims[1:]}
    decoded = encoder.inverse_transform(encoder.transform(images), coords=where)
    return float(np.mean(psnr(images.values, np.clip(decoded.values, 0.0, 1.0))))


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Fit the encoders and return the rows of the table."""
    split = pneumonia(args.data)
    order = np.random.default_rng(0).permutation(len(split.train))[: args.n_train]
    fine = split.train[order[::2]]
    coarse = halved(split.train[order[1::2]])
    held_out = split.held_out[: args.n_held_out]
    tests = {"28x28": held_out, "14x14": halved(held_out)}
    training = {
        "mixed": as_list(fine) + as_list(coarse),
        "28x28 alone": fine,
        "14x14 alone": coarse,
    }
    encoders = {}
    for name, signals in training.items():
        encoder = FunctaEncoder(
            args.latent_dim,
            max_iter=args.max_iter,
            max_time=args.max_time,
            random_state=args.seed,
        )
        encoders[name] = encoder.fit(signals)
        print(f"{name}: {len(signals)} signals, {encoder.n_iter_} meta-steps", flush=True)
    rows = []
    for resolution, images in tests.items():
        mixed = quality(encoders["mixed"], images)
        alone = quality(encoders[f"{resolution} alone"], images)
        rows.append(
            {
                "resolution": resolution,
                "P": args.latent_dim,
                "n": len(images),
                "mixed": round(mixed, 2),
                "alone": round(alone, 2),
                "difference": round(mixed - alone, 2),
            }
        )
    return rows


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--latent-dim", type=int, default=64)
    parser.add_argument("--max-time", type=float, help="seconds of training of each encoder")
    parser.add_argument("--max-iter", type=int, help="meta-steps of each encoder")
    parser.add_argument("--n-train", type=int, default=3882, help="X-rays, of both resolutions")
    parser.add_argument("--n-held-out", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = run(args)
    report(rows, args.csv)


if __name__ == "__main__":
    main()
