"""Data sets that are cut up or moved before batches are drawn: patches, signals of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from neurfield.learning.context import Context
from neurfield.learning.store import ContextStore
from neurfield.signals import Signals, Units
from neurfield.signals.base_grid import BaseGrid
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

    def fresh(
        self, positions: np.ndarray, n_points: int | None, generator: torch.Generator
    ) -> Context:
        rows = self.row_of[positions]
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
        return self._weighed(context, positions)


class BaseStore(ContextStore):
    """Signals of any size and spacing, on grids of one spacing that begin at one point.

    Parameters
    ----------
    signals : Signals
        On evenly spaced grids.
    base : BaseGrid
        Spacing, first point and size of the largest signal, which need not be among these.
    units : Units
        Of what the field describes, on the base grid.
    dtype, device
        As in :class:`ContextStore`.
    """

    def __init__(
        self,
        signals: Signals,
        base: BaseGrid,
        units: Units,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(base.regular(signals), units, dtype, device)
        self._shape = base.shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape


def store_of(
    signals: Signals,
    patches: PatchGrid | None,
    units: Units,
    dtype: torch.dtype,
    device: torch.device,
    base: BaseGrid | None = None,
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
    base : BaseGrid, optional
        Where the field has cells on a grid: the largest signal's; all are put on its spacing.
    """
    if base is not None:
        return BaseStore(signals, base, units, dtype, device)
    if patches is None:
        return ContextStore(signals, units, dtype, device)
    return PatchStore(patches.split(signals), units, dtype, device)
