"""A fitted estimator as one safetensors file: weights as tensors, everything else as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neurfield._compat import Interval, validate_parameters, validate_values
from neurfield.atomic import replacing
from neurfield.codec import Codec
from neurfield.device import named_device
from neurfield.errors import existing_file, reading
from neurfield.fields import FieldSpec
from neurfield.fields.schedule import check_omega
from neurfield.learning import Learner, Settings
from neurfield.loading import FORMAT, VERSION, available_device, load_fitted
from neurfield.patched import patches_of
from neurfield.spec import plain

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
        MissingFileError
            If there is no such file.
        FileError
            If the file is truncated or damaged, not ours, written by a newer version, or asks for
            more memory than it may (:mod:`neurfield.limits`).
        ValueError
            If `device` is not a name that torch knows.
        """
        if device is not None:  # a file's own name may be of a backend that only its machine has
            named_device(device)
        source = existing_file(path)
        codec, document = load_fitted(source)
        with reading(source, "an estimator that FunctaEncoder.save wrote"):
            estimator = _restored(cls, document)
        if device is not None:
            estimator.device = device
        estimator._accept(codec.to(available_device(estimator.device)), estimator.learner_)
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
        "format": FORMAT,
        "version": str(VERSION),
        "document": json.dumps(document, default=_plain),
    }
    try:
        with replacing(path) as temporary:
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {str(path)!r}: {error}") from error


def _restored(cls: Any, document: Mapping[str, Any]) -> Any:
    """Return an estimator with all that a file says of it but for its codec, checked."""
    estimator = cls(**_parameters(cls, document["parameters"]))
    learner = Learner.from_plain(document["learner"])
    learner.settings = Settings(**document["settings"])
    validate_parameters(estimator)
    check_omega(estimator.omega)
    for name, kind in cls.spec_kinds.items():
        if not isinstance(choice := getattr(estimator, name), bool):
            kind.of(choice).check()
    learner.check()
    scale = Interval(Real, 0, None, closed="neither")
    known = estimator._parameter_constraints | {"residual_scale": [scale], "output_scale": [scale]}
    validate_values(vars(learner.settings), known, "Settings")
    estimator.learner_, estimator.layout_ = learner, document["layout"]
    estimator.n_features_in_, estimator.n_iter_ = document["n_features_in"], document["n_iter"]
    if document["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(document["feature_names_in"], dtype=object)
    for name in _CURVES:
        if (curve := document["curves"].get(name)) is not None:
            setattr(estimator, name, curve)
    return estimator


def _parameters(cls: Any, plain_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments, of which JSON has made dictionaries and lists."""
    found: dict[str, Any] = {}
    for name, value in plain_values.items():
        if isinstance(value, dict):
            found[name] = cls.spec_kinds[name].from_plain(value)
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def _plain(value: Any) -> Any:
    """Turn numpy values in attributes and labels into JSON's own types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot store {value!r} of type {type(value).__name__} as JSON")
