"""From signals and settings to a trained codec: start, then continue."""

from __future__ import annotations

import copy
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from neurfield.codec import Codec
from neurfield.fields import Field
from neurfield.lapped import with_sizes
from neurfield.learning import (
    Clock,
    ContextStore,
    Finished,
    Learner,
    MetaStep,
    OuterLoop,
    Pass,
    Problem,
    Progress,
    Trainer,
    TrainingState,
    store_of,
)
from neurfield.learning.absent_channels import with_predicted_channels
from neurfield.learning.checkpoint import load_checkpoint
from neurfield.learning.clock import seconds_per_operation
from neurfield.learning.distributed import World
from neurfield.learning.footprint import Sizes
from neurfield.memory import libraries, room
from neurfield.patched import with_patches
from neurfield.signals import Signals, Units
from neurfield.signals.base_grid import BaseGrid
from neurfield.signals.lazy import LazyValues, thinned
from neurfield.signals.patches import PatchGrid
from neurfield.signals.scaling import thinning
from neurfield.waiting import short_waits

_MOST_RESERVE = 0.4  # of the time that there is, for what follows the last meta-step
_OF_UPDATE = 3  # copies of θ: its gradient, and two moments of the optimiser
_HURRIED = 0.05  # of the usual work at the end, after Ctrl-C or without time
_OF_ONE_PASS = ("data", "pass_from")  # what the fingerprints of two passes may differ in
_DIGEST_VALUES = 1_000_000  # values of each group that a checkpoint's fingerprint looks at


@dataclass(frozen=True)
class FitPlan:
    """What a fit does, independent of the data's container.

    Parameters
    ----------
    learner : Learner
        That knows its problem, so that all its options and settings are filled in.
    loop : OuterLoop
        Number of meta-steps, course of the learning rate, evaluations and checkpoints; for one
        pass, the first two are replaced.
    make_field : callable
        Takes ``generator=`` and returns a freshly initialised field.
    validation_fraction : float
        Fraction of the signals held out, at least one of them; 0 = none.
    seed : int
        Where the generator of initial weights and draws starts, on the CPU. A checkpoint that is
        resumed has its own, and so has a trainer that goes on.
    device : torch.device
        Where the field is trained, and stays.
    dtype : torch.dtype
        Precision of the field and of the batches.
    callbacks : sequence of callables
        Each is called with a :class:`~neurfield.learning.Progress` after every meta-step; one that
        returns true ends the fit.
    fingerprint : mapping
        Parameters that a checkpoint must agree with, by name; a digest of the data is added.
    isotropic : bool, default=False
        Whether axes of one unit are scaled alike.
    patches : PatchGrid, optional
        Patches that the field describes; None = whole signals.
    base : BaseGrid, optional
        Grid of the largest signal, for fields that have cells on it and take signals of any size.
    max_time : float, optional
        Seconds that all of it may take; None = no limit.
    memory_budget : int or float, optional
        Most memory that it may take, as :func:`neurfield.memory.room` has it; None = half of what
        is free.
    pass_from : int, optional
        Meta-steps taken before, where this is one pass over the signals of many; None = as many
        meta-steps as the schedule has.
    started : float, optional
        When the work began that `max_time` is for, in seconds of ``time.perf_counter``; by default
        when the plan was made.
    world : World, default=World()
        The processes that fit together; one alone by default.
    """

    learner: Learner
    loop: OuterLoop
    make_field: Callable[..., Field]
    validation_fraction: float
    seed: int
    device: torch.device
    dtype: torch.dtype
    callbacks: Sequence[Callable[[Progress], bool | None]]
    fingerprint: Mapping[str, Any]
    isotropic: bool = False
    patches: PatchGrid | None = None
    base: BaseGrid | None = None
    max_time: float | None = None
    memory_budget: float | None = None
    pass_from: int | None = None
    started: float = dataclass_field(default_factory=time.perf_counter)
    world: World = dataclass_field(default_factory=World)


