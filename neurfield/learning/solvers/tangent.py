"""The tangent model f₀ + J₀φ around φ = 0, and its closed-form fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context

_ROWS_AT_ONCE = 16  # in matrix products whose rows are not to depend on how many there are


@dataclass(frozen=True)
class Tangent:
    """The field's linearization at φ = 0.

    It depends on θ and the coordinates only, so signals on common coordinates share it.

    Parameters
    ----------
    values : Tensor of shape (1 or B, N, c)
        f₀, in scaled units.
    jacobian : Tensor of shape (1 or B, N, c, P)
        J₀ = ∂f/∂φ at φ = 0.
    """

    values: Tensor
    jacobian: Tensor

    @classmethod
    def at_origin(cls, field: Field, coords: Tensor) -> Tangent:
        """Linearize a field at φ = 0.

        Parameters
        ----------
        field : Field
            Whose θ the tangent depends on, differentiably.
        coords : Tensor of shape (N, d) or (B, N, d)
            Normalised coordinates, shared or one set per signal.
        """
        linearization = field.linearize(coords, field.zero_latents(1))
        return cls(linearization.values, linearization.jacobian())

    def mean_diagonal(self) -> Tensor:
        """Return the mean diagonal of J₀ᵀJ₀/(N c), a scalar."""
        return self.jacobian.square().mean()

    def predict(self, latents: Tensor) -> Tensor:
        """Return f₀ + J₀φ, of shape (B, N, c).

        Parameters
        ----------
        latents : Tensor of shape (B, P)
            φ, one latent a row.
        """
        return self.values + torch.einsum("bncp,bp->bnc", self.jacobian, latents)

    def shifted(self, mean: Tensor) -> Tangent:
        """Return the same model in terms of φ − μ, for μ of shape (P,)."""
        return replace(self, values=self.predict(mean[None]))

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
            Of B signals on the tangent's coordinates.
        precision : Tensor of shape (P, P), (P,) or ()
            Precision of the latents' Gaussian prior, in units of the mean squared error. One that
            is diagonal, or a multiple of the identity, is solved with a matrix of the size of
            the number of values of a signal where that is less than P.
        strength : Tensor of shape (B,) or float, default=1.0
            Factor on the precision, per signal.
        mean : Tensor of shape (P,), optional
            Mean μ of the prior; None = 0.

        Returns
        -------
        Tensor of shape (B, P)
            One φ for each signal, a differentiable function of θ.
        """
        if mean is not None:
            return mean + self.shifted(mean).solve(context, precision, strength)
        if len(self.jacobian) == 1 and context.weights is None and not isinstance(strength, Tensor):
            return self.solve_factored(context, precision, self.factor(precision, strength))
        residual = context.residual(self.values).flatten(1)
        jacobian = self.jacobian.flatten(1, 2)
        counts = context.counts()
        strength = torch.as_tensor(strength, dtype=counts.dtype, device=counts.device)
        if self._is_dual(precision):
            scaled, kernel = self._kernel(precision)
            if context.weights is not None:
                observed = context.weights.flatten(1)
                kernel = kernel * observed[:, None] * observed[..., None]
            eye = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
            matrix = kernel + (strength * counts).reshape(-1, 1, 1) * eye
            return (solve_positive(matrix, residual[..., None]).transpose(1, 2) @ scaled)[:, 0]
        weighted = jacobian
        if context.weights is not None:
            weighted = jacobian * context.weights.flatten(1)[..., None]
        gram = weighted.transpose(1, 2) @ jacobian / counts[:, None, None]
        gram = gram + strength.reshape(-1, 1, 1) * _as_matrix(precision, gram.shape[-1])
        rhs = torch.einsum("bnp,bn->bp", weighted, residual) / counts[:, None]
        return solve_positive(gram, rhs[..., None])[..., 0]

    def factor(self, precision: Tensor, strength: float) -> Tensor:
        """Return the Cholesky factor that serves all signals which are observed everywhere.

        Parameters
        ----------
        precision : Tensor of shape (P, P), (P,) or ()
            As in :meth:`solve`.
        strength : float
            Factor on the precision, one for all signals.
        """
        jacobian = self.jacobian.flatten(1, 2)[0]
        if self._is_dual(precision):
            kernel = self._kernel(precision)[1][0]
            eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
            return cholesky(kernel + strength * len(jacobian) * eye)
        gram = jacobian.T @ jacobian / len(jacobian)
        return cholesky(gram + strength * _as_matrix(precision, len(gram)))

    def solve_factored(self, context: Context, precision: Tensor, factor: Tensor) -> Tensor:
        """Return latents of shape (B, P), with what :meth:`factor` returned.

        Parameters
        ----------
        context : Context
            Of B signals on the tangent's coordinates, observed everywhere.
        precision : Tensor of shape (P, P), (P,) or ()
            The one that was factored.
        factor : Tensor
            As :meth:`factor` returned it, of shape (P, P) or (N c, N c).
        """
        residual = context.residual(self.values).flatten(1)
        jacobian = self.jacobian.flatten(1, 2)[0]
        if self._is_dual(precision):
            return torch.cholesky_solve(residual.T, factor).T @ (jacobian / precision)
        rhs = residual @ jacobian / len(jacobian)
        return torch.cholesky_solve(rhs.T, factor).T

    def solution_maps(self, precision: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Return two matrices whose product takes residuals, as rows, to latents.

        They do in two matrix products what :meth:`solve_factored` does.

        Parameters
        ----------
        precision : Tensor of shape (P, P), (P,) or ()
            As in :meth:`solve`.
        strength : float
            Factor on the precision, one for all signals.
        """
        factor = self.factor(precision, strength)
        inverse = torch.cholesky_inverse(factor.double()).to(factor.dtype)
        jacobian = self.jacobian.flatten(1, 2)[0]
        if self._is_dual(precision):
            return inverse, jacobian / precision
        return jacobian / len(jacobian), inverse

    def _is_dual(self, precision: Tensor) -> bool:
        _, n_points, n_channels, n_latents = self.jacobian.shape
        return precision.ndim < 2 and n_points * n_channels < n_latents

    def _kernel(self, precision: Tensor) -> tuple[Tensor, Tensor]:
        """Return J D⁻¹ and J D⁻¹ Jᵀ for the diagonal D of the precision.

        By the identity of Woodbury, φ = D⁻¹Jᵀ(J D⁻¹ Jᵀ + κ n I)⁻¹ r for the prior κ D.
        """
        jacobian = self.jacobian.flatten(1, 2)
        scaled = jacobian / precision
        return scaled, scaled @ jacobian.transpose(1, 2)


def in_equal_products(rows: Tensor, *matrices: Tensor) -> Tensor:
    """Multiply rows with matrices, always as many rows at a time, so that all round alike.

    Parameters
    ----------
    rows : Tensor of shape (B, n)
        One a signal; 16 of them are multiplied at a time, the last ones filled up with zeros.
    *matrices : Tensor of shape (n, m), (m, k), ...
        Multiplied from the right, one after another.
    """
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        padded = rows.new_zeros(_ROWS_AT_ONCE, rows.shape[1])
        padded[: len(part)] = part
        for matrix in matrices:
            padded = padded @ matrix
        found.append(padded[: len(part)])
    return torch.cat(found) if found else rows[:, :0] @ matrices[-1][:0]


def _as_matrix(precision: Tensor, size: int) -> Tensor:
    return precision if precision.ndim == 2 else torch.diag(precision.expand(size))


def solve_dual(
    jacobian: Tensor, residual: Tensor, counts: Tensor, diagonal: Tensor, pull: Tensor
) -> Tensor:
    """Solve (JᵀJ/n + D) δ = Jᵀr/n + pull through a matrix of the size of J's rows.

    Parameters
    ----------
    jacobian : Tensor of shape (B, M, P)
        J of each signal, by values and latents; rows of values that were not observed are zero.
    residual : Tensor of shape (B, M)
        r, zero where nothing was observed.
    counts : Tensor of shape (B,)
        n, observed values of each signal.
    diagonal : Tensor of shape (B, P)
        Of D, positive.
    pull : Tensor of shape (B, P)
        What the right-hand side has beside the residuals, such as the prior's pull to its mean.

    Returns
    -------
    Tensor of shape (B, P)
        Change δ of each latent.
    """
    pulled = pull / diagonal
    scaled = jacobian / diagonal[:, None]
    kernel = scaled @ jacobian.transpose(1, 2)
    kernel.diagonal(dim1=1, dim2=2).add_(counts[:, None])
    missing = residual[..., None] - jacobian @ pulled[..., None]
    return pulled + (scaled.transpose(1, 2) @ solve_positive(kernel, missing))[..., 0]


def cholesky(matrix: Tensor) -> Tensor:
    """Factor a symmetric positive matrix, or nearly so, of shape (..., P, P).

    Where rounding has made one indefinite, its diagonal is raised until it is not.

    Parameters
    ----------
    matrix : Tensor of shape (..., P, P)
        Where need be, its diagonal is raised by 1e-6 of its mean magnitude, then by more, up to all
        of it.

    Returns
    -------
    Tensor of shape (..., P, P)
        Lower triangular.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not bool((info == 0).all()):
        size = matrix.shape[-1]
        scale = matrix.diagonal(dim1=-2, dim2=-1).abs().mean(-1)[..., None, None]
        eye = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
        for jitter in (1e-6, 1e-4, 1e-2, 1.0):
            failed = (info != 0)[..., None, None]
            raised, of_raised = torch.linalg.cholesky_ex(matrix + jitter * scale * eye)
            factor = torch.where(failed, raised, factor)
            info = torch.where(failed[..., 0, 0], of_raised, info)
            if bool((info == 0).all()):
                break
    return factor


def solve_positive(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve with a symmetric positive matrix, or nearly so, of shape (..., P, P).

    Parameters
    ----------
    matrix : Tensor of shape (..., P, P)
        Factored by :func:`cholesky`.
    rhs : Tensor of shape (..., P, k)
        Right-hand sides, k for each matrix.
    """
    return torch.cholesky_solve(rhs, cholesky(matrix))
