"""Neural fields: functions of coordinates, of one signal or with a latent for each signal."""

from neurfield.fields.auto import Auto
from neurfield.fields.base import Field
from neurfield.fields.coordinate import CoordinateField
from neurfield.fields.fourier import (
    FourierFeatureMLP,
    gaussian_frequencies,
    positional_frequencies,
)
from neurfield.fields.gaussian_mlp import GaussianMLP
from neurfield.fields.hash_grid import HashGrid
from neurfield.fields.lapped import Lapped, LappedField
from neurfield.fields.low_rank import LowRank, LowRankSiren
from neurfield.fields.plain_siren import PlainSiren
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren import ModulatedSiren, Siren
from neurfield.fields.spatial import Spatial, SpatialSiren
from neurfield.fields.spec import FieldSpec
from neurfield.fields.sweeps import Linearization
from neurfield.fields.wire import Wire

__all__ = [
    "Auto",
    "CoordinateField",
    "Field",
    "FieldSpec",
    "FourierFeatureMLP",
    "GaussianMLP",
    "HashGrid",
    "Lapped",
    "LappedField",
    "Linearization",
    "LowRank",
    "LowRankSiren",
    "ModulatedSiren",
    "PlainSiren",
    "Siren",
    "Spatial",
    "SpatialSiren",
    "Wire",
    "gaussian_frequencies",
    "omega_schedule",
    "positional_frequencies",
]
