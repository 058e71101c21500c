"""Held-out PSNR against seconds of fit: the default learner, "cavia", a textbook CAVIA and PCA.

    python benchmarks/psnr_over_time.py DATA_FOLDER --only pneumonia --latent-dims 16 64 256 \
        --seconds 60 300 --seeds 0 1 2 --methods varpro pca

Each cell is a fit of its own, since the learning rate follows the time that is given; medians over
seeds. PSNR is in dB, of the full field, on held-out signals, with values clamped to [0, 1]. "cavia"
and the textbook version run the published settings on the default network. "digits" needs no data.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from main_job import N_HELD_OUT, evaluate, pca_psnr, psnr
from peers import textbook_encoder
from peers.textbook_cavia import TextbookSiren, textbook_meta_loss
from signals import Split, digits, ecg, hippocampus, hippocampus_resampled, pneumonia
from tables import report

from neurfield import FunctaEncoder
from neurfield.fields import ModulatedSiren

DATA: dict[str, Callable[[Path], Split]] = {
    "pneumonia": pneumonia,
    "ecg": ecg,
    "hippocampus": hippocampus_resampled,
    "hippocampus own grids": hippocampus,
    "digits": digits,
}
N_LAYERS = 7
# The published settings (MedFuncta, Table 1), by the number of axes.
INNER_LR, META_LR, INNER_STEPS, TEST_STEPS = 1e-2, 3e-6, 10, 20
CONTEXT_RATIO = {1: 1.0, 2: 0.25, 3: 0.25}
BATCH_SIZE = {1: 64, 2: 24, 3: 4}


def fit_textbook(split: Split, latent_dim: int, seconds: float, seed: int) -> tuple[float, int]:
    """Train textbook CAVIA for some seconds; return held-out PSNR and meta-steps."""
    generator = torch.Generator().manual_seed(seed)
    train = torch.as_tensor(np.asarray(split.train.values, dtype=np.float32))
    held_out = torch.as_tensor(np.asarray(split.held_out.values, dtype=np.float32))
    shape = train.shape[1:]
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    coords = torch.stack(axes, dim=-1).reshape(-1, len(shape))
    train, held_out = train.reshape(len(train), -1, 1), held_out.reshape(len(held_out), -1, 1)
    start = ModulatedSiren(len(shape), 1, latent_dim, 128, N_LAYERS, (30.0, 60.0))
    start.reset_parameters(generator)
    field = TextbookSiren(start.state_dict(), start.omegas[:-1])
    optimizer = torch.optim.AdamW(field.parameters(), lr=META_LR)
    n_kept = int(CONTEXT_RATIO[len(shape)] * len(coords))
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        rows = torch.randperm(len(train), generator=generator)[: BATCH_SIZE[len(shape)]]
        subsets = torch.stack(
            [torch.randperm(len(coords), generator=generator)[:n_kept] for _ in range(INNER_STEPS)]
        )
        optimizer.zero_grad()
        loss = textbook_meta_loss(
            field, coords, train[rows], subsets, INNER_STEPS, INNER_LR, latent_dim
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(field.parameters(), 1.0)
        optimizer.step()
        steps += 1
    latents = textbook_encoder.encode(
        field, coords, held_out, latent_dim, TEST_STEPS, INNER_LR, batch_size=16
    )
    with torch.no_grad():
        decoded = torch.cat([field(coords, z) for z in latents.split(16)])
    pairs = zip(held_out.numpy(), decoded.numpy(), strict=True)
    return float(np.mean([psnr(x, r) for x, r in pairs])), steps


def fit_ours(
    learner: str,
    split: Split,
    latent_dim: int,
    seconds: float,
    seed: int,
    weight_decay: float | None,
) -> tuple[float, int]:
    """Fit the estimator for some seconds; return held-out PSNR and meta-steps."""
    encoder = FunctaEncoder(
        latent_dim=latent_dim,
        learner=learner,
        n_layers=N_LAYERS if learner == "cavia" else None,
        max_time=seconds,
        max_iter=10**6,
        random_state=seed,
        weight_decay=weight_decay,
    ).fit(split.train)
    return evaluate(encoder, split.held_out), encoder.n_iter_


def cell(
    method: str,
    name: str,
    split: Split,
    latent_dim: int,
    seconds: float,
    seeds: list[int],
    weight_decay: float | None,
) -> dict[str, Any]:
    """Return one row: the median over seeds."""
    if method == "pca":
        started = time.perf_counter()
        scores, steps = [pca_psnr(split, latent_dim)], [0]
        seconds = round(time.perf_counter() - started, 1)
    else:
        runs = [
            fit_textbook(split, latent_dim, seconds, seed)
            if method == "textbook"
            else fit_ours(method, split, latent_dim, seconds, seed, weight_decay)
            for seed in seeds
        ]
        scores, steps = [score for score, _ in runs], [count for _, count in runs]
    return {
        "data": name,
        "P": latent_dim,
        "method": method,
        "seconds": seconds,
        "psnr_db": round(statistics.median(scores), 2),
        "least": round(min(scores), 2),
        "most": round(max(scores), 2),
        "seeds": len(scores),
        "meta_steps": int(statistics.median(steps)),
    }


def main() -> None:
    """Run all cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--only", choices=sorted(DATA), nargs="+", default=list(DATA))
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument(
        "--methods",
        choices=["varpro", "cavia", "textbook", "pca"],
        nargs="+",
        default=["varpro", "cavia", "textbook", "pca"],
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weight-decay", type=float, help="of the estimator")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    for name in args.only:
        split = some_held_out(DATA[name](args.data))
        for latent_dim in args.latent_dims:
            for method in args.methods:
                if isinstance(split.train, list) and method in ("textbook", "pca"):
                    continue  # both need one grid
                for seconds in args.seconds[: 1 if method == "pca" else None]:
                    choice = (method, name, split, latent_dim, seconds, args.seeds)
                    rows.append(cell(*choice, args.weight_decay))
                    print(rows[-1], flush=True)
    report(rows, args.csv)


def some_held_out(split: Split) -> Split:
    """Keep at most so many held-out signals as are worth the time."""
    if isinstance(split.held_out, list) or len(split.held_out) <= N_HELD_OUT:
        return split
    chosen = np.random.default_rng(0).permutation(len(split.held_out))[:N_HELD_OUT]
    return Split(split.train, split.held_out[np.sort(chosen)])


if __name__ == "__main__":
    main()
