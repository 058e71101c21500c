"""The time that a fit has, from its beginning to the last thing it does."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

_SIZE, _ROUNDS = 512, 4  # of the matrices that the machine is timed with


@dataclass
class Clock:
    """Seconds since a fit began, and until when it may train.

    Parameters
    ----------
    limit : float or None
        Seconds that all of the fit may take; None = as many as it likes.
    reserve : float, default=0.0
        Seconds of them that are kept for what follows the last meta-step.
    before : float, default=0.0
        Seconds that the same fit has taken before it was interrupted.
    started : float, optional
        When the fit began, in seconds of ``time.perf_counter``; now by default.
    first_step : float, default=0.0
        Seconds after which the first meta-step begins, and what precedes it is done.
    """

    limit: float | None
    reserve: float = 0.0
    before: float = 0.0
    started: float = field(default_factory=lambda: time.perf_counter())
    first_step: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the fit began."""
        return self.before + time.perf_counter() - self.started

    @property
    def progress(self) -> float:
        """Fraction of the time for training that is over; 0 without a limit."""
        if self.limit is None:
            return 0.0
        until = self.limit - self.reserve
        return (self.elapsed - self.first_step) / max(until - self.first_step, 1e-9)

    def has_time_for(self, seconds: float) -> bool:
        """Tell whether a meta-step of so many seconds ends nearer to the limit than its absence.

        Parameters
        ----------
        seconds : float
            What it would take, such as what the latest one has taken.
        """
        return self.limit is None or self.elapsed + seconds / 2 < self.limit - self.reserve

    def effort(self, seconds: float) -> float:
        """Return the fraction, at most 1, of some work that there is time left for.

        Parameters
        ----------
        seconds : float
            What all of it would take; for 0 the fraction is 1.
        """
        if self.limit is None or seconds <= 0:
            return 1.0
        return min(1.0, max(self.limit - self.elapsed, 0.0) / seconds)


def seconds_per_operation(device: torch.device) -> float:
    """Time a product of matrices in double precision: seconds for each multiplication and addition.

    Parameters
    ----------
    device : torch.device
        Where it is computed; the best of a few rounds counts.
    """
    matrix = torch.ones(_SIZE, _SIZE, dtype=torch.float64, device=device)
    best = math.inf
    for _ in range(_ROUNDS):  # the first wakes threads, and others may be held up
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return best / _SIZE**3
