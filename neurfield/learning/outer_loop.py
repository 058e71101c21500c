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
from neurfield.learning.distributed import World
from neurfield.learning.store import ContextStore


@dataclass(frozen=True)
class OuterLoop:
    """When to stop, and what to do on the way.

    Parameters
    ----------
    max_iter : int
        Meta-steps in all, those of earlier passes included.
    lr_schedule : {"constant", "cosine"}, default="constant"
        Course of the learning rate.
    evaluate_every : int, default=25
        Meta-steps between two looks at the best weights so far.
    patience : int, default=None
        Evaluations without improvement on held-out signals before an early stop; None = never.
    tol : float, default=1e-3
        Least improvement of the PSNR, in dB, that counts.
    checkpoint : Path, default=None
        File the training state is written to, and resumed from when it exists; None = no file.
    checkpoint_every : int, default=100
        Meta-steps between two checkpoints; the last meta-step has one too, whatever has ended the
        fit there, unless it was an error.
    verbose : int, default=0
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
    loss_curve, psnr_curve : list of float, optional
        Meta-loss, NaN where it was not finite, and PSNR in dB on the batch, of each meta-step;
        empty by default.
    validation_curve : list of float, optional
        PSNR in dB of the held-out signals at each evaluation; empty by default.
    best_score : float, default=-inf
        PSNR in dB that the best weights reached on the held-out signals. Where there are none, on
        recent batches; the start's weights then count 7 dB less than on the first batch.
    best_iteration : int, default=0
        Meta-step of the best weights.
    best_weights : dict of str to Tensor, optional
        State of the meta-step, its field included, at its best; empty before a pass.
    stale_evaluations : int, default=0
        Evaluations since then.
    lr_scale : float, default=1.0
        Factor on the learning rate, halved at each back-off.
    back_offs : int, default=0
        How often the latest pass went back to the best weights: the loss was not finite, or what
        had been learnt was lost.
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
        Signals for early stopping; None = none, and recent batches tell which weights are best.
    loop : OuterLoop
        Number of meta-steps, course of the learning rate, evaluations and checkpoints.
    fingerprint : dict, optional
        What a checkpoint must belong to, parameters and a digest of the data; empty by default.
    start : Tensor, optional
        State of the generator before signals were held out, for checkpoints: a pass that is
        resumed holds out the same.
    clock : Clock, default=Clock(None)
        The time that there is; no limit by default.
    callbacks : sequence of callables, default=()
        Each is called with a :class:`~neurfield.learning.callbacks.Progress` after every
        meta-step; one that returns true ends the pass.
    world : World, default=World()
        The processes that go through it together; one alone by default.
    """

    store: ContextStore
    held_out: ContextStore | None
    loop: OuterLoop
    fingerprint: dict[str, Any] = dataclass_field(default_factory=dict)
    start: Tensor | None = None
    clock: Clock = dataclass_field(default_factory=lambda: Clock(None))
    callbacks: Sequence[Callback] = ()
    world: World = dataclass_field(default_factory=World)
