"""Published MedFuncta weights, read and written."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurfield.errors import FileError, existing_file, reading
from neurfield.fields import Field, ModulatedSiren
from neurfield.fields.stored import field_of_weights
from neurfield.interop import read_torch
from neurfield.interop.inert import Record, plain_number
from neurfield.limits import check_unpacked
from neurfield.signals import Units, grid_points

_PREFIX = "model."
_SAFE = ".safetensors"
_MOST_AXES = 4  # of space and time
_MOST_LAYERS = 1000
_NETWORK, _LAYER = "models.inrs.LatentModulatedSIREN", "models.layers.LatentModulatedSIRENLayer"
_CLASSES = (
    _NETWORK,
    _LAYER,
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.linear.Linear",
)
_PARTS = (
    "linear.weight",
    "linear.bias",
    "modulate_shift_layer.weight",
    "modulate_shift_layer.bias",
)


def read_medfuncta(
    weights: str | Path | Mapping[str, Tensor],
    omega: float | tuple[float, float] | None = None,
    skip_connections: bool | None = None,
) -> tuple[ModulatedSiren, tuple[np.ndarray, ...] | None]:
    """Build the field of a published checkpoint or of a pickled network.

    Parameters
    ----------
    weights : path or state dict
        A training checkpoint such as ``best.model``, its content, or the ``model.pt`` or
        ``model.safetensors`` of a latent set. Files are read without running any code in them.
    omega : float or (float, float), optional
        ω_1 → ω_K. Checkpoints do not hold it; the files of latent sets do.
    skip_connections : bool, optional
        By default what the file of a latent set says, and True for a checkpoint.

    Returns
    -------
    field : ModulatedSiren
        With the published weights, ready to decode, in float32 on the CPU.
    axes : tuple of d arrays, or None
        Axes of the training grid, where the weights come with a full one.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileError
        If it is of another kind, truncated, asks for code to be run or for more memory than it may.
    ValueError
        If it contradicts `omega` or `skip_connections`, or `omega` is missing.
    """
    path = None if isinstance(weights, Mapping) else weights
    said: dict[str, Any] = {}
    if isinstance(weights, Mapping):
        content: Any = dict(weights)
    elif Path(weights).suffix == _SAFE:
        content, said = _read_safe(existing_file(weights))
    else:
        content = read_torch(weights, _CLASSES)
    with nullcontext() if path is None else reading(path, "weights of MedFuncta"):
        tensors, grid, held = _parts(content)
    held |= said
    omega = _agreed("omega", _pair(omega), held.get("omega"))
    skip_connections = _agreed("skip_connections", skip_connections, held.get("skip_connections"))
    if omega is None:
        raise ValueError(
            "omega must be given: a training checkpoint does not hold the ω-schedule that it was "
            "trained with (the network of a latent set, model.pt or model.safetensors, does)"
        )
    if path is not None:  # in a file, weights may share their numbers, which a field does not
        check_unpacked(path, sum(tensor.nbytes for tensor in tensors.values()), "its weights")
    with nullcontext() if path is None else reading(path, "weights of MedFuncta"):
        field = _build(tensors, omega, skip_connections is not False)
        return field, _axes(grid, field.in_dim)


def check_published(field: Field) -> None:
    """Refuse a field that the published network cannot express.

    Parameters
    ----------
    field : Field
        Trained or not.

    Raises
    ------
    ValueError
        If it is another family, scales too, or its residual branches are not at full strength.
    """
    if not isinstance(field, ModulatedSiren):
        raise ValueError(
            f"field must be a ModulatedSiren, got {type(field).__name__}; fit with a medfuncta "
            "preset or with field=Siren(residual_scale=1.0)"
        )
    if field.modulates_scale:
        raise ValueError('the published network has modulation="shift", this field "shift_scale"')
    if field.skip_connections and field.residual_scale != 1.0:
        raise ValueError(
            "the published network has residual_scale=1, "
            f"this field has residual_scale={field.residual_scale}; "
            "fit with a medfuncta preset or with field=Siren(residual_scale=1.0)"
        )


def write_medfuncta(
    field: Field,
    path: str | os.PathLike[str],
    axes: tuple[np.ndarray, ...] | None = None,
    units: Units | None = None,
    **facts: Any,
) -> None:
    """Write weights under their published names, in float32.

    Parameters
    ----------
    field : ModulatedSiren
        As published: residual branches at full strength.
    path : path-like
        File to write. One that ends in ``.safetensors`` says in its metadata, as JSON, what the
        network is and how its coordinates and values belong to the signals; any other is the state
        dict that the published tools load as ``best.model``.
    axes : tuple of d arrays, optional
        Grid to store as ``grid``, as the field sees it; without `units` it spans -1 to 1 along each
        axis.
    units : Units, optional
        Of `axes` and of the signals' values; by default the field's own.
    **facts
        What else the metadata are to say, under these names.

    Raises
    ------
    ValueError
        If the published network cannot express the field.
    OSError
        If the file cannot be written.
    """
    check_published(field)
    assert isinstance(field, ModulatedSiren)
    state = _state_of(field)
    if axes is not None:
        unit = [np.linspace(-1.0, 1.0, len(axis)) for axis in axes]
        points = grid_points(unit) if units is None else units.frame.grid(axes)
        state["grid"] = torch.from_numpy(points.astype(np.float32))
    if Path(path).suffix != _SAFE:
        torch.save(state, path)
        return
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    said = _network(field) | _units(units or Units.identity(field.in_dim, field.out_dim)) | facts
    metadata = {name: json.dumps(value) for name, value in said.items()}
    try:
        save_file({key: value.contiguous() for key, value in state.items()}, path, metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {str(path)!r}: {error}") from error


def _state_of(field: ModulatedSiren) -> dict[str, Tensor]:
    """Return weights by their published names."""
    ours = {key: value.detach().cpu().float() for key, value in field.state_dict().items()}
    state: dict[str, Tensor] = {}
    for part, shifts in zip(("weight", "bias"), field.shift_map(), strict=True):
        for k, shift in enumerate(shifts.detach().cpu().float().split(field.hidden_dim)):
            state[f"model.layers.{k}.linear.{part}"] = ours[f"layers.{k}.{part}"]
            state[f"model.layers.{k}.modulate_shift_layer.{part}"] = shift.clone()
        state[f"model.last_layer.linear.{part}"] = ours[f"output.{part}"]
    # Published networks own a modulation of the output that they never use.
    last = "model.last_layer.modulate_shift_layer"
    state[f"{last}.weight"] = torch.zeros(field.out_dim, field.latent_dim)
    state[f"{last}.bias"] = torch.zeros(field.out_dim)
    return state


def _network(field: ModulatedSiren) -> dict[str, Any]:
    """Return what weights do not say of a network."""
    sizes = ("in_dim", "out_dim", "latent_dim", "hidden_dim", "n_layers")
    return {
        "network": _NETWORK.rpartition(".")[2],
        **{name: getattr(field, name) for name in sizes},
        "omega": list(field.omegas),
        "skip_connections": field.skip_connections,
    }


def _units(units: Units) -> dict[str, list[float]]:
    """Return the maps from the field's coordinates and values to those of the signals."""
    frame, scaler = units.frame, units.scaler
    return {
        "coordinate_offset": ((frame.lower + frame.upper) / 2).tolist(),
        "coordinate_scale": frame.half_width.tolist(),
        "value_offset": scaler.offset.tolist(),
        "value_scale": scaler.scale.tolist(),
    }


