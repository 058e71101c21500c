"""Where latents come from, as attributes that every file format can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from neurfield.spec import plain


def provenance(estimator: Any, source_attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Describe the encoder and the signals of a set of latents.

    Parameters
    ----------
    estimator : FunctaEncoder
        Fitted.
    source_attrs : mapping
        Attributes of the signals.

    Returns
    -------
    dict of str
        The version of this package, the encoder's parameters and settings as JSON, and the
        signals' attributes as JSON.
    """
    parameters = estimator.get_params(deep=False)
    encoder = {name: plain(value) for name, value in parameters.items()}
    encoder |= {**asdict(estimator.settings_), "learner": estimator.learner_.to_plain()}
    if estimator.transform_steps is not None:
        encoder["transform_steps"] = estimator.transform_steps
    encoder = {name: value for name, value in encoder.items() if name not in _NOT_OF_THE_MODEL}
    return {
        "neurfield_version": version("neurfield"),
        "encoder": json.dumps(encoder, default=str),
        "source_attrs": json.dumps({str(k): v for k, v in source_attrs.items()}, default=_plain),
    }


_NOT_OF_THE_MODEL = {"callbacks", "checkpoint", "checkpoint_every", "verbose", "warm_start"}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
