"""The tangent model f₀ + J₀φ around φ = 0, and its closed-form fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context


@dataclass(frozen=True)
class Tangent:
    """The field's linearization at φ = 0.

    It depends on θ and the coordinates only, so signals on common coordinates share it.

    Parameters
    ----------
    values : Tensor of shape (1 or B, N, c)
        f₀.
    jacobian : Tensor of shape (1 or B, N, c, P)
        J₀ = ∂f/∂φ at φ = 0.
    """

    values: Tensor
    jacobian: Tensor

    @classmethod
    def at_origin(cls, field: Field, coords: Tensor) -> Tangent:
        """Linearize a field at φ = 0."""
        linearization = field.linearize(coords, field.zero_latents(1))
        return cls(linearization.values, linearization.jacobian())

    def mean_diagonal(self) -> Tensor:
        """Return the mean diagonal of J₀ᵀJ₀/(N c), a scalar."""
        return self.jacobian.square().mean()

    def predict(self, latents: Tensor) -> Tensor:
        """Return f₀ + J₀φ, of shape (B, N, c)."""
        return self.values + torch.einsum("bncp,bp->bnc", self.jacobian, latents)

    def solve(
        self,
        context: Context,
        precision: Tensor,
        strength: Tensor | float = 1.0,
        mean: Tensor | None = None,
    ) -> Tensor:
        """Return the φ that minimise MSE(f₀ + J₀φ) + strength · (φ − μ)ᵀ precision (φ − μ).

        Parameters
        ----------
        context : Context
        precision : Tensor of shape (P, P)
            Precision of the latents' Gaussian prior, in units of the mean squared error.
        strength : Tensor of shape (B,) or float, default=1.0
            Factor on the precision, per signal.
        mean : Tensor of shape (P,), optional
            Mean μ of the prior; None = 0.

        Returns
        -------
        Tensor of shape (B, P)
        """
        residual = context.residual(self.values).flatten(1)
        jacobian = self.jacobian.flatten(1, 2)
        counts = context.counts()
        shared = len(jacobian) == 1 and context.weights is None
        if shared and not isinstance(strength, Tensor):
            gram = jacobian[0].T @ jacobian[0] / jacobian.shape[1] + strength * precision
            rhs = residual @ jacobian[0] / jacobian.shape[1]
            if mean is not None:
                rhs = rhs + strength * (precision @ mean)
            return solve_positive(gram, rhs.T).T
        weighted = jacobian
        if context.weights is not None:
            weighted = jacobian * context.weights.flatten(1)[..., None]
        gram = weighted.transpose(1, 2) @ jacobian / counts[:, None, None]
        strength = torch.as_tensor(strength, dtype=gram.dtype, device=gram.device)
        gram = gram + strength.reshape(-1, 1, 1) * precision
        rhs = torch.einsum("bnp,bn->bp", weighted, residual) / counts[:, None]
        if mean is not None:
            rhs = rhs + strength.reshape(-1, 1) * (precision @ mean)
        return solve_positive(gram, rhs[..., None])[..., 0]


def solve_positive(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve with a symmetric positive matrix, or nearly so, of shape (..., P, P).

    Where rounding has made it indefinite, its diagonal is raised until it is not.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not bool((info == 0).all()):
        size = matrix.shape[-1]
        scale = matrix.diagonal(dim1=-2, dim2=-1).abs().mean(-1)[..., None, None]
        eye = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
        for jitter in (1e-6, 1e-4, 1e-2, 1.0):
            factor, info = torch.linalg.cholesky_ex(matrix + jitter * scale * eye)
            if bool((info == 0).all()):
                break
    return torch.cholesky_solve(rhs, factor)