def _read_safe(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights, and what the metadata beside them say of the network."""
    from safetensors import safe_open

    with reading(path, "a safetensors file"), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    if absent := {"omega", "skip_connections"} - metadata.keys():
        raise FileError(path, f"its metadata do not say {' and '.join(sorted(absent))}")
    with reading(path, "weights of MedFuncta"):
        omegas, skips = (json.loads(metadata[name]) for name in ("omega", "skip_connections"))
        n_layers = _n_sine(key.removeprefix(_PREFIX) for key in tensors) + 1
        is_schedule = isinstance(omegas, list) and all(map(plain_number, omegas))
        if not is_schedule or len(omegas) != n_layers or not isinstance(skips, bool):
            raise ValueError(
                f"omega must be a number for each of {n_layers} layers and skip_connections true "
                f"or false, got {reprlib.repr(omegas)} and {skips!r:.40}"
            )
        return tensors, {"omega": _schedule(omegas), "skip_connections": skips}


def _build(
    tensors: Mapping[str, Tensor], omega: float | tuple[float, float], skip_connections: bool
) -> ModulatedSiren:
    n_sine = _n_sine(tensors)
    if n_sine > _MOST_LAYERS:
        raise ValueError(f"weights are of {n_sine} layers; up to {_MOST_LAYERS} are read")
    expected = [f"layers.{k}.{part}" for k in range(n_sine) for part in _PARTS]
    expected += ["last_layer.linear.weight", "last_layer.linear.bias"]
    missing = [key for key in expected if key not in tensors]
    if n_sine == 0 or missing:
        raise ValueError(
            f"weights are not a MedFuncta checkpoint: expected keys such as "
            f"'model.layers.0.linear.weight', missing {missing[:3]}, got {list(tensors)[:3]}"
        )
    matrices = (tensors["layers.0.linear.weight"], tensors["layers.0.modulate_shift_layer.weight"])
    if any(matrix.ndim != 2 for matrix in matrices):
        raise ValueError("weights do not fit together: those of layer 0 are no matrices")
    hidden_dim, in_dim = matrices[0].shape
    if not 1 <= in_dim <= _MOST_AXES:
        raise ValueError(f"weights are of a field over {in_dim} axes; 1 to {_MOST_AXES} are read")
    arguments = {
        "in_dim": in_dim,
        "out_dim": tensors["last_layer.linear.bias"].numel(),
        "latent_dim": matrices[1].shape[1],
        "hidden_dim": hidden_dim,
        "n_layers": n_sine + 1,
        "omega": omega,
        "skip_connections": skip_connections,
    }
    ours = {
        "modulation.weight": _stack(tensors, n_sine, "modulate_shift_layer.weight"),
        "modulation.bias": _stack(tensors, n_sine, "modulate_shift_layer.bias"),
        "output.weight": tensors["last_layer.linear.weight"],
        "output.bias": tensors["last_layer.linear.bias"],
    }
    for k in range(n_sine):
        for part in ("weight", "bias"):
            ours[f"layers.{k}.{part}"] = tensors[f"layers.{k}.linear.{part}"]
    field = field_of_weights(ModulatedSiren, arguments, ours)
    assert isinstance(field, ModulatedSiren)
    return field


def _parts(content: Any) -> tuple[dict[str, Tensor], Tensor | None, dict[str, Any]]:
    """Return weights, the grid beside them, and what else is said of the network."""
    if isinstance(content, Record):
        tensors, held = _tensors_of(content)
        grid = None
    elif isinstance(content, dict):
        grid, held = content.get("grid"), {}
        tensors = {key.removeprefix(_PREFIX): v for key, v in content.items() if key != "grid"}
    else:
        raise ValueError(f"no state dict of plain tensors, but a {type(content).__name__}")
    found = [*tensors.values()] if grid is None else [*tensors.values(), grid]
    if not all(isinstance(value, Tensor) for value in found):
        raise ValueError("no state dict of plain tensors")
    return tensors, grid, held


def _tensors_of(network: Record) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a pickled network's weights, named as in a state dict, and what else it holds."""
    try:
        modules = network.state["_modules"]
        layers = list(modules["layers"].state["_modules"].values())
        named = {f"layers.{k}": layer.state for k, layer in enumerate(layers)}
        named["last_layer"] = modules["last_layer"].state
        tensors = {
            f"{name}.{linear}.{part}": value
            for name, layer in named.items()
            for linear, module in layer["_modules"].items()
            for part, value in module.state["_parameters"].items()
        }
        omegas = [layer["w0"] for layer in named.values()]
        skips = network.state["enable_skip_connections"]
        scaled = any(layer.get("modulate_scale", False) for layer in named.values())
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"the pickled object {network.kind} is not laid out like the published network "
            f"({type(error).__name__}: {error})"
        ) from error
    if scaled:
        raise ValueError("the pickled network modulates scales too, which this field does not")
    return tensors, {"omega": _schedule(omegas), "skip_connections": bool(skips)}


