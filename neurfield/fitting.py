"""From signals and settings to a trained codec."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

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


def make_learner(name: str, problem: Problem, chosen: Mapping[str, Any]) -> Learner:
    """Return a learner with its defaults, and what the caller chose instead of them.

    Parameters
    ----------
    name : str
    problem : Problem
    chosen : mapping
        Values for :class:`Settings` by field name; None keeps the default.
    """
    learner = available_learners()[name]
    overrides = {f.name: chosen[f.name] for f in fields(Settings) if chosen[f.name] is not None}
    return learner(replace(learner.defaults(problem), **overrides))


def problem_of(signals: Signals, latent_dim: int) -> Problem:
    """Measure a data set for a learner's defaults."""
    return Problem(
        n_signals=len(signals),
        n_grids=len(signals.groups),
        n_points=max(group.n_points for group in signals.groups),
        n_axes=signals.layout.n_axes,
        n_channels=signals.layout.n_channels,
        latent_dim=latent_dim,
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
    if previous is None:
        frame, scaler = units_of(signals, isotropic, plan.patches)
    else:
        frame, scaler = previous.frame, previous.scaler
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
