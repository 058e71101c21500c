"""Where latents come from, as attributes that every file format can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neurfield.spec import plain

if TYPE_CHECKING:
    from neurfield.codec import Codec

#: Name of the attribute, or of the array in a file, that tells which field latents are of.
FINGERPRINT = "field_fingerprint"


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
        The version of this package, the fingerprint of the field, the encoder's parameters and
        settings as JSON, and the signals' attributes as JSON.
    """
    parameters = estimator.get_params(deep=False)
    encoder = {name: plain(value) for name, value in parameters.items()}
    encoder |= {**asdict(estimator.settings_), "learner": estimator.learner_.to_plain()}
    if estimator.transform_steps is not None:
        encoder["transform_steps"] = estimator.transform_steps
    encoder = {name: value for name, value in encoder.items() if name not in _NOT_OF_THE_MODEL}
    return {
        "neurfield_version": version("neurfield"),
        FINGERPRINT: estimator.codec_.fingerprint,
        "encoder": json.dumps(encoder, default=str),
        "source_attrs": json.dumps({str(k): v for k, v in source_attrs.items()}, default=_plain),
    }


def fingerprint_of(latents: Any) -> str | None:
    """Return the fingerprint of the field that latents are of; None where they do not tell.

    Parameters
    ----------
    latents : any
        A DataFrame, DataArray or Dataset has it in its ``attrs``; a plain array has none.
    """
    attrs = getattr(latents, "attrs", None)
    found = attrs.get(FINGERPRINT) if isinstance(attrs, Mapping) else None
    return None if found is None else str(found)


def check_origin(found: str | None, codec: Codec, what: str, instead: str) -> None:
    """Refuse latents of another field than the one that is to decode them.

    Parameters
    ----------
    found : str or None
        Fingerprint that the latents have; None where they have none, which passes.
    codec : Codec
        Of the field; its weights are only gone through where there is something to compare.
    what : str
        What holds the latents, such as "X".
    instead : str
        How to decode them all the same.

    Raises
    ------
    ValueError
        If it is another.
    """
    if found is not None and found != (own := codec.fingerprint):
        raise ValueError(
            f"{what} holds latents of the field {found}, and this field is {own}: another one, or "
            "the same before or after more training; decode them with the encoder that made them, "
            f"or {instead}"
        )


class TracedMixin:
    """Notes on latents that have ``attrs``, such as a DataFrame's, which field they are of.

    It must come before scikit-learn's ``TransformerMixin``, which makes the DataFrame.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "transform" in vars(cls):
            cls.transform = _traced(cls.transform)  # type: ignore[attr-defined]


def _traced(transform: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(transform)
    def traced(self: Any, X: Any, **how: Any) -> Any:
        latents = transform(self, X, **how)
        if hasattr(latents, "attrs") and FINGERPRINT not in latents.attrs:
            latents.attrs[FINGERPRINT] = self.codec_.fingerprint
        return latents

    return traced


_NOT_OF_THE_MODEL = {"callbacks", "checkpoint", "checkpoint_every", "verbose", "warm_start"}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
