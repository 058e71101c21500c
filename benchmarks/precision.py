"""Held-out PSNR after the same short fit in float32 and with rounded matrix products.

    python benchmarks/precision.py [--max-iter 100] [--precisions float32 bf16] [--csv out.csv]

The signals are scikit-learn's handwritten digits; every fourth is held out. PSNR is in dB.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits
from tables import report

from neurfield import FunctaEncoder
from neurfield.fields import Siren
from neurfield.learning import Cavia

# CAVIA at its published step sizes learns little in a short fit; these are larger.
LEARNERS: dict[str, dict[str, Any]] = {
    "varpro": {"learner": "varpro"},
    "cavia": {
        "learner": Cavia(inner_lr=0.1),
        "field": Siren(residual_scale=0.3),
        "n_layers": 5,
        "meta_lr": 1e-3,
    },
}


def run(learner: str, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    """Fit once and return the row."""
    images = load_digits().images / 16.0
    encoder = FunctaEncoder(
        latent_dim=16,
        hidden_dim=64,
        precision=precision,
        max_iter=args.max_iter,
        device=args.device,
        random_state=0,
        **LEARNERS[learner],
    )
    train = images[[i for i in range(len(images)) if i % 4]]
    started = time.perf_counter()
    encoder.fit(train)
    seconds = time.perf_counter() - started
    psnr = encoder.score(images[::4])
    row = {"learner": learner, "precision": precision, "meta_steps": encoder.n_iter_}
    return row | {"fit_s": round(seconds, 1), "psnr_db": round(psnr, 2)}


def main() -> None:
    """Fit in each precision and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = [run(learner, name, args) for learner in LEARNERS for name in args.precisions]
    report(rows, args.csv)


if __name__ == "__main__":
    main()
