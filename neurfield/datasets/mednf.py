"""MedNF, the published sets of MedFuncta latents: one file per signal, in a folder per split."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from neurfield.atomic import replacing
from neurfield.datasets._files import existing, reading, require
from neurfield.datasets._mednf_folder import (
    BLOCK,
    DATAPOINT,
    SPLITS,
    check_target,
    check_weights,
    make_splits,
    name_of,
    write_signals,
    write_weights,
)
from neurfield.errors import FileError, MissingFileError
from neurfield.interop import read_torch
from neurfield.provenance import check_origin, fingerprint_of

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

_IN_MEMORY = 2**30  # bytes of latents up to which a set is read at once


def load_mednf(folder: str | os.PathLike[str], *, chunks: int | None = None) -> xr.Dataset:
    """Read a set of latents in the layout of MedNF.

    Parameters
    ----------
    folder : path-like
        Folder with ``train``, ``val`` and ``test``, or some of them, of ``datapoint_{i}.pt``. No
        code in the files is run. The network beside them, ``model.pt`` or ``model.safetensors``, is
        read by :meth:`neurfield.FunctaEncoder.from_medfuncta`.
    chunks : int, optional
        Signals per block of a Dask array, which is read when it is used. By default sets of up to
        1 GiB are read at once, and larger ones in blocks of 4096.

    Returns
    -------
    Dataset
        ``latents`` of shape (n_samples, P), dims (sample, latent), float32. Coordinates over
        ``sample``: ``label``, in the files' type (several labels per signal have a dimension
        ``task``); ``split``; and ``datapoint``, the i of the file's name.

    Raises
    ------
    MissingFileError
        If there is no such folder, or no such file in it.
    FileError
        If a file is damaged, asks for code to be run, or differs in layout from the first.
    ImportError
        If the set is large, or `chunks` is given, and Dask is not installed.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, 2025 (MedNF).

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> latents = xr.Dataset(
    ...     {"latents": (("sample", "latent"), np.zeros((3, 8), np.float32))},
    ...     {"label": ("sample", [0, 1, 1]), "split": ("sample", ["train", "train", "test"])},
    ... )
    >>> to_mednf(latents, folder.name + "/DigitNF")
    >>> load_mednf(folder.name + "/DigitNF").sizes
    Frozen({'sample': 3, 'latent': 8})
    >>> folder.cleanup()
    """
    if chunks is not None and chunks < 1:
        raise ValueError(f"chunks must be a positive number of signals, got {chunks}")
    found = list(_find(existing(folder)))
    if not found:
        raise MissingFileError(folder, f"no datapoint_*.pt in {', '.join(SPLITS)}")
    paths = [path for path, _, _ in found]
    latent, label = _read(paths[0])
    if chunks is None and latent.nbytes * len(paths) > _IN_MEMORY:
        chunks = BLOCK
    latents, labels = _load(paths, latent, label, chunks)
    label_dims: tuple[str, ...] = ("sample", "task")
    if labels.shape[1] == 1:
        labels, label_dims = labels[:, 0], ("sample",)
    return xr.Dataset(
        {"latents": (("sample", "latent"), latents)},
        coords={
            "label": (label_dims, labels),
            "split": ("sample", np.array([split for _, split, _ in found])),
            "datapoint": ("sample", np.array([index for _, _, index in found])),
        },
        attrs={"source": Path(folder).name},
    )


def to_mednf(
    dataset: xr.Dataset,
    folder: str | os.PathLike[str],
    encoder: FunctaEncoder | None = None,
) -> None:
    """Write a set of latents in the layout of MedNF, whole or not at all.

    The published tools load it, and so does ``torch.load(..., weights_only=True)``: each file is a
    dict of the tensors ``modulations``, float32 of shape (P,), and ``label``, of shape (1,).

    Parameters
    ----------
    dataset : Dataset
        As :func:`load_mednf` returns it: ``latents`` over (sample, latent), and over ``sample``
        the coordinates ``label`` (numbers) and ``split`` ("train", "val" or "test"). ``datapoint``
        gives the files' numbers; without it they are counted in each split.
    folder : path-like
        Folder to write, which must be new or empty.
    encoder : FunctaEncoder, optional
        What made the latents; its weights are written twice: as ``model.safetensors``, which says
        all that a network is made of, and as ``best.model``, the published state dict, which needs
        the ω-schedule beside it. There is no pickled network ``model.pt``, because that needs the
        published classes. The published tools see the field's own coordinates, -1 to 1 along each
        axis, and its scaled values.

    Raises
    ------
    FileExistsError
        If the folder holds something already.
    FileNotFoundError
        If the folder to write into is not there.
    ValueError
        If the dataset is not laid out so, its latents are of another field than the encoder's, or
        the published network cannot express the field.
    """
    target = Path(folder)
    check_target(target)
    _check(dataset)
    if encoder is not None:
        check_is_fitted(encoder)
        check_origin(
            fingerprint_of(dataset["latents"]),
            encoder.codec_,
            "dataset",
            "drop the attrs of its latents",
        )
        check_weights(encoder)
        if encoder.field_.latent_dim != dataset.sizes["latent"]:
            raise ValueError(
                f"encoder has latents of length {encoder.field_.latent_dim}, "
                f"dataset those of length {dataset.sizes['latent']}"
            )
    names = _names(dataset)
    with replacing(target) as temporary:
        make_splits(temporary)
        for start in range(0, len(names), BLOCK):
            block = dataset.isel(sample=slice(start, start + BLOCK)).transpose("sample", ...)
            labels = block["label"].values.reshape(block.sizes["sample"], -1)
            write_signals(temporary, names[start : start + BLOCK], block["latents"].values, labels)
        if encoder is not None:
            write_weights(encoder, temporary, pickled=True)


def _find(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """Yield (file, split, i), by split and i."""
    for split in SPLITS:
        names = (folder / split).iterdir() if (folder / split).is_dir() else ()
        matches = ((path, DATAPOINT.fullmatch(path.name)) for path in names)
        numbered = sorted((int(match[1]), path) for path, match in matches if match)
        yield from ((path, split, index) for index, path in numbered)


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the latent of shape (P,) and the labels of shape (n,) of one file."""
    content = read_torch(path)
    keys = reprlib.repr(list(content)) if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or not {"modulations", "label"} <= set(content):
        raise FileError(path, f"must hold a dict of 'modulations' and 'label', got {keys}")
    latent, label = content["modulations"], content["label"]
    if isinstance(label, int | float):
        label = torch.tensor(label)
    # Nothing else is turned into a tensor: lists may hold each other ever so often.
    if not isinstance(latent, torch.Tensor) or not isinstance(label, torch.Tensor):
        raise FileError(
            path,
            "'modulations' and 'label' must be tensors, got "
            f"{type(latent).__name__} and {type(label).__name__}",
        )
    if latent.dtype != torch.float32 or latent.ndim != 1 or label.ndim > 1:
        raise FileError(
            path,
            "'modulations' must be a float32 vector and 'label' one of numbers, got "
            f"{latent.dtype} of shape {tuple(latent.shape)} and shape {tuple(label.shape)}",
        )
    with reading(path, "a latent with labels"):
        return latent.numpy(), label.reshape(-1).numpy()