def problem_of(signals: Signals, latent_dim: int) -> Problem:
    """Measure a data set for a learner's defaults.

    Parameters
    ----------
    signals : Signals
        What the field is to describe: whole signals, or their patches.
    latent_dim : int
        Length P of a latent.
    """
    return Problem(
        n_signals=len(signals),
        n_grids=len(signals.groups),
        n_points=max(group.n_points for group in signals.groups),
        n_axes=signals.layout.n_axes,
        n_channels=signals.layout.n_channels,
        latent_dim=int(latent_dim),  # NumPy's numbers would be passed on to settings
    )


def fit_codec(
    signals: Signals,
    plan: FitPlan,
    previous: Codec | None = None,
    trainer: Trainer | None = None,
    history: TrainingState | None = None,
) -> tuple[Codec, Trainer]:
    """Meta-learn θ on a data set, from the start or from where an earlier fit has left it.

    Parameters
    ----------
    signals : Signals
        Whole signals, those that are held out included.
    plan : FitPlan
        Made for these signals.
    previous : Codec, optional
        Continue from these weights, coordinates and scaling, which stay as they are.
    trainer : Trainer, optional
        Of the fit that made `previous`: its optimiser and its random numbers go on.
    history : TrainingState, optional
        Curves that new ones are appended to, where there is no `trainer`.

    Returns
    -------
    codec : Codec
        Of a copy of the trained field, with the solver and the posterior that end a fit.
    trainer : Trainer
        For a pass to come, with the training's curves in its ``state``.

    Raises
    ------
    ValueError
        If a signal is not usable or none is left to train on, a checkpoint is damaged or belongs
        to another fit, or the memory budget is too small.
    """
    world = plan.world
    clock = Clock(plan.max_time, started=plan.started)
    signals.check()
    fingerprint = {**plan.fingerprint, "data": _digest(signals)}
    if plan.pass_from is not None:
        fingerprint["pass_from"] = plan.pass_from
    world.check_same({**fingerprint, "max_time": plan.max_time})
    saved = world.from_first(lambda: _saved(plan, fingerprint))
    seed = int(world.decided(plan.seed)) if saved is None else saved["seed"]
    generator = torch.Generator().manual_seed(seed) if trainer is None else trainer.generator
    if saved is not None and "start" in saved:  # a trainer's generator has gone on since
        generator.set_state(saved["start"])
    start = generator.get_state()
    if trainer is None and previous is None:
        signals = with_predicted_channels(signals, seed)
    train, held_out = _split(signals, plan.validation_fraction, generator)
    grid = plan.patches or plan.base
    units = previous.units if previous else Units.of(signals, plan.isotropic, grid)
    place = (plan.patches, units, plan.dtype, plan.device, plan.base)
    store = store_of(train, *place)
    is_new = trainer is None
    if trainer is None:
        trainer = _begun(plan, generator, seed, previous, history)
    learner, field = plan.learner, trainer.field
    store.aside = learner.aside(field, store, generator)

    def need() -> float:
        loaded = libraries(plan.device, compiled=field.has_sweeps, trains=True)
        updates = _OF_UPDATE * Sizes.of(field, store).weights()
        return loaded + max(learner.footprint(field, store) + updates, measuring_bytes(signals))

    enough = room(plan.memory_budget, need, plan.device, "fit", plan.loop.verbose, world.smallest)
    with enough, short_waits():
        if is_new and previous is None and saved is None:  # which bring weights of their own
            learner.initialise(trainer.meta_step, store, generator)
        trainer.learner = plan.learner  # other steps at test time leave the training as it is
        trainer.state.begin_pass()
        pace = 0.0 if plan.max_time is None else seconds_per_operation(plan.device)
        work = plan.learner.finishing_operations(trainer.field, store) * pace
        clock.reserve = min(work, _MOST_RESERVE * (plan.max_time or 0.0))
        clock.first_step = clock.elapsed
        trainer.run(
            Pass(
                store=store,
                held_out=None if held_out is None else store_of(held_out, *place),
                loop=_loop(plan, len(store)),
                fingerprint=fingerprint,
                start=start,
                clock=clock,
                callbacks=plan.callbacks,
                world=world,
            ),
            saved,
        )
        effort = _HURRIED if trainer.was_interrupted else world.decided(clock.effort(work))
        step, finished = _finished(trainer, store, max(effort, _HURRIED))
        codec = Codec(step.field, finished.solver, units, finished.posterior)
    return with_sizes(with_patches(codec, plan.patches)), trainer


