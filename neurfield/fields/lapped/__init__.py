"""Lapped local fields: a latent for each cell, windows that overlap, one θ for all cells."""

from neurfield.fields.lapped.cells import Cells
from neurfield.fields.lapped.field import Lapped, LappedField

__all__ = ["Cells", "Lapped", "LappedField"]
