"""Options of lapped fields, and the size of cells where none is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

from neurfield._compat import Interval, StrOptions
from neurfield.fields.lapped.cells import Cells
from neurfield.fields.lapped.field import LappedField
from neurfield.fields.spec import FieldSpec

_USUAL_LATENTS = 16  # of a cell
_MOST_LATENTS = 256  # of a cell that was not asked for


class Lapped(FieldSpec):
    """Options of :class:`LappedField`: cells with windows that overlap, one θ for all sizes.

    Parameters
    ----------
    cell : int or tuple of d int, default=None
        Samples of a cell along each axis; one number serves all axes. None takes those among which
        the encoder's ``latent_dim``, the length of all vectors together, falls into vectors whose
        length is closest to 16.
    hidden_dim : int, default=None
        Twice the width of the network that adds detail; None takes the encoder's.
    features : int, default=64
        Number of functions of which detail is made up.
    pool : {"mean"}, default=None
        What ``transform`` returns for a signal: None, the vectors of its cells, one after the other
        in C order; "mean", their mean, which is as long for a signal of any size and cannot be
        decoded.

    Examples
    --------
    >>> Lapped(cell=8).features
    64
    """

    name: ClassVar[str] = "lapped"
    module: ClassVar[type[LappedField]] = LappedField
    usual_learner: ClassVar[str] = "lapped"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cell": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "features": [Interval(Integral, 1, None, closed="left")],
        "pool": [StrOptions({"mean"}), None],
    }

    def __init__(
        self,
        cell: int | tuple[int, ...] | None = None,
        hidden_dim: int | None = None,
        features: int = 64,
        pool: str | None = None,
    ) -> None:
        self.cell = cell
        self.hidden_dim = hidden_dim
        self.features = features
        self.pool = pool

    def configuration(self, in_dim: int, shared: Mapping[str, Any]) -> dict[str, Any]:
        if self.cell is None:
            shared = {**shared, "cell": usual_cell(shared["shape"], shared["latent_dim"])}
        return super().configuration(in_dim, shared)


def usual_cell(shape: Sequence[int], latent_dim: int) -> tuple[int, ...]:
    """Return the samples of a cell that a latent of some length is best divided among.

    Parameters
    ----------
    shape : sequence of d int
        Samples of a signal along each axis.
    latent_dim : int
        Length P of the latent of a whole signal.

    Raises
    ------
    ValueError
        If no number of cells divides it into vectors of a moderate length.

    Examples
    --------
    >>> usual_cell((64, 64), 1024), usual_cell((1000,), 256)
    ((8, 8), (63,))
    """
    found: dict[float, tuple[int, ...]] = {}
    for k, cells in cells_that_share(shape, latent_dim):
        if k <= _MOST_LATENTS:
            found.setdefault(abs(math.log(k / _USUAL_LATENTS)), cells.side)
    if not found:
        raise ValueError(
            f"latent_dim={latent_dim} cannot be divided equally among cells of {tuple(shape)} "
            f"samples, with at most {_MOST_LATENTS} numbers each: give another one, or "
            "field=Lapped(cell=...)"
        )
    return found[min(found)]


def cells_that_share(shape: Sequence[int], latent_dim: int) -> Iterator[tuple[int, Cells]]:
    """Divide a latent equally among cells of one side, in all ways that there are.

    Parameters
    ----------
    shape : sequence of d int
        Samples of a signal along each axis.
    latent_dim : int
        Length P of the latent of a whole signal.

    Yields
    ------
    k : int
        Latents of a cell.
    cells : Cells
        Of a side that grows, and along short axes is all of the signal.
    """
    for side in range(min(2, *shape), max(shape) + 1):
        cells = Cells.covering(shape, [min(side, size) for size in shape])
        k, rest = divmod(latent_dim, cells.n_cells)
        if k and not rest:
            yield k, cells