def _finished(trainer: Trainer, store: ContextStore, effort: float) -> tuple[MetaStep, Finished]:
    """End a fit; Ctrl-C meanwhile leaves an encoder that has no prior."""
    # Of a copy: what ends a fit would take the optimiser's state away from its weights.
    step = copy.deepcopy(trainer.meta_step)
    try:
        return step, trainer.learner.finish(step, store, trainer.generator, effort)
    except KeyboardInterrupt:
        warnings.warn(
            "fit was interrupted after its last meta-step; the estimator is fitted, without the "
            "training signals' prior",
            ConvergenceWarning,
            stacklevel=3,
        )
        step = copy.deepcopy(trainer.meta_step)
        return step, Finished(trainer.learner.solver(step, store))


def history_of(encoder: Any) -> TrainingState:
    """Return the curves of a fitted encoder, as a state that another training goes on with.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted; its curves are copied, and those that it lacks are empty.
    """
    return TrainingState(
        iteration=encoder.n_iter_,
        loss_curve=list(encoder.loss_curve_),
        psnr_curve=list(getattr(encoder, "psnr_curve_", [])),
        validation_curve=list(getattr(encoder, "validation_curve_", [])),
    )


def _begun(
    plan: FitPlan,
    generator: torch.Generator,
    seed: int,
    previous: Codec | None,
    history: TrainingState | None,
) -> Trainer:
    """Return a trainer of a fresh field, or of one that another fit has trained."""
    if previous is None:
        field = plan.make_field(generator=generator)
    else:
        field = copy.deepcopy(previous.field)
    trainer = Trainer(
        plan.learner, field.to(plan.device, plan.dtype), generator, seed=seed, state=history
    )
    if previous is not None:
        trainer.meta_step.adopt(previous.solver)
    return trainer


def _loop(plan: FitPlan, n_signals: int) -> OuterLoop:
    """Return the schedule, for one pass with as many meta-steps as there are mini-batches."""
    if plan.pass_from is None:
        return plan.loop
    n_steps = math.ceil(n_signals / plan.learner.settings.batch_size)
    return replace(plan.loop, max_iter=plan.pass_from + n_steps, lr_schedule="constant")


def _saved(plan: FitPlan, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """Return the training state of a checkpoint; that of another pass is to be replaced."""
    path = plan.loop.checkpoint
    if path is None or not Path(path).exists():
        return None
    return load_checkpoint(path, fingerprint, _OF_ONE_PASS if plan.pass_from is not None else ())


def measuring_bytes(signals: Signals) -> float:
    """Return about how many bytes measuring units has in use: a sample of values, and its copies.

    Parameters
    ----------
    signals : Signals
        Training set; of a large one, only every k-th point is in the sample.
    """
    n_points = sum(len(group.positions) * group.n_points for group in signals.groups)
    n_points //= thinning(n_points)
    # As they come and in double precision; then those of one channel that were observed, sorted.
    return n_points * (16 * signals.layout.n_channels + 24)


def _split(
    signals: Signals, fraction: float, generator: torch.Generator
) -> tuple[Signals, Signals | None]:
    if fraction == 0:
        return signals, None
    n_held_out = max(1, round(fraction * len(signals)))
    if n_held_out >= len(signals):
        raise ValueError(
            f"early_stopping with validation_fraction={fraction} needs signals to train on: "
            f"got n_samples={len(signals)}, of which {n_held_out} would be held out"
        )
    order = torch.randperm(len(signals), generator=generator).numpy()
    held_out, train = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    return signals.subset(train), signals.subset(held_out)


def _digest(signals: Signals) -> str:
    """Tell data sets apart without reading all of a large one."""
    digest = hashlib.sha256()
    for group in signals.groups:
        digest.update(repr((group.values.shape, group.values.dtype.str)).encode())
        for axis in group.axes:
            digest.update(axis.tobytes())
        if isinstance(group.values, LazyValues):
            digest.update(thinned(group.values, 1).tobytes())
            continue
        step = max(1, group.values.size // _DIGEST_VALUES)
        digest.update(np.ascontiguousarray(group.values[::step]).tobytes())
    if signals.sample_weight is not None:
        digest.update(signals.sample_weight.tobytes())
    return digest.hexdigest()[:16]
