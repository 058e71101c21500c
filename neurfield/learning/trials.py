"""Closed forms tried on a sample: what a latent of whole signals holds, and what cells hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurfield.decibels import psnr_of
from neurfield.fields.lapped import LappedField
from neurfield.learning.lapped.crops import crop_shape
from neurfield.learning.lapped.solver import LappedSolver
from neurfield.learning.lapped.start import damping, start_from_crops
from neurfield.learning.store import ContextStore
from neurfield.learning.window import BlockWindow
from neurfield.memory import at_once
from neurfield.signals import SignalGroup, Signals, Units
from neurfield.signals.lazy import LazyValues

_HELD_OUT, _LEAST_HELD_OUT = 0.1, 4
_PART_OF_CELLS = 1 / 16  # of the values: a few signals have many windows
_LEAST_VALUES = 2**16
_SWEEPS = 4
_FEWEST = 1e-10  # variance along a component, relative to the largest


@dataclass(frozen=True)
class Trial:
    """Signals to learn from and signals to score, on one grid and without gaps.

    Parameters
    ----------
    train, held_out : Signals
        In memory, one group each.
    units : Units
        Measured on `train`.
    device : torch.device
        Where both are tried.
    seed : int
        Of random numbers.
    """

    train: Signals
    held_out: Signals
    units: Units
    device: torch.device
    seed: int

    @property
    def n_values(self) -> int:
        """Values of a signal, over points and channels."""
        return int(np.prod(self.train.groups[0].values.shape[1:]))

    @torch.no_grad()
    def of_whole(self, latent_dim: int) -> float:
        """Return the mean PSNR in dB of signals held out, by principal components of the others.

        Parameters
        ----------
        latent_dim : int
            Number of components; there are no more than signals to learn from, less one.
        """
        known, new = self._rows(self.train), self._rows(self.held_out)
        weight = torch.ones(len(known), device=self.device)
        if self.train.sample_weight is not None:
            weight = torch.as_tensor(self.train.sample_weight).to(weight)
        mean = weight @ known / weight.sum()
        known -= mean
        known *= weight.sqrt()[:, None]
        new -= mean
        few = len(known) <= self.n_values
        found, axes = torch.linalg.eigh(known @ known.T if few else known.T @ known)
        keep = min(latent_dim, len(known) - 1, self.n_values)
        found, axes = found[-keep:].double(), axes[:, -keep:].double()
        if few:
            length = found.clamp_min(_FEWEST * float(found[-1]) + 1e-300).sqrt()
            components = ((new @ known.T).double() @ axes) / length
        else:
            components = new.double() @ axes
        rest = new.double().square().sum(dim=1) - components.square().sum(dim=1)
        return self._mean_psnr(rest.clamp_min(0.0) / self.n_values)

    @torch.no_grad()
    def of_cells(self, latent_dim: int, side: tuple[int, ...]) -> float:
        """Return the mean PSNR in dB of signals held out, by the linear part of a lapped field.

        Parameters
        ----------
        latent_dim : int
            Length of the vectors of all cells together.
        side : tuple of d int
            Samples of a cell along each axis.
        """
        layout, shape = self.train.layout, self.train.groups[0].values.shape[1:-1]
        generator = torch.Generator().manual_seed(self.seed)
        size = layout.n_axes, layout.n_channels, latent_dim
        field = LappedField(*size, shape, side, hidden_dim=1, features=1, generator=generator).to(
            self.device
        )
        store, new = (
            ContextStore(signals, self.units, torch.float32, self.device)
            for signals in (self.train, self.held_out)
        )
        crop = crop_shape(field.cells)
        start_from_crops(field, store, crop, generator, _SWEEPS, _values_of_cells())
        solver, peak = LappedSolver(1, damping(field)), self._peak()
        errors = []
        for _, context in new.blocks(_values_of_cells() // 8):
            latents = solver.solve(field, context)
            predicted = field.linear_part(latents, field.cells).flatten(2).mT + field.mean
            errors.append(((context.values - predicted) / peak).square().mean(dim=(1, 2)))
        return self._mean_psnr(torch.cat(errors))

    @staticmethod
    def bytes_of_cells(n_axes: int) -> float:
        """Return about how many bytes :meth:`of_cells` has in use beside the signals.

        Parameters
        ----------
        n_axes : int
            Coordinate axes d: a value is in 2^d windows.
        """
        return 4.0 * _values_of_cells() * (3 + 3 * 2**n_axes)

    def _rows(self, signals: Signals) -> Tensor:
        """Return the values relative to their ranges, a signal a row."""
        values = np.asarray(signals.groups[0].values, dtype=np.float32)
        scaled = torch.as_tensor(self.units.values(values)).to(self.device, torch.float32)
        return (scaled / self._peak()).flatten(1)

    def _peak(self) -> Tensor:
        return torch.as_tensor(self.units.scaled_range).to(self.device, torch.float32)

    def _mean_psnr(self, mse: Tensor) -> float:
        psnr = psnr_of(mse.double().cpu())
        return float(np.average(psnr, weights=self.held_out.sample_weight))


def sample_of(
    signals: Signals, n_signals: int, generator: torch.Generator
) -> tuple[Signals, Signals]:
    """Return some signals without gaps, and others that are held out of them.

    Parameters
    ----------
    signals : Signals
        On one grid; of those that are read block by block, few blocks are read.
    n_signals : int
        Most signals to take.
    generator : torch.Generator
        On the CPU.
    """
    group = signals.groups[0]
    drawn = np.sort(_drawn(group, n_signals, generator))
    values = _filled(np.asarray(group.values[drawn]))
    order = torch.randperm(len(drawn), generator=generator).numpy()
    n_held_out = max(_LEAST_HELD_OUT, round(_HELD_OUT * len(drawn)))
    held_out, train = np.split(order, [n_held_out])
    weight = signals.sample_weight
    weight = None if weight is None else weight[group.positions[drawn]]

    def part(rows: np.ndarray) -> Signals:
        taken = SignalGroup(group.axes, values[rows], np.arange(len(rows)))
        return Signals((taken,), signals.layout, None if weight is None else weight[rows])

    return part(np.sort(train)), part(np.sort(held_out))


def _values_of_cells() -> int:
    return max(_LEAST_VALUES, int(_PART_OF_CELLS * at_once("tried")))


def _drawn(group: SignalGroup, most: int, generator: torch.Generator) -> np.ndarray:
    values = group.values
    if not isinstance(values, LazyValues):
        return torch.randperm(len(values), generator=generator)[:most].numpy()
    source = values.source
    sizes = np.array([source.block_bytes(block) for block in range(source.n_blocks)])
    return BlockWindow(values.block_of, sizes, source.cache.capacity).sample(most, generator)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return values with the mean of the others at a point in its gaps, or that of the channel."""
    gaps = np.isnan(values) if values.dtype.kind == "f" else np.zeros(1, dtype=bool)
    if not gaps.any():
        return values
    seen = np.where(gaps, 0.0, values)
    total, count = seen.sum(axis=0), (~gaps).sum(axis=0)
    inner = tuple(range(total.ndim - 1))
    of_channel = total.sum(axis=inner) / np.maximum(count.sum(axis=inner), 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), of_channel)
    return np.where(gaps, mean, values).astype(values.dtype)
