"""One picture at 16, 64 and 256 latents per 32×32 pixels: lapped cells beside PCA of blocks.

    python benchmarks/cells_picture.py DATA_FOLDER OUT.png [--seconds 60]

Fits ``field="lapped"`` to 8000 crops of blood smear pictures, 64×64 in colour, once for each number
of latents, and PCA to the blocks of these crops that are as large as a cell, with as many numbers
for a block. A crop of a test picture, twice as wide and high, is encoded and decoded by each, with
the θ of the small crops. Below each decode stands its PSNR in dB.

The folder holds ``blood_smear/``. Needs Matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scale import mean_psnr
from signals import smears
from sklearn.decomposition import PCA

from neurfield import FunctaEncoder
from neurfield.evaluation.peers import from_blocks, to_blocks

_SIZE, _SHOWN = 64, 128
_PER_32 = {16: 32, 64: 16, 256: 8}  # latents per 32×32 pixels, and the side of cells and blocks


def of_blocks(train: np.ndarray, picture: np.ndarray, side: int, n_latents: int) -> np.ndarray:
    """Return a picture described block by block."""
    size = (side, side)
    fitted = PCA(n_latents, svd_solver="randomized", random_state=0).fit(to_blocks(train, size))
    found = fitted.inverse_transform(fitted.transform(to_blocks(picture[None], size)))
    return from_blocks(found, picture.shape, size)[0]


def main() -> None:
    """Fit, describe the picture, and draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fit")
    args = parser.parse_args()
    train = smears(args.folder, _SIZE, 8000, 1).train
    picture = smears(args.folder, _SHOWN, 1, 6).held_out.values[5]
    shown = [("original", picture)]
    for per_32, side in _PER_32.items():
        k = per_32 * side**2 // 32**2
        encoder = FunctaEncoder(
            field="lapped",
            latent_dim=per_32 * (_SIZE // 32) ** 2,
            channel_axis=-1,
            max_iter=10**6,
            max_time=args.seconds,
            random_state=0,
        ).set_params(field__cell=side)
        encoder.fit(train.values)
        latents = encoder.transform(picture[None])
        ours = encoder.inverse_transform(latents, grid=(_SHOWN, _SHOWN))[0]
        theirs = of_blocks(train.values, picture, side, k)
        shown += [(f"{per_32} a 32 × 32 pixels", ours), (f"blocks of {side} × {side}", theirs)]
    figure, axes = plt.subplots(2, 4, figsize=(11, 6.2), layout="constrained")
    for column, pair in enumerate([shown[:1], shown[1:3], shown[3:5], shown[5:7]]):
        for axis in axes[:, column]:
            axis.axis("off")
        for axis, (title, values) in zip(axes[:, column], pair, strict=False):
            axis.imshow(np.clip(values, 0, 1), interpolation="nearest")
            score = mean_psnr(picture[None], values[None])
            axis.set_title(title if values is picture else f"{title}, {score:.1f} dB", fontsize=10)
    axes[0, 1].text(0, 1.18, "lapped cells", transform=axes[0, 1].transAxes, weight="bold")
    axes[1, 1].text(0, 1.18, "PCA of blocks", transform=axes[1, 1].transAxes, weight="bold")
    figure.savefig(args.out, dpi=150)


if __name__ == "__main__":
    main()
