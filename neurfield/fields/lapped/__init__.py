"""Lapped local fields: a latent for each cell, windows that overlap, one θ for all cells."""

from neurfield.fields.lapped.cells import Cells
from neurfield.fields.lapped.field import LappedField
from neurfield.fields.lapped.spec import Lapped

__all__ = ["Cells", "Lapped", "LappedField"]
