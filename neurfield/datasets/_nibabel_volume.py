"""Volumes that nibabel reads: NIfTI, FreeSurfer's MGH, Analyze and SPM's kinds of it."""

from __future__ import annotations

import gzip
import math
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets._files import existing, reading, require
from neurfield.datasets._stored_volume import Frames, StoredVolume, check_shape, value_dtype
from neurfield.errors import FileError
from neurfield.geometry import voxel_sizes
from neurfield.limits import DEFLATED, check_unpacked

#: Which of a NIfTI file's two affines a caller wants.
Form = Literal["sform", "qform"] | None

# The format's units of length in millimetres, where none is named millimetres; and of frames.
_MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_FRAMES = {
    "sec": ("s", 1.0),
    "msec": ("s", 1e-3),
    "usec": ("s", 1e-6),
    "hz": ("Hz", 1.0),
    "ppm": ("ppm", 1.0),
    "rads": ("rad/s", 1.0),
}

_KINDS = {
    ".mgz": "an MGH file",
    ".mgh": "an MGH file",
    ".hdr": "an Analyze file",
    ".img": "an Analyze file",
}
_PACKED = (".gz", ".mgz")
_HEADER = 2**22  # bytes from the start in which header and extensions must lie
_MGH_HEADER = 284  # bytes before the values of an MGH file
_WORTH_COUNTING = 2**26  # bytes of content from which packed files are counted before they are read


def open_with_nibabel(path: Path, form: Form = None) -> StoredVolume:
    """Return what a file's header says; the values stay in the file.

    Parameters
    ----------
    path : Path
        A file that is there.
    form : {"sform", "qform"}, optional
        NIfTI: which affine to take.

    Raises
    ------
    FileError
        If it cannot be read, or says things that contradict each other.
    """
    nibabel = require("nibabel", "readers")
    header = _raw_nifti_header(nibabel, path)
    what = "a NIfTI file" if header is not None else _KINDS.get(path.suffix, "a NIfTI file")
    if path.suffix == ".mgz":
        _check_mgz(nibabel, path)
    with reading(path, what):
        image = nibabel.load(path)
        shape = tuple(int(size) for size in image.shape)
        stored = image.header.get_data_dtype()
        slope, intercept = (_scaling(image.dataobj, name) for name in ("slope", "inter"))
    check_shape(path, shape)
    _check_size(image, path, what, count=False)
    if stored.kind == "c":
        raise FileError(
            path,
            "holds complex values, of which neither part is the signal; write magnitude and "
            "phase, or real and imaginary part, as two channels of one file",
        )
    if not (np.isfinite([slope, intercept]).all() and slope != 0):
        raise FileError(
            path,
            f"scales its values by {slope:g} and {intercept:g}; correct scl_slope in its header",
        )
    components = stored.names
    if components is not None:
        shape = (*shape, len(components))
    dtype = np.dtype(np.float32) if components else value_dtype(stored, slope, intercept)
    facts: dict[str, Any]
    if header is not None:
        facts = _nifti(path, image, header, form)
    elif isinstance(image, nibabel.MGHImage):
        facts = _mgh(image)
    else:
        facts = _analyze(path, image)
    return StoredVolume(
        path=path,
        what=what,
        shape=shape,
        dtype=dtype,
        read=partial(_values, image, path, what, dtype, shape),
        components=components,
        **facts,
    )


def _raw_nifti_header(nibabel: Any, path: Path) -> Any | None:
    """Return a NIfTI header as it stands, which nibabel repairs without a word; None for others."""
    source = path.with_suffix(".hdr") if path.suffix == ".img" else path
    is_pair = source.suffix == ".hdr"
    first, second = nibabel.nifti1, nibabel.nifti2
    kinds = (
        first.Nifti1PairHeader if is_pair else first.Nifti1Header,
        second.Nifti2PairHeader if is_pair else second.Nifti2Header,
    )
    with reading(path, "a NIfTI file"), _opened(source) as file:
        start = file.read(540)
        for kind in kinds:
            if kind.may_contain_header(start):
                # Extensions may claim any length; what lies beyond these bytes is not read.
                content = BytesIO(start + file.read(_HEADER - len(start)))
                return kind.from_fileobj(content, check=False)
    return None


def _check_mgz(nibabel: Any, path: Path) -> None:
    """Refuse to unpack more than a file may claim; nibabel looks for what follows the values."""
    kind = nibabel.freesurfer.MGHImage.header_class
    with reading(path, _KINDS[".mgz"]):
        with _opened(path) as file:
            start = file.read(_MGH_HEADER)
        header = kind(start.ljust(kind.template_dtype.itemsize, bytes(1)), check=False)
        claimed = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    check_unpacked(path, claimed, "the volume that its header claims")


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix in _PACKED else open(path, "rb")


