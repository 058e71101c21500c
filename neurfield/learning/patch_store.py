"""A data set from which patches are drawn, anywhere in its signals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from neurfield.learning.context import Context
from neurfield.learning.store import ContextStore
from neurfield.signals import Signals, Units
from neurfield.signals.patch_values import PatchValues
from neurfield.signals.patches import PatchGrid


class PatchStore(ContextStore):
    """Patches on a regular grid, which each draw moves by up to half their size along each axis.

    Parameters
    ----------
    signals : Signals
        Patches, as :meth:`neurfield.signals.patches.PatchGrid.split` cuts them. Those of which
        nothing is observed are left out.
    units : Units
        Of what the field describes.
    dtype : torch.dtype
        Floating-point type of the coordinates and values that a batch holds.
    device : torch.device
        Where batches are put; the signals themselves stay where they are.

    Raises
    ------
    ValueError
        If the patches stand on several grids.
    """

    def __init__(
        self,
        signals: Signals,
        units: Units,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        if len(signals.groups) > 1:
            raise ValueError("with patch_size, training signals must stand on the grid seen in fit")
        (group,) = signals.groups
        # Patches that are moved may meet gaps that lie in those left out.
        self._has_gaps = bool(group.observed.min() < np.prod(group.values.shape[1:]))
        observed = np.sort(group.positions[group.observed > 0])
        super().__init__(signals.subset(observed), units, dtype, device)

    def draw(self, n_signals: int, n_points: int | None, generator: torch.Generator) -> Context:
        drawn = self.drawn(n_signals, generator)
        rows = self.row_of[drawn]
        (grid,) = self.grids
        values = grid.group.values
        assert isinstance(values, PatchValues)
        starts = np.empty((len(rows), len(grid.axes)), dtype=np.int64)
        for j, size in enumerate(values.shape[1:-1]):
            half, room = size // 2, values.source.shape[1 + j] - size
            shift = torch.randint(-half, half + 1, (len(rows),), generator=generator)
            starts[:, j] = np.clip(values.starts[rows, j] + shift.numpy(), 0, room)
        group = replace(grid.group, values=values.moved(rows, starts))
        moved = replace(grid, group=group, has_gaps=self._has_gaps)
        context = self._common(moved, np.arange(len(rows)), n_points, generator)
        return self._weighed(context, drawn)


def store_of(
    signals: Signals,
    patches: PatchGrid | None,
    units: Units,
    dtype: torch.dtype,
    device: torch.device,
) -> ContextStore:
    """Return a training set of whole signals or of their patches.

    Parameters
    ----------
    signals : Signals
        Whole.
    patches : PatchGrid or None
        What to cut them into; None = nothing.
    units : Units
        Of what the field describes.
    dtype : torch.dtype
        Floating-point type of the coordinates and values that a batch holds.
    device : torch.device
        Where batches are put; the signals themselves stay where they are.
    """
    if patches is None:
        return ContextStore(signals, units, dtype, device)
    return PatchStore(patches.split(signals), units, dtype, device)
