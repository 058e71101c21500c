"""A mixture of a few Gaussians of many numbers, as wide as held-out rows lie."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from neurfield.learning.weighting import shrunk_covariance

_MOST = 8
_LEAST_ROWS, _ROWS = 40, 1  # signals of a Gaussian, where there are several; for each number
_COMMON = 0.5  # signals, for each number, that the covariance of all counts as in that of each
_LEADING = 32  # numbers by which signals are told apart
# Of expectation-maximisation; relative to the variance of a number; of the logarithm of a density.
_ROUNDS, _RIDGE, _ENOUGH = 40, 1e-3, 1e-2
_HELD_OUT = 5  # of so many signals, one
_LEAST_SIGNALS = 20  # from which on some are held out
_MOST_WIDER = 4.0  # that held-out signals may make covariances


@dataclass(frozen=True)
class Gaussians:
    """Weights, means and covariances.

    Parameters
    ----------
    weights : array of shape (K,)
        Their sum is one.
    means : array of shape (K, U)
        Of the numbers.
    covariances : array of shape (K, U, U)
        Of the numbers.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def spread(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return how much wider rows lie: mean squares of numbers of variance one.

        These are along the principal axes of the Gaussian that is most probable for each row, in
        the order of their variances.

        Parameters
        ----------
        rows : array of shape (n, U)
            What is unknown of some signals.
        weights : array of shape (n,)
            As how many each counts.

        Returns
        -------
        array of shape (U,)
            The first of the axis of the largest variance.
        """
        logarithms, squares = [], []
        for weight, mean, (variances, axes) in zip(
            self.weights, self.means, self._principal, strict=True
        ):
            square = np.square((rows - mean) @ axes) / variances
            logarithms.append(
                np.log(weight) - 0.5 * np.log(variances).sum() - 0.5 * square.sum(axis=1)
            )
            squares.append(square)
        likeliest = np.argmax(logarithms, axis=0)[None, :, None]
        own = np.take_along_axis(np.array(squares), likeliest, axis=0)[0]
        return np.average(own, axis=0, weights=weights)

    def wider(self, factors: np.ndarray) -> Self:
        """Return them with variances along principal axes so many times as large.

        Parameters
        ----------
        factors : array of shape (U,)
            As :meth:`spread` returns them.
        """
        covariances = [
            (axes * (variances * factors)) @ axes.T for variances, axes in self._principal
        ]
        return replace(self, covariances=np.array(covariances))

    @cached_property
    def _principal(self) -> list[tuple[np.ndarray, np.ndarray]]:
        found = [np.linalg.eigh(covariance) for covariance in self.covariances]
        return [(variances[::-1], axes[:, ::-1]) for variances, axes in found]


def fit_gaussians(
    versions: list[np.ndarray], weights: list[np.ndarray], random: np.random.Generator
) -> Gaussians | None:
    """Fit a few Gaussians, as wide as signals lie that were held out.

    Parameters
    ----------
    versions : list of float64 arrays of shape (n, U)
        Numbers of signals as they are, and as they are after changes; the first tell them apart.
    weights : list of arrays of shape (n,)
        As how many signals each counts in its version.
    random : numpy.random.Generator
        Of the signals that are held out, and where means begin.

    Returns
    -------
    Gaussians or None
        None where all signals are the same.
    """
    counted = np.flatnonzero(weights[0] > 0)
    size = max(1, min(_MOST, len(counted) // max(_LEAST_ROWS, _ROWS * versions[0].shape[1])))
    found = _fitted(versions, weights, size, random)
    if found is None or len(counted) < _LEAST_SIGNALS:
        return found
    order = random.permutation(counted)
    aside, rest = np.split(order, [len(order) // _HELD_OUT])
    without = _fitted(
        [version[rest] for version in versions], [weight[rest] for weight in weights], size, random
    )
    if without is None:
        return found
    factor = float(
        np.clip(without.spread(versions[0][aside], weights[0][aside]).mean(), 1.0, _MOST_WIDER)
    )
    return Gaussians(found.weights, found.means, factor * found.covariances)


def _fitted(
    versions: list[np.ndarray],
    weights: list[np.ndarray],
    size: int,
    random: np.random.Generator,
) -> Gaussians | None:
    rows, weight = np.concatenate(versions), np.concatenate(weights)
    belongs = np.ones((len(rows), 1))
    if size > 1:
        leading = rows[:, :_LEADING]
        here = leading[: len(versions[0])][weights[0] > 0]
        ridge = _RIDGE * float(here.var(axis=0).mean())
        told_apart = GaussianMixture(
            size,
            reg_covar=max(ridge, 1e-12),
            max_iter=_ROUNDS,
            tol=_ENOUGH,
            random_state=int(random.integers(2**31)),
        )
        # Threads that wait for each other at every small product are slow on a busy machine.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            belongs = told_apart.fit(here).predict_proba(leading)
    counted = belongs * weight[:, None]
    counts = counted.sum(axis=0)
    belongs, counted, counts = (one[..., counts > 0] for one in (belongs, counted, counts))
    means = counted.T @ rows / counts[:, None]
    _, common = shrunk_covariance(rows - belongs @ means, weight)
    level, known = float(np.trace(common)), _COMMON * rows.shape[1]
    if not level > 0:
        return None
    covariances = []
    for mean, member, count in zip(means, counted.T, counts, strict=True):
        scatter = ((rows - mean) * member[:, None]).T @ (rows - mean)
        ratio = float(np.trace(scatter)) / count / level
        covariances.append((scatter + known * ratio * common) / (count + known))
    return Gaussians(counts / counts.sum(), means, np.stack(covariances))
