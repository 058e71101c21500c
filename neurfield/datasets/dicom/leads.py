"""Leads of DICOM waveforms: their names, and their values in one unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets.leads import VOLTS, places_of
from neurfield.errors import FileError


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
        if self.unit in VOLTS and wanted in VOLTS:
            return values * (VOLTS[self.unit] / VOLTS[wanted])
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
    if asked is not None:
        first = None if like is None else [lead.name for lead in like]
        return [known[place] for place in places_of(path, names, asked, first)]
    # All, and in one order where they are the same.
    first = names if like is None else [lead.name for lead in like]
    chosen = first if set(first) == set(names) else names
    return [known[names.index(name)] for name in chosen]
