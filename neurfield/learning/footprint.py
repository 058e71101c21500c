"""How many bytes the parts of fitting and encoding take at most, from the sizes of what they keep.

Each is a sum over the arrays that are there at the same time. Small ones are left out, such as
vectors. What is in proportion to the weights alone is the larger part where latents are very long.
"""

from __future__ import annotations

from dataclasses import dataclass

from neurfield.fields import Field
from neurfield.learning.lanes import lane_count
from neurfield.learning.solvers.base import InnerSolver
from neurfield.learning.store import ContextStore
from neurfield.memory import at_once

# Bytes of one value while a batch is read: in the caller's precision, and in double precision when
# it has been scaled. What the field's own precision takes is added.
READ = 12

_FEW = 16  # part of the numbers at once that the values of a block are, where they stand alone


@dataclass(frozen=True)
class Sizes:
    """What footprints depend on.

    Parameters
    ----------
    n_signals, n_points, n_channels, n_latents : int
        n, N of the largest signal, c and P.
    n_shifts : int
        Numbers that the latent modulates at each point.
    width : int
        L.
    n_bytes : int
        Of one number.
    has_gaps : bool
        Whether weights stand beside the values.
    n_lanes : int
        Threads that have workspaces of their own.
    n_weights : int
        Numbers of θ.
    """

    n_signals: int
    n_points: int
    n_channels: int
    n_latents: int
    n_shifts: int
    width: int
    n_bytes: int
    has_gaps: bool
    n_lanes: int
    n_weights: int

    @classmethod
    def of(cls, field: Field, store: ContextStore) -> Sizes:
        """Measure a field and its signals."""
        return cls(
            n_signals=len(store),
            n_points=int(store.points_per_signal.max()),
            n_channels=field.out_dim,
            n_latents=field.latent_dim,
            n_shifts=field.modulation_size,
            width=field.hidden_dim,
            n_bytes=store.dtype.itemsize,
            has_gaps=not store.is_uniform,
            n_lanes=lane_count(store.device),
            n_weights=field.n_parameters,
        )

    def batch(self, n_values: float) -> float:
        """Return what a batch of so many values takes while it is read, and its weights."""
        return n_values * (READ + self.n_bytes * (2 if self.has_gaps else 1))

    def sensitivity(self, n_points: float) -> float:
        """Return the derivatives of all channels at so many points, by the shifts."""
        return n_points * self.n_channels * self.n_shifts * self.n_bytes

    def jacobian(self, n_points: float) -> float:
        """Return the derivatives of all channels at so many points, by the latents."""
        return n_points * self.n_channels * self.n_latents * self.n_bytes

    def tangent(self, n_points: float) -> float:
        """Return what it takes to linearize at φ = 0 without a graph."""
        # The sensitivity layer by layer and joined, then the Jacobian.
        return 2 * self.sensitivity(n_points) + self.jacobian(n_points)

    def tape(self, n_rows: float) -> float:
        """Return sines, cosines and flows of all layers at so many points."""
        return 3 * n_rows * self.n_shifts * self.n_bytes

    def weights(self) -> float:
        """Return one copy of θ."""
        return self.n_weights * self.n_bytes

    def square(self, n_bytes: int = 8) -> float:
        """Return a matrix of the size of the latent."""
        return self.n_latents**2 * n_bytes


def block_points(field: Field, solver: InnerSolver, store: ContextStore) -> int:
    """Return how many points, over all signals, are read together to be encoded.

    On a CPU signals are solved one by one, and a block holds their values alone: many to outweigh
    the start of reading, and large signals so that each lane has one.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    solver : InnerSolver
        Finds the latents; elsewhere, of a whole block at a time.
    store : ContextStore
        The signals.
    """
    numbers = at_once("signals", store.device)
    if store.device.type != "cpu":
        return max(1, numbers // solver.floats_per_point(field, store.is_uniform))
    n_points = int(store.points_per_signal.max())
    for_lanes = lane_count(store.device) * n_points * solver.rows_together(field, n_points)
    many = max(numbers // (_FEW * field.out_dim) // for_lanes, 1) * for_lanes  # none is idle
    return max(1, min(many, numbers // (2 * field.out_dim)))


def encoding(field: Field, solver: InnerSolver, store: ContextStore) -> float:
    """Return what it takes to fit the latents of a whole store.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    solver : InnerSolver
        Finds the latents.
    store : ContextStore
        The signals.
    """
    sizes = Sizes.of(field, store)
    block = max(sizes.n_points, block_points(field, solver, store))
    block = min(block, sizes.n_signals * sizes.n_points)
    latents = sizes.n_signals * sizes.n_latents * (2 * sizes.n_bytes + 4)
    return sizes.batch(block * sizes.n_channels) + latents + solver.footprint(field, store)


def workspaces(field: Field, store: ContextStore, n_points: float) -> float:
    """Return what the lanes keep for a sweep with derivatives, over so many points each.

    Parameters
    ----------
    field : Field
        Whose sizes count.
    store : ContextStore
        The signals.
    n_points : float
        Most points of a lane; larger ones are swept block by block.
    """
    sizes = Sizes.of(field, store)
    rows = min(n_points, max(1, at_once("activations", store.device) // sizes.width))
    own = 4 * rows * sizes.width * sizes.n_bytes
    derivatives = sizes.sensitivity(rows) / sizes.n_channels + sizes.jacobian(rows)
    return sizes.n_lanes * (sizes.tape(rows) + own + derivatives)
