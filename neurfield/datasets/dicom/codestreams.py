"""The size of compressed pictures, which is compared with the header's before any is decoded."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any

from neurfield._compat import jpeg_parameters
from neurfield.datasets.dicom.frames import Frame
from neurfield.errors import FileError

# How a codestream of JPEG 2000 begins, with or without the boxes of a file around it.
_JPEG_2000 = b"\xff\x4f\xff\x51"
_BOXES = b"\x00\x00\x00\x0cjP  "


def check_sizes(frame: Frame, dataset: Any, wanted: Collection[int]) -> None:
    """Refuse compressed pictures whose own size is not that of the header.

    Decoders allocate what the picture asks for, and a few hundred bytes may ask for gigabytes.

    Parameters
    ----------
    frame : Frame
        One of the file.
    dataset : pydicom.Dataset
        The file.
    wanted : collection of int
        Numbers of the frames to look at.

    Raises
    ------
    FileError
        If so.
    """
    from pydicom.encaps import generate_frames

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in dataset:
        return
    declared = (
        frame.elements["Rows"],
        frame.elements["Columns"],
        frame.elements.get("SamplesPerPixel", 1),
    )
    n_frames = frame.elements.get("NumberOfFrames", 1)
    for number, coded in enumerate(generate_frames(dataset.PixelData, number_of_frames=n_frames)):
        size = _size(coded) if number in wanted else None
        if size is not None and size != declared:
            raise FileError(
                frame.path,
                f"its Rows, Columns and SamplesPerPixel are {declared}, but those of its "
                f"compressed frame {number} are {size}",
            )


def _size(coded: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and samples per pixel; None where a codec does not say."""
    start = coded.find(_JPEG_2000) if coded.startswith((_JPEG_2000, _BOXES)) else -1
    if start >= 0:
        # ISO/IEC 15444-1, A.5.1: the grid's size and the picture's offset in it, and after its
        # tiles the number of components.
        x, y, x_offset, y_offset = struct.unpack_from(">4I", coded, start + 8)
        (n_samples,) = struct.unpack_from(">H", coded, start + 40)
        return y - y_offset, x - x_offset, n_samples
    found = jpeg_parameters(coded)
    if "width" not in found:
        return None
    return found["height"], found["width"], found["components"]
