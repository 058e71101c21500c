"""Learn all weights of a field from the values of one signal."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from neurfield.decibels import psnr_of
from neurfield.fields import CoordinateField
from neurfield.learning.callbacks import Callback, Progress
from neurfield.learning.optimizers import Optimizers, lr_factor

_LOOK_BACK = 100  # iterations whose mean PSNR is compared with that of as many before them


class Misfit(NamedTuple):
    """How far a network is from what is known of a signal.

    Attributes
    ----------
    loss : Tensor
        Mean squared error, to be differentiated.
    psnr : float
        The same in dB.
    held_out : float or None, default=None
        Mean squared error where nothing is learnt from; None = there is no such part.
    """

    loss: Tensor
    psnr: float
    held_out: float | None = None


class Batch(Protocol):
    """What an iteration looks at."""

    def misfit(self, network: CoordinateField) -> Misfit:
        """Return how far a network is from it.

        Parameters
        ----------
        network : CoordinateField
            In normalised coordinates and scaled values.
        """
        ...


class Learnable(Protocol):
    """What is known of a signal, by its values or by measurements."""

    def batches(self, n_points: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield what iterations look at, for ever.

        Parameters
        ----------
        n_points : int
            Most points of a batch, where it can be a part of the signal.
        generator : torch.Generator
            Source of random numbers.
        """
        ...


@dataclass(frozen=True)
class Observations:
    """Where one signal was observed, and what.

    Parameters
    ----------
    coords : Tensor of shape (N, d)
        Normalised coordinates.
    values : Tensor of shape (N, c)
        Scaled values; any finite number where a channel was not observed.
    weights : Tensor of shape (N, c)
        One where a value was observed, zero elsewhere.
    peak : Tensor of shape (c,)
        Range of the scaled values of each channel, for the PSNR.
    """

    coords: Tensor
    values: Tensor
    weights: Tensor
    peak: Tensor

    def batches(self, n_points: int, generator: torch.Generator) -> Iterator[Observations]:
        """Yield random points for ever; all of them where there are no more than `n_points`."""
        while True:
            if len(self.coords) <= n_points:
                yield self
                continue
            # With replacement: what a draw costs does not grow with the signal.
            drawn = torch.randint(len(self.coords), (n_points,), generator=generator)
            rows = drawn.to(self.coords.device)
            yield Observations(self.coords[rows], self.values[rows], self.weights[rows], self.peak)

    def misfit(self, network: CoordinateField) -> Misfit:
        """Return how far the values of a network are from those observed.

        Parameters
        ----------
        network : CoordinateField
            In normalised coordinates and scaled values.
        """
        residual = network(self.coords) - self.values
        return Misfit(self.mean(residual.square()), self.psnr(residual))

    def mean(self, numbers: Tensor) -> Tensor:
        """Average numbers of shape (N, c) over what was observed."""
        return (numbers * self.weights).sum() / self.weights.sum().clamp_min(1.0)

    def psnr(self, residual: Tensor) -> float:
        """Return the PSNR in dB of a residual of shape (N, c)."""
        mse = self.mean((residual.detach().double() / self.peak).square())
        return float(psnr_of(float(mse)))


@dataclass(frozen=True)
class RegressionLoop:
    """How long and how fast to learn.

    Parameters
    ----------
    lr : float
        Peak learning rate of Adam, which a cosine takes to zero.
    max_iter : int
        Most iterations, over which the cosine runs.
    batch_points : int
        Points of each iteration.
    tol : float or None
        Least gain in dB from 100 iterations to the next 100; None = learn to the end.
    max_time : float or None
        Seconds after which to end.
    callbacks : sequence of callables
        Called after each iteration; a true return value ends the fit.
    verbose : bool
        Whether to show a progress bar.
    """

    lr: float
    max_iter: int
    batch_points: int
    tol: float | None
    max_time: float | None
    callbacks: Sequence[Callback]
    verbose: bool


@dataclass
class RegressionHistory:
    """Mean squared error and PSNR in dB of each iteration's points, before its update."""

    loss_curve: list[float] = field(default_factory=list)
    psnr_curve: list[float] = field(default_factory=list)

    def stalls(self, tol: float | None) -> bool:
        """Tell whether the latest iterations gained less than `tol` dB on those before them."""
        n_done = len(self.psnr_curve)
        if tol is None or n_done < 2 * _LOOK_BACK or n_done % _LOOK_BACK:
            return False
        before, latest = (
            self.psnr_curve[-2 * _LOOK_BACK : -_LOOK_BACK],
            self.psnr_curve[-_LOOK_BACK:],
        )
        return sum(latest) - sum(before) < tol * _LOOK_BACK


def fit_regression(
    network: CoordinateField,
    known: Learnable,
    schedule: RegressionLoop,
    generator: torch.Generator,
) -> RegressionHistory:
    """Minimise the mean squared error over one signal with Adam, in place.

    Where a part is held out, the network ends with the weights that are best there.

    Parameters
    ----------
    network : CoordinateField
        Trained in place.
    known : Learnable
        The signal to learn.
    schedule : RegressionLoop
        How long and how fast to learn.
    generator : torch.Generator
        Source of the points of each iteration.

    Raises
    ------
    ValueError
        If the loss becomes infinite or NaN.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.
    """
    from tqdm.auto import tqdm

    optimizers = Optimizers([torch.optim.Adam(network.parameters(), lr=schedule.lr)])
    history, started = RegressionHistory(), time.perf_counter()
    batches = known.batches(schedule.batch_points, generator)
    least, best = math.inf, None
    bar = tqdm(range(schedule.max_iter), disable=not schedule.verbose, desc="fit", unit="step")
    for iteration in bar:
        elapsed = 0.0
        if schedule.max_time is not None:
            elapsed = (time.perf_counter() - started) / schedule.max_time
        if iteration and (elapsed >= 1.0 or history.stalls(schedule.tol)):
            break
        loss, psnr, held_out = next(batches).misfit(network)
        history.loss_curve.append(float(loss.detach()))
        history.psnr_curve.append(psnr)
        if not math.isfinite(history.loss_curve[-1]):
            raise ValueError(
                f"the loss became {history.loss_curve[-1]} at iteration {iteration + 1}; "
                f"lr={schedule.lr} is too high for this signal"
            )
        if held_out is not None and held_out < least:
            least, best = held_out, copy.deepcopy(network.state_dict())
        optimizers.zero_grad()
        torch.autograd.backward(loss)
        progress = max(elapsed, iteration / schedule.max_iter)
        optimizers.scale_lr(lr_factor("cosine", progress, iteration))
        optimizers.step()
        bar.set_postfix_str(f"PSNR {history.psnr_curve[-1]:.2f} dB", refresh=False)
        state = Progress(
            iteration=iteration + 1,
            max_iter=schedule.max_iter,
            loss=history.loss_curve[-1],
            psnr=history.psnr_curve[-1],
            validation_psnr=None,
            elapsed=time.perf_counter() - started,
            field=network,
        )
        if any([callback(state) for callback in schedule.callbacks]):
            break
    if best is not None:
        network.load_state_dict(best)
    return history
