"""From a field's values to what was measured of them: linear operators with their adjoints."""

from neurfield.operators.affine import Affine
from neurfield.operators.base import GridOperator, Operator, check_adjoint
from neurfield.operators.compose import Compose
from neurfield.operators.fourier import Fourier, NonUniformFourier
from neurfield.operators.matrix import Matrix
from neurfield.operators.pointwise import Identity, Mask
from neurfield.operators.radon import Radon
from neurfield.operators.separable import Blur, Downsample

__all__ = [
    "Affine",
    "Blur",
    "Compose",
    "Downsample",
    "Fourier",
    "GridOperator",
    "Identity",
    "Mask",
    "Matrix",
    "NonUniformFourier",
    "Operator",
    "Radon",
    "check_adjoint",
]