def _schedule(omegas: list[Any]) -> tuple[float, float]:
    """Return ω_1 and ω_K of a linear schedule; the ω of the output layer is never used."""
    if not all(plain_number(value) for value in omegas):
        raise ValueError(
            f"the attributes w0 of the pickled layers must be numbers, got {reprlib.repr(omegas)}"
        )
    sine = np.array(omegas[:-1], dtype=np.float64)
    step = float(sine[1] - sine[0]) if len(sine) > 1 else float(omegas[-1]) - float(sine[0])
    if not np.allclose(np.diff(sine), step, rtol=1e-6):
        raise ValueError(f"ω must rise linearly from layer to layer, the file has {sine.tolist()}")
    end, last = float(sine[0]) + step * len(sine), float(omegas[-1])
    return float(sine[0]), last if np.isclose(last, end, rtol=1e-6) else end


def _agreed(name: str, asked: Any, held: Any) -> Any:
    """Return what the file holds, which must not contradict what the caller gave."""
    if held is None:
        return asked
    if asked is not None and not np.allclose(asked, held, rtol=1e-6):
        raise ValueError(f"{name}={asked} was given, but the file says {name}={held}")
    return held


def _pair(omega: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if omega is None or isinstance(omega, tuple | list):
        return omega
    return float(omega), float(omega)


def _n_sine(keys: Iterable[str]) -> int:
    """Count the sine layers among names of weights."""
    parts = [key.split(".") for key in keys]
    return len({p[1] for p in parts if p[0] == "layers" and len(p) > 1 and p[1].isdigit()})


def _stack(tensors: Mapping[str, Tensor], n_sine: int, part: str) -> Tensor:
    return torch.cat([tensors[f"layers.{k}.{part}"] for k in range(n_sine)])


def _axes(grid: Tensor | None, n_axes: int) -> tuple[np.ndarray, ...] | None:
    """Recover the axes of a full grid from its list of points."""
    if grid is None:
        return None
    points = grid.reshape(-1, n_axes).double().cpu().numpy()
    if not np.isfinite(points).all():
        raise ValueError("grid must hold finite coordinates")
    axes = tuple(np.unique(column) for column in points.T)
    if int(np.prod([len(axis) for axis in axes])) != len(points):
        return None
    return axes
