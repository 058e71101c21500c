"""DICOM files: which there are in a folder, what is passed over, and their headers."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from neurfield.datasets._files import existing, reading, require
from neurfield.errors import FileError, MissingFileError
from neurfield.limits import check_unpacked

Kind = Literal["image", "waveform"]

_WHAT = "a DICOM file"

#: Value representations of elements up to the class of the object (PS3.6).
_REPRESENTATIONS = (b"AE", b"CS", b"DA", b"DT", b"OB", b"SH", b"SQ", b"TM", b"UI", b"UL", b"UN")

_MARK = b"DICM"
_PREAMBLE = 128

#: What lies beside DICOM files by custom and holds no signal; no word is lost about it.
_BESIDE = (".csv", ".htm", ".html", ".inf", ".json", ".log", ".md", ".pdf", ".txt", ".xml")
_BESIDE_NAMES = ("dicomdir", "license", "lockfile", "readme", "thumbs.db", "version")
_DIRECTORY = "Media Storage Directory Storage"

#: How many names a warning lists.
_MOST_NAMES = 10


class Header(NamedTuple):
    """One file, without its pixels."""

    path: Path
    dataset: Any  # pydicom.Dataset
    n_left: int | None  # bytes that follow for the pixels; None if the file is deflated


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by its mark after 128 bytes, or by its first element."""
    if not path.is_file():
        return False
    with reading(path, _WHAT), open(path, "rb") as file:
        head = file.read(_PREAMBLE + len(_MARK))
    return head.endswith(_MARK) or _begins_with_an_element(head)


def reader_kind(paths: Iterable[Path]) -> Kind | None:
    """Return what the first DICOM image or waveform among files is; None if none is DICOM.

    Other DICOM objects count as images, whose reader says what they are, and without pydicom all
    do, whose reader says what to install.
    """
    found: Kind | None = None
    for path in paths:
        if not is_dicom(path):
            continue
        found = "image"
        try:
            require("pydicom", "dicom")
        except ImportError:
            return found
        kind = _kind(_open(path))
        if kind in ("image", "waveform"):
            return cast(Kind, kind)
    return found


def headers(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], kind: Kind
) -> list[Header]:
    """Return the headers of all files of one kind.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        One folder, of which a warning lists the files that are passed over; or files that all must
        be of that kind.
    kind : {"image", "waveform"}
        What is read.
    """
    if isinstance(paths, str | os.PathLike) and existing(paths).is_dir():
        return _in_folder(Path(paths), kind)
    found = []
    seen: set[str | os.PathLike[str]] = set()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        if path in seen:
            raise ValueError(f"paths must name each file once, got {path} twice")
        seen.add(path)
        header = _open(_checked(existing(path)))
        held = _kind(header)
        if held != kind:
            raise FileError(path, f"holds no {kind} but {_article(held)} {held}{_other(held)}")
        found.append(header)
    return found


def _in_folder(folder: Path, kind: Kind) -> list[Header]:
    found = []
    passed_over: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        if not is_dicom(path):
            if not _is_beside(path):
                passed_over.setdefault("no DICOM", []).append(str(path.relative_to(folder)))
            continue
        header = _open(path)
        held = _kind(header)
        if held == kind:
            found.append(header)
        elif held != _DIRECTORY:
            passed_over.setdefault(held, []).append(str(path.relative_to(folder)))
    if not found:
        held_instead = f"; it holds {_listing(passed_over)}" if passed_over else ""
        raise MissingFileError(folder, f"no DICOM {kind} in this folder{held_instead}")
    if passed_over:
        n_files = sum(map(len, passed_over.values()))
        warnings.warn(
            f"{folder}: {n_files} {'file was' if n_files == 1 else 'files were'} passed over: "
            f"{_listing(passed_over)}",
            UserWarning,
            stacklevel=4,
        )
    return found


def _listing(passed_over: dict[str, list[str]]) -> str:
    parts = []
    for what, names in passed_over.items():
        shown = ", ".join(names[:_MOST_NAMES])
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        parts.append(f"{len(names)} × {what} ({shown}{more})")
    return "; ".join(parts)


def _article(held: str) -> str:
    return "an" if held[0].lower() in "aeiou" else "a"


def _other(held: str) -> str:
    """Return the reader of what a file holds instead, if there is one."""
    readers = {"image": "load_dicom", "waveform": "load_dicom_waveforms"}
    return f"; see neurfield.datasets.{readers[held]}" if held in readers else ""


def _is_beside(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return hidden or path.name.lower() in _BESIDE_NAMES or path.suffix.lower() in _BESIDE


def _checked(path: Path) -> Path:
    """Return a path, of which the file must look like DICOM."""
    if not is_dicom(path):
        raise FileError(
            path,
            "could not be read as a DICOM file: it has neither the mark DICM after 128 bytes nor "
            "an element of DICOM at its start; is it truncated or of another kind?",
        )
    return path


def _open(path: Path) -> Header:
    """Return a file's header, read by force: only a file that looks like DICOM may be given."""
    pydicom = require("pydicom", "dicom")
    with reading(path, _WHAT):
        deflated = _is_deflated(path)
        with open(path, "rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            is_implicit, _ = dataset.original_encoding
            n_left = path.stat().st_size - file.tell() - (8 if is_implicit else 12)
    return Header(path, dataset, None if deflated else max(n_left, 0))


def _is_deflated(path: Path) -> bool:
    """Return whether a file is deflated; refuse one that unpacks to more than it may.

    pydicom would unpack it whole before anything can be counted.
    """
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with open(path, "rb") as file:
        marked = file.read(_PREAMBLE + len(_MARK)).endswith(_MARK)
        file.seek(_PREAMBLE + len(_MARK) if marked else 0)
        # The elements that say how the file is written are never deflated themselves.
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        n_bytes = 0
        for piece in _inflated(file):
            n_bytes += len(piece)
            check_unpacked(path, n_bytes)
        return True


def _inflated(file: Any, size: int = 2**18) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    pending = file.read(size)
    while pending and not unpacker.eof:
        yield unpacker.decompress(pending, size)
        pending = unpacker.unconsumed_tail or file.read(size)


def _kind(header: Header) -> str:
    """Return "image", "waveform" or the name of another kind of DICOM object."""
    with reading(header.path, _WHAT):
        dataset = header.dataset
        uid = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
        name = "" if uid is None else str(uid.name)
        if "Image Storage" in name:
            return "image"
        if "Waveform Storage" in name:
            return "waveform"
        if name and not (uid.is_private or name == str(uid)):
            return name
        # Makers' own kinds, and files that do not say, are known by what they hold.
        if "WaveformSequence" in dataset:
            return "waveform"
        if "Rows" in dataset and "Columns" in dataset:
            return "image"
        return "DICOM object of an unknown kind"


def _begins_with_an_element(head: bytes) -> bool:
    """Return whether a file without the preamble begins as a DICOM data set does.

    The first element is of the groups 2 or 8 and not beyond the class of the object, (0008,0016),
    which every data set has.
    """
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group in (0x0002, 0x0008) and element <= 0x0016:
            if head[4:6] in _REPRESENTATIONS:
                return True
            # Without the letters there are four bytes of length; the next element has to follow.
            (length,) = struct.unpack("<I", head[4:8])
            if order == "<" and length % 2 == 0 and length + 12 <= len(head):
                after, next_element = struct.unpack("<HH", head[8 + length : 12 + length])
                return bool(after == group and next_element > element)
    return False
