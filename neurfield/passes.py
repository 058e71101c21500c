"""What one call of fit or partial_fit goes through, from its arguments to a fitted encoder."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from neurfield.codec import Codec
from neurfield.completing import completed_signals
from neurfield.device import matrix_products
from neurfield.fitting import fit_codec, history_of
from neurfield.learning import Trainer
from neurfield.planning import check_parameters, check_shape_of_field, make_plan
from neurfield.validation import validated_signals, weighted

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

_E = TypeVar("_E", bound="FunctaEncoder")


def whole_fit(encoder: _E, X: Any, sample_weight: Any, operator: Any, likelihood: Any) -> _E:
    """Fit an encoder from the start, or with ``warm_start`` from where it stands.

    Parameters
    ----------
    encoder : FunctaEncoder
        With parameters as they were set.
    X, sample_weight, operator, likelihood
        As ``fit`` takes them.
    """
    started = time.perf_counter()
    check_parameters(encoder)
    previous = None
    if encoder.warm_start and hasattr(encoder, "codec_"):
        check_shape_of_field(encoder, "warm_start=True continues")
        previous = encoder.codec_
    if operator is not None:
        X, sample_weight = completed_signals(encoder, X, operator, likelihood, sample_weight)
    signals = weighted(validated_signals(encoder, X, reset=previous is None), sample_weight)
    plan = make_plan(encoder, signals, previous)
    if operator is not None:
        plan = replace(plan, started=started)
    with matrix_products(encoder.precision):
        codec, trainer = fit_codec(signals, plan, previous)
    encoder.__dict__.pop("_trainer", None)  # it is of the field before
    return encoder._fitted(codec, trainer, signals if previous is None else None)


def one_pass(encoder: _E, X: Any, sample_weight: Any) -> _E:
    """Pass once over some signals, from where the last pass has left an encoder.

    Parameters
    ----------
    encoder : FunctaEncoder
        With parameters as they were set.
    X, sample_weight
        As ``partial_fit`` takes them.
    """
    check_parameters(encoder)
    previous: Codec | None = getattr(encoder, "codec_", None)
    if previous is not None:
        check_shape_of_field(encoder, "partial_fit continues")
    signals = weighted(validated_signals(encoder, X, reset=previous is None), sample_weight)
    trainer: Trainer | None = getattr(encoder, "_trainer", None)
    before = getattr(encoder, "learner_", None)
    taken = getattr(encoder, "n_iter_", 0)
    plan = make_plan(encoder, signals, previous, before, pass_from=taken)
    if trainer is not None and not trainer.learner.trains_like(plan.learner):
        trainer = None
    history = None if previous is None else history_of(encoder)
    with matrix_products(encoder.precision):
        codec, encoder._trainer = fit_codec(signals, plan, previous, trainer, history)
    return encoder._fitted(codec, encoder._trainer, signals if previous is None else None)
