"""The folder of a set of latents as MedNF lays it out: what may be in it, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from neurfield.errors import FileError
from neurfield.medfuncta import check_published, write_medfuncta
from neurfield.patched import patches_of

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

SPLITS = ("train", "val", "test")
DATAPOINT = re.compile(r"datapoint_(\d{1,18})\.pt")
BLOCK = 4096  # signals that are read, encoded or written together
_SAFE, _PICKLED = "model.safetensors", "best.model"
_WEIGHTS = (_SAFE, _PICKLED, "model.pt")


def name_of(split: str, number: int) -> str:
    """Return the file of a signal, below the folder."""
    return f"{split}/datapoint_{number}.pt"


def check_target(folder: Path, overwrite: bool = False) -> None:
    """Refuse a folder that could not or should not be written.

    Parameters
    ----------
    folder : Path
        Where the set is to be.
    overwrite : bool, default=False
        Whether a set of latents there may be replaced; nothing else ever is.

    Raises
    ------
    FileExistsError
        If something is there that may not be replaced.
    FileError
        If a folder that may be replaced holds something beside a set of latents.
    FileNotFoundError
        If the folder to write into is not there.
    """
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"{folder.parent}: no such folder to write {folder.name} into")
    if not folder.exists():
        return
    if not folder.is_dir() or (not overwrite and any(folder.iterdir())):
        raise FileExistsError(f"{folder}: is there already and not an empty folder")
    for path in folder.rglob("*"):
        if not _is_of_a_set(path, folder):
            raise FileError(
                path, f"is no part of a set of latents, so {folder} is not replaced by one"
            )


def check_weights(encoder: FunctaEncoder) -> None:
    """Refuse an encoder whose weights the published network cannot hold.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it has not been fitted.
    ValueError
        If its latents are of patches, or its field is none that was published.
    """
    check_is_fitted(encoder)
    if patches_of(encoder.codec_) is not None:
        raise ValueError(
            "the published network describes whole signals, and the latents of this encoder are "
            f"of patches: patch_size must be None, got {encoder.patch_size!r}"
        )
    try:
        check_published(encoder.field_)
    except ValueError as error:
        raise ValueError(
            f"{error}. Latents without a network are written by save_latents and 'neurfield "
            "transform'"
        ) from error


def make_splits(folder: Path) -> None:
    """Make the folder with those of its splits."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True)


def write_signals(
    folder: Path, names: Sequence[str], latents: NDArray[Any], labels: NDArray[Any]
) -> None:
    """Write one file for each signal.

    Parameters
    ----------
    folder : Path
        That of the set.
    names : sequence of n str
        As :func:`name_of` returns them.
    latents : array of shape (n, P)
        One row per signal.
    labels : array of shape (n, n_labels)
        Numbers.
    """
    latents = latents.astype(np.float32, copy=False)
    for name, latent, label in zip(names, latents, labels, strict=True):
        # torch.tensor copies; a view would be saved with all the rows beside it.
        content = {"modulations": torch.tensor(latent), "label": torch.tensor(label)}
        torch.save(content, folder / name)


def write_weights(encoder: FunctaEncoder, folder: Path, pickled: bool, **facts: Any) -> None:
    """Write the network beside the latents.

    Parameters
    ----------
    encoder : FunctaEncoder
        That :func:`check_weights` let pass.
    folder : Path
        That of the set.
    pickled : bool
        Whether to write the published state dict, too.
    **facts
        What the metadata are to say beside the network and the units.
    """
    layout, units = encoder.layout_, encoder.codec_.units
    facts = {"axis_names": list(layout.axis_names), **facts}
    for name in (_SAFE, _PICKLED) if pickled else (_SAFE,):
        write_medfuncta(encoder.field_, folder / name, layout.axes, units, **facts)


def _is_of_a_set(path: Path, folder: Path) -> bool:
    """Tell whether a file or folder is one that sets of latents have."""
    parts = path.relative_to(folder).parts
    if len(parts) == 1:
        return path.is_dir() if parts[0] in SPLITS else parts[0] in _WEIGHTS and path.is_file()
    return len(parts) == 2 and DATAPOINT.fullmatch(parts[1]) is not None and path.is_file()
