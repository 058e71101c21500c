"""A Gaussian of whole signals on a grid: few directions, and smooth rest around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from neurfield.learning.cosines import Cosines
from neurfield.learning.solvers.tangent import cholesky

_MOST_OF_COUNTED = 3  # signals for a direction, at least
# Numbers of a signal for each signal that shrinking counts with, at most: what was not measured is
# drawn from a Gaussian that was shrunk, and with few signals all directions would die out so.
_MOST_ASPECT = 0.25
_LEAST_POWER = 1e-8  # of a coefficient, of the mean of all


@dataclass(frozen=True)
class SignalGaussian:
    """Mean and covariance W Wᵀ + diag(ψ) of the coefficients of a signal's cosines.

    Parameters
    ----------
    mean : float64 Tensor of shape (D,)
        Of each coefficient.
    columns : float64 Tensor of shape (D, R)
        W, directions in which signals differ by more than any other.
    power : float64 Tensor of shape (D,)
        ψ, variance of each coefficient beside that; the same for frequencies alike.
    """

    mean: Tensor
    columns: Tensor
    power: Tensor

    def drawn(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw deviations from the mean, of shape (n, D)."""
        rank = self.columns.shape[1]
        directions = torch.randn(n, rank, generator=generator, dtype=self.mean.dtype)
        return directions @ self.columns.T + self.drawn_beside(n, generator)

    def drawn_beside(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw what deviates beside the directions, of shape (n, D)."""
        white = torch.randn(n, len(self.mean), generator=generator, dtype=self.mean.dtype)
        return white * self.power.sqrt()

    def precise(self, deviations: Tensor) -> Tensor:
        """Multiply rows of shape (n, D) with the inverse of the covariance, by Woodbury."""
        return deviations / self.power - (deviations @ self._less) @ self._less.T

    def knowing(self, information: Tensor) -> _Inverse:
        """Return the inverse of precision + diag(information).

        Parameters
        ----------
        information : Tensor of shape (D,)
            What measurements say of each coefficient, about.
        """
        diagonal = 1.0 / self.power + information
        scaled = self._less / diagonal[:, None]
        eye = torch.eye(self._less.shape[1], dtype=scaled.dtype)
        factor = cholesky(eye - self._less.T @ scaled)
        more = torch.linalg.solve_triangular(factor, scaled.T, upper=False).T
        return _Inverse(diagonal, more)

    @cached_property
    def _less(self) -> Tensor:
        scaled = self.columns / self.power[:, None]
        eye = torch.eye(self.columns.shape[1], dtype=scaled.dtype)
        factor = cholesky(eye + self.columns.T @ scaled)
        return torch.linalg.solve_triangular(factor, scaled.T, upper=False).T

    def updated(
        self,
        deviations: Tensor,
        weight: Tensor,
        share: float,
        counted: float,
        rank: int,
        cosines: Cosines,
    ) -> Self:
        """Return the Gaussian with a part of it replaced by that of some signals.

        Directions are principal components in terms of ψ, as in factor analysis. Those of noise in
        the sample are left out, and the others shrunk, as a spiked covariance asks for.

        Parameters
        ----------
        deviations : Tensor of shape (n, D)
            Of these signals, from the mean.
        weight : Tensor of shape (n,)
            As how many signals each counts.
        share : float
            How large a part, 1 = all.
        counted : float
            From how many signals the result is, those of before included.
        rank : int
            Most directions.
        cosines : Cosines
            That coefficients are of.

        References
        ----------
        Donoho, Gavish and Johnstone, "Optimal Shrinkage of Eigenvalues in the Spiked Covariance
        Model", Annals of Statistics 46, 2018.
        """
        weight = weight / weight.sum()
        moved = weight @ deviations
        centred = (deviations - moved) * weight.sqrt()[:, None]
        parts = [
            math.sqrt(1.0 - share) * self.columns,
            math.sqrt(share) * centred.T,
            math.sqrt(share * (1.0 - share)) * moved[:, None],
        ]
        root, before = torch.cat(parts, dim=1), (1.0 - share) * self.power
        size = len(self.mean)
        whiten = self.power.sqrt()[:, None]
        variance, axes = _principal(root / whiten)
        total = float(variance.sum()) + (1.0 - share) * size
        rank = max(0, min(rank, len(variance) - 1, int(counted / _MOST_OF_COUNTED)))
        variance = variance[:rank] + (1.0 - share)
        rest = max((total - float(variance.sum())) / (size - rank), _LEAST_POWER)
        excess = rest * _spikes(variance / rest, min(_MOST_ASPECT, size / counted))
        is_kept = excess > 0
        columns = whiten * axes[:, :rank][:, is_kept] * excess[is_kept].sqrt()
        diagonal = root.square().sum(dim=1) + before
        power = cosines.smoothed(diagonal - columns.square().sum(dim=1))
        floor = _LEAST_POWER * float(diagonal.mean()) + torch.finfo(power.dtype).tiny
        return type(self)(self.mean + share * moved, columns, power.clamp_min(floor))


@dataclass(frozen=True)
class _Inverse:
    """diag(d)⁻¹ + U Uᵀ."""

    diagonal: Tensor
    more: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return rows / self.diagonal + (rows @ self.more) @ self.more.T


def _principal(root: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues of root rootᵀ and their vectors, the greatest first."""
    size, n = root.shape
    if n >= size:
        variance, axes = torch.linalg.eigh(root @ root.T)
        return variance.flip(0).clamp_min(0.0), axes.flip(1)
    variance, within = torch.linalg.eigh(root.T @ root)
    variance, within = variance.flip(0), within.flip(1)
    is_there = variance > torch.finfo(root.dtype).eps * n * variance[0]
    variance, within = variance[is_there], within[:, is_there]
    return variance, root @ within / variance.sqrt()


def _spikes(variance: Tensor, aspect: float) -> Tensor:
    """Return how far true eigenvalues are above one where those of a sample are these.

    Parameters
    ----------
    variance : Tensor of shape (R,)
        Of a sample's covariance whose other true eigenvalues are one.
    aspect : float
        Numbers of a signal, for each signal.
    """
    middle = variance + 1.0 - aspect
    root = (middle.square() - 4.0 * variance).clamp_min(0.0).sqrt()
    is_more_than_noise = variance > (1.0 + math.sqrt(aspect)) ** 2
    return torch.where(is_more_than_noise, 0.5 * (middle + root) - 1.0, 0.0)
