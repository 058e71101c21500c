"""Leads of DICOM waveforms: their names, and their values in one unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurfield.errors import FileError

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}


class Lead(NamedTuple):
    """One channel of a group, and what its samples mean."""

    place: int
    name: str
    unit: str | None
    factor: float  # unit per step
    baseline: float  # in the unit
    skew: float  # samples
    delay: float  # seconds

    def in_unit(
        self, path: Path, samples: NDArray[np.float64], wanted: str | None
    ) -> NDArray[np.float64]:
        """Return samples as values in a unit.

        Raises
        ------
        FileError
            If the lead is in another, of another kind.
        """
        values = samples * self.factor + self.baseline
        if self.unit == wanted:
            return values
        if self.unit in _VOLTS and wanted in _VOLTS:
            return values * (_VOLTS[self.unit] / _VOLTS[wanted])
        raise FileError(
            path,
            f"lead {self.name!r} is in {self.unit or 'no unit'} (ChannelSensitivityUnitsSequence), "
            f"where {wanted or 'no unit'} is that of the first; choose with leads=",
        )


def lead_of(path: Path, definition: Any, place: int, name: str) -> Lead:
    """Return what the definition of a channel says.

    Raises
    ------
    FileError
        If its numbers are no numbers.
    """
    numbers = {}
    for keyword, default in (
        ("ChannelSensitivity", 1.0),
        ("ChannelSensitivityCorrectionFactor", 1.0),
        ("ChannelBaseline", 0.0),
        ("ChannelSampleSkew", 0.0),
        ("ChannelTimeSkew", 0.0),
    ):
        value = definition.get(keyword)
        numbers[keyword] = default if value is None else float(value)
        if not np.isfinite(numbers[keyword]):
            raise FileError(path, f"{keyword} of lead {name!r} must be a finite number")
    # Without a sensitivity the samples are bare numbers.
    given = definition.get("ChannelSensitivity") is not None
    units = definition.get("ChannelSensitivityUnitsSequence") or []
    unit = str(units[0].CodeValue) if given and units else None
    factor = numbers["ChannelSensitivity"] * numbers["ChannelSensitivityCorrectionFactor"]
    if factor == 0:
        raise FileError(path, f"ChannelSensitivity of lead {name!r} must not be 0")
    return Lead(
        place,
        name,
        unit,
        factor,
        numbers["ChannelBaseline"],
        numbers["ChannelSampleSkew"],
        numbers["ChannelTimeSkew"],
    )


def names_of(path: Path, definitions: Sequence[Any]) -> list[str]:
    """Return one name for each channel: short where that tells them apart, else in full.

    "Lead II" and "Lead I (Einthoven)" are what all call II and I.
    """
    full = []
    for definition in definitions:
        sources = definition.get("ChannelSourceSequence") or []
        source = str(sources[0].get("CodeMeaning") or "") if sources else ""
        full.append(source or str(definition.get("ChannelLabel") or ""))
    labels = [str(definition.get("ChannelLabel") or "") for definition in definitions]
    short = [re.sub(r"^Lead\s+(\w+)(\s*\([^)]*\))?$", r"\1", name) for name in full]
    for names in (short, full, labels):
        if all(names) and len(set(names)) == len(names):
            return names
    raise FileError(
        path,
        f"its channels cannot be told apart by ChannelSourceSequence or ChannelLabel: {full}",
    )


def choose(
    path: Path,
    known: list[Lead],
    asked: int | str | Sequence[int | str] | None,
    like: list[Lead] | None,
) -> list[Lead]:
    """Return the leads that were asked for; those asked for by place are those of `like`.

    Raises
    ------
    FileError
        If there is no such lead.
    """
    names = [lead.name for lead in known]
    like_names = [] if like is None else [lead.name for lead in like]
    places: Sequence[int | str]
    if asked is None:  # all, and in one order where they are the same
        places = like_names if set(like_names) == set(names) else names
    elif like is not None:
        places = like_names
    else:
        places = [asked] if isinstance(asked, int | str) else asked
    taken = []
    for place in places:
        if isinstance(place, int) and 0 <= place < len(known):
            taken.append(known[place])
        elif place in names:
            taken.append(known[names.index(str(place))])
        else:
            raise FileError(path, f"has no lead {place!r}; its leads are {', '.join(names)}")
    return taken
