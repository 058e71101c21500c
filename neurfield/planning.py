"""From an encoder's parameters to the plan of a fit."""

from __future__ import annotations

import inspect
import math
import sys
import time
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sklearn.utils import check_random_state

from neurfield._compat import Interval, StrOptions
from neurfield.choosing import Choice, choose_field
from neurfield.codec import Codec
from neurfield.device import PRECISIONS, resolve_device, resolve_dtype
from neurfield.fields import Auto, Field, FieldSpec, Lapped, Siren
from neurfield.fields.schedule import check_omega
from neurfield.fitting import FitPlan, problem_of
from neurfield.lapped import LappedCodec
from neurfield.learning import EarlyStopping, Learner, OuterLoop
from neurfield.learning.callbacks import check_callbacks
from neurfield.learning.checkpoint import fingerprint_of
from neurfield.learning.distributed import World
from neurfield.learning.solvers import MOST_STEPS
from neurfield.patched import patches_of
from neurfield.signals import Signals
from neurfield.signals.base_grid import BaseGrid
from neurfield.signals.patches import PatchGrid
from neurfield.sizes import along_axes
from neurfield.spec import plain

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

_MOST_RATE = 1e30  # which single precision holds with room for its square roots

CONSTRAINTS: dict[str, list[Any]] = {
    "latent_dim": [Interval(Integral, 1, None, closed="left")],
    "hidden_dim": [Interval(Integral, 1, None, closed="left")],
    "n_layers": [Interval(Integral, 2, None, closed="left"), None],
    "omega": [Interval(Real, 0, None, closed="neither"), tuple, list],
    "field": [str, FieldSpec],
    "learner": [str, Learner],
    "transform_steps": [Interval(Integral, 1, MOST_STEPS, closed="both"), None],
    "meta_lr": [Interval(Real, 0, _MOST_RATE, closed="right"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    "max_time": [Interval(Real, 0, None, closed="neither"), None],
    "memory_budget": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="neither"),
        None,
    ],
    "lr_schedule": [StrOptions({"constant", "cosine"}), None],
    "weight_decay": [Interval(Real, 0, None, closed="left"), None],
    "channel_axis": [Integral, None],
    "isotropic": ["boolean"],
    "patch_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
    "early_stopping": ["boolean", EarlyStopping],
    "checkpoint": [str, PathLike, None],
    "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    "callbacks": [list, tuple, None],
    "device": [str],
    "precision": [StrOptions(set(PRECISIONS))],
    "compile": ["boolean", None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
}
"""What each parameter of an encoder may be, by itself."""

# Parameters of the encoder that are arguments of fields, which not every field has.
_OF_FIELDS = ("hidden_dim", "n_layers", "omega")
# Parameters that settle the choice of a field where they are given: only one of the two takes them.
_OF_WHOLE_SIGNALS = ("learner", "n_layers", "omega", "patch_size")
# Parameters that learners have defaults for.
_OF_LEARNERS = (
    "transform_steps",
    "meta_lr",
    "batch_size",
    "max_iter",
    "lr_schedule",
    "weight_decay",
    "compile",
)
# What neither decides the weights that a fit arrives at nor may keep a checkpoint from resuming.
_NOT_IN_FINGERPRINT = {
    "callbacks",
    "checkpoint",
    "checkpoint_every",
    "compile",
    "device",
    "max_time",
    "memory_budget",
    "random_state",
    "transform_steps",
    "verbose",
    "warm_start",
}


def check_parameters(encoder: FunctaEncoder) -> None:
    """Check what one parameter's constraint alone cannot tell.

    Parameters
    ----------
    encoder : FunctaEncoder
        Each of its parameters within ``CONSTRAINTS``; it need not be fitted.

    Raises
    ------
    ValueError
        If a parameter is not usable, or one would change nothing.
    """
    check_omega(encoder.omega)
    field = FieldSpec.of(encoder.field)
    field.check()
    _learner_of(encoder, field).check()
    if (early_stopping := _early_stopping(encoder)) is not None:
        early_stopping.check()
    # Where one of these is given, the field that is chosen is that of whole signals.
    _check_effects(encoder, Siren() if isinstance(field, Auto) else field)
    check_callbacks(encoder.callbacks)
    if encoder.checkpoint is not None:
        path = Path(encoder.checkpoint)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ValueError(
                f"checkpoint must name a file in a folder that exists, got {str(path)!r}"
            )


def check_shape_of_field(encoder: FunctaEncoder, what: str) -> None:
    """Refuse a fitted field of another shape than the parameters ask for.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted; its parameters may have been set anew since.
    what : str
        Beginning of the message, such as "warm_start=True continues".

    Raises
    ------
    ValueError
        If a size, the family or the patches of the field differ.
    """
    module = encoder.codec_.field
    spec = field_of(encoder, module)
    _check_effects(encoder, spec)
    there = {"field": FieldSpec.family_of(module), **module.config()}
    asked = {"field": spec.name, **_shared(encoder), **spec.chosen()}
    if asked["field"] == there["field"]:
        module.check(module.in_dim, {**there, **asked})
    for name in ("in_dim", "out_dim", "output_scale"):  # the last matters to initial weights only
        there.pop(name, None)
    for name, value in there.items():
        if asked.get(name) is not None and not _agree(asked[name], value):
            raise ValueError(f"{what} a field with {name}={value}, got {name}={asked[name]}")
    patches = patches_of(encoder.codec_)
    seen, patch_size = None if patches is None else patches.size, encoder.patch_size
    if patch_size is not None:
        patch_size = along_axes(patch_size, encoder.layout_.n_axes)
    if patch_size != seen:
        raise ValueError(
            f"{what} a field with patch_size={seen}, got patch_size={encoder.patch_size}"
        )


def make_learner(
    encoder: FunctaEncoder,
    spec: FieldSpec,
    pieces: Signals,
    previous: Codec | None = None,
    before: Learner | None = None,
) -> Learner:
    """Return the learner with all that was left open filled in for a data set.

    Parameters
    ----------
    encoder : FunctaEncoder
        Whose parameters, where they are not None, come before the learner's own defaults.
    spec : FieldSpec
        Of the field that is to be trained.
    pieces : Signals
        What the field is to describe: whole signals, or their patches.
    previous : Codec, optional
        Whose field is continued, and keeps its shape.
    before : Learner, optional
        Of the training that is continued.
    """
    chosen = {name: plain(getattr(encoder, name)) for name in _OF_LEARNERS}
    shape = {**_shared(encoder), **spec.chosen()}
    if previous is not None:
        shape |= previous.field.config()
    for name in ("n_layers", "residual_scale", "output_scale"):
        chosen[name] = plain(shape.get(name))
    problem = problem_of(pieces, encoder.latent_dim)
    if (cell := shape.get("cell")) is not None:
        sides = along_axes(cell, problem.n_axes)
        if all(isinstance(side, Integral) for side in sides):  # else it is refused later
            problem = replace(problem, cell_points=math.prod(sides))
    return _learner_of(encoder, spec).for_problem(problem, chosen, before)


def make_plan(
    encoder: FunctaEncoder,
    signals: Signals,
    previous: Codec | None = None,
    before: Learner | None = None,
    pass_from: int | None = None,
) -> FitPlan:
    """Return what a fit of the encoder does.

    Parameters
    ----------
    encoder : FunctaEncoder
        With parameters as :func:`check_parameters` leaves them.
    signals : Signals
        Whole signals of this fit, those to hold out included.
    previous : Codec, optional
        Of an earlier fit that is continued, with the patches that it has.
    before : Learner, optional
        Of the training that is continued.
    pass_from : int, optional
        Meta-steps taken before, where this is one pass over the signals.

    Raises
    ------
    ValueError
        If parameters do not fit the signals or the machine.
    """
    started, world = time.perf_counter(), World.here()
    device = resolve_device(encoder.device)
    dtype = resolve_dtype(encoder.precision, device)
    patches = None
    if previous is not None:
        patches = patches_of(previous)
    elif encoder.patch_size is not None:
        patches = PatchGrid.of_signals(signals, encoder.patch_size)
    if previous is not None and pass_from is not None:
        device, dtype = previous.device, previous.dtype  # passes stay where the field is
    pieces = signals if patches is None else patches.split(signals)
    if previous is not None:
        spec = field_of(encoder, previous.field)
    elif isinstance(spec := FieldSpec.of(encoder.field), Auto):
        spec = world.from_first(lambda: _chosen(encoder, signals, device))
    learner = make_learner(encoder, spec, pieces, previous, before)
    settings, early_stopping = learner.settings, _early_stopping(encoder)
    layout = signals.layout
    base = _base(spec, signals, previous)
    shared = {
        **_shared(encoder),
        "shape": None if base is None else base.shape,
        "n_layers": settings.n_layers,
        "residual_scale": settings.residual_scale,
        "output_scale": settings.output_scale,
    }
    spec.configuration(layout.n_axes, shared)  # refuses what does not go together
    return FitPlan(
        learner=learner,
        loop=OuterLoop(
            max_iter=settings.max_iter,
            lr_schedule=settings.lr_schedule,
            patience=None if early_stopping is None else early_stopping.n_iter_no_change,
            tol=EarlyStopping().tol if early_stopping is None else early_stopping.tol,
            checkpoint=None if encoder.checkpoint is None else Path(encoder.checkpoint),
            checkpoint_every=encoder.checkpoint_every,
            verbose=encoder.verbose if world.is_first else 0,
        ),
        make_field=partial(spec.make, layout.n_axes, layout.n_channels, shared),
        validation_fraction=0.0 if early_stopping is None else early_stopping.validation_fraction,
        seed=int(check_random_state(encoder.random_state).randint(2**31 - 1)),
        device=device,
        dtype=dtype,
        callbacks=list(encoder.callbacks or ()),
        fingerprint=_fingerprint(encoder, spec),
        isotropic=encoder.isotropic,
        patches=patches,
        base=base,
        max_time=encoder.max_time,
        started=started,
        memory_budget=encoder.memory_budget,
        pass_from=pass_from,
        world=world,
    )


def field_of(encoder: FunctaEncoder, module: Field) -> FieldSpec:
    """Return the spec of a field that is there; what is left to the data stays as it was chosen.

    Parameters
    ----------
    encoder : FunctaEncoder
        Whose parameter says which field it asks for.
    module : Field
        The one that it has.
    """
    if not isinstance(spec := FieldSpec.of(encoder.field), Auto):
        return spec
    kind, config = FieldSpec.named(FieldSpec.family_of(module)), module.config()
    names = (name for name in kind().get_params() if name in config and name not in _OF_FIELDS)
    return kind(**{name: config[name] for name in names})


def _chosen(encoder: FunctaEncoder, signals: Signals, device: torch.device) -> FieldSpec:
    """Choose the field of a fit; one that is resumed goes on with what it has chosen."""
    choice = _choice_without_data(encoder)
    if choice is None:
        budget, max_time = encoder.memory_budget, encoder.max_time
        choice = choose_field(signals, encoder.latent_dim, device, budget, max_time)
    if encoder.verbose:
        print(f"field: {choice.reason}", file=sys.stderr, flush=True)
    return choice.field


def _choice_without_data(encoder: FunctaEncoder) -> Choice | None:
    """Return what parameters or a checkpoint have settled; None if nothing has."""
    defaults = inspect.signature(type(encoder).__init__).parameters
    for name in _OF_WHOLE_SIGNALS:
        value = getattr(encoder, name)
        if value != defaults[name].default:
            given = value.name if isinstance(value, Learner) else value
            return Choice(Siren(), f"whole signals, as {name}={given!r} is given")
    if encoder.checkpoint is not None and Path(encoder.checkpoint).exists():
        there = fingerprint_of(Path(encoder.checkpoint)).get("field")
        if there == Siren.name:
            return Choice(Siren(), "whole signals, as in the checkpoint")
        if isinstance(there, dict) and there.get("name") == Lapped.name:
            return Choice(Lapped.from_plain(there), "lapped, as in the checkpoint")
    return None


def _fingerprint(encoder: FunctaEncoder, spec: FieldSpec) -> dict[str, Any]:
    """Return what a checkpoint must agree in; a field that was chosen counts as one given."""
    found = {
        name: plain(value)
        for name, value in encoder.get_params(deep=False).items()
        if name not in _NOT_IN_FINGERPRINT
    }
    if isinstance(FieldSpec.of(encoder.field), Auto):
        found["field"] = Siren.name if isinstance(spec, Siren) else plain(spec)
    return found


def _learner_of(encoder: FunctaEncoder, spec: FieldSpec) -> Learner:
    """Return the learner, by default the one that the field asks for."""
    learner = Learner.of(encoder.learner)
    if encoder.learner == "varpro" and spec.usual_learner is not None:
        return Learner.named(spec.usual_learner)()
    families = learner.families
    if spec.usual_learner not in (None, learner.name) or (
        families is not None and spec.name not in families
    ):
        raise ValueError(
            f"learner={learner.name!r} cannot train field={spec.name!r}: leave the learner at its "
            "default"
        )
    return learner


def _base(spec: FieldSpec, signals: Signals, previous: Codec | None = None) -> BaseGrid | None:
    """Return the grid of the largest signal, for fields that have cells on it."""
    if "shape" not in spec.arguments():
        return None
    if isinstance(previous, LappedCodec):
        return previous.base
    return BaseGrid.of_signals(signals, f"field={spec.name!r}")


def _shared(encoder: FunctaEncoder) -> dict[str, Any]:
    """Return the encoder's parameters that are arguments of fields."""
    omega = encoder.omega
    return {
        "latent_dim": encoder.latent_dim,
        "hidden_dim": encoder.hidden_dim,
        "n_layers": encoder.n_layers,
        "omega": tuple(omega) if isinstance(omega, tuple | list) else float(omega),
    }


def _early_stopping(encoder: FunctaEncoder) -> EarlyStopping | None:
    return EarlyStopping.of(encoder.early_stopping) if encoder.early_stopping else None


def _check_effects(encoder: FunctaEncoder, spec: FieldSpec) -> None:
    """Refuse what would change nothing, and sizes that the field has been given another way."""
    defaults = inspect.signature(type(encoder).__init__).parameters
    every = encoder.checkpoint_every
    if encoder.checkpoint is None and every != defaults["checkpoint_every"].default:
        raise ValueError(f"checkpoint_every={every!r} changes nothing without checkpoint")
    scale = spec.chosen().get("residual_scale", 1.0)
    if scale != 1.0 and not getattr(spec, "skip_connections", True):
        raise ValueError(
            f"residual_scale={scale!r} changes nothing with skip_connections=False: it is a factor "
            "on branches beside them"
        )
    arguments = spec.arguments()
    if "shape" in arguments:
        for name in ("isotropic", "patch_size"):
            if getattr(encoder, name):
                raise ValueError(
                    f"{name}={getattr(encoder, name)!r} cannot be used with field={spec.name!r}, "
                    "whose cells have a side in samples along each axis"
                )
    for name in _OF_FIELDS:
        value = getattr(encoder, name)
        if value == defaults[name].default:
            continue
        if name not in arguments:
            raise ValueError(f"{name}={value!r} changes nothing with field={spec.name!r}")
        own = spec.chosen().get(name)
        if own is not None and own != value:
            raise ValueError(
                f"{name} is {value!r} and the field's own is {own!r}: give it in one place"
            )


def _agree(asked: Any, value: Any) -> bool:
    """Tell whether sizes or frequencies are the same, one number standing for several alike."""
    one, other = (list(v) if isinstance(v, tuple | list) else [v] for v in (asked, value))
    length = max(len(one), len(other))
    one, other = (v * length if len(v) == 1 else v for v in (one, other))
    return one == other
