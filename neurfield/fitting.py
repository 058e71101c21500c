"""From signals and settings to a trained codec."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from neurfield.codec import Codec
from neurfield.fields import Field
from neurfield.learning import (
    Learner,
    Problem,
    Progress,
    Schedule,
    Settings,
    Trainer,
    TrainingState,
    available_learners,
    store_of,
)
from neurfield.learning.checkpoint import load_checkpoint
from neurfield.learning.solvers import LevenbergMarquardt
from neurfield.patched import with_patches
from neurfield.posterior import with_posterior
from neurfield.signals import CoordinateFrame, Signals, ValueScaler
from neurfield.signals.lazy import LazyValues, thinned
from neurfield.signals.patches import PatchGrid
from neurfield.signals.scaling import thinning

_DIGEST_VALUES = 1_000_000  # values of each group that a checkpoint's fingerprint looks at


@dataclass(frozen=True)
class FitPlan:
    """What a fit does, independent of the data's container.

    Parameters
    ----------
    learner : Learner
    schedule : Schedule
    make_field : callable
        Takes ``generator=`` and returns a freshly initialised field.
    validation_fraction : float
        Fraction of the signals held out; 0 = none.
    seed : int
    device : torch.device
    dtype : torch.dtype
    callbacks : sequence of callables
    fingerprint : mapping
        Parameters that a checkpoint must agree with.
    patches : PatchGrid, optional
        What the field describes; None = whole signals.
    """

    learner: Learner
    schedule: Schedule
    make_field: Callable[..., Field]
    validation_fraction: float
    seed: int
    device: torch.device
    dtype: torch.dtype
    callbacks: Sequence[Callable[[Progress], bool | None]]
    fingerprint: Mapping[str, Any]
    patches: PatchGrid | None = None


def make_learner(
    name: str, problem: Problem, chosen: Mapping[str, Any], before: Learner | None = None
) -> Learner:
    """Return a learner with its defaults, and what the caller chose instead of them.

    Parameters
    ----------
    name : str
    problem : Problem
    chosen : mapping
        Values for :class:`Settings` by field name; None keeps the default.
    before : Learner, optional
        Whose settings are the defaults where it is of this name: the problem may have changed since
        it began.

    Raises
    ------
    ValueError
        If something was chosen that the learner has no use for.
    """
    learner = available_learners()[name]
    for f in fields(Settings):
        if f.name in learner.without and chosen[f.name] not in (None, f.default):
            raise ValueError(
                f"{f.name}={chosen[f.name]!r} changes nothing with learner={name!r}, "
                f"where it must be {f.default!r}"
            )
    overrides = {f.name: chosen[f.name] for f in fields(Settings) if chosen[f.name] is not None}
    if before is not None and before.name == name:
        return learner(replace(before.settings, **overrides))
    return learner(replace(learner.defaults(problem), **overrides))


def problem_of(signals: Signals, latent_dim: int) -> Problem:
    """Measure a data set for a learner's defaults."""
    return Problem(
        n_signals=len(signals),
        n_grids=len(signals.groups),
        n_points=max(group.n_points for group in signals.groups),
        n_axes=signals.layout.n_axes,
        n_channels=signals.layout.n_channels,
        latent_dim=int(latent_dim),  # NumPy's numbers would be passed on to settings
    )


def fit_codec(
    signals: Signals, plan: FitPlan, isotropic: bool, previous: Codec | None = None
) -> tuple[Codec, TrainingState]:
    """Meta-learn θ on a data set.

    Parameters
    ----------
    signals : Signals
    plan : FitPlan
    isotropic : bool
        Whether axes of one unit are scaled alike.
    previous : Codec, optional
        Continue from these weights, coordinates and scaling.
    """
    signals.check()
    saved, seed = None, plan.seed
    path, fingerprint = plan.schedule.checkpoint, {**plan.fingerprint, "data": _digest(signals)}
    if path is not None and Path(path).exists():
        saved = load_checkpoint(path, fingerprint)
        seed = saved["seed"]
    generator = torch.Generator().manual_seed(seed)
    train, held_out = _split(signals, plan.validation_fraction, generator)
    frame, scaler = _units(signals, plan, isotropic, previous)
    units = (plan.patches, frame, scaler, plan.dtype, plan.device)
    store = store_of(train, *units)
    if previous is None:
        field = plan.make_field(generator=generator).to(plan.device, plan.dtype)
    else:
        field = previous.field.to(plan.device, plan.dtype)
    trainer = Trainer(
        learner=plan.learner,
        field=field,
        store=store,
        held_out=None if held_out is None else store_of(held_out, *units),
        schedule=plan.schedule,
        generator=generator,
        seed=seed,
        fingerprint=fingerprint,
        callbacks=plan.callbacks,
    )
    if previous is not None:
        trainer.meta_step.adopt(previous.solver)
    elif saved is None:  # a checkpoint brings weights and generator of its own
        plan.learner.initialise(trainer.meta_step, store, generator)
    state = trainer.run(saved)
    solver = plan.learner.finish(trainer.meta_step, store, generator)
    posterior = None
    if isinstance(solver, LevenbergMarquardt):
        axes = _usual_axes(signals, plan.patches)
        strength = plan.learner.settings.augmentation
        solver, posterior = with_posterior(field, solver, store, frame, axes, strength, generator)
    codec = Codec(field, solver, frame, scaler, posterior)
    return with_patches(codec, plan.patches), state


