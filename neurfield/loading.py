"""What a saved estimator's file holds, read and compared before anything is made of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neurfield.codec import Codec
from neurfield.consistency import check_codec, check_description
from neurfield.device import resolve_device
from neurfield.errors import FileError, reading
from neurfield.fields import FieldSpec
from neurfield.fields.schedule import check_omega
from neurfield.fields.stored import field_of_weights
from neurfield.lapped import with_sizes
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.lapped.solver import LappedSolver
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers import InnerSolver
from neurfield.legacy import upgraded
from neurfield.patched import with_patches
from neurfield.signals import Layout, Units
from neurfield.signals.patches import PatchGrid

FORMAT = "neurfield"
# 2 adds the prior and the posterior, 3 learnt step sizes, scale modulation, patches and the family
# of the field, 4 specs, 5 masks, times and labels of signals, 6 priors across cells, 7 the detail
# of lapped fields, 8 mixtures of signals, 9 the scaling of gradients. Earlier versions are read
# too, but for lapped fields without that detail.
VERSION = 9
_FIRST_LAPPED = 7  # version whose lapped fields are of today's kind
_MOST_DIGITS = 9  # of a version
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load_fitted(source: Path) -> tuple[Codec, dict[str, Any]]:
    """Read what :func:`neurfield.persistence.save_fitted` wrote.

    Parameters
    ----------
    source : Path
        The file, of this or of an earlier version.

    Returns
    -------
    codec : Codec
        As it was saved, on the CPU, with copies of the file's tensors.
    document : dict
        The description, brought up to this version; its "layout" is a :class:`Layout` again.

    Raises
    ------
    FileError
        If the file is truncated or damaged, not ours, written by a newer version, or asks for more
        memory than it may.
    """
    from safetensors import safe_open

    with reading(source, "a safetensors file"), safe_open(source, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise FileError(source, "was not written by FunctaEncoder.save")
        _check_version(source, metadata.get("version", ""))
        # Copies: in the file's own memory tensors start at odd addresses, where products of
        # matrices round otherwise than in the encoder that was saved.
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    with reading(source, "an estimator that FunctaEncoder.save wrote"):
        document = upgraded(json.loads(metadata["document"]), int(metadata["version"]))
        check_description(document)
        if document["family"] == "lapped" and int(metadata["version"]) < _FIRST_LAPPED:
            raise FileError(
                source,
                "holds a lapped field of an earlier kind, whose detail this version does not have: "
                "fit it again",
            )
        return _rebuild(source, document, tensors)


def _check_version(source: Path, version: str) -> None:
    if version.isdecimal() and len(version) < _MOST_DIGITS and int(version) > VERSION:
        raise FileError(
            source,
            f"has version {version}, written by a newer neurfield; this one reads up to version "
            f"{VERSION}",
        )


def _rebuild(
    source: Path, document: dict[str, Any], tensors: Mapping[str, torch.Tensor]
) -> tuple[Codec, dict[str, Any]]:
    spec = FieldSpec.named(document["family"])
    check_omega(document["field"].get("omega", 1.0))
    names = spec().get_params(deep=False)
    spec(**{k: v for k, v in document["field"].items() if k in names}).check()
    dtype = _DTYPES[document["dtype"]]
    field = field_of_weights(spec.module, document["field"], _strip(tensors, "field."), dtype)
    state = {**document["solver"], **_strip(tensors, "solver.")}
    solver = InnerSolver.from_state(state.pop("name"), state)
    codec = Codec(
        field=field,
        solver=solver,
        units=Units.from_dict(document),
        posterior=_posterior(document, tensors, solver),
    )
    layout = document["layout"] = Layout.from_dict(document["layout"])
    patches = PatchGrid.from_dict(document["patches"]) if "patches" in document else None
    codec = with_sizes(with_patches(codec, patches))
    check_codec(source, codec, layout)
    return codec, document


def _posterior(
    document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], solver: InnerSolver
) -> Posterior | LappedPosterior | None:
    if "posterior" not in document:
        return None
    arrays = {k: v.numpy() for k, v in _strip(tensors, "posterior.").items()}
    state = {**document["posterior"], **arrays}
    if not isinstance(solver, LappedSolver):
        return Posterior.from_state(state)
    if solver.prior is None:
        raise ValueError("posterior needs the prior of its solver")
    return LappedPosterior.from_state(state, solver.prior, solver.precision)


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
