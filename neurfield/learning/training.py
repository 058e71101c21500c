"""The outer loop: meta-steps until done, stopped or interrupted."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from neurfield.decibels import psnr_of
from neurfield.errors import reading
from neurfield.fields import Field
from neurfield.learning.base import Learner, MetaBatch
from neurfield.learning.callbacks import Callback, Progress
from neurfield.learning.checkpoint import check_shapes, save_checkpoint
from neurfield.learning.clock import Clock
from neurfield.learning.context import Context
from neurfield.learning.distributed import World
from neurfield.learning.encoding import encode_store
from neurfield.learning.interrupt import deferred_interrupt
from neurfield.learning.optimizers import lr_factor
from neurfield.learning.outer_loop import OuterLoop, Pass, TrainingState
from neurfield.learning.store import ContextStore

_GRADIENT_NORM = 1.0
_VALIDATION_POINTS = 4096  # of each held-out signal
_MOST_BACK_OFFS = 5
_LOSS_OF_GROUND = 3.0  # dB below the best so far; a fit that falls there goes back
_HEAD_START = 7.0  # dB that the start's score is discounted by


class Trainer:
    """Runs meta-steps of a learner on a field, pass by pass.

    Parameters
    ----------
    learner : Learner
        That knows its problem; has the meta-step, the optimisers, the batches and the solver.
    field : Field
        Trained in place, on its device.
    generator : torch.Generator
        CPU generator, source of all randomness but that of evaluations on held-out signals.
    seed : int, default=0
        What the generator started from; kept in checkpoints.
    state : TrainingState, optional
        Of an earlier training that this one goes on with; by default a fresh one.

    Attributes
    ----------
    meta_step : MetaStep
        The learner's module around the field, which computes the meta-loss.
    optimizers : Optimizers
        What updates its parameters; begun anew when training goes back to the best weights.
    was_interrupted : bool
        Whether Ctrl-C has ended the latest pass.
    """

    # Of the pass that is under way.
    store: ContextStore
    held_out: ContextStore | None
    loop: OuterLoop
    fingerprint: dict[str, Any]
    start: Tensor | None
    clock: Clock
    callbacks: Sequence[Callback]
    world: World = World()

    def __init__(
        self,
        learner: Learner,
        field: Field,
        generator: torch.Generator,
        seed: int = 0,
        state: TrainingState | None = None,
    ) -> None:
        self.learner, self.field, self.generator, self.seed = learner, field, generator, seed
        self.meta_step = learner.meta_step(field)
        if learner.settings.compile:
            # CUDA graphs take away the launch of each kernel; there is none on a CPU.
            on_gpu = next(field.parameters()).device.type == "cuda"
            self.meta_step.compile(mode="reduce-overhead" if on_gpu else None)
        self._forward: nn.Module = self.meta_step
        self.optimizers = learner.optimizers(self.meta_step)
        self.state = state or TrainingState()
        self.was_interrupted = False
        self._pace = 0.0  # seconds of the latest meta-step
        self._between_steps = True
        self._saved_at = -1  # meta-step of the latest checkpoint of a pass

    def run(self, through: Pass, saved: dict[str, Any] | None = None) -> TrainingState:
        """Train until the schedule ends, a callback asks to stop, or Ctrl-C.

        Parameters
        ----------
        through : Pass
            Its signals, schedule, time and callbacks; its stores are let go of at the end.
        saved : dict, optional
            State from a checkpoint to continue from; by default, it goes on from where it stands.

        Returns
        -------
        TrainingState
            The trainer's ``state``. The field has the best weights by then if signals were held
            out, or if training has lost what it had found; else the last, after Ctrl-C too.
        """
        self.store, self.held_out, self.loop = through.store, through.held_out, through.loop
        self.fingerprint, self.callbacks = through.fingerprint, through.callbacks
        self.start, self.clock = through.start, through.clock
        self.world = self.meta_step.world = through.world
        self._forward = self.world.wrapped(self.meta_step)
        self.was_interrupted, self._pace, self._saved_at = False, 0.0, -1
        try:
            return self._run(saved)
        finally:  # The signals are the caller's, who may want their memory back.
            del self.store, self.held_out
            self.world = self.meta_step.world = World()
            self._forward = self.meta_step

    def _run(self, saved: dict[str, Any] | None) -> TrainingState:
        # The range that PSNR refers to, in scaled units, averaged over channels.
        self._peak = float(np.mean(np.square(self.store.units.scaled_range)))
        if saved is not None:
            self._restore(saved)
        if not self.state.best_weights:
            self._keep_best(-np.inf)
        with deferred_interrupt() as interrupt, self._progress_bar() as bar:
            try:
                while not self._is_done():
                    self._one_step()
                    bar.set_postfix_str(self._caption(), refresh=False)
                    bar.update()
                    self._after_step()
                    if self.world.any(interrupt.requested):
                        raise KeyboardInterrupt
                if self.loop.checkpoint is not None and self._saved_at != self.state.iteration:
                    self._save()  # a callback has ended the pass, or the time
            except KeyboardInterrupt:
                self.was_interrupted = True
                self._on_interrupt()
        if self.was_interrupted:
            return self.state
        if self.held_out is None:
            self._regain_ground()
        else:
            if self.state.iteration % self.loop.evaluate_every:
                self._evaluate()
            self._restore_best()
        return self.state

    def step(self, batch: MetaBatch) -> float:
        """Take one meta-step and return its loss, without touching θ if the loss is not finite.

        Parameters
        ----------
        batch : MetaBatch
            As the learner draws it.

        Returns
        -------
        float
            Meta-loss before the step; NaN if it or its gradient was not finite.
        """
        self.optimizers.zero_grad()
        loss = self._forward(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.optimizers.parameters, _GRADIENT_NORM)
        value = float(loss.detach())
        if np.isfinite(value) and bool(torch.isfinite(norm)):
            self.optimizers.step()
            self.meta_step.project()
        else:
            value = float("nan")
        return value

    def psnr(self, mse: float) -> float:
        """Return the PSNR in dB of a mean squared error, once a pass has begun.

        The square of the peak is that of the range of the training values, averaged over channels.

        Parameters
        ----------
        mse : float
            Over points and channels, in squared scaled units; below 1e-20, it counts as that.
        """
        return float(psnr_of(mse, self._peak))

    def _one_step(self) -> None:
        started, state = time.perf_counter(), self.state
        self._between_steps = False
        progress = max(state.iteration / self.loop.max_iter, self.clock.progress)
        progress = self.world.decided(progress)
        factor = lr_factor(self.loop.lr_schedule, progress, state.iteration)
        self.optimizers.scale_lr(state.lr_scale * factor)
        loss = self.step(self.meta_step.draw(self.learner, self.store, self.generator))
        if not np.isfinite(loss):
            self._back_off(f"the meta-loss became non-finite at meta-step {state.iteration + 1}")
        state.loss_curve.append(loss)
        state.psnr_curve.append(self.psnr(float(self.meta_step.mse)))
        if (
            state.iteration == state.first
            and self.held_out is None
            and np.isfinite(state.psnr_curve[-1])
        ):
            # best_weights holds the start. It may fit its training signals better than any field
            # that generalises, so training may fall behind it before that counts as a loss.
            state.best_score = state.psnr_curve[-1] - _HEAD_START
        state.iteration += 1
        if state.iteration % self.loop.evaluate_every == 0:
            self._evaluate()
        state.elapsed = self.clock.elapsed
        self._pace = time.perf_counter() - started
        self._between_steps = True

    def _after_step(self) -> None:
        """Checkpoint first, so that no callback can lose what was learnt."""
        state, loop = self.state, self.loop
        last = self._is_done()
        if loop.checkpoint is not None and (last or state.iteration % loop.checkpoint_every == 0):
            self._save()
        progress = Progress(
            iteration=state.iteration,
            max_iter=loop.max_iter,
            loss=state.loss_curve[-1],
            psnr=state.psnr_curve[-1],
            validation_psnr=state.validation_curve[-1] if state.validation_curve else None,
            elapsed=state.elapsed,
            field=self.field,
        )
        for callback in self.callbacks if self.world.is_first else ():
            if callback(progress):
                state.stopped = True

    def _is_done(self) -> bool:
        state, loop = self.state, self.loop
        # The first meta-step is taken in any case.
        some = state.iteration > state.first
        out_of_time = some and not self.clock.has_time_for(self._pace)
        out_of_patience = loop.patience is not None and state.stale_evaluations >= loop.patience
        is_done = state.stopped or out_of_time or out_of_patience
        return bool(self.world.decided(is_done or state.iteration >= loop.max_iter))

    def _evaluate(self) -> None:
        """Score θ: by held-out signals where there are any, by recent batches otherwise."""
        state = self.state
        if self.held_out is None:
            score = self._recent_psnr()
        else:
            score = self.world.decided(self._held_out_psnr())
            state.validation_curve.append(score)
        if score > state.best_score + self.loop.tol:
            self._keep_best(score)
            state.stale_evaluations = 0
            return
        state.stale_evaluations += 1
        if score < state.best_score - _LOSS_OF_GROUND:
            self._back_off(self._lost_ground(score))

    def _recent_psnr(self) -> float:
        curve = self.state.psnr_curve[self.state.first :]
        recent = np.array(curve[-self.loop.evaluate_every :])
        return float(recent[np.isfinite(recent)].mean()) if np.isfinite(recent).any() else -np.inf

    def _regain_ground(self) -> None:
        """Return to the best weights where training has lost what it had found."""
        if not self._has_lost_ground():
            return
        self._restore_best()
        warnings.warn(
            f"{self._lost_ground(self._recent_psnr())}: back to the weights of meta-step "
            f"{self.state.best_iteration}; a lower meta_lr or more meta-steps may help",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _has_lost_ground(self) -> bool:
        return self._recent_psnr() <= self.state.best_score - _LOSS_OF_GROUND

    def _lost_ground(self, score: float) -> str:
        state = self.state
        return (
            f"training was at {score:.1f} dB after meta-step {state.iteration}, below the "
            f"{state.best_score:.1f} dB it had reached"
        )

    def _held_out_psnr(self) -> float:
        assert self.held_out is not None
        scores = np.empty(len(self.held_out))

        def visit(positions: np.ndarray, context: Context, latents: Tensor) -> None:
            mse = context.mse(self.field(context.coords, latents))
            scores[positions] = psnr_of(mse.cpu(), self._peak)

        # A generator of its own: looking at held-out signals must not change the training batches.
        generator = torch.Generator().manual_seed(0)
        solver = self.learner.validation_solver(self.meta_step, self.store)
        encode_store(
            self.field,
            solver,
            self.held_out,
            n_points=_VALIDATION_POINTS,
            generator=generator,
            visit=visit,
        )
        return float(np.average(scores, weights=self.held_out.sample_weight))

    def _keep_best(self, score: float) -> None:
        self.state.best_score = score
        self.state.best_iteration = self.state.iteration
        weights = self.meta_step.state_dict()
        self.state.best_weights = {name: w.detach().clone() for name, w in weights.items()}

    def _restore_best(self) -> None:
        self.meta_step.load_state_dict(self.state.best_weights)

    def _back_off(self, reason: str) -> None:
        """Return to the best weights with half the learning rate."""
        state = self.state
        state.back_offs += 1
        self._restore_best()
        self.optimizers = self.learner.optimizers(self.meta_step)
        state.lr_scale *= 0.5
        warnings.warn(
            f"{reason}: back to the weights of meta-step {state.best_iteration} with meta_lr × "
            f"{state.lr_scale:g}",
            ConvergenceWarning,
            stacklevel=2,
        )
        state.stopped = state.back_offs >= _MOST_BACK_OFFS

    def _on_interrupt(self) -> None:
        if self.loop.checkpoint is not None and self._between_steps:
            self._save()
        state, which = self.state, "the last weights"
        if self.held_out is None:
            goes_back = self._has_lost_ground()
        else:  # which may not have been looked at yet
            goes_back = bool(np.isfinite(state.best_score))
        if goes_back:
            self._restore_best()
            which = f"the best weights so far, those of meta-step {state.best_iteration}"
        elif not self._between_steps:
            self.meta_step.project()  # of an update that was cut short
        state.stopped = True
        warnings.warn(
            f"fit was interrupted after {state.iteration} meta-steps; the estimator is fitted with "
            f"{which}",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _caption(self) -> str:
        state = self.state
        caption = f"PSNR {state.psnr_curve[-1]:.2f} dB"
        if state.validation_curve:
            caption += f", held out {state.validation_curve[-1]:.2f} dB"
        return caption

    def _progress_bar(self) -> Any:
        from tqdm.auto import tqdm

        return tqdm(
            total=self.loop.max_iter,
            initial=self.state.iteration,
            disable=not self.loop.verbose,
            desc=f"fit ({self.learner.name})",
            unit="step",
        )

    def _save(self) -> None:
        if self.world.is_first:
            self._write()
        self._saved_at = self.state.iteration

    def _write(self) -> None:
        assert self.loop.checkpoint is not None
        state = {
            "training": {k: v for k, v in vars(self.state).items() if k != "stopped"},
            "weights": self.meta_step.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "generator": self.generator.get_state(),
            "draws": self.store.draw_state,
            "seed": self.seed,
        }
        if self.start is not None:
            state["start"] = self.start
        save_checkpoint(self.loop.checkpoint, state, self.fingerprint)

    def _restore(self, saved: dict[str, Any]) -> None:
        assert self.loop.checkpoint is not None
        with reading(self.loop.checkpoint, "a checkpoint of this fit"):
            self.state = TrainingState(**saved["training"])
            self.meta_step.load_state_dict(saved["weights"])
            if self.state.best_weights:
                check_shapes(self.state.best_weights, saved["weights"])
            self.optimizers.load_state_dict(copy.deepcopy(saved["optimizers"]))
            self.generator.set_state(saved["generator"])
            self.store.draw_state = saved["draws"]
        self.clock.before = self.state.elapsed
        self._saved_at = self.state.iteration
