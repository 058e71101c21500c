"""Training state on disk."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurfield.atomic import replacing
from neurfield.errors import FileError, existing_file, reading
from neurfield.fields.stored import check_finite
from neurfield.interop import read_torch
from neurfield.learning.outer_loop import TrainingState

_FORMAT = "neurfield-checkpoint"
_VERSION = 1
_KINDS = {
    "int": (int,),
    "float": (int, float),
    "list[float]": (list,),
    "dict[str, Tensor]": (dict,),
    "bool": (bool,),
}


def save_checkpoint(path: str | Path, state: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Write a training state; the old file stays whole until the new one is.

    Parameters
    ----------
    path : path
        File to write, in a folder that exists.
    state : dict
        Plain values and tensors, which are read back without running code.
    fingerprint : dict
        What the state belongs to, parameters and a digest of the data, as plain values.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = {"format": _FORMAT, "version": _VERSION, "fingerprint": fingerprint, "state": state}
    # PyTorch refuses hidden files without an ending by name.
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)


def load_checkpoint(
    path: str | Path, fingerprint: dict[str, Any], may_differ: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Read a training state back.

    Parameters
    ----------
    path : path
        File that :func:`save_checkpoint` wrote.
    fingerprint : dict
        What the state must belong to.
    may_differ : sequence of str, default=()
        Parts of the fingerprint in which a state that is over and done with may differ.

    Returns
    -------
    dict or None
        The state, its tensors on the CPU. None where the fingerprint differs, in nothing but what
        may differ.

    Raises
    ------
    MissingFileError
        If the file is missing.
    FileError
        If it is damaged, no checkpoint of ours or a newer one, or belongs to another fit.
    """
    source = existing_file(path)
    content = _read(source)
    with reading(source, "a neurfield checkpoint"):
        theirs = content["fingerprint"]
        differences = [
            name
            for name in sorted(set(theirs) | set(fingerprint))
            if theirs.get(name) != fingerprint.get(name)
        ]
        if differences and set(differences) <= set(may_differ):
            return None
        if differences:
            described = (
                f"{name}: {reprlib.repr(theirs.get(name))} there, {fingerprint.get(name)!r} here"
                for name in differences
            )
            raise FileError(
                source,
                f"belongs to another fit ({'; '.join(described)}); use another path, or remove the "
                "file to start anew",
            )
        state: dict[str, Any] = content["state"]
        _check(state)
        return state


def fingerprint_of(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint belongs to.

    Parameters
    ----------
    path : path
        File that :func:`save_checkpoint` wrote.

    Raises
    ------
    MissingFileError
        If the file is missing.
    FileError
        If it is damaged, no checkpoint of ours or a newer one.
    """
    source = existing_file(path)
    content = _read(source)
    with reading(source, "a neurfield checkpoint"):
        return dict(content["fingerprint"])


def check_shapes(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not of the names and shapes of others.

    Parameters
    ----------
    weights, like : mapping of str to Tensor
        State dicts of one module.

    Raises
    ------
    ValueError
        If a name or a shape differs.
    """
    if {k: w.shape for k, w in weights.items()} != {k: w.shape for k, w in like.items()}:
        raise ValueError("the best weights are those of another field")


def _read(source: Path) -> dict[str, Any]:
    content = read_torch(source)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise FileError(source, "is not a neurfield checkpoint")
    with reading(source, "a neurfield checkpoint"):
        if content["version"] > _VERSION:
            raise FileError(
                source,
                f"has version {content['version']}, written by a newer neurfield; this one reads "
                f"up to version {_VERSION}",
            )
    return content


def _check(state: dict[str, Any]) -> None:
    """Refuse what :class:`TrainingState` cannot be, and numbers that no training leaves."""
    training = state["training"]
    for field in fields(TrainingState):
        kinds = _KINDS[str(field.type)]
        if field.name in training and type(training[field.name]) not in kinds:
            raise ValueError(f"{field.name} must be of type {field.type}")
    if not 0 <= training["first"] <= training["iteration"]:
        raise ValueError("iteration must not be less than first")
    for name in ("loss_curve", "psnr_curve", "validation_curve"):
        if not all(type(value) in (int, float) for value in training[name]):
            raise ValueError(f"{name} must be a list of numbers")
    check_finite(state["weights"])
    check_finite(training["best_weights"])
    if type(state["seed"]) is not int:
        raise ValueError("seed must be a whole number")
    torch.Generator().manual_seed(state["seed"])
    for name in ("generator", "start"):
        if name in state:
            torch.Generator().set_state(state[name])
    for window in state["draws"]:
        if window is not None:
            numbers = [window["n_drawn"], *window["window"], *window["queue"]]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("draws must be whole numbers")
