"""The closed form at φ = 0 as two matrices that all signals on the same coordinates share."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from neurfield.learning.context import Context
from neurfield.learning.solvers.tangent import Tangent, in_equal_products


class SharedFit:
    """The closed-form fit of all signals on the same coordinates, with its matrix factored.

    Parameters
    ----------
    at_origin : Tensor of shape (1, N, c)
        f₀, what the field is at φ = 0.
    tangent : Tangent
        At φ = 0, in terms of φ − μ; where signals have fewer values than latents, in the basis in
        which the prior is diagonal.
    precision : Tensor of shape (P, P) or (P,)
        Prior precision Λ, in units of the mean squared error; its eigenvalues in that basis.
    strength : float
        Factor κ on the precision for signals that are observed everywhere.
    """

    def __init__(
        self, at_origin: Tensor, tangent: Tangent, precision: Tensor, strength: float
    ) -> None:
        self.at_origin = at_origin
        self.tangent, self.precision = tangent, precision
        self.maps = tangent.solution_maps(precision, strength)

    def solve(self, context: Context, strength: Tensor) -> Tensor:
        """Return φ − μ, of shape (B, P), in the basis of the tangent.

        Parameters
        ----------
        context : Context
            Of B signals on the tangent's coordinates.
        strength : Tensor of shape (B,)
            κ of each signal; without gaps they all have the one that is factored.
        """
        if context.weights is not None:
            return self.tangent.solve(context, self.precision, strength)
        residual = context.residual(self.tangent.values).flatten(1)
        return in_equal_products(residual, *self.maps)

    @cached_property
    def scale(self) -> float:
        """Mean diagonal of J₀ᵀJ₀/n."""
        return float(self.tangent.mean_diagonal())

    def precondition(self, rows: Tensor) -> Tensor:
        """Return (J₀ᵀJ₀/n + κ Λ)⁻¹ of each row, where there are no fewer values than latents."""
        return rows @ self.maps[1]
