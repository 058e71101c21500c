"""The fields that an encoder can learn, by name."""

from __future__ import annotations

from neurfield.fields.base import Field
from neurfield.fields.low_rank import LowRankSiren
from neurfield.fields.siren import ModulatedSiren
from neurfield.fields.spatial import SpatialSiren

_FAMILIES: tuple[type[Field], ...] = (ModulatedSiren, SpatialSiren, LowRankSiren)


def available_fields() -> dict[str, type[Field]]:
    """Return the classes of fields with latents, by the name of their family.

    Examples
    --------
    >>> sorted(available_fields())
    ['low-rank', 'siren', 'spatial']
    """
    return {field.family: field for field in _FAMILIES}
