"""Which Gaussian of a mixture a signal is of, by what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from neurfield.learning.measured.gaussian import LatentGaussian
from neurfield.learning.solvers.tangent import cholesky

_ALONE = 0.99  # share from which on a signal is of one Gaussian


@dataclass(frozen=True)
class Conditional:
    """What is known of a signal's unknown numbers once it was measured, by the linear model.

    Parameters
    ----------
    known : LatentGaussian
        What was known before: of the Gaussian that the signal is of, or of what several of them
        come to, each by how probable it is.
    mean : Tensor of shape (U,)
        Of the numbers.
    factor : Tensor of shape (U, U)
        Of their precision, by Cholesky.
    """

    known: LatentGaussian
    mean: Tensor
    factor: Tensor


@dataclass(frozen=True)
class Weighed:
    """What signals have in common of which the same measurements count as much.

    Parameters
    ----------
    columns : Tensor of shape (U, m)
        What is measured of each unknown number.
    weight : Tensor of shape (m,)
        Of the measurements.
    gram : Tensor of shape (U, U)
        columns · weight · columnsᵀ.
    parts : list of LatentGaussian
        Of the unknown numbers.
    factors : list of Tensor of shape (U, U)
        Of the precision given measurements, by Cholesky, for each Gaussian.
    log_volumes : Tensor of shape (K,)
        Logarithm of how much smaller the measurements make it.
    """

    columns: Tensor
    weight: Tensor
    gram: Tensor
    parts: list[LatentGaussian]
    factors: list[Tensor]
    log_volumes: Tensor

    @classmethod
    def of(cls, columns: Tensor, weight: Tensor, parts: list[LatentGaussian]) -> Self:
        """Compute it.

        Parameters
        ----------
        columns, weight, parts
            As above.
        """
        gram = (columns * weight) @ columns.T
        factors = [cholesky(gram + part.precision) for part in parts]
        volumes = [
            part.log_root - factor.diagonal().log().sum()
            for part, factor in zip(parts, factors, strict=True)
        ]
        return cls(columns, weight, gram, parts, factors, torch.stack(volumes))

    def given(self, residual: Tensor) -> Conditional:
        """Return what the linear model says of what is unknown of a signal.

        But for a constant, the logarithm of the density of what was measured is, for each Gaussian,
        that of the least weighed square, and of how much smaller the volume has become.

        Parameters
        ----------
        residual : Tensor of shape (m,)
            What was measured, beside that of unknown numbers of zero.
        """
        weighed = self.columns * self.weight
        projected, square = weighed @ residual, (self.weight * residual.square()).sum()
        means, logarithms = [], []
        for part, factor in zip(self.parts, self.factors, strict=True):
            pulled = part.precision @ part.mean
            rhs = projected + pulled
            means.append(torch.cholesky_solve(rhs[:, None], factor)[:, 0])
            least = square + part.mean @ pulled - rhs @ means[-1]
            logarithms.append(part.log_weight - 0.5 * least)
        shares = (torch.stack(logarithms) + self.log_volumes).softmax(dim=0)
        likeliest = int(shares.argmax())
        if float(shares[likeliest]) > _ALONE:
            return Conditional(self.parts[likeliest], means[likeliest], self.factors[likeliest])
        mean = shares @ torch.stack(means)
        precision, covariance = torch.zeros_like(self.gram), torch.zeros_like(self.gram)
        for share, part, own, factor in zip(shares, self.parts, means, self.factors, strict=True):
            precision += share * part.precision
            covariance += share * torch.cholesky_inverse(factor)
            covariance.addr_(own - mean, own - mean, alpha=float(share))
        # The one Gaussian with which the least square is at the mean.
        pulled = (self.gram + precision) @ mean - projected
        before = torch.cholesky_solve(pulled[:, None], cholesky(precision))[:, 0]
        factor = cholesky(torch.cholesky_inverse(cholesky(covariance)))
        return Conditional(LatentGaussian(before, precision), mean, factor)
