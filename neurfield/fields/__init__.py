"""Neural fields: functions of coordinates, conditioned on one latent per signal."""

from neurfield.fields.base import Field, Linearization
from neurfield.fields.schedule import omega_schedule
from neurfield.fields.siren import ModulatedSiren

__all__ = ["Field", "Linearization", "ModulatedSiren", "omega_schedule"]
