"""Statistics of signals that count more or less than others."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

_ERROR_FLOOR = 0.1  # relative to the mean error of all


def sum_over_signals(numbers: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Add up over the first axis, each signal as often as its weight says.

    Parameters
    ----------
    numbers : Tensor of shape (n, ...)
        One entry a signal.
    sample_weight : Tensor of shape (n,), or None
        Positive; None = all once.
    """
    if sample_weight is None:
        return numbers.sum(dim=0)
    return torch.tensordot(sample_weight.to(numbers), numbers, dims=1)


def mean_over_signals(numbers: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Average over the first axis, each signal as often as its weight says.

    Parameters
    ----------
    numbers : Tensor of shape (n, ...)
        One entry a signal.
    sample_weight : Tensor of shape (n,), or None
        As in :func:`sum_over_signals`.
    """
    if sample_weight is None:
        return numbers.mean(dim=0)
    return sum_over_signals(numbers, sample_weight) / sample_weight.to(numbers).sum()


def second_moment(rows: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return the mean outer product of rows with themselves, of shape (P, P).

    Parameters
    ----------
    rows : Tensor of shape (n, P)
        One row a signal.
    sample_weight : Tensor of shape (n,), or None
        As in :func:`mean_over_signals`.
    """
    if sample_weight is None:
        return rows.T @ rows / len(rows)
    weight = sample_weight.to(rows)
    return (rows * weight[:, None]).T @ rows / weight.sum()


def count_of(n_signals: int, sample_weight: Tensor | None) -> float:
    """Return as how many signals so many count together.

    Parameters
    ----------
    n_signals : int
        How many there are.
    sample_weight : Tensor of shape (n,), or None
        As in :func:`mean_over_signals`.
    """
    return float(n_signals) if sample_weight is None else float(sample_weight.sum())


def shrunk_covariance(
    rows: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance, shrunk as far as the number of signals asks for.

    Parameters
    ----------
    rows : float64 array of shape (n, P)
        One row a signal.
    sample_weight : array of shape (n,), or None
        A whole number counts like as many equal rows; None = all count once.

    Returns
    -------
    mean : array of shape (P,)
        Of the rows.
    covariance : array of shape (P, P)
        Shrunk towards a multiple of the identity.

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88, 2004, equation 14.

    Examples
    --------
    >>> rows = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> _, twice = shrunk_covariance(rows, np.array([1.0, 1.0, 2.0]))
    >>> _, repeated = shrunk_covariance(rows[[0, 1, 2, 2]], None)
    >>> bool(np.allclose(twice, repeated))
    True
    """
    if sample_weight is None:
        shrunk = LedoitWolf().fit(rows)
        return shrunk.location_, shrunk.covariance_
    weight, size = sample_weight, rows.shape[1]
    mean = np.average(rows, axis=0, weights=weight)
    centred = rows - mean
    covariance = (centred * weight[:, None]).T @ centred / weight.sum()
    level = np.trace(covariance) / size
    target = level * np.eye(size)
    apart = np.square(covariance - target).sum()
    fourth = np.average(np.square(np.square(centred).sum(axis=1)), weights=weight)
    error = (fourth - np.square(covariance).sum()) / weight.sum()
    share = 0.0 if apart == 0 else min(max(error, 0.0), apart) / apart
    return mean, (1.0 - share) * covariance + share * target


def quantile(values: np.ndarray, level: float, sample_weight: np.ndarray | None) -> float:
    """Return a quantile of all values but NaN, each signal's as often as its weight says.

    Parameters
    ----------
    values : array of shape (n, ...)
        Those of one signal each.
    level : float in (0, 1)
        Which quantile.
    sample_weight : array of shape (n,), or None
        As in :func:`shrunk_covariance`.
    """
    if sample_weight is None:
        return float(np.nanquantile(values, level))
    weight = np.broadcast_to(sample_weight.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    ordered, share = values[known][order], np.cumsum(weight[known][order])
    return float(ordered[np.searchsorted(share, level * share[-1])])


def geometric_mean(errors: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Average the signals' errors as PSNR does: the gradient is that of the mean PSNR.

    A floor keeps a few signals without any detail from taking over.

    Parameters
    ----------
    errors : Tensor of shape (B,)
        Mean squared error of each signal.
    sample_weight : Tensor of shape (B,), optional
        As how many signals each counts.

    Returns
    -------
    Tensor, scalar
        Geometric mean of the errors, each raised by a tenth of their arithmetic mean.
    """
    raised = errors + _ERROR_FLOOR * mean_over_signals(errors, sample_weight)
    return mean_over_signals(raised.clamp_min(1e-20).log(), sample_weight).exp()