def partial_fit_codec(
    signals: Signals,
    plan: FitPlan,
    isotropic: bool,
    previous: Codec | None = None,
    trainer: Trainer | None = None,
) -> tuple[Codec, Trainer, list[float], list[float]]:
    """Pass once over a data set in mini-batches, at a constant learning rate.

    Parameters
    ----------
    signals : Signals
    plan : FitPlan
        Its device and precision are for a first pass; later ones stay where the field is.
    isotropic : bool
        Whether axes of one unit are scaled alike.
    previous : Codec, optional
        Continue from these weights, coordinates and scaling; its field is trained in place.
    trainer : Trainer, optional
        Of the field of `previous`, from the pass before; taken up again where nothing has changed.

    Returns
    -------
    codec : Codec
    trainer : Trainer
        For the pass to come.
    losses, levels : list of float
        Meta-loss, NaN where it was not finite, and PSNR in dB of each meta-step.
    """
    if previous is not None:
        plan = replace(plan, device=previous.device, dtype=previous.dtype)
    frame, scaler = _units(signals, plan, isotropic, previous)
    store = store_of(signals, plan.patches, frame, scaler, plan.dtype, plan.device)
    if previous is None:
        field = plan.make_field(generator=torch.Generator().manual_seed(plan.seed))
        field = field.to(plan.device, plan.dtype)
    else:
        field = previous.field
    learner = plan.learner
    if trainer is None or not _train_alike(trainer.learner, learner):
        trainer = Trainer(
            learner=learner,
            field=field,
            store=store,
            held_out=None,
            schedule=plan.schedule,
            generator=torch.Generator().manual_seed(plan.seed),
        )
        if previous is None:
            learner.initialise(trainer.meta_step, store, trainer.generator)
        else:
            trainer.meta_step.adopt(previous.solver)
    trainer.store = store
    losses, levels = [], []
    for _ in range(math.ceil(len(store) / learner.settings.batch_size)):
        losses.append(trainer.step(learner.draw(store, trainer.generator)))
        levels.append(trainer.psnr(float(trainer.meta_step.mse)))
    if skipped := int(np.isnan(losses).sum()):
        warnings.warn(
            f"the meta-loss was not finite in {skipped} of {len(losses)} meta-steps, which left "
            "the weights as they were; a lower meta_lr may help",
            ConvergenceWarning,
            stacklevel=3,
        )
    codec = Codec(field, learner.solver(trainer.meta_step, store), frame, scaler)
    return with_patches(codec, plan.patches), trainer, losses, levels


def _train_alike(one: Learner, other: Learner) -> bool:
    steps = other.settings.transform_steps  # has no part in training
    return one.name == other.name and replace(one.settings, transform_steps=steps) == other.settings


def _units(
    signals: Signals, plan: FitPlan, isotropic: bool, previous: Codec | None
) -> tuple[CoordinateFrame, ValueScaler]:
    if previous is None:
        return units_of(signals, isotropic, plan.patches)
    return previous.frame, previous.scaler


def _usual_axes(signals: Signals, patches: PatchGrid | None) -> tuple[np.ndarray, ...]:
    """Return the grid of a patch or the signals; of scattered points, one that is as dense."""
    if patches is not None:
        return patches.axes
    layout = signals.layout
    if layout.axes is not None:
        return layout.axes
    n_points = float(np.mean([group.n_points for group in signals.groups]))
    return layout.resized([max(2, round(n_points ** (1 / layout.n_axes)))] * layout.n_axes)


def units_of(
    signals: Signals, isotropic: bool, patches: PatchGrid | None = None
) -> tuple[CoordinateFrame, ValueScaler]:
    """Measure extent and range of a data set; lazy values are read once, and checked.

    Parameters
    ----------
    signals : Signals
    isotropic : bool
        Whether axes of one unit are scaled alike.
    patches : PatchGrid, optional
        Where the extent is to be that of a patch.
    """
    signals.check()
    grids = [group.axes for group in signals.groups] if patches is None else [patches.axes]
    frame = CoordinateFrame.from_axes(grids, signals.layout.units, isotropic)
    every = thinning(sum(len(group.positions) * group.n_points for group in signals.groups))
    return frame, ValueScaler.from_values([thinned(g.values, every) for g in signals.groups])


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
    return digest.hexdigest()[:16]
