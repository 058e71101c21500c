"""Fit the latents of a whole store, batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.lanes import in_lanes, lane_parts
from neurfield.learning.solvers import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.learning.workspace import Workspace

_CPU_NUMBERS, _DEVICE_NUMBERS = 2**22, 2**25  # 16 and 128 MiB in float32


def numbers_at_once(device: torch.device) -> int:
    """Return how many numbers a block of signals may take up.

    On a CPU, blocks that stay near its caches are two to four times as fast as larger ones.
    """
    return _CPU_NUMBERS if device.type == "cpu" else _DEVICE_NUMBERS


@torch.no_grad()
def encode_store(
    field: Field,
    solver: InnerSolver,
    store: ContextStore,
    positions: np.ndarray | None = None,
    n_points: int | None = None,
    generator: torch.Generator | None = None,
    visit: Callable[[np.ndarray, Context, Tensor], None] | None = None,
) -> Tensor:
    """Fit one latent per signal.

    Parameters
    ----------
    field : Field
    solver : InnerSolver
    store : ContextStore
    positions : int array, optional
        Which signals; None = all.
    n_points : int, optional
        Fit to so many random points of each signal; None = all of them.
    generator : torch.Generator, optional
        Needed with ``n_points``.
    visit : callable, optional
        Called with (positions, context, latents) of each block.

    Returns
    -------
    Tensor of shape (n, P)
        In the order of ``positions``.
    """
    positions = np.arange(len(store)) if positions is None else positions
    rank = np.full(len(store), -1)
    rank[positions] = np.arange(len(positions))
    latents = torch.empty(len(positions), field.latent_dim, dtype=store.dtype, device=store.device)
    per_point = solver.floats_per_point(field, store.is_uniform)
    most_points = max(1, numbers_at_once(store.device) // per_point)
    workspaces: dict[int, Workspace] = defaultdict(Workspace)
    coords, shared = None, None
    for block, context in store.blocks(most_points, positions, n_points, generator):
        if not context.is_shared:
            shared = None
        elif coords is not context.coords:
            shared = solver.share(field, context)
        coords = context.coords
        found = _solve_in_lanes(field, solver, context, shared, workspaces)
        latents[rank[block]] = found
        if visit is not None:
            visit(block, context, found)
    return latents


def _solve_in_lanes(
    field: Field,
    solver: InnerSolver,
    context: Context,
    shared: Any,
    workspaces: dict[int, Workspace],
) -> Tensor:
    parts = lane_parts(len(context), context.values.device)

    def work(lane: int) -> Tensor:
        return solver.solve(field, context.of_signals(parts[lane]), shared, workspaces[lane])

    return torch.cat(in_lanes(work, len(parts)))
