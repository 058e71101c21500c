"""How lapped fields are trained and fitted: crops, normal equations of cells, their solver."""

from neurfield.learning.lapped.solver import LappedSolver

__all__ = ["LappedSolver"]
