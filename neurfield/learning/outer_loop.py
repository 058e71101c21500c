"""What a training goes through, until when, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from neurfield.learning.callbacks import Callback
from neurfield.learning.clock import Clock
from neurfield.learning.store import ContextStore


@dataclass(frozen=True)
class OuterLoop:
    """When to stop, and what to do on the way.

    Parameters
    ----------
    max_iter : int
        Meta-steps in all, those of earlier passes included.
    lr_schedule : {"constant", "cosine"}
        Course of the learning rate.
    evaluate_every : int
        Meta-steps between two looks at the best weights so far.
    patience : int or None
        Evaluations without improvement on held-out signals before an early stop; None = never.
    tol : float
        Least improvement, in dB, that counts.
    checkpoint : path or None
        File the training state is written to, and resumed from when it exists.
    checkpoint_every : int
        Meta-steps between two checkpoints.
    verbose : int
        0 is silent, 1 shows a progress bar.
    """

    max_iter: int
    lr_schedule: Literal["constant", "cosine"] = "constant"
    evaluate_every: int = 25
    patience: int | None = None
    tol: float = 1e-3
    checkpoint: Path | None = None
    checkpoint_every: int = 100
    verbose: int = 0


@dataclass
class TrainingState:
    """Where a fit stands, besides the weights, the optimisers and the generator.

    Parameters
    ----------
    iteration : int, default=0
        Meta-steps taken.
    first : int, default=0
        Meta-steps that earlier passes took.
    elapsed : float, default=0.0
        Seconds since the fit began, or its latest pass.
    loss_curve, psnr_curve : list of float
        Loss, and PSNR in dB, of each meta-step.
    validation_curve : list of float
        PSNR in dB of the held-out signals at each evaluation.
    best_score : float, default=-inf
        PSNR in dB that the best weights reached.
    best_iteration : int, default=0
        Meta-step of the best weights.
    best_weights : dict of str to Tensor
        State of the meta-step, its field included, at its best.
    stale_evaluations : int, default=0
        Evaluations since then.
    lr_scale : float, default=1.0
        Factor on the learning rate, halved at each back-off.
    back_offs : int, default=0
        How often training went back to the best weights: the loss was not finite, or what had been
        learnt was lost.
    stopped : bool, default=False
        Whether training was told to end.
    """

    iteration: int = 0
    first: int = 0
    elapsed: float = 0.0
    loss_curve: list[float] = dataclass_field(default_factory=list)
    psnr_curve: list[float] = dataclass_field(default_factory=list)
    validation_curve: list[float] = dataclass_field(default_factory=list)
    best_score: float = -np.inf
    best_iteration: int = 0
    best_weights: dict[str, Tensor] = dataclass_field(default_factory=dict)
    stale_evaluations: int = 0
    lr_scale: float = 1.0
    back_offs: int = 0
    stopped: bool = False

    def begin_pass(self) -> None:
        """Go on with other signals, to whose scores those of earlier ones do not compare."""
        self.elapsed, self.best_score, self.best_weights = 0.0, -np.inf, {}
        self.stale_evaluations, self.back_offs, self.stopped = 0, 0, False
        self.first = self.best_iteration = self.iteration


@dataclass(frozen=True)
class Pass:
    """What a trainer goes through, and until when: all of a fit, or one part of a longer one.

    Parameters
    ----------
    store : ContextStore
        Training signals.
    held_out : ContextStore or None
        Signals for early stopping.
    loop : OuterLoop
    fingerprint : dict
        What a checkpoint must belong to.
    clock : Clock
        The time that there is.
    callbacks : sequence of callables
    """

    store: ContextStore
    held_out: ContextStore | None
    loop: OuterLoop
    fingerprint: dict[str, Any] = dataclass_field(default_factory=dict)
    clock: Clock = dataclass_field(default_factory=lambda: Clock(None))
    callbacks: Sequence[Callback] = ()
