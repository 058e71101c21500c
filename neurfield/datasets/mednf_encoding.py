"""From signals to a set of latents in the layout of MedNF."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.atomic import replacing
from neurfield.datasets._mednf_folder import (
    BLOCK,
    SPLITS,
    check_target,
    check_weights,
    make_splits,
    name_of,
    write_signals,
    write_weights,
)
from neurfield.validation import validated_signals

if TYPE_CHECKING:
    from neurfield.datasets.opening import Container
    from neurfield.encoder import FunctaEncoder

_LABEL = "label"
_NUMBERS = "biuf"


def encode_to_mednf(
    signals: Mapping[str, Container],
    folder: str | os.PathLike[str],
    encoder: FunctaEncoder,
    *,
    pickled: bool = False,
    overwrite: bool = False,
) -> None:
    """Encode signals into a set of latents in the layout of MedNF, whole or not at all.

    Signals are encoded and written in blocks, so that those on disk (of dask, or mapped files) are
    never in memory at once, and neither are the latents. :func:`load_mednf` reads the set.

    Parameters
    ----------
    signals : mapping of str to DataArray, Dataset or list of DataArray
        The signals of "train", "val" and "test", or of some of them, as readers return them, with
        labels over ``sample``: the coordinate ``label``, of one or several numbers for each signal,
        or text, which becomes the number of a class, counted from 0 in the order of the alphabet
        over all splits; without it, all coordinates ``label_...`` of numbers, in their order.
    folder : path-like
        Folder to write. Files are numbered in each split by the place of the signal.
    encoder : FunctaEncoder
        Fitted, with a field that the published network can express, such as that of a MedFuncta
        preset. Its weights are written as ``model.safetensors``, under the names of the published
        state dict. Its metadata are JSON: ``in_dim``, ``out_dim``, ``latent_dim``, ``hidden_dim``,
        ``n_layers``, ``omega`` of each layer and ``skip_connections``; ``coordinate_offset``,
        ``coordinate_scale``, ``value_offset`` and ``value_scale``, by which signals are what the
        field sees times the scale plus the offset; ``axis_names``; and ``classes``, the names of
        labels that were text.
    pickled : bool, default=False
        Whether to write ``best.model`` beside it, the published state dict as torch saves it.
    overwrite : bool, default=False
        Whether a set of latents that is there is replaced. A folder that holds anything else never
        is.

    Raises
    ------
    FileExistsError
        If the folder holds something already.
    FileNotFoundError
        If the folder to write into is not there.
    FileError
        If a folder to be replaced holds something beside a set of latents.
    TypeError
        If `signals` is no mapping, or a split is in another container.
    ValueError
        If a split has another name, no signals or no labels, or other labels than the first, or if
        the published network cannot express the field.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, 2025 (MedNF).

    Examples
    --------
    >>> import tempfile
    >>> from neurfield import FunctaEncoder
    >>> from neurfield.datasets import digits, load_mednf
    >>> images = digits()
    >>> tiny = {"latent_dim": 4, "hidden_dim": 8, "n_layers": 3, "max_iter": 2, "batch_size": 4}
    >>> encoder = FunctaEncoder.from_preset("medfuncta-2d-64", **tiny).fit(images[:20])
    >>> folder = tempfile.TemporaryDirectory()
    >>> sets = {"train": images[:20], "test": images[20:30]}
    >>> encode_to_mednf(sets, folder.name + "/DigitNF", encoder)
    >>> load_mednf(folder.name + "/DigitNF").sizes
    Frozen({'sample': 30, 'latent': 4})
    >>> folder.cleanup()
    """
    target = Path(folder)
    check_target(target, overwrite)
    check_weights(encoder)
    _check_splits(signals)
    labels, facts = _numbered({split: _labels_of(split, part) for split, part in signals.items()})
    for part in signals.values():  # what is of another kind is refused before the first is encoded
        validated_signals(encoder, _part(part, 0, 1), reset=False)
    with replacing(target) as temporary:
        make_splits(temporary)
        for split, part in signals.items():
            for start, latents in _encoded(encoder, part):
                stop = start + len(latents)
                names = [name_of(split, place) for place in range(start, stop)]
                write_signals(temporary, names, latents, labels[split][start:stop])
        write_weights(encoder, temporary, pickled, **facts)


def _check_splits(signals: Any) -> None:
    if not isinstance(signals, Mapping) or isinstance(signals, xr.Dataset):
        raise TypeError(
            "signals must be a mapping of splits to signals, such as {'train': ...}, got "
            f"{type(signals).__name__}"
        )
    if not signals or set(signals) - set(SPLITS):
        raise ValueError(f"signals must be those of splits among {SPLITS}, got {list(signals)}")
    for split, part in signals.items():
        items = part if isinstance(part, list) else ()
        if not isinstance(part, xr.DataArray | xr.Dataset | list) or not all(
            isinstance(one, xr.DataArray) for one in items
        ):
            raise TypeError(
                f"signals[{split!r}] must be a DataArray, a Dataset or a list of DataArrays, whose "
                f"coordinates are labels, got {type(part).__name__}"
            )
        if not isinstance(part, list) and "sample" not in part.sizes:
            raise ValueError(
                f"signals[{split!r}] must have the dimension sample, got {dict(part.sizes)}"
            )
        if _count(part) == 0:
            raise ValueError(f"signals[{split!r}] holds no signals")


def _labels_of(split: str, part: Container) -> dict[str, NDArray[Any]]:
    """Return the labels of a split by the names of their coordinates, each over its signals."""
    if isinstance(part, list):
        shared = set.intersection(*({str(n) for n in one.coords} for one in part))
        names = [str(n) for n in part[0].coords if n in shared and not part[0][n].ndim]
        found = {name: np.array([one[name].item() for one in part]) for name in names}
    else:
        over = {str(n): c for n, c in part.coords.items() if c.dims[:1] == ("sample",)}
        found = {name: coord.values for name, coord in over.items() if coord.ndim <= 2}
    if _LABEL in found:
        return {_LABEL: found[_LABEL]}
    several = {
        name: values
        for name, values in found.items()
        if name.startswith(f"{_LABEL}_") and values.dtype.kind in _NUMBERS and values.ndim == 1
    }
    if not several:
        raise ValueError(
            f"signals[{split!r}] must have labels, as the coordinate {_LABEL!r} over sample or as "
            f"numbers in coordinates '{_LABEL}_...', got {sorted(found)}"
        )
    return several


def _numbered(
    found: Mapping[str, Mapping[str, NDArray[Any]]],
) -> tuple[dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Return labels as numbers of one type, of shape (n, n_labels), and the names of classes."""
    tables = {
        split: np.stack([*columns.values()], axis=1)
        if _LABEL not in columns
        else columns[_LABEL].reshape(len(columns[_LABEL]), -1)
        for split, columns in found.items()
    }
    kinds = {
        split: (list(columns), tables[split].shape[1], _is_text(tables[split]))
        for split, columns in found.items()
    }
    first, *others = kinds
    for other in others:
        if kinds[other] != kinds[first]:
            raise ValueError(
                f"all splits must have the same labels, got {_in_words(*kinds[first])} in {first} "
                f"and {_in_words(*kinds[other])} in {other}"
            )
    every, facts = np.concatenate([*tables.values()]), {}
    if kinds[first][-1]:
        names, numbers = np.unique(every.astype(str), return_inverse=True)
        facts["classes"] = names.tolist()
        every = numbers.reshape(every.shape).astype(np.int64)
    if every.dtype.kind not in _NUMBERS:
        raise ValueError(f"labels must be numbers or text, got dtype {every.dtype}")
    if every.dtype.kind == "u" and every.dtype != np.uint8:
        every = every.astype(np.int64)  # torch's files have no other types without a sign
    ends = np.cumsum([len(table) for table in tables.values()])[:-1]
    return dict(zip(tables, np.split(every, ends), strict=True)), facts


def _is_text(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind == "U" or all(isinstance(label, str) for label in labels.flat)


def _in_words(names: list[str], n_labels: int, is_text: bool) -> str:
    kind = "words" if is_text else "numbers"
    return f"{n_labels} {kind} ({reprlib.repr(names)})"


def _encoded(encoder: FunctaEncoder, part: Container) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the place of the first signal of each block, and the latents of the block."""
    for start in range(0, _count(part), BLOCK):
        yield start, np.asarray(encoder.transform(_part(part, start, start + BLOCK)))


def _count(part: Container) -> int:
    return len(part) if isinstance(part, list) else int(part.sizes["sample"])


def _part(part: Container, start: int, stop: int) -> Container:
    if isinstance(part, list):
        return part[start:stop]
    return part.isel(sample=slice(start, stop))
