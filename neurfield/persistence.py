"""A fitted estimator as one safetensors file: weights as tensors, everything else as JSON."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurfield.codec import Codec
from neurfield.device import resolve_device
from neurfield.fields import available_fields
from neurfield.learning.solvers import InnerSolver
from neurfield.patched import patches_of, with_patches
from neurfield.posterior import Posterior
from neurfield.signals import CoordinateFrame, Layout, ValueScaler
from neurfield.signals.patches import PatchGrid

_FORMAT = "neurfield"
# 2 adds the prior and the posterior, 3 learnt step sizes, scale modulation, patches and the family
# of the field; files without them are read too.
_VERSION = 3


def save_fitted(path: str | Path, codec: Codec, description: Mapping[str, Any]) -> None:
    """Write a codec and a JSON-able description of its estimator.

    The file appears under its name only when it is complete.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"field.{k}": v.detach().cpu() for k, v in codec.field.state_dict().items()}
    solver = codec.solver.state()
    tensors |= {f"solver.{k}": v.cpu() for k, v in solver.items() if torch.is_tensor(v)}
    document = {
        **description,
        "family": codec.field.family,
        "field": codec.field.config(),
        "solver": {
            "name": codec.solver.name,
            **{k: v for k, v in solver.items() if not torch.is_tensor(v)},
        },
        "frame": {k: v.tolist() for k, v in vars(codec.frame).items()},
        "scaler": {k: v.tolist() for k, v in vars(codec.scaler).items()},
        "dtype": str(codec.dtype).removeprefix("torch."),
    }
    if (patches := patches_of(codec)) is not None:
        document["patches"] = patches.to_dict()
    if codec.posterior is not None:
        state = codec.posterior.state()
        arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
        tensors |= {f"posterior.{k}": torch.from_numpy(v) for k, v in arrays.items()}
        document["posterior"] = {k: v for k, v in state.items() if k not in arrays}
    metadata = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "document": json.dumps(document, default=_plain),
    }
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
        os.replace(temporary, target)
    except SafetensorError as error:
        raise OSError(f"cannot write {str(target)!r}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_fitted(path: str | Path, device: str) -> tuple[Codec, dict[str, Any]]:
    """Read what :func:`save_fitted` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, not ours, or written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no file {str(source)!r} to load an estimator from")
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: in the file's own memory tensors start at odd addresses, where products of
            # matrices round otherwise than in the encoder that was saved.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{str(source)!r} is truncated or no safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{str(source)!r} was not written by FunctaEncoder.save")
    version = metadata.get("version", "")
    if version.isdigit() and int(version) > _VERSION:
        raise ValueError(
            f"{str(source)!r} has version {version}, written by a newer neurfield; "
            f"this one reads up to version {_VERSION}"
        )
    try:
        codec, document = _rebuild(json.loads(metadata["document"]), tensors)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{str(source)!r} is damaged ({reason})") from error
    return codec.to(available_device(device)), document


def _rebuild(
    document: dict[str, Any], tensors: Mapping[str, torch.Tensor]
) -> tuple[Codec, dict[str, Any]]:
    family = available_fields()[document.get("family", "siren")]
    field = family(**document["field"]).to(getattr(torch, document["dtype"]))
    field.load_state_dict(_strip(tensors, "field."))
    solver = {**document["solver"], **_strip(tensors, "solver.")}
    posterior = None
    if "posterior" in document:
        arrays = {k: v.numpy() for k, v in _strip(tensors, "posterior.").items()}
        posterior = Posterior.from_state({**document["posterior"], **arrays})
    codec = Codec(
        field=field,
        solver=InnerSolver.from_state(solver.pop("name"), solver),
        frame=CoordinateFrame(**{k: np.asarray(v) for k, v in document["frame"].items()}),
        scaler=ValueScaler(**{k: np.asarray(v) for k, v in document["scaler"].items()}),
        posterior=posterior,
    )
    document["layout"] = Layout.from_dict(document["layout"])
    patches = PatchGrid.from_dict(document["patches"]) if "patches" in document else None
    return with_patches(codec, patches), document


def available_device(device: str) -> torch.device:
    """Return the device that was asked for, or the CPU with a warning when it is not here."""
    try:
        return resolve_device(device)
    except ValueError as error:
        warnings.warn(f"{error}; continuing on the CPU", UserWarning, stacklevel=3)
        return torch.device("cpu")


def _strip(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _plain(value: Any) -> Any:
    """Turn numpy values in attributes and labels into JSON's own types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot store {value!r} of type {type(value).__name__} as JSON")
