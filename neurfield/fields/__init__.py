"""Neural fields: functions of coordinates, of one signal or with a latent for each signal."""

from neurfield.fields.base import Field, Linearization
from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.families import available_fields
from neurfield.fields.fourier import (
    FourierFeatureMLP,
    gaussian_frequencies,
    positional_frequencies,
)
from neurfield.fields.low_rank import LowRankSiren
from neurfield.fields.plain_siren import Siren
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren import ModulatedSiren
from neurfield.fields.spatial import SpatialSiren

__all__ = [
    "CoordinateField",
    "Field",
    "FourierFeatureMLP",
    "Linearization",
    "LowRankSiren",
    "ModulatedSiren",
    "Siren",
    "SpatialSiren",
    "available_fields",
    "gaussian_frequencies",
    "omega_schedule",
    "positional_frequencies",
]
