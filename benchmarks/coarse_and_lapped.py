"""Does a basis of the whole signal beside one of lapped cells beat both extremes? A linear model.

    python benchmarks/coarse_and_lapped.py DATA_FOLDER [--data slices ecg12] [--rounds 8]

A signal is a mean, q numbers on a basis G of whole signals, and k numbers for each cell on a basis
B over a window of twice the cell, the same for all cells. Both are fitted jointly by alternating
least squares: latents for the bases, G for the rest, B for the rest. P = q + k · cells stays the
same. There are two starts: G from PCA and B from what it leaves ("coarse first"), and B from PCA of
windows and G from what that leaves ("cells first"). "start" and "joint" are the mean PSNR in dB of
held-out signals before and after. Brain slices are averaged to 64×64 and have P = 256 as 16 cells,
12-lead ECGs P = 256 as 10 cells.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scale import mean_psnr
from signals import ecg12, slices
from tables import report
from torch import Tensor
from torch.nn import functional

_RIDGE = 1e-6  # relative to the mean diagonal
_CG_STEPS = 6  # of each update of B, from where it stands


@dataclass(frozen=True)
class Windows:
    """Windows of twice a cell, which hang over the border by half a cell.

    Parameters
    ----------
    shape, cell : (int, int)
        Points of a signal and of a cell along both axes; a cell of one point has no overlap.
    n_channels : int
        c.
    """

    shape: tuple[int, int]
    cell: tuple[int, int]
    n_channels: int

    @property
    def n_cells(self) -> int:
        """Cells of a signal."""
        return math.prod(n // b for n, b in zip(self.shape, self.cell, strict=True))

    def cut(self, rows: Tensor) -> Tensor:
        """Return the windows of signals, of shape (n, cells, size), zero beyond the border."""
        images = rows.view(len(rows), *self.shape, self.n_channels).movedim(-1, 1)
        return functional.unfold(images, **self._geometry).mT

    def joined(self, windows: Tensor) -> Tensor:
        """Add windows up to signals, as rows: the adjoint of :meth:`cut`."""
        images = functional.fold(windows.mT, self.shape, **self._geometry)
        return images.movedim(1, -1).flatten(1)

    @property
    def _geometry(self) -> dict[str, tuple[int, ...]]:
        wide = [b > 1 for b in self.cell]
        return {
            "kernel_size": tuple(2 * b if w else 1 for b, w in zip(self.cell, wide, strict=True)),
            "padding": tuple(b // 2 if w else 0 for b, w in zip(self.cell, wide, strict=True)),
            "stride": self.cell,
        }


class Model:
    """The two bases, and the latents that they give.

    Parameters
    ----------
    coarse : Tensor of shape (q, values)
        G.
    local : Tensor of shape (k, size of a window)
        B.
    windows : Windows
        Where B stands.
    """

    def __init__(self, coarse: Tensor, local: Tensor, windows: Windows) -> None:
        self.coarse, self.local, self.windows = coarse, local, windows

    def latents(self, rows: Tensor) -> Tensor:
        """Return the least-squares latents of signals, the q coarse ones first."""
        k, n_cells = len(self.local), self.windows.n_cells
        eye = torch.eye(n_cells)[:, :, None, None] * torch.eye(k)  # one number of one cell each
        placed = self._lapped(eye.movedim(2, 1).reshape(n_cells * k, n_cells * k))
        basis = torch.cat([self.coarse, placed])
        gram = (basis @ basis.T).double()
        gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
        return torch.linalg.solve(gram, (basis @ rows.T).double()).T.float()

    def decoded(self, latents: Tensor) -> Tensor:
        """Return signals, as rows."""
        q = len(self.coarse)
        return latents[:, :q] @ self.coarse + self._lapped(latents[:, q:])

    def improve(self, rows: Tensor) -> None:
        """Update G, then B, for the latents of signals."""
        q, k = len(self.coarse), len(self.local)
        latents = self.latents(rows)
        coarse, cells = latents[:, :q], latents[:, q:]
        if q:
            left = rows - self._lapped(cells)
            self.coarse = torch.linalg.lstsq(coarse, left).solution
        if k:
            left = rows - coarse @ self.coarse
            by_cell = cells.view(len(rows), -1, k)
            self.local = self._descended(by_cell, left)

    def _descended(self, by_cell: Tensor, wanted: Tensor) -> Tensor:
        """Take conjugate gradient steps on B from where it stands."""

        def adjoint(rows: Tensor) -> Tensor:
            return torch.einsum("nck,ncs->ks", by_cell, self.windows.cut(rows))

        found = self.local
        left = adjoint(wanted - self.windows.joined(by_cell @ found))
        along, before = left, left.square().sum()
        for _ in range(_CG_STEPS):
            product = adjoint(self.windows.joined(by_cell @ along))
            length = before / (along * product).sum().clamp_min(1e-30)
            found, left = found + length * along, left - length * product
            after = left.square().sum()
            along, before = left + after / before * along, after
        return found

    def _lapped(self, cells: Tensor) -> Tensor:
        if not len(self.local):
            return cells.new_zeros(len(cells), self.coarse.shape[1])
        return self.windows.joined(cells.view(len(cells), -1, len(self.local)) @ self.local)


def components(rows: Tensor, n: int) -> Tensor:
    """Return n principal axes of rows, without a mean."""
    n_rows, size = rows.shape
    if n == 0:
        return rows.new_zeros(0, size)
    if size <= n_rows:
        return torch.linalg.eigh((rows.T @ rows).double())[1][:, -n:].T.float()
    vectors = torch.linalg.eigh((rows @ rows.T).double())[1][:, -n:].T.float()
    return functional.normalize(vectors @ rows, dim=1)


def starts(rows: Tensor, q: int, k: int, windows: Windows) -> Iterator[tuple[str, Model]]:
    """Yield a model for each start; the extremes have one only."""
    weight = _taper(windows)

    def of_windows(signals: Tensor) -> Tensor:
        return components(windows.cut(signals).flatten(0, 1) * weight, k) * weight

    coarse = components(rows, q)
    if q:
        left = rows - (rows @ coarse.T) @ coarse
        yield "coarse first", Model(coarse, of_windows(left), windows)
    if k:
        nothing = rows.new_zeros(0, rows.shape[1])
        alone = Model(nothing, of_windows(rows), windows)
        if q:
            left = rows - alone.decoded(alone.latents(rows))
            alone = Model(components(left, q), alone.local, windows)
        if q or not len(coarse):
            yield "cells first", alone


def _taper(windows: Windows) -> Tensor:
    """Return the square root of windows that sum to one."""
    axes = [
        torch.sin(math.pi * (torch.arange(2 * b) + 0.5) / (2 * b)) if b > 1 else torch.ones(1)
        for b in windows.cell
    ]
    return torch.outer(*axes).flatten().repeat(windows.n_channels)


def _slices(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    data = slices(folder)
    halves = (part.values for part in (data.train, data.held_out))
    return tuple(x.reshape(-1, 64, 2, 64, 2).mean(axis=(2, 4))[..., None] for x in halves)


def _ecg12(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    data = ecg12(folder)
    return tuple(part.values[:, :, None] for part in (data.train, data.held_out))


DATA = {
    "slices": (_slices, Windows((64, 64), (16, 16), 1), (0, 2, 4, 8, 12, 16)),
    "ecg12": (_ecg12, Windows((1000, 1), (100, 1), 12), (0, 5, 10, 15, 20, 25)),
}
_LATENTS = 256


def measured(name: str, folder: Path, rounds: int, n_train: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one data set."""
    read, windows, splits = DATA[name]
    train, held_out = read(folder)
    order = np.random.default_rng(0).permutation(len(train))[:n_train]
    rows = torch.from_numpy(train[order]).flatten(1)
    mean = rows.mean(dim=0)
    rows, wanted = rows - mean, torch.from_numpy(held_out).flatten(1) - mean

    def psnr(model: Model) -> float:
        return round(mean_psnr(wanted.numpy(), model.decoded(model.latents(wanted)).numpy()), 2)

    for k in splits:
        q = _LATENTS - k * windows.n_cells
        for start, model in starts(rows, q, k, windows):
            row = {"data": name, "coarse": q, "cells": f"{windows.n_cells} × {k}", "from": start}
            row["start"] = psnr(model)
            for _ in range(rounds if k else 0):
                model.improve(rows)
            yield row | {"joint": psnr(model)}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=list(DATA))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--train", type=int, default=900, help="training signals at most")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table = []
    for name in args.data:
        for row in measured(name, args.folder, args.rounds, args.train):
            print(row, flush=True)
            table.append(row)
    report(table, args.csv)


if __name__ == "__main__":
    main()
