"""Probabilistic PCA by expectation maximisation, from values of which some are missing.

Tipping and Bishop 1999: t = W x + μ + ε, with x of a standard normal distribution and noise ε of
variance σ². Of each signal, only the rows of W that belong to observed values take part:

    M_n = W_oᵀ W_o + σ² I,   ⟨x_n⟩ = M_n⁻¹ W_oᵀ (t_o − μ_o),   cov(x_n) = σ² M_n⁻¹      (E)

and with x̃ = (x, 1) and w̃_d the d-th row of (W, μ), over the signals that have value d,

    w̃_d = (Σ_n ⟨x̃ x̃ᵀ⟩)⁻¹ Σ_n t_nd ⟨x̃⟩,   σ² = mean over observed values of ⟨(t_nd − w̃_dᵀ x̃)²⟩  (M)
"""

from __future__ import annotations

import time
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, validate_data

from neurfield._compat import Interval, fit_context

_LEAST_NOISE = 1e-8  # of the variance of observed values, where a subspace describes them exactly
_NUMBERS_AT_ONCE = 2**25  # of products of latents or of weights

Array = NDArray[np.float64]


class _Posterior(NamedTuple):
    mean: Array  # (n, q)
    covariance: Array  # (n, q, q)
    log_likelihood: Array  # (n,), of observed values