def _nifti(path: Path, image: Any, header: Any, form: Form) -> dict[str, Any]:
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    chosen: str | None = form
    chosen = chosen or next((name for name, code in codes.items() if code > 0), None)
    if form is not None and codes[form] <= 0:
        raise FileError(path, f"has no {form}: its {form}_code is {codes[form]}")
    if chosen != "sform":
        _check_pixdim(path, header)
    with reading(path, "a NIfTI file"):
        forms = {"sform": image.header.get_sform(), "qform": image.header.get_qform()}
        affine = np.array(forms[chosen] if chosen else image.affine, dtype=np.float64)
        lengths, times = image.header.get_xyzt_units()
        intent = image.header.get_intent()[0]
        space = header.get_value_label(f"{chosen}_code") if chosen else "unknown"
    if np.isinf(header["scl_slope"]):  # which nibabel takes for a file without any
        raise FileError(path, "scales its values by infinity; correct scl_slope in its header")
    if form is None and codes["sform"] == codes["qform"] > 0:
        _check_forms(path, image.shape, forms)
    affine[:3] *= _MILLIMETRES[lengths]
    unit, factor = _FRAMES.get(times, (None, 1.0))
    step, start = (factor * float(number) for number in (header["pixdim"][4], header["toffset"]))
    return {
        "affine": affine,
        "frames": Frames(step, start, unit, "pixdim[4]"),
        "space": space,
        "is_label_map": intent == "label",
    }


def _check_pixdim(path: Path, header: Any) -> None:
    """Refuse voxel sizes that nibabel would replace by their absolute value, or by 1."""
    n_axes = min(max(int(header["dim"][0]), 0), 3)
    sizes = header["pixdim"][1 : n_axes + 1]
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise FileError(
            path,
            f"voxel sizes must be positive, got {sizes.tolist()}; correct pixdim in its header",
        )


def _check_forms(path: Path, shape: tuple[int, ...], forms: dict[str, NDArray[np.float64]]) -> None:
    """Refuse two affines that claim the same space and put a voxel half a voxel apart."""
    size = (*shape[:3], 1, 1)[:3]
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)], dtype=np.float64)
    corners[:, :3] *= np.array(size) - 1
    between = (corners @ (forms["sform"] - forms["qform"]).T)[:, :3]
    distance = float(np.linalg.norm(between, axis=1).max())
    if distance > 0.5 * voxel_sizes(forms["sform"]).min():
        raise FileError(
            path,
            f"its sform and its qform claim one space and put a corner {distance:.4g} mm apart; "
            "form='sform' or form='qform' says which is right",
        )


def _mgh(image: Any) -> dict[str, Any]:
    known = int(image.header["goodRASFlag"]) == 1
    repetition = float(image.header["tr"]) * 1e-3
    return {
        "affine": np.array(image.affine, dtype=np.float64),
        "frames": Frames(repetition, 0.0, "s" if repetition > 0 else None, "TR"),
        "space": "scanner" if known else "unknown",
    }


def _analyze(path: Path, image: Any) -> dict[str, Any]:
    with open(image.file_map["header"].filename, "rb") as file:
        _check_pixdim(path, type(image.header).from_fileobj(file, check=False))
    # SPM writes the affine, left and right included, into a file beside it.
    known = path.with_suffix(".mat").is_file()
    step = image.header["pixdim"][4]
    return {
        "affine": np.array(image.affine, dtype=np.float64),
        "frames": Frames(float(step), field="pixdim[4]"),
        "space": "aligned" if known else "unknown",
    }


def _scaling(proxy: Any, name: str) -> float:
    """Return slope or intercept; a file that names none has nibabel's 1 and 0."""
    value = getattr(proxy, name, None)
    return float(name == "slope") if value is None else float(value)


def _values(
    image: Any, path: Path, what: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    _check_size(image, path, what, count=True)
    if image.header.get_data_dtype().names is None:
        return np.asanyarray(image.dataobj, dtype=dtype)
    colours = np.asanyarray(image.dataobj)
    return np.stack([colours[name] for name in colours.dtype.names], axis=-1).astype(dtype)


def _check_size(image: Any, path: Path, what: str, count: bool) -> None:
    """Refuse a header that claims more than the file holds, before memory is taken for it.

    What a packed file holds is known for certain once it was unpacked, which `count` asks for.
    """
    claimed = math.prod(map(int, image.shape)) * image.header.get_data_dtype().itemsize
    claimed += int(image.dataobj.offset)
    data = existing(image.file_map["image"].filename)
    found = data.stat().st_size
    if data.suffix in _PACKED:
        check_unpacked(data, claimed, "the volume that its header claims")
        found = min(claimed, DEFLATED * found)
        if count and _WORTH_COUNTING < claimed == found:
            with _opened(data) as file:
                found = 0
                while found < claimed and (block := file.read(2**20)):
                    found += len(block)
    if found < claimed:
        raise FileError(
            path,
            f"could not be read as {what}, it is cut off: its header claims {claimed} bytes, "
            f"and {found} are there at most",
        )
