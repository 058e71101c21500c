"""Latents of signals that were measured through an operator, and such signals made whole."""

from neurfield.learning.measured.beside import PROBES
from neurfield.learning.measured.completion import Incomplete, completed
from neurfield.learning.measured.gaussian import (
    Known,
    LatentGaussian,
    known_of,
    spread_of,
    tangent_of,
)
from neurfield.learning.measured.joint import Joint, setup_of, solved_jointly
from neurfield.learning.measured.map import Measured, real_rows
from neurfield.learning.measured.points import AtPoints
from neurfield.learning.measured.rows import Rows
from neurfield.learning.measured.shared import Shared
from neurfield.learning.measured.solve import Found, solved

__all__ = [
    "PROBES",
    "AtPoints",
    "Found",
    "Incomplete",
    "Joint",
    "Known",
    "LatentGaussian",
    "Measured",
    "Rows",
    "Shared",
    "completed",
    "known_of",
    "real_rows",
    "setup_of",
    "solved",
    "solved_jointly",
    "spread_of",
    "tangent_of",
]
