"""What files of earlier versions say, in today's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NETWORK = ("skip_connections", "residual_scale", "output_scale")
_OPTIONS_OF_FIELDS = {
    "siren": {"modulation": "modulation"},
    "spatial": {"grid": "latent_grid", "interpolation": "interpolation"},
    "low-rank": {"intermediate_dim": "intermediate_dim"},
}
_OPTIONS_OF_LEARNERS = {
    "varpro": {name: name for name in ("inner_steps", "damping", "augmentation", "context_ratio")},
    "cavia": {
        **{
            name: name
            for name in (
                "inner_steps",
                "inner_lr",
                "learn_inner_lr",
                "second_order",
                "context_ratio",
                "context_selection",
            )
        },
        "recompute": "checkpointing",
    },
}
_OPTIONS_OF_EARLY_STOPPING = ("validation_fraction", "n_iter_no_change", "tol")
_ONLY_DEFAULTS = {"recompute", "inner_steps", "damping"}  # that None stood for the default of


def upgraded(document: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the description of an estimator as this version writes it.

    Parameters
    ----------
    document : mapping
        As a file of some version holds it.
    version : int
        That version. Up to 3, all options were parameters of the encoder and settings of a fit.
    """
    found = dict(document)
    if version > 3:
        return found
    parameters, settings = dict(found["parameters"]), dict(found["settings"])
    found["family"] = found.get("family", "siren")
    field = dict(found["field"])
    if "latent_grid" in field:
        field["grid"] = field.pop("latent_grid")
    found["field"] = field
    # Nothing was deformed before there was a strength of it.
    found["learner"] = _learner(parameters["learner"], {"augmentation": 0.0, **settings})
    found["settings"] = {
        name: settings[name] for name in _SETTINGS if settings.get(name) is not None
    }
    found["parameters"] = _parameters(parameters)
    return found


_SETTINGS = (
    "n_layers",
    "residual_scale",
    "output_scale",
    "transform_steps",
    "meta_lr",
    "lr_schedule",
    "batch_size",
    "max_iter",
    "weight_decay",
    "compile",
)


def _learner(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a learner's spec as plain values, from all that was set of any learner."""
    options = {}
    for ours, theirs in _OPTIONS_OF_LEARNERS[name].items():
        if values.get(theirs) is not None or ours not in _ONLY_DEFAULTS:
            options[ours] = values.get(theirs)
    if options.get("learn_inner_lr"):
        options["inner_lr"] = None  # it had no effect
    if options.get("damping") == 0.0:  # of files from before there was any
        del options["damping"]
    always = {"learn_inner_lr": False, "second_order": True, "context_selection": "random"}
    for option, default in always.items():
        if option in options and options[option] is None:
            options[option] = default
    return {"name": name, **options}


def _parameters(old: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    learner = _learner(new.pop("learner"), old)
    family = new.pop("field", "siren")
    field: dict[str, Any] = {"name": family}
    for ours, theirs in _OPTIONS_OF_FIELDS[family].items():
        if theirs in old:
            field[ours] = old[theirs]
    field |= {name: old[name] for name in _NETWORK if name in old}
    stopping: bool | dict[str, Any] = bool(new.pop("early_stopping", False))
    if stopping:
        stopping = {
            "name": "held-out",
            **{name: old[name] for name in _OPTIONS_OF_EARLY_STOPPING if name in old},
        }
    gone = {theirs for table in _OPTIONS_OF_LEARNERS.values() for theirs in table.values()}
    gone |= {theirs for table in _OPTIONS_OF_FIELDS.values() for theirs in table.values()}
    gone |= {*_NETWORK, *_OPTIONS_OF_EARLY_STOPPING}
    new = {name: value for name, value in new.items() if name not in gone}
    return {**new, "learner": learner, "field": field, "early_stopping": stopping}
