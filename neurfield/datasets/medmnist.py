"""MedMNIST, in two and three dimensions: files read here, facts from the package."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets._numpy_file import MmapMode
from neurfield.datasets.arrays import load_npz
from neurfield.errors import FileError, MissingFileError
from neurfield.optional import broken, missing

CITATION = (
    "J. Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
    "image classification, Scientific Data 10, 41, 2023, doi:10.1038/s41597-022-01721-8"
)

_SIZES = {2: (28, 64, 128, 224), 3: (28, 64)}
_COLOURS = ["red", "green", "blue"]
_INSTALLED_BY = '"neurfield[medmnist]"'


def load_medmnist(
    name: str | os.PathLike[str],
    *,
    split: str | None = None,
    size: int = 28,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    mmap_mode: MmapMode = None,
) -> xr.DataArray:
    """Read one of the 18 sets of MedMNIST.

    Parameters
    ----------
    name : str or path-like
        Name of the set, such as ``"pneumoniamnist"`` or ``"OrganMNIST3D"``; or the path of a
        ``.npz`` file of that name, which then tells `size` and `root`.
    split : {"train", "val", "test"}, optional
        Part of the set. Needed if the file holds more than one; a file may lack others.
    size : {28, 64, 128, 224}, default=28
        Pixels along each axis; 28 or 64 for the sets of volumes.
    root : path-like, optional
        Folder of the files, named as they are published: ``pneumoniamnist.npz``,
        ``pneumoniamnist_64.npz``. By default the package's own, ``~/.medmnist``.
    download : bool, default=False
        Whether to fetch the file, if it is not there, from the address the package gives, and to
        check it against the package's MD5 sum.
    mmap_mode : {"r", "c"}, optional
        Leave the images on disk, see :func:`load_npz`; the files of 224 pixels take gigabytes.

    Returns
    -------
    DataArray of shape (n_samples, [z,] y, x[, channel]), uint8
        Values 0 to 255; pixel indices along the axes; ``sample``, the place in the split; channels
        ``red``, ``green`` and ``blue`` of colour images. Class ``label`` and ``label_name`` of each
        sample; of ChestMNIST, where a sample has any number of findings, one coordinate of 0 and 1
        for each: ``label_atelectasis``, ... . ``attrs`` hold ``split``, ``task``, ``labels`` (class
        names in order), ``licence``, ``citation`` and ``description``.

    Raises
    ------
    ImportError
        If the package medmnist is not installed. :func:`load_npz` reads the files without it.
    MissingFileError
        If the file is not there and `download` is false.
    ConnectionError
        If the file cannot be fetched.
    FileError
        If the file cannot be read, is of another set or has no such split.
    ValueError
        If there is no such set or size.

    References
    ----------
    J. Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical
    image classification", Scientific Data 10, 41, 2023.
    """
    facts = _facts()
    path, known = _find(facts, name, size, root)
    if not path.exists():
        if not download:
            raise MissingFileError(
                path, f"no such file; download=True fetches it from {facts.HOMEPAGE}"
            )
        _fetch(known, path)
    images = load_npz(path, split=split, mmap_mode=mmap_mode)
    assert isinstance(images, xr.DataArray)  # as a split always is
    _check(path, images, known)
    names = [known["label"][key] for key in sorted(known["label"], key=int)]
    unnamed = [name for name in images.coords if str(name).startswith("label_")]
    places = {"sample": np.arange(len(images))}
    labelled = {**places, **_named_labels(path, images, names)}
    images = images.drop_vars(unnamed).assign_coords(labelled)
    if "channel" in images.dims:
        images = images.assign_coords(channel=_COLOURS)
    images.name = path.stem
    return images.assign_attrs(
        task=known["task"],
        labels=names,
        licence=known["license"],
        citation=CITATION,
        description=known["description"],
    )


def is_medmnist(path: Path) -> bool:
    """Return whether a file has the name of a set, and the package is there to tell about it."""
    if path.suffix != ".npz" or importlib.util.find_spec("medmnist") is None:
        return False
    return _split_name(path.stem)[0] in _facts().INFO


@cache
def _facts() -> ModuleType:
    """Return the package's table of sets.

    It is loaded apart from the package, which would import torchvision, scikit-image and more.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise missing("medmnist", _INSTALLED_BY)
    source = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("_neurfield_medmnist_info", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise broken("medmnist", _INSTALLED_BY, error) from error
    return module


def _split_name(stem: str) -> tuple[str, int]:
    """Return name and size from a published file name without ending."""
    name, _, size = stem.partition("_")
    return name, int(size) if size.isdigit() else 28


def _find(
    facts: ModuleType, name: str | os.PathLike[str], size: int, root: str | os.PathLike[str] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the path of the file and what is known of the set, its size included."""
    given = Path(name)
    if given.suffix == ".npz":
        if root is not None:
            raise ValueError(f"root must be None beside the path of a file, got {root}")
        path, root = given, given.parent
        flag, size = _split_name(given.stem)
    else:
        flag = str(name).lower()
        root = Path(facts.DEFAULT_ROOT if root is None else root)
        path = root / f"{flag}{_suffix(size)}.npz"
    if flag not in facts.INFO:
        raise ValueError(f"name must be one of {', '.join(facts.INFO)}, got {str(name)!r}")
    known = dict(facts.INFO[flag], ndim=3 if flag.endswith("3d") else 2, size=size)
    if size not in _SIZES[known["ndim"]]:
        raise ValueError(f"size of {flag} must be one of {_SIZES[known['ndim']]}, got {size}")
    return path, known


def _suffix(size: int) -> str:
    return "" if size == 28 else f"_{size}"


def _fetch(known: dict[str, Any], path: Path) -> None:
    """Download a file, which appears under its name only once it is whole and checked."""
    from torch.hub import download_url_to_file

    address = known[f"url{_suffix(known['size'])}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            download_url_to_file(address, str(temporary))
        except OSError as error:
            raise ConnectionError(
                f"{path}: could not be downloaded from {address} ({error}); "
                "fetch it by other means and put it there"
            ) from error
        with open(temporary, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        expected = known[f"MD5{_suffix(known['size'])}"]
        if found != expected:
            raise ConnectionError(
                f"{path}: the download from {address} is damaged, its MD5 sum is {found} "
                f"instead of {expected}"
            )


def _check(path: Path, images: xr.DataArray, known: dict[str, Any]) -> None:
    expected = [known["size"]] * known["ndim"] + [3] * (known["n_channels"] == 3)
    if list(images.shape[1:]) != expected:
        raise FileError(
            path,
            f"{known['python_class']} has images of shape {tuple(expected)}, the file holds some "
            f"of shape {images.shape[1:]}",
        )


def _named_labels(
    path: Path, images: xr.DataArray, names: list[str]
) -> dict[str, tuple[str, np.ndarray]]:
    """Return coordinates of the labels with the names of their classes."""
    if all(f"label_{place}" in images.coords for place in range(len(names))):
        return {
            f"label_{finding}": ("sample", images[f"label_{place}"].values)
            for place, finding in enumerate(names)
        }
    if "label" not in images.coords:
        raise FileError(path, f"no labels for its {len(images)} images")
    classes = images["label"].values
    if classes.dtype.kind not in "biu":
        raise FileError(path, f"labels must be whole numbers, got dtype {classes.dtype}")
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(names):
        raise FileError(
            path,
            f"labels must be from 0 to {len(names) - 1}, got {classes.min()} to {classes.max()}",
        )
    classes = classes.astype(np.intp)
    return {"label": ("sample", classes), "label_name": ("sample", np.array(names)[classes])}
