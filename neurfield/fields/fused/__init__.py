"""Sweeps through the sine layers of a SIREN, compiled by Numba.

Each sweep over a block is one call, which does not hold Python's lock. A block is worked through
in pieces of some rows, small enough for a processor's own cache: a piece goes through all layers
before the next one does. What is done between two matrix products takes one pass over memory, in
loops over tiles of several rows.

Importing the package needs Numba, and compiles what has not been compiled on this machine before.
"""

from neurfield.fields.fused.layers import FusedSineLayers

__all__ = ["FusedSineLayers"]