class ProbabilisticPCA(TransformerMixin, BaseEstimator):
    """Principal components with noise, learnt from and found for signals in part observed.

    Parameters
    ----------
    n_components : int, default=64
        P, less than there are signals and values in each.
    max_iter : int, default=200
        Steps of expectation maximisation.
    tol : float, default=1e-4
        Least gain of log-likelihood per observed value that another step is worth.
    max_time : float, default=None
        Seconds of training; None = no limit.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        Wᵀ.
    mean_ : array of shape (n_features,)
        μ.
    noise_variance_ : float
        σ².
    log_likelihood_curve_ : list of float
        Log-likelihood per observed value, before each step and after the last.
    n_iter_ : int
        Steps taken.

    Notes
    -----
    It starts from PCA of the signals with means in place of what is missing, which is the answer
    where nothing is. A value that no signal has keeps the mean of all.

    References
    ----------
    Tipping and Bishop, "Probabilistic Principal Component Analysis", Journal of the Royal
    Statistical Society B 61, 1999, Eqs. (25) to (28), with sums over observed values.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris(return_X_y=True)[0]
    >>> X[::5, 2] = np.nan
    >>> model = ProbabilisticPCA(2).fit(X)
    >>> model.inverse_transform(model.transform(X))[:2, 2].round(1)
    array([1.6, 1.5])
    """

    noise_variance_: float

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_time: float | None = None,
    ) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.max_time = max_time

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Learn W, μ and σ².

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN marks values that were not observed.
        y : ignored

        Returns
        -------
        self
            The estimator, fitted.

        Raises
        ------
        ValueError
            If there are too few signals or values for `n_components`, or none observed.
        """
        began = time.perf_counter()
        values = self._read(X, reset=True)
        if self.n_components >= min(values.shape):
            raise ValueError(
                f"n_components must be less than {min(values.shape)}, the least of n_samples and "
                f"n_features, got {self.n_components}"
            )
        is_observed = ~np.isnan(values)
        if not is_observed.any():
            raise ValueError("X must hold observed values, got NaN alone")
        self._start(values, is_observed)
        least = _LEAST_NOISE * float(values[is_observed].var()) or np.finfo(float).tiny
        self.noise_variance_ = max(self.noise_variance_, least)
        n_observed = is_observed.sum()
        curve: list[float] = []
        for _ in range(self.max_iter):
            posterior = self._posterior(values, is_observed)
            curve.append(float(posterior.log_likelihood.sum() / n_observed))
            is_late = self.max_time is not None and time.perf_counter() - began > self.max_time
            if is_late or (len(curve) > 1 and curve[-1] - curve[-2] < self.tol):
                break
            self._maximise(values, is_observed, posterior, least)
        else:
            last = self._posterior(values, is_observed).log_likelihood
            curve.append(float(last.sum() / n_observed))
        self.log_likelihood_curve_ = curve
        self.n_iter_ = len(curve) - 1
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Return the posterior mean of the latents of each signal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN marks values that were not observed.

        Returns
        -------
        float64 array of shape (n_samples, n_components)
            ⟨x⟩, zero for a signal of which nothing was observed.
        """
        check_is_fitted(self)
        values = self._read(X, reset=False)
        return self._posterior(values, ~np.isnan(values)).mean

    def inverse_transform(self, Z: ArrayLike) -> Array:
        """Return W x + μ.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Latents.

        Returns
        -------
        float64 array of shape (n_samples, n_features)
            All values, the missing ones too.
        """
        check_is_fitted(self)
        return np.asarray(Z) @ self.components_ + self.mean_

    def score_samples(self, X: ArrayLike) -> Array:
        """Return the log-likelihood of the observed values of each signal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN marks values that were not observed.

        Returns
        -------
        float64 array of shape (n_samples,)
            Zero for a signal of which nothing was observed.
        """
        check_is_fitted(self)
        values = self._read(X, reset=False)
        return self._posterior(values, ~np.isnan(values)).log_likelihood

    def _read(self, X: ArrayLike, reset: bool) -> Array:
        read = validate_data(
            self, X, reset=reset, dtype="float64", ensure_all_finite="allow-nan", copy=reset
        )
        return np.asarray(read)

    def _start(self, values: Array, is_observed: NDArray[np.bool_]) -> None:
        counts = is_observed.sum(axis=0)
        sums = np.where(is_observed, values, 0.0).sum(axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
        pca = PCA(self.n_components, svd_solver="full").fit(np.where(is_observed, values, means))
        unbiased = (len(values) - 1) / len(values)  # the likelihood is most with 1/n
        variances = np.maximum(pca.explained_variance_ - pca.noise_variance_, 0.0) * unbiased
        self.components_ = np.sqrt(variances)[:, None] * pca.components_
        self.mean_ = means
        self.noise_variance_ = float(pca.noise_variance_) * unbiased

    def _posterior(self, values: Array, is_observed: NDArray[np.bool_]) -> _Posterior:
        n_signals, n_features = values.shape
        q, noise = self.n_components, self.noise_variance_
        mask = is_observed.astype(np.float64)
        residual = np.where(is_observed, values - self.mean_, 0.0)
        inner = np.zeros((n_signals, q * q))
        step = max(1, _NUMBERS_AT_ONCE // q**2)
        for start in range(0, n_features, step):
            rows = self.components_[:, start : start + step].T
            products = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), q * q)
            inner += mask[:, start : start + step] @ products
        inner = inner.reshape(n_signals, q, q) + noise * np.eye(q)
        covariance: Array = np.asarray(noise * np.linalg.inv(inner), dtype=np.float64)
        projected = residual @ self.components_.T
        mean: Array = np.einsum("nij,nj->ni", covariance, projected) / noise
        n_observed = mask.sum(axis=1)
        squares = np.square(residual).sum(axis=1) - (projected * mean).sum(axis=1)
        log_det = np.linalg.slogdet(inner)[1] + (n_observed - q) * np.log(noise)
        likelihood = -0.5 * (n_observed * np.log(2 * np.pi) + log_det + squares / noise)
        return _Posterior(mean, covariance, likelihood)

    def _maximise(
        self, values: Array, is_observed: NDArray[np.bool_], posterior: _Posterior, least: float
    ) -> None:
        n_signals, n_features = values.shape
        q = self.n_components
        extended = np.hstack([posterior.mean, np.ones((n_signals, 1))])
        second = extended[:, :, None] * extended[:, None, :]
        second[:, :q, :q] += posterior.covariance
        second = second.reshape(n_signals, -1)
        squares = 0.0
        step = max(1, _NUMBERS_AT_ONCE // (q + 1) ** 2)
        for start in range(0, n_features, step):
            part = slice(start, start + step)
            seen = is_observed[:, part].any(axis=0)
            mask = is_observed[:, part][:, seen]
            # Around the mean so far, so that the difference below does not cancel.
            shift = self.mean_[part][seen]
            known = np.where(mask, values[:, part][:, seen] - shift, 0.0)
            left = (mask.T.astype(np.float64) @ second).reshape(-1, q + 1, q + 1)
            right = known.T @ extended
            found = np.linalg.solve(left, right[:, :, None])[:, :, 0]
            squares += float(np.square(known).sum() - (right * found).sum())
            self.components_[:, np.arange(n_features)[part][seen]] = found[:, :q].T
            self.mean_[np.arange(n_features)[part][seen]] = found[:, q] + shift
        self.noise_variance_ = max(squares / float(is_observed.sum()), least)
