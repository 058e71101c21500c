"""Fit the latents of a whole store, batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.footprint import block_points
from neurfield.learning.forks import no_fork
from neurfield.learning.lanes import each_in_lanes, lane_count, one_thread
from neurfield.learning.solvers import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.learning.workspace import Workspace


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
        The network, its θ fixed.
    solver : InnerSolver
        Finds the latents. On a CPU it is called for one signal at a time, or for as many as it
        takes each as if it were alone, so that no signal's latents depend on the others.
    store : ContextStore
        The signals, on the field's device and in its precision; read block by block.
    positions : int array of shape (n,), optional
        Which signals, by their place in the store, each at most once; None = all.
    n_points : int, optional
        Fit to so many random points of each signal, those with fewer to all of them; None = all.
    generator : torch.Generator, optional
        Draws these points, on the CPU; needed with ``n_points``.
    visit : callable, optional
        Called after each block with its positions, its context and its latents of shape (B, P);
        blocks come in the store's order, not in that of ``positions``.

    Returns
    -------
    Tensor of shape (n, P)
        In the order of ``positions``; of the store's dtype, on its device, without gradients.
    """
    positions = np.arange(len(store)) if positions is None else positions
    rank = np.full(len(store), -1)
    rank[positions] = np.arange(len(positions))
    latents = torch.empty(len(positions), field.latent_dim, dtype=store.dtype, device=store.device)
    alone = store.device.type == "cpu"
    most_points = block_points(field, solver, store)
    workspaces: dict[int, Workspace] = defaultdict(partial(Workspace, one_by_one=alone))
    coords, shared = None, None
    for block, context in store.blocks(most_points, positions, n_points, generator):
        if not context.is_shared:
            shared = None
        elif coords is not context.coords:
            with one_thread(), no_fork():
                shared = solver.share(field, context)
        coords = context.coords
        if alone:
            sizes = np.minimum(store.points_per_signal[block], context.n_points)
            found = _solve_alone(field, solver, context, sizes, shared, workspaces)
        else:
            found = solver.solve(field, context, shared, workspaces[0])
        latents[rank[block]] = found
        if visit is not None:
            visit(block, context, found)
    return latents


def _solve_alone(
    field: Field,
    solver: InnerSolver,
    context: Context,
    sizes: np.ndarray,
    shared: Any,
    workspaces: dict[int, Workspace],
) -> Tensor:
    """Solve for each signal as if there were no others.

    The kernels of matrix products and sums round differently for other numbers of signals, so those
    that do are called for one signal at a time.
    """
    if shared is not None and context.weights is None and solver.is_one_product:
        with one_thread(), no_fork():
            return solver.solve(field, context, shared)
    found = torch.empty(len(context), field.latent_dim, dtype=context.values.dtype)
    groups = _groups(field, solver, context, shared)

    def of_group(number: int, lane: int) -> None:
        group = groups[number]
        if len(group) > 1:
            found[group] = solver.solve(field, context.together(group), shared, workspaces[lane])
            return
        i = int(group)
        signal = context.alone(i, int(sizes[i]))
        common = shared if context.is_shared else solver.share(field, signal)
        found[i] = solver.solve(field, signal, common, workspaces[lane])[0]

    each_in_lanes(of_group, len(groups))
    return found


def _groups(field: Field, solver: InnerSolver, context: Context, shared: Any) -> list[Tensor]:
    """Divide signals into those that are solved in one call; with gaps and without are apart."""
    if not context.is_shared:
        return list(torch.arange(len(context)).split(1))
    lanes, groups = lane_count(context.values.device), []
    whole = context.whole()
    for kind in (whole, ~whole):
        index = torch.nonzero(kind)[:, 0]
        if len(index):
            most = solver.together(field, context.together(index[:1]), shared)
            groups += index.split(min(most, -(-len(index) // lanes)))
    return groups
