"""X-rays described by patches: sizes that are no multiple of the patch's, and peers.

    python benchmarks/patches.py DATA_FOLDER [--patch-size 8] [--latent-dim 16] [--max-iter 150]

The images have 28×28 pixels. "overlap" is what ``patch_size`` does with them; "NaN" and
"reflection" extend them to the next multiple of the patch size first, by values that are not
observed or by mirroring. "PCA of patches" has as many numbers for each patch, on the patches of
"overlap" and decoded alike; "whole image" is a field with as many numbers for the whole image.

PSNR in dB, the mean over held-out images, over the 28×28 pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from signals import pneumonia
from sklearn.decomposition import PCA
from tables import report

from neurfield import FunctaEncoder
from neurfield.evaluation import psnr


def field(train: np.ndarray, held_out: np.ndarray, **parameters: object) -> np.ndarray:
    """Decode held-out images from their latents."""
    encoder = FunctaEncoder(**parameters).fit(train)
    return encoder.inverse_transform(encoder.transform(held_out))


def extended(images: np.ndarray, patch_size: int, mode: str) -> np.ndarray:
    """Return images of the next size that is a multiple of the patch's."""
    missing = -images.shape[1] % patch_size
    fill = {"constant_values": np.nan} if mode == "constant" else {}
    return np.pad(images, ((0, 0), (0, missing), (0, missing)), mode=mode, **fill)


def pca_of_patches(
    train: np.ndarray, held_out: np.ndarray, patch_size: int, n_components: int
) -> np.ndarray:
    """Fit PCA to all patches of a regular grid, and put its reconstructions back together."""
    n = train.shape[1]
    starts = np.rint(np.linspace(0, n - patch_size, -(-n // patch_size))).astype(int)
    # The first and the last pixel that is taken from each patch along an axis.
    meet = (starts[:-1] + patch_size - 1 + starts[1:]) / 2
    owner = np.searchsorted(meet, np.arange(n), side="right")

    def cut(images: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(images, 2 * (patch_size,), axis=(1, 2))
        return windows[:, starts[:, None], starts].reshape(-1, patch_size**2)

    pca = PCA(n_components, random_state=0).fit(cut(train))
    found = pca.inverse_transform(pca.transform(cut(held_out)))
    found = found.reshape(len(held_out), len(starts), len(starts), patch_size, patch_size)
    y, x = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    own_y, own_x = owner[y], owner[x]
    return found[:, own_y, own_x, y - starts[own_y], x - starts[own_x]]


def main() -> None:
    """Fit, decode, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--patch-size", type=int, default=8)
    parser.add_argument("--latent-dim", type=int, default=16, help="numbers for each patch")
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--max-iter", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = pneumonia(args.folder)
    train, held_out = data.train.values, data.held_out.values
    n, size, latent_dim = train.shape[1], args.patch_size, args.latent_dim
    total = (-(-n // size)) ** 2 * latent_dim
    common = {"hidden_dim": args.hidden_dim, "max_iter": args.max_iter, "random_state": args.seed}
    patched = {**common, "latent_dim": latent_dim, "patch_size": size}

    def padded(mode: str) -> np.ndarray:
        images = (extended(part, size, mode) for part in (train, held_out))
        return field(*images, **patched)[:, :n, :n]

    ways: dict[str, Callable[[], np.ndarray]] = {
        "overlap": lambda: field(train, held_out, **patched),
        "NaN": lambda: padded("constant"),
        "reflection": lambda: padded("reflect"),
        "PCA of patches": lambda: pca_of_patches(train, held_out, size, latent_dim),
        "whole image": lambda: field(train, held_out, **common, latent_dim=total),
    }
    rows = []
    for name, decode in ways.items():
        found = np.clip(decode(), 0.0, 1.0)
        level = float(np.mean(psnr(held_out, found, data_range=1.0)))
        rows.append({"way": name, "numbers per image": total, "PSNR": f"{level:.2f}"})
    report(rows, args.csv)


if __name__ == "__main__":
    main()
