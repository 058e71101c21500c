"""Whole signals from measurements alone: a Gaussian of them learnt by expectation-maximisation.

Signals are s = m + W z + ε on the grid on which operators read them, with ε of a variance for each
frequency, and measurements y = A s + noise. Each step draws the signals of a batch given their
measurements, and replaces a part of the Gaussian by that of what was drawn; the part falls, so that
the last ones average over many batches (stochastic approximation of expectation-maximisation). The
draw is one of the prior, moved by a linear solve (Matheron's rule).

References
----------
Delyon, Lavielle and Moulines, "Convergence of a Stochastic Approximation Version of the EM
Algorithm", Annals of Statistics 27, 1999.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from neurfield.learning.cosines import Cosines
from neurfield.learning.measured.rows import Rows
from neurfield.learning.measured.signal_gaussian import SignalGaussian
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.likelihoods import Gaussian, Likelihood
from neurfield.memory import at_once

_STEPS, _BATCH = 12, 256
_SMOOTH = 2  # of the steps, which learn variances of frequencies alone
_FALL = 0.7  # of the part that a step replaces, as a power of its number
_MOST_DIRECTIONS = 256
# Of conjugate gradients. What a draw has not been moved by yet is as probable as before, and a
# Gaussian of such draws learns nothing there: small variances need small residuals.
_PRODUCTS, _TOLERANCE = 60, 1e-4
_TOLERANCE_OF_MEAN = 1e-3
_FOR_MEAN = 512  # signals, from which the mean starts
# Powers of the frequency by which variances fall where nothing is known yet: those of signals
# slowly, as what begins too small takes many steps to grow; those of their mean as of smooth ones.
_DECAY, _DECAY_OF_MEAN = 2.5, 5.0
_LEVEL = 0.01  # of the measurements' mean square: noise to start with, where it is to be found out
_LEAST_LEVEL = 1e-8  # of the same
_ROUNDS = 3  # of curvatures of other likelihoods than normal ones


@dataclass(frozen=True)
class Incomplete:
    """Measurements of signals on one grid.

    Parameters
    ----------
    values : float64 array of shape (n, m)
        Real numbers of each signal, NaN where nothing was measured.
    rows : Rows
        What operators make of values on the grid.
    cosines : Cosines
        Of the grid.
    likelihood : Likelihood
        Of a measurement.
    std : float64 array of shape (n, m), or None
        Standard deviation of each; None = there is none, or one level for all is to be found out.
    sample_weight : float64 array of shape (n,)
        As how many signals each counts, more than zero.
    """

    values: np.ndarray
    rows: Rows
    cosines: Cosines
    likelihood: Likelihood
    std: np.ndarray | None
    sample_weight: np.ndarray

    def bytes(self) -> float:
        """Return about how many bytes completing takes."""
        size, m, n = self.cosines.size, self.values.shape[1], len(self.values)
        rank, batch = most_directions(size), batch_size(size, n)
        return 8.0 * (size * (5 * rank + 2 * batch) + batch * (10 * size + 8 * m) + n * (size + m))


def most_directions(size: int) -> int:
    """Return how many directions signals of so many values may have."""
    return max(1, min(_MOST_DIRECTIONS, at_once("shared") // size))


def batch_size(size: int, n: int) -> int:
    """Return how many of n signals of so many values are completed together."""
    return max(1, min(_BATCH, n, at_once("signals") // size))


def completed(signals: Incomplete, seed: int, until: float | None = None) -> np.ndarray:
    """Return one draw of each signal, given all measurements: float64 array of shape (n, M · c).

    Draws vary as signals do; the most probable signals would vary less, the less was measured.

    Parameters
    ----------
    signals : Incomplete
        Measurements of two signals or more.
    seed : int
        Of the draws.
    until : float, optional
        When to stop learning, in seconds of ``time.perf_counter``; None = no limit.
    """
    generator = torch.Generator().manual_seed(seed)
    learning = _Learning(signals, generator)
    learning.run(until)
    found = np.empty((len(signals.values), signals.cosines.size))
    for places in learning.places():
        drawn = learning.drawn(_Batch(learning.signals, places))
        found[places] = signals.cosines.values((learning.known.mean + drawn).numpy())
    return found


class _Batch:
    """Some signals with their measurements, as those of normal noise.

    Parameters
    ----------
    signals : Incomplete
        All of them.
    places : int array of shape (k,)
        Which ones.
    """

    def __init__(self, signals: Incomplete, places: np.ndarray) -> None:
        self.rows, self.cosines = signals.rows.of(places), signals.cosines
        values = torch.as_tensor(signals.values[places])
        self.seen = ~torch.isnan(values)
        self.values = torch.where(self.seen, values, 0.0)
        self.target = torch.where(self.seen, signals.likelihood.start(self.values), 0.0)
        self.weight = self.seen.double()
        self.std = None if signals.std is None else torch.as_tensor(signals.std[places])

    def __len__(self) -> int:
        return len(self.values)

    def measured(self, coefficients: Tensor) -> Tensor:
        """Measure signals: rows of shape (k, m)."""
        return torch.as_tensor(self.rows.apply(self.cosines.values(coefficients.numpy())))

    def back(self, rows: Tensor) -> Tensor:
        """Return the transpose of :meth:`measured`, of shape (k, D)."""
        return torch.as_tensor(self.cosines.coefficients(self.rows.adjoint(rows.numpy())))

    def gain(self, known: SignalGaussian, generator: torch.Generator) -> float:
        """Return the mean square of what is measured of values beside the directions."""
        return float(
            self.measured(known.drawn_beside(len(self), generator))[self.seen].square().mean()
        )

    def information(self, generator: torch.Generator) -> Tensor:
        """Return about the diagonal of Aᵀ A over its noise, a mean over signals, of shape (D,)."""
        signs = torch.randint(2, (len(self), self.cosines.size), generator=generator) * 2.0 - 1.0
        signs = signs.double()
        found = signs * self.back(self.measured(signs) * self.weight)
        return self.cosines.smoothed(found.mean(dim=0)).clamp_min(0.0)

    def posterior(
        self, known: SignalGaussian, generator: torch.Generator, is_draw: bool = True
    ) -> Tensor:
        """Draw deviations from the mean given what was measured, or take the most probable ones."""
        prior, target = torch.zeros(len(self), len(known.mean), dtype=torch.float64), self.target
        if is_draw:
            prior = known.drawn(len(self), generator)
            noise = torch.randn(target.shape, generator=generator, dtype=torch.float64)
            target = target - noise * torch.where(self.seen, self.weight.rsqrt(), 0.0)
        left = self.weight * (target - self.measured(known.mean + prior))
        moved = conjugate_gradients(
            lambda rows: known.precise(rows) + self.back(self.weight * self.measured(rows)),
            known.knowing(self.information(generator)),
            self.back(left),
            _PRODUCTS,
            _TOLERANCE,
        )
        return prior + moved


class _Learning:
    """Expectation-maximisation at work."""

    def __init__(self, signals: Incomplete, generator: torch.Generator) -> None:
        self.generator, self.order = generator, np.random.default_rng(generator.initial_seed())
        self.signals = replace(signals, values=self._saying(signals))
        self.size = signals.cosines.size
        self.at_once = batch_size(self.size, len(signals.values))
        weight = torch.as_tensor(signals.sample_weight)
        self.weight, self.counted = weight, float(weight.sum().square() / weight.square().sum())
        self.known, self.level = self._begun()

    def run(self, until: float | None) -> None:
        places = self._places()
        for step in range(1, _STEPS + 1):
            if until is not None and time.perf_counter() > until:
                break
            share, some = max(1, step - _SMOOTH) ** -_FALL, next(places)
            batch = _Batch(self.signals, some)
            drawn = self.drawn(batch)
            left = batch.target - batch.measured(self.known.mean + drawn)
            self.known = self.known.updated(
                drawn,
                self.weight[some],
                share,
                min(self.counted, len(batch) * (2.0 - share) / share),
                most_directions(self.size) if step > _SMOOTH else 0,
                self.signals.cosines,
            )
            if self.level is not None:
                self.level += share * (self._typical(left[batch.seen].square()) - self.level)

    def drawn(self, batch: _Batch) -> Tensor:
        """Draw deviations of signals from the mean, given what was measured of each."""
        likelihood = self.signals.likelihood
        if self.level is not None:
            std = torch.full_like(batch.values, self.level**0.5)
        else:
            std = torch.zeros_like(batch.values) if batch.std is None else batch.std
        if isinstance(likelihood, Gaussian):
            batch.weight = torch.where(batch.seen, std**-2, 0.0)
            return batch.posterior(self.known, self.generator)
        gain = batch.gain(self.known, self.generator)
        variance, predicted = torch.full_like(std, gain + 1e-300), batch.target
        for _ in range(_ROUNDS):
            at = likelihood.evaluate(predicted, batch.values, std, variance)
            noise = (1.0 / at.curvature - variance).clamp_min(_LEAST_LEVEL * gain + 1e-300)
            batch.weight = torch.where(batch.seen, 1.0 / noise, 0.0)
            batch.target = torch.where(batch.seen, predicted + at.slope / at.curvature, 0.0)
            probable = batch.posterior(self.known, self.generator, is_draw=False)
            predicted = batch.measured(self.known.mean + probable)
        return batch.posterior(self.known, self.generator)

    def places(self) -> list[np.ndarray]:
        """Return all signals in batches."""
        n = len(self.signals.values)
        return np.array_split(np.arange(n), -(-n // self.at_once))

    def _places(self) -> Iterator[np.ndarray]:
        n = len(self.signals.values)
        while True:
            order = self.order.permutation(n)
            for first in range(0, n - self.at_once + 1, self.at_once):
                yield order[first : first + self.at_once]

    def _saying(self, signals: Incomplete) -> np.ndarray:
        """Return the measurements, with NaN for those that no value has an effect on."""
        values = signals.values.copy()
        size, n = signals.cosines.size, len(values)
        for places in np.array_split(np.arange(n), -(-n // batch_size(size, n))):
            probe = self.order.standard_normal((len(places), size))
            silent = signals.rows.of(places).apply(probe) == 0.0
            values[places] = np.where(silent, np.nan, values[places])
        return values

    def _begun(self) -> tuple[SignalGaussian, float | None]:
        """Return the mean with variances that fall with the frequency, and a level of noise."""
        signals = self.signals
        some = self.order.permutation(len(signals.values))[:_FOR_MEAN]
        batch = _Batch(signals, some)
        squared, mean = batch.target[batch.seen].square(), torch.zeros(self.size).double()
        prior, gain = self._falling(_DECAY_OF_MEAN, batch)
        prior = prior * (float(squared.mean()) / gain)
        for _ in range(2):  # what the mean leaves counts as noise
            batch.weight = batch.seen / (squared.mean() + 1e-300)
            mean = self._mean(batch, prior)
            squared = (batch.target - batch.measured(mean.expand(len(batch), -1)))[
                batch.seen
            ].square()
        self.power = float(squared.mean()) + 1e-300
        has_level = signals.likelihood.has_std and signals.std is None
        power, gain = self._falling(_DECAY, batch)
        known = SignalGaussian(mean, mean.new_zeros(self.size, 0), power * (self.power / gain))
        return known, _LEVEL * self.power if has_level else None

    def _falling(self, decay: float, batch: _Batch) -> tuple[Tensor, float]:
        """Return variances that fall with the frequency, and the mean square measured of such."""
        cosines = self.signals.cosines
        power = cosines.smoothed((1.0 + cosines.frequency).pow(-decay))
        nothing = torch.zeros_like(power)
        gaussian = SignalGaussian(nothing, nothing.new_zeros(self.size, 0), power)
        return power, batch.gain(gaussian, self.generator) + 1e-300

    def _mean(self, batch: _Batch, prior: Tensor) -> Tensor:
        """Return the most probable mean of signals, of which coefficients have such a variance."""
        known = 1.0 / prior + len(batch) * batch.information(self.generator)

        def multiply(mean: Tensor) -> Tensor:
            measured = batch.measured(mean.expand(len(batch), -1))
            return mean / prior + batch.back(batch.weight * measured).sum(dim=0, keepdim=True)

        rhs = batch.back(batch.weight * batch.target).sum(dim=0, keepdim=True)
        return conjugate_gradients(
            multiply, lambda r: r / known, rhs, _PRODUCTS, _TOLERANCE_OF_MEAN
        )[0]

    def _typical(self, squared: Tensor) -> float:
        """Return the variance of noise whose squares are these, outliers aside."""
        return max(self.signals.likelihood.variance_of(squared), _LEAST_LEVEL * self.power)
