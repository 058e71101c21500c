"""Inner solvers: how the latents φ are found."""

from neurfield.learning.solvers.base import MOST_STEPS, InnerSolver
from neurfield.learning.solvers.gradient_descent import (
    GradientDescent,
    LatentGradients,
    gradient_step,
)
from neurfield.learning.solvers.levenberg_marquardt import LevenbergMarquardt
from neurfield.learning.solvers.normal_equations import damped_step, normal_equations
from neurfield.learning.solvers.tangent import Tangent

__all__ = [
    "MOST_STEPS",
    "GradientDescent",
    "InnerSolver",
    "LatentGradients",
    "LevenbergMarquardt",
    "Tangent",
    "damped_step",
    "gradient_step",
    "normal_equations",
]
