"""Read the published MedFuncta checkpoints."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import ModulatedSiren

_PREFIX = "model."


def field_from_checkpoint(
    weights: str | Path | Mapping[str, Tensor],
    omega: float | tuple[float, float],
    skip_connections: bool = True,
) -> tuple[ModulatedSiren, tuple[np.ndarray, ...] | None]:
    """Build the field of a published training checkpoint.

    Parameters
    ----------
    weights : path or state dict
        A file such as ``best.model``, read without running any code in it, or its content.
    omega : float or (float, float)
        ω_1 → ω_K, which checkpoints do not hold.
    skip_connections : bool, default=True

    Returns
    -------
    field : ModulatedSiren
    axes : tuple of d arrays, or None
        Axes of the training grid, where the checkpoint holds a full one.
    """
    state = dict(weights) if isinstance(weights, Mapping) else _read(Path(weights))
    tensors = {key.removeprefix(_PREFIX): value for key, value in state.items() if key != "grid"}
    n_sine = 1 + max((int(key.split(".")[1]) for key in tensors if _is_layer(key)), default=-1)
    expected = [f"layers.{k}.{part}" for k in range(n_sine) for part in _PARTS]
    expected += ["last_layer.linear.weight", "last_layer.linear.bias"]
    missing = [key for key in expected if key not in tensors]
    if n_sine == 0 or missing:
        raise ValueError(
            f"weights are not a MedFuncta checkpoint: expected keys such as "
            f"'model.layers.0.linear.weight', missing {missing[:3]}, got {list(state)[:3]}"
        )
    hidden_dim, in_dim = tensors["layers.0.linear.weight"].shape
    field = ModulatedSiren(
        in_dim=in_dim,
        out_dim=len(tensors["last_layer.linear.bias"]),
        latent_dim=tensors["layers.0.modulate_shift_layer.weight"].shape[1],
        hidden_dim=hidden_dim,
        n_layers=n_sine + 1,
        omega=omega,
        skip_connections=skip_connections,
    )
    ours = {
        "modulation.weight": _stack(tensors, n_sine, "modulate_shift_layer.weight"),
        "modulation.bias": _stack(tensors, n_sine, "modulate_shift_layer.bias"),
        "output.weight": tensors["last_layer.linear.weight"],
        "output.bias": tensors["last_layer.linear.bias"],
    }
    for k in range(n_sine):
        for part in ("weight", "bias"):
            ours[f"layers.{k}.{part}"] = tensors[f"layers.{k}.linear.{part}"]
    field.load_state_dict(ours)
    return field, _axes(state.get("grid"))


_PARTS = (
    "linear.weight",
    "linear.bias",
    "modulate_shift_layer.weight",
    "modulate_shift_layer.bias",
)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r} to read weights from")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{str(path)!r} is no state dict of plain tensors: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{str(path)!r} is no state dict of plain tensors")
    return dict(state)


def _is_layer(key: str) -> bool:
    parts = key.split(".")
    return parts[0] == "layers" and len(parts) > 1 and parts[1].isdigit()


def _stack(tensors: Mapping[str, Tensor], n_sine: int, part: str) -> Tensor:
    return torch.cat([tensors[f"layers.{k}.{part}"] for k in range(n_sine)])


def _axes(grid: Tensor | None) -> tuple[np.ndarray, ...] | None:
    """Recover the axes of a full grid from its list of points."""
    if grid is None:
        return None
    points = grid.reshape(-1, grid.shape[-1]).double().cpu().numpy()
    axes = tuple(np.unique(column) for column in points.T)
    if int(np.prod([len(axis) for axis in axes])) != len(points):
        return None
    return axes
