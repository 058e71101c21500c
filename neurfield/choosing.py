"""Which field signals get where none is named: by closed forms on signals held out."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch

from neurfield.fields import FieldSpec, Lapped, Siren
from neurfield.fields.lapped import Cells
from neurfield.fields.lapped.spec import cells_that_share
from neurfield.learning.clock import seconds_per_operation
from neurfield.learning.trials import Trial, sample_of
from neurfield.memory import at_once, room
from neurfield.signals import Signals, Units
from neurfield.signals.base_grid import is_even

_SMALL = 2048  # values of a signal, below which a latent of the whole is best known
# Of small signals with several axes: least latents, most values and least signals for each of them,
# with which one cell that is all of a signal, whose table starts at principal components, is ahead
# of a SIREN.
_MANY_LATENTS, _FEW_VALUES, _MANY_SIGNALS = 96, 8, 8
_CELL_LATENTS = (8, 16, 32)  # least, usual and most of a cell
_CELLS_PER_AXIS = 3  # with fewer, most cells are at a border and a window spans most of the signal
_MOST_TRIED = 3  # sizes of cells
_LEAST_SIGNALS, _MOST_SIGNALS = 20, 2000  # of the sample
_PART_OF_TIME = 0.05  # that the trial may take of a fit's
# dB that lapped fields may be behind in closed form, by the number of axes. What they add to it in
# training is more than a latent of the whole signal adds: most for recordings, whose events come at
# any time: electrocardiograms of twelve leads that are level in closed form end well ahead.
_HANDICAP = {1: 1.0, 2: 0.1, 3: 0.1}
_MOST_OF_SIREN = 256  # latents of a whole signal; longer ones get one cell that is all of it
_SEED = 0  # whatever the fit's, so that the choice depends on the data alone


@dataclass(frozen=True)
class Choice:
    """The field that signals get, and why.

    Parameters
    ----------
    field : FieldSpec
        With the options that were chosen.
    reason : str
        Half a line for people.
    """

    field: FieldSpec
    reason: str


def choose_field(
    signals: Signals,
    latent_dim: int,
    device: torch.device,
    memory_budget: float | None = None,
    max_time: float | None = None,
) -> Choice:
    """Choose between one latent of the whole signal and latents of lapped cells.

    Signals that are small, or stand on no common even grid, get a latent of the whole, and so do
    those whose latent cells cannot share equally: of a SIREN, or of one cell where small pictures
    or volumes have long latents and are many, or latents are as long as signals. Few signals get
    one too, or cells of the usual size where their latents are too many for a SIREN. Otherwise both
    are tried on a sample: principal components of whole signals, and the linear part of lapped
    fields.

    Parameters
    ----------
    signals : Signals
        Whole signals of a fit.
    latent_dim : int
        Length P of a latent.
    device : torch.device
        Where it is tried.
    memory_budget : int, float or None, default=None
        Most memory that it may take, as :func:`neurfield.memory.room` has it.
    max_time : float, optional
        Seconds that all of the fit may take, of which this is a small part; None = no limit.

    Raises
    ------
    ValueError
        If a signal is not usable.
    """
    shape, why_not = _common_grid(signals)
    n_values = math.prod(shape) * signals.layout.n_channels
    sides = sides_of_cells(shape, latent_dim) if why_not is None else []
    if why_not is None and latent_dim >= n_values:
        # The sensitivities of a SIREN leave such latents undetermined, and it hardly learns.
        return Choice(Lapped(cell=shape), "lapped, one cell, as latents are as long as signals")
    if why_not is None and n_values < _SMALL:
        why_not = f"{n_values} values are few"
        is_long = latent_dim >= max(_MANY_LATENTS, n_values / _FEW_VALUES)
        if len(shape) > 1 and is_long and len(signals) >= _MANY_SIGNALS * latent_dim:
            return Choice(Lapped(cell=shape), f"lapped, one cell, as {why_not} for as many latents")
    elif why_not is None and not sides:
        why_not = (
            f"no cells of {_CELL_LATENTS[0]} to {_CELL_LATENTS[-1]} share {latent_dim} latents"
        )
    elif why_not is None and len(signals) < _LEAST_SIGNALS:
        why_not = f"{len(signals)} signals are few"
        if latent_dim > _MOST_OF_SIREN:
            reason = f"lapped, {_cells(shape, sides[0], latent_dim)}, untried as {why_not}"
            return Choice(_lapped(sides[0]), reason)
    if why_not is not None:
        return Choice(Siren(), f"whole signals, as {why_not}")
    signals.check()
    latents, n_axes = int(latent_dim), len(shape)

    def n_signals() -> int:
        return max(_LEAST_SIGNALS, min(len(signals), _MOST_SIGNALS, at_once("tried") // n_values))

    def need() -> float:  # values as they come and twice in single precision; windows of crops
        return 24.0 * n_signals() * (n_values + n_signals()) + Trial.bytes_of_cells(n_axes)

    with room(memory_budget, need, device, "the choice of a field"):
        most = n_signals()
        if max_time is not None:
            most = _in_time(most, n_values, max_time * _PART_OF_TIME, device)
        train, held_out = sample_of(signals, most, torch.Generator().manual_seed(_SEED))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit warns of its values itself
            units = Units.of(train)
        trial = Trial(train, held_out, units, device, _SEED)
        whole = trial.of_whole(latents)
        scores = {side: trial.of_cells(latents, side) for side in sides}
    side = max(scores, key=lambda side: scores[side])
    of_cells = f"{_cells(shape, side, latents)}: {scores[side]:.1f} dB"
    if scores[side] + _HANDICAP[n_axes] < whole:
        reason = f"whole signals: {whole:.1f} dB held out in closed form, {of_cells}"
        # The sensitivities of a SIREN span few directions, and each signal takes a solve of size P.
        spec = Siren() if latents <= _MOST_OF_SIREN else Lapped(cell=shape)
        return Choice(spec, reason)
    return Choice(
        _lapped(side),
        f"lapped, {of_cells} held out in closed form, whole signals {whole:.1f} dB",
    )


def sides_of_cells(shape: tuple[int, ...], latent_dim: int) -> list[tuple[int, ...]]:
    """Return the sizes of cells that are worth a try, at most three, the usual ones first.

    Parameters
    ----------
    shape : tuple of d int
        Samples of a signal along each axis.
    latent_dim : int
        Length P of the latent of a whole signal.

    Examples
    --------
    >>> sides_of_cells((64, 64), 1024), sides_of_cells((1000,), 256)
    ([(8, 8)], [(63,), (32,), (125,)])
    """
    least, usual, most = _CELL_LATENTS
    found: dict[int, tuple[int, ...]] = {}
    for k, cells in cells_that_share(shape, latent_dim):
        if least <= k <= most and cells.n_cells >= _CELLS_PER_AXIS ** len(shape):
            found.setdefault(k, cells.side)
    nearest = sorted(found, key=lambda k: abs(math.log(k / usual)))
    return [found[k] for k in nearest[:_MOST_TRIED]]


def _common_grid(signals: Signals) -> tuple[tuple[int, ...], str | None]:
    """Return the shape of all signals, and why cells cannot be laid on it, if they cannot."""
    group = signals.groups[0]
    shape = tuple(len(axis) for axis in group.axes)
    if group.is_scattered:
        return shape, "points are scattered"
    if len(signals.groups) > 1:
        return shape, f"they stand on {len(signals.groups)} grids"
    if len(shape) not in _HANDICAP:
        return shape, f"they have {len(shape)} axes"
    if not all(map(is_even, group.axes)):
        return shape, "an axis is not evenly spaced"
    return shape, None


def _in_time(most: int, n_values: int, seconds: float, device: torch.device) -> int:
    """Return how many signals the principal components of which take so many seconds."""
    pace = seconds_per_operation(device)
    while most > _LEAST_SIGNALS and most**2 * (n_values + 10 * most) * pace > seconds:
        most = max(_LEAST_SIGNALS, int(0.8 * most))
    return most


def _lapped(side: tuple[int, ...]) -> Lapped:
    return Lapped(cell=side[0] if len(set(side)) == 1 else side)


def _cells(shape: tuple[int, ...], side: tuple[int, ...], latent_dim: int) -> str:
    cells = Cells(shape, side)
    k = latent_dim // cells.n_cells
    return f"{_times(cells.counts)} cells of {_times(side)} samples with {k} latents"


def _times(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))
