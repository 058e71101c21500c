"""Leads of recordings: chosen by name or place, in one unit, at one rate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from neurfield.errors import FileError
from neurfield.limits import check_unpacked

#: Units of voltage, in volts.
VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9}


@dataclass(frozen=True)
class Lead:
    """One lead as stored.

    Parameters
    ----------
    name, unit : str
        As the file has them.
    rate : float
        Samples per second.
    values : float64 array of shape (n_times,)
        NaN where nothing was observed.
    """

    name: str
    unit: str
    rate: float
    values: NDArray[np.float64]

    def in_unit(self, path: str | os.PathLike[str], wanted: str, where: str) -> Lead:
        """Return the lead in another unit of the same quantity.

        Parameters
        ----------
        path : path-like
            The record, for messages.
        wanted : str
            The other unit.
        where : str
            Where that is the unit, in words.

        Raises
        ------
        FileError
            If it is a unit of another quantity.
        """
        factor = _factor(path, self, wanted, where)
        values = self.values if factor == 1 else factor * self.values
        return Lead(self.name, wanted, self.rate, values)


def as_list(leads: int | str | Sequence[int | str]) -> list[int | str]:
    """Return one lead, or several, as a list; none at all are refused."""
    chosen = [leads] if isinstance(leads, int | str) else list(leads)
    if not chosen:
        raise ValueError("leads must name one lead or several, got none")
    return chosen


def places_of(
    path: str | os.PathLike[str],
    names: Sequence[str],
    leads: int | str | Sequence[int | str],
    like: Sequence[str] | None = None,
) -> list[int]:
    """Return the places of leads among those of a record.

    Parameters
    ----------
    path : path-like
        The record.
    names : sequence of str
        Names of its leads.
    leads : int, str or sequence of them
        As asked for.
    like : sequence of str, optional
        Names of these leads in the first record. Records of one data set may hold their leads in
        another order, so a lead asked for by its place there is that of the same name here.

    Raises
    ------
    FileError
        If the record has no such lead, or two of that name.
    """
    chosen = as_list(leads)
    return [
        _place(path, names, lead if isinstance(lead, str) else wanted, lead)
        for lead, wanted in zip(chosen, chosen if like is None else like, strict=True)
    ]


def in_units(
    path: str | os.PathLike[str],
    leads: list[Lead],
    unit: str | None,
    like: Sequence[str] | None,
) -> list[Lead]:
    """Return leads in the unit asked for, or each in that of the first record.

    Parameters
    ----------
    path : path-like
        The record, for messages.
    leads : list of Lead
        Leads as stored.
    unit : str or None
        As asked for.
    like : sequence of str or None
        Units of these leads in the first record; None for itself.
    """
    if unit is not None:
        return [lead.in_unit(path, unit, "was asked for") for lead in leads]
    if like is None:
        return leads
    pairs = zip(leads, like, strict=True)
    return [lead.in_unit(path, wanted, "in the first record") for lead, wanted in pairs]


def labels_of(leads: Sequence[int | str], names: Sequence[str]) -> list[str]:
    """Return labels of channels: names as far as they are distinct, else what was asked for."""
    labels = list(names)
    return labels if len(set(labels)) == len(labels) else [str(lead) for lead in leads]


def _place(
    path: str | os.PathLike[str], names: Sequence[str], wanted: int | str, asked: int | str
) -> int:
    if isinstance(wanted, int):
        if 0 <= wanted < len(names):
            return wanted
    elif list(names).count(wanted) == 1:
        return list(names).index(wanted)
    elif wanted in names:
        places = [place for place, name in enumerate(names) if name == wanted]
        raise FileError(
            path,
            f"{len(places)} leads are called {wanted!r}; give leads by their places, which are "
            f"{places}",
        )
    meant = "" if wanted == asked else f", which lead {asked} is in the first record"
    raise FileError(path, f"no lead {wanted!r}{meant}; the record has {', '.join(names)}")


def _factor(path: str | os.PathLike[str], lead: Lead, wanted: str, where: str) -> float:
    """Return what values are multiplied by to be in another unit."""
    if lead.unit == wanted:
        return 1.0
    if lead.unit in VOLTS and wanted in VOLTS:
        return VOLTS[lead.unit] / VOLTS[wanted]
    raise FileError(
        path,
        f"lead {lead.name!r} is in {lead.unit!r}, and in {wanted!r} {where}; what is read together "
        "needs one unit",
    )


def join(
    path: str | os.PathLike[str], leads: Sequence[Lead], frequency: float | None
) -> tuple[NDArray[np.float32], float]:
    """Return leads as one array (n_times, n_leads) at one rate, and the rate.

    Parameters
    ----------
    path : path-like
        The file with the signals, for messages and for how much may be made of it.
    leads : sequence of Lead
        Leads that begin together.
    frequency : float or None
        Samples per second; None for the highest rate among the leads.
    """
    target = max(lead.rate for lead in leads) if frequency is None else frequency
    lengths = [len(lead.values) * target / lead.rate for lead in leads]
    check_unpacked(path, int(4 * sum(lengths)), f"its signals at {target:g} samples per second")
    for lead in leads:
        if not 1e-4 < target / lead.rate < 1e4:
            raise FileError(
                path,
                f"lead {lead.name!r} has {lead.rate:g} samples per second, which cannot be "
                f"resampled to {target:g}",
            )
    resampled = [resample_lead(lead.values, lead.rate, target) for lead in leads]
    n_times = min(map(len, resampled))
    return np.stack([values[:n_times] for values in resampled], axis=1), target


def resample_lead(
    signal: NDArray[np.float64], rate: float, frequency: float
) -> NDArray[np.float32]:
    """Return a lead at another number of samples per second.

    Gaps are bridged by lines for the filter's sake and are gaps again afterwards: a sample between
    an observed one and a gap belongs to the gap.
    """
    if frequency == rate:
        return signal.astype(np.float32)
    from scipy.signal import resample_poly

    observed = np.isfinite(signal)
    ratio = (Fraction(frequency) / Fraction(rate)).limit_denominator(10_000)
    if not observed.any():
        n_times = -(-len(signal) * ratio.numerator // ratio.denominator)
        return np.full(n_times, np.nan, np.float32)
    bridged = signal
    if not observed.all():
        index = np.arange(len(signal))
        bridged = np.interp(index, index[observed], signal[observed])
    # Ends are continued by a line, otherwise the filter rings against an imagined zero outside.
    values = resample_poly(bridged, ratio.numerator, ratio.denominator, padtype="line")
    resampled: NDArray[np.float32] = np.asarray(values, dtype=np.float32)
    if not observed.all():
        # Exact in whole numbers: sample k lies k * denominator / numerator samples in.
        steps = np.arange(len(resampled), dtype=np.int64) * ratio.denominator
        before = steps // ratio.numerator
        after = np.minimum(-(-steps // ratio.numerator), len(signal) - 1)
        resampled[~(observed[before] & observed[after])] = np.nan
    return resampled
