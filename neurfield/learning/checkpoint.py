"""Training state on disk."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from neurfield.atomic import replacing

_FORMAT = "neurfield-checkpoint"
_VERSION = 1

# What torch.load raises on files that are cut off or of another kind.
_UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


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
    ValueError
        If the file is missing or damaged, no checkpoint of ours or a newer one, or belongs to
        another fit.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or no neurfield checkpoint: {reason}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"checkpoint {str(path)!r} is not a neurfield checkpoint")
    if content["version"] > _VERSION:
        raise ValueError(
            f"checkpoint {str(path)!r} has version {content['version']}, written by a newer "
            f"neurfield; this one reads up to version {_VERSION}"
        )
    theirs = content["fingerprint"]
    differences = [
        f"{name}: {theirs.get(name)!r} there, {fingerprint.get(name)!r} here"
        for name in sorted(set(theirs) | set(fingerprint))
        if theirs.get(name) != fingerprint.get(name)
    ]
    others = [name for name in theirs.keys() | fingerprint.keys() if name not in may_differ]
    if differences and all(theirs.get(name) == fingerprint.get(name) for name in others):
        return None
    if differences:
        raise ValueError(
            f"checkpoint {str(path)!r} belongs to another fit ({'; '.join(differences)}); "
            "use another path, or remove the file to start anew"
        )
    state: dict[str, Any] = content["state"]
    return state
