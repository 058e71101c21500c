"""A fitted estimator as one safetensors file: weights as tensors, everything else as JSON."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neurfield.atomic import replacing
from neurfield.codec import Codec
from neurfield.device import named_device, resolve_device
from neurfield.fields import FieldSpec
from neurfield.learning import Learner, Settings
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers import InnerSolver
from neurfield.legacy import upgraded
from neurfield.patched import patches_of, with_patches
from neurfield.signals import Layout, Units
from neurfield.signals.patches import PatchGrid
from neurfield.spec import plain

_FORMAT = "neurfield"
# 2 adds the prior and the posterior, 3 learnt step sizes, scale modulation, patches and the family
# of the field, 4 specs; files of earlier versions are read too.
_VERSION = 4
_CURVES = ("loss_curve_", "psnr_curve_", "validation_curve_")


class StoredMixin:
    """Saves an estimator to a file and reads it back; pickles it for machines without its GPU."""

    def save(self: Any, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, which holds no code.

        Parameters
        ----------
        path : path
            File to write, whole or not at all; one that is there is replaced. ``callbacks`` and a
            RandomState instance are left out; attributes of the signals that JSON has no type for
            are written as text.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator has not been fitted.
        TypeError
            If a parameter cannot be written as JSON.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        parameters = self.get_params(deep=False)
        parameters["callbacks"] = None
        if isinstance(parameters["random_state"], np.random.RandomState):
            parameters["random_state"] = None
        description = {
            "parameters": {name: plain(value) for name, value in parameters.items()},
            "layout": self.layout_.to_dict(),
            "learner": self.learner_.to_plain(),
            "settings": asdict(self.settings_),
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": getattr(self, "feature_names_in_", None),
            "curves": {name: getattr(self, name, None) for name in _CURVES},
            "n_iter": self.n_iter_,
        }
        save_fitted(str(path), self.codec_, description)

    @classmethod
    def load(cls: Any, path: str | PathLike[str], device: str | None = None) -> Any:
        """Read an estimator that :meth:`save` wrote.

        Parameters
        ----------
        path : path
            The file, of this or of an earlier version; no code in it is run.
        device : str, optional
            Where to put the field, "auto" or a name torch knows; by default what the estimator was
            made with. The CPU, with a warning, when that device is not here.

        Returns
        -------
        FunctaEncoder
            Fitted, with the parameters and curves that were saved; the state of the optimiser is
            not, so that ``partial_fit`` begins with a fresh one.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated or damaged, not ours, or written by a newer version, or
            `device` is not a name that torch knows.
        """
        if device is not None:  # a file's own name may be of a backend that only its machine has
            named_device(device)
        codec, document = load_fitted(str(path), device or "auto")
        estimator = cls(**_parameters(cls, document["parameters"]))
        if device is None and estimator.device != "auto":
            codec.to(available_device(estimator.device))
        elif device is not None:
            estimator.device = device
        learner = Learner.from_plain(document["learner"])
        learner.settings = Settings(**document["settings"])
        estimator._accept(codec, learner)
        estimator.layout_ = document["layout"]
        estimator.n_features_in_ = document["n_features_in"]
        if document["feature_names_in"] is not None:
            estimator.feature_names_in_ = np.array(document["feature_names_in"], dtype=object)
        estimator.n_iter_ = document["n_iter"]
        for name, curve in document["curves"].items():
            if curve is not None:
                setattr(estimator, name, curve)
        return estimator

    def __getstate__(self: Any) -> dict[str, Any]:
        state = dict(BaseEstimator.__getstate__(self))
        state.pop("_trainer", None)
        if "codec_" in state and state["codec_"].device.type != "cpu":
            state["codec_"] = copy.deepcopy(state["codec_"]).to(torch.device("cpu"))
        return state

    def __setstate__(self: Any, state: dict[str, Any]) -> None:
        BaseEstimator.__setstate__(self, state)
        if "codec_" in state and self.device_ != "cpu":
            self.codec_.to(available_device(self.device_))
            self.device_ = str(self.codec_.device)


def save_fitted(path: str | Path, codec: Codec, description: Mapping[str, Any]) -> None:
    """Write a codec and a JSON-able description of its estimator.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : path
        File to write; one that is there is replaced.
    codec : Codec
        Whose weights, solver state and posterior arrays are written as tensors, from any device.
    description : mapping
        The rest, for one JSON document; NumPy's values, arrays and paths in it become plain.

    Raises
    ------
    FileNotFoundError
        If there is no folder to write into.
    OSError
        If the file cannot be written.
    TypeError
        If the description holds what JSON has no type for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"field.{k}": v.detach().cpu() for k, v in codec.field.state_dict().items()}
    solver = codec.solver.state()
    tensors |= {f"solver.{k}": v.cpu() for k, v in solver.items() if torch.is_tensor(v)}
    document = {
        **description,
        "family": FieldSpec.family_of(codec.field),
        "field": codec.field.config(),
        "solver": {
            "name": codec.solver.name,
            **{k: v for k, v in solver.items() if not torch.is_tensor(v)},
        },
        **codec.units.to_dict(),
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
    try:
        with replacing(path) as temporary:
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {str(path)!r}: {error}") from error


def load_fitted(path: str | Path, device: str) -> tuple[Codec, dict[str, Any]]:
    """Read what :func:`save_fitted` wrote.

    Parameters
    ----------
    path : path
        The file, of this or of an earlier version.
    device : str
        Where to put the codec, as :func:`available_device` takes it.

    Returns
    -------
    codec : Codec
        As it was saved, with copies of the file's tensors.
    document : dict
        The description, brought up to this version; its "layout" is a :class:`Layout` again.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or damaged, not ours, or written by a newer version.
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
        document = upgraded(json.loads(metadata["document"]), int(version))
        codec, document = _rebuild(document, tensors)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{str(source)!r} is damaged ({reason})") from error
    return codec.to(available_device(device)), document


def _rebuild(
    document: dict[str, Any], tensors: Mapping[str, torch.Tensor]
) -> tuple[Codec, dict[str, Any]]:
    module = FieldSpec.named(document["family"]).module
    field = module(**document["field"]).to(getattr(torch, document["dtype"]))
    field.load_state_dict(_strip(tensors, "field."))
    solver = {**document["solver"], **_strip(tensors, "solver.")}
    posterior = None
    if "posterior" in document:
        arrays = {k: v.numpy() for k, v in _strip(tensors, "posterior.").items()}
        posterior = Posterior.from_state({**document["posterior"], **arrays})
    codec = Codec(
        field=field,
        solver=InnerSolver.from_state(solver.pop("name"), solver),
        units=Units.from_dict(document),
        posterior=posterior,
    )
    document["layout"] = Layout.from_dict(document["layout"])
    patches = PatchGrid.from_dict(document["patches"]) if "patches" in document else None
    return with_patches(codec, patches), document


def _parameters(cls: Any, plain_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments, of which JSON has made dictionaries and lists."""
    found: dict[str, Any] = {}
    for name, value in plain_values.items():
        if isinstance(value, dict):
            found[name] = cls.spec_kinds[name].from_plain(value)
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def available_device(device: str) -> torch.device:
    """Return the device that was asked for, or the CPU with a warning when it is not here.

    Parameters
    ----------
    device : str
        "auto", which takes a GPU where there is one, or a name; one that torch does not know here,
        such as that of a plugin's backend, is not here either.
    """
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
