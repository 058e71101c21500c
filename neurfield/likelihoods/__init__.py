"""How measurements scatter around what an operator makes of a field."""

from neurfield.likelihoods.base import Evaluated, Likelihood
from neurfield.likelihoods.categorical import Categorical
from neurfield.likelihoods.normal import Gaussian, Huber, StudentT
from neurfield.likelihoods.poisson import Poisson

__all__ = [
    "Categorical",
    "Evaluated",
    "Gaussian",
    "Huber",
    "Likelihood",
    "Poisson",
    "StudentT",
]
