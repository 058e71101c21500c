"""Latents of signals that were measured through an operator."""

from neurfield.learning.measured.gaussian import Known, LatentGaussian, known_of, tangent_of
from neurfield.learning.measured.map import Measured, real_rows
from neurfield.learning.measured.problem import Found, Shared, solved

__all__ = [
    "Found",
    "Known",
    "LatentGaussian",
    "Measured",
    "Shared",
    "known_of",
    "real_rows",
    "solved",
    "tangent_of",
]
