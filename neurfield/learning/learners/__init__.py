"""Learners: each module here defines one."""

from neurfield.learning.learners.cavia import Cavia
from neurfield.learning.learners.lapped import LappedVarPro
from neurfield.learning.learners.varpro import VarPro

__all__ = ["Cavia", "LappedVarPro", "VarPro"]