def _read_block(
    paths: Iterable[Path], latent: NDArray[Any], label: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return latents and labels of several files, each like those of the first."""
    rows = []
    for path in paths:
        row = _read(path)
        for name, found, first in zip(("latent", "label"), row, (latent, label), strict=True):
            if found.shape != first.shape or found.dtype != first.dtype:
                raise FileError(
                    path,
                    f"has a {name} of shape {found.shape} and {found.dtype}, the first file one "
                    f"of shape {first.shape} and {first.dtype}",
                )
        rows.append(row)
    latents, labels = zip(*rows, strict=True)
    return np.stack(latents), np.stack(labels)


def _load(
    paths: list[Path], latent: NDArray[Any], label: NDArray[Any], chunks: int | None
) -> tuple[Any, Any]:
    if chunks is None:
        return _read_block(paths, latent, label)
    require("dask.array", "readers")
    import dask.array as da
    from dask.delayed import delayed

    blocks = []
    for start in range(0, len(paths), chunks):
        part = paths[start : start + chunks]
        read = delayed(_read_block, nout=2)(part, latent, label)
        blocks.append(
            [
                da.from_delayed(array, (len(part), len(first)), first.dtype)
                for array, first in zip(read, (latent, label), strict=True)
            ]
        )
    latents, labels = zip(*blocks, strict=True)
    return da.concatenate(latents), da.concatenate(labels)


def _check(dataset: xr.Dataset) -> None:
    if "latents" not in dataset or set(dataset["latents"].dims) != {"sample", "latent"}:
        raise ValueError(
            "dataset must hold a variable 'latents' over (sample, latent), "
            f"got {dict(dataset.sizes)} with variables {list(map(str, dataset.data_vars))}"
        )
    for name in ("label", "split"):
        if name not in dataset.coords or dataset[name].dims[:1] != ("sample",):
            raise ValueError(
                f"dataset must have a coordinate {name!r} over sample, "
                f"got {list(map(str, dataset.coords))}"
            )
    if dataset["label"].dtype.kind not in "biuf" or dataset["label"].ndim > 2:
        raise ValueError(
            f"the coordinate 'label' must hold numbers, got dtype {dataset['label'].dtype}"
        )
    if unknown := sorted(set(map(str, dataset["split"].values)) - set(SPLITS)):
        raise ValueError(f"the coordinate 'split' must be one of {SPLITS}, got {unknown}")


def _names(dataset: xr.Dataset) -> list[str]:
    """Return the file of each signal, below the folder."""
    counts = dict.fromkeys(SPLITS, 0)
    names = []
    for position, split in enumerate(map(str, dataset["split"].values)):
        number = counts[split]
        if "datapoint" in dataset.coords:
            number = int(dataset["datapoint"].values[position])
        counts[split] += 1
        names.append(name_of(split, number))
    if len(set(names)) < len(names):
        raise ValueError("the coordinate 'datapoint' must number each signal of a split once")
    return names
