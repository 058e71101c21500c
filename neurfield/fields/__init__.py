"""Neural fields: functions of coordinates, of one signal or with a latent for each signal."""

from neurfield.fields.base import Field, Linearization
from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.fourier import (
    FourierFeatureMLP,
    gaussian_frequencies,
    positional_frequencies,
)
from neurfield.fields.plain_siren import Siren
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren import ModulatedSiren

__all__ = [
    "CoordinateField",
    "Field",
    "FourierFeatureMLP",
    "Linearization",
    "ModulatedSiren",
    "Siren",
    "gaussian_frequencies",
    "omega_schedule",
    "positional_frequencies",
]
