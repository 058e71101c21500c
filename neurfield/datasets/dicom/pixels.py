"""From stored pixels to values: significant bits, padding, physical units, brightness, colour."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets._files import reading, require
from neurfield.datasets.dicom.codestreams import check_sizes
from neurfield.datasets.dicom.encoding import decoder_for
from neurfield.datasets.dicom.frames import Frame
from neurfield.errors import FileError

# Rescale types that say of a value only that it has no unit.
_NO_UNIT = ("US", "UNSPECIFIED")

# Decoders of these return the stored words as they are, bits without meaning among them.
_WORDS = ("RLE Lossless",)


def unit_of(frame: Frame) -> str | None:
    """Return the unit of a frame's values after rescaling, None if it has none.

    Values of CT are Hounsfield units where the file says how they come out of the stored ones and
    names no other type; pictures of CT that were captured from a screen do not.
    """
    modality = frame.get("Modality")
    rescale_type = frame.get("ModalityLUTType") or frame.get("RescaleType")
    if modality in ("PT", "NM") and frame.get("Units") is not None:
        return str(frame.get("Units"))
    if rescale_type is not None:
        return None if rescale_type.upper() in _NO_UNIT else str(rescale_type)
    return "HU" if modality == "CT" and frame.get("RescaleSlope") is not None else None


def is_colour(frame: Frame) -> bool:
    """Return whether a frame has three channels."""
    return not str(frame.get("PhotometricInterpretation")).startswith("MONOCHROME")


def is_inverted(frame: Frame) -> bool:
    """Return whether the lowest value of a frame is white, and its values have no unit."""
    return frame.get("PhotometricInterpretation") == "MONOCHROME1" and unit_of(frame) is None


def read_values(frames: Sequence[Frame], invert: bool) -> NDArray[np.float32]:
    """Return the values of frames, of shape (x, y, n_frames[, channel]).

    Parameters
    ----------
    frames : sequence of Frame
        Of one size.
    invert : bool
        Whether those whose lowest value is white are inverted.
    """
    pydicom = require("pydicom", "dicom")
    pixels = require("pydicom.pixels", "dicom")
    planes: dict[tuple[Path, int], NDArray[np.float32]] = {}
    for path, several in groupby(sorted(frames, key=_place), key=lambda frame: frame.path):
        asked = list(several)
        is_three = asked[0].get("SamplesPerPixel") == 3  # bits of others are seen to below
        with reading(path, "a DICOM image"):
            dataset = pydicom.dcmread(path, force=True)
            _complete_meta(dataset)
            check_sizes(asked[0], dataset, {frame.number for frame in asked})
            words = pixels.iter_pixels(
                dataset,
                indices=[frame.number for frame in asked],
                decoding_plugin=decoder_for(dataset.file_meta.TransferSyntaxUID),
                correct_unused_bits=is_three,
            )
            for frame, stored in zip(asked, words, strict=True):
                values = _values(pixels, stored, dataset, frame, invert)
                planes[_place(frame)] = np.swapaxes(values, 0, 1)
    return np.stack([planes[_place(frame)] for frame in frames], axis=2)


def _place(frame: Frame) -> tuple[Path, int]:
    return frame.path, frame.number


def _complete_meta(dataset: Any) -> None:
    """Say how a file without its own meta information is written, as pydicom has found it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def _values(
    pixels: Any, stored: NDArray[Any], dataset: Any, frame: Frame, invert: bool
) -> NDArray[np.float32]:
    if frame.get("SamplesPerPixel") == 3:
        return np.asarray(stored, np.float32)
    numbers = _significant(stored, dataset.file_meta.TransferSyntaxUID, frame)
    if is_colour(frame):
        return np.asarray(pixels.apply_color_lut(numbers, dataset)[..., :3], np.float32)
    values, lowest, highest = _physical(pixels, numbers, dataset, frame)
    if invert and is_inverted(frame):
        values = lowest + highest - values
    values[_is_padding(frame, numbers, stored)] = np.nan
    return np.asarray(values, np.float32)


def _significant(stored: NDArray[Any], syntax: Any, frame: Frame) -> NDArray[Any]:
    """Return the numbers in the bits that are stored; the others may hold anything."""
    if stored.dtype.kind not in "iu" or frame.get("BitsAllocated") == 1:
        return stored
    n_bits = 8 * stored.dtype.itemsize
    n_stored = frame.get("BitsStored") or n_bits
    high = n_stored - 1
    if not syntax.is_encapsulated or syntax.name in _WORDS:
        high = frame.elements.get("HighBit", high)
    # Shifting back is arithmetic for signed numbers: it repeats the sign.
    return (stored << (n_bits - 1 - high)) >> (n_bits - n_stored)


def _physical(
    pixels: Any, numbers: NDArray[Any], dataset: Any, frame: Frame
) -> tuple[NDArray[np.float64], float, float]:
    """Return values in the unit that the file gives them, and the ends of their range."""
    n_bits = frame.get("BitsStored") or frame.get("BitsAllocated")
    least = -(2.0 ** (n_bits - 1)) if frame.get("PixelRepresentation") else 0.0
    ends = np.array([least, least + 2.0**n_bits - 1])
    if dataset.get("ModalityLUTSequence"):
        descriptor = dataset.ModalityLUTSequence[0].LUTDescriptor
        highest = 2.0 ** int(descriptor[2]) - 1
        descriptor[2] = 16  # pydicom takes it for a type of numbers, and there is none of 12 bits
        table = pixels.apply_modality_lut(numbers.astype(np.int64), dataset)
        return table.astype(np.float64), 0.0, highest
    slope, intercept = frame.get("RescaleSlope"), frame.get("RescaleIntercept")
    if slope is None and intercept is None:
        slope, intercept = 1.0, 0.0
    if slope is None or intercept is None:
        given, lacking = ("RescaleSlope", "RescaleIntercept")[:: 1 if intercept is None else -1]
        raise FileError(
            frame.path, f"has {given} but no {lacking}; add the one or remove the other"
        )
    if slope == 0:
        raise FileError(frame.path, "its RescaleSlope is 0, which makes all values one")
    lowest, highest = ends * slope + intercept
    return numbers * np.float64(slope) + intercept, float(lowest), float(highest)


def _is_padding(frame: Frame, numbers: NDArray[Any], stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where pixels only fill the rectangle."""
    first = frame.get("PixelPaddingValue")
    if first is None:
        return np.zeros(numbers.shape, dtype=bool)
    last = frame.elements.get("PixelPaddingRangeLimit", first)
    low, high = sorted(_resigned(value, stored.dtype) for value in (first, last))
    # It may lie outside the bits that are stored, to be told from every value.
    return ((numbers >= low) & (numbers <= high)) | ((stored >= low) & (stored <= high))


def _resigned(value: int, dtype: np.dtype[Any]) -> int:
    """Return a padding value as the pixels have it: files give it with the wrong sign at times."""
    if dtype.kind not in "iu":
        return value
    limits = np.iinfo(dtype)
    n_numbers = 2 ** (8 * dtype.itemsize)
    if value > limits.max:
        return value - n_numbers
    return value + n_numbers if value < limits.min else value
