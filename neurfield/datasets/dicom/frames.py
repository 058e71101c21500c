"""Frames of DICOM images, each with the elements of the header that hold for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neurfield.datasets._files import reading
from neurfield.datasets.dicom.encoding import check_encoding
from neurfield.datasets.dicom.finding import Header
from neurfield.errors import FileError

_REQUIRED = ("SeriesInstanceUID", "Rows", "Columns", "BitsAllocated")

# Elements that hold for all frames of a file.
_COMMON = (
    *_REQUIRED,
    "BitsStored",
    "ConcatenationUID",
    "FrameIncrementPointer",
    "FrameOfReferenceUID",
    "FrameTime",
    "FrameTimeVector",
    "HighBit",
    "ImagerPixelSpacing",
    "InConcatenationTotalNumber",
    "Modality",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesNumber",
    "TotalPixelMatrixColumns",
    "Units",
)

# Elements in sequences. Those of files of several frames are in functional groups, of one frame or
# shared by all.
_GROUPED = {
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "FrameReferenceDateTime": "FrameContentSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ModalityLUTType": "ModalityLUTSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "TemporalPositionTimeOffset": "TemporalPositionSequence",
}

_WHOLE = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "InConcatenationTotalNumber",
    "NumberOfFrames",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "Rows",
    "SamplesPerPixel",
    "SeriesNumber",
)

# How many numbers an element has.
_NUMBERS = {
    "FrameTime": 1,
    "ImageOrientationPatient": 6,
    "ImagePositionPatient": 3,
    "ImagerPixelSpacing": 2,
    "NominalCardiacTriggerDelayTime": 1,
    "PixelSpacing": 2,
    "RescaleIntercept": 1,
    "RescaleSlope": 1,
    "SliceThickness": 1,
    "TemporalPositionTimeOffset": 1,
}


class Frame(NamedTuple):
    """One picture of a file."""

    path: Path
    number: int  # its place in the file, from 0
    elements: Mapping[str, Any]  # keyword → value, without empty ones
    dimensions: Mapping[str, int]  # what files of several frames count → this frame's number

    def get(self, keyword: str) -> Any:
        """Return the value of an element, None where it is absent or empty."""
        return self.elements.get(keyword)


def frames_of(header: Header) -> list[Frame]:
    """Return the frames of a file.

    Raises
    ------
    FileError
        If the header lacks what every image has, or does not describe each of its frames.
    """
    path, dataset = header.path, header.dataset
    with reading(path, "a DICOM image"):
        common = _read(path, dataset, _COMMON)
        for keyword in _REQUIRED:
            if keyword not in common:
                raise FileError(
                    path, f"has no {keyword}, which every DICOM image needs; is it truncated?"
                )
        if "TotalPixelMatrixColumns" in common:
            raise FileError(
                path,
                "its frames are tiles of one picture (TotalPixelMatrixColumns), which are not "
                "joined; convert it to TIFF",
            )
        n_frames = int(common.get("NumberOfFrames", 1))
        if n_frames < 1:
            raise FileError(path, f"NumberOfFrames must be positive, but is {n_frames}")
        check_encoding(header, common)
        each = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if each and len(each) != n_frames:
            raise FileError(
                path,
                f"PerFrameFunctionalGroupsSequence describes {len(each)} frames, but "
                f"NumberOfFrames is {n_frames}; is it truncated?",
            )
        common |= _read(path, dataset, _GROUPED) | _read_grouped(path, dataset)
        if not each:
            return [Frame(path, index, common, {}) for index in range(n_frames)]
        # What a frame's own group says goes before what all share, and that before the file.
        common |= _read_grouped(path, (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0])
        pointers = _pointers(dataset)
        return [
            Frame(
                path,
                index,
                common | _read_grouped(path, group),
                _dimensions(path, group, pointers),
            )
            for index, group in enumerate(each)
        ]


def _read_grouped(path: Path, group: Any) -> dict[str, Any]:
    """Return the elements that the sequences of a functional group, or of a file, hold."""
    elements: dict[str, Any] = {}
    for name in dict.fromkeys(_GROUPED.values()):
        for item in (group.get(name) or [])[:1]:
            held = [keyword for keyword, of in _GROUPED.items() if of == name]
            elements |= _read(path, item, held)
    return elements


def _pointers(dataset: Any) -> list[str]:
    """Return the keywords of what the frames are counted by."""
    from pydicom.datadict import keyword_for_tag

    items = dataset.get("DimensionIndexSequence") or []
    tags = [item.get("DimensionIndexPointer") for item in items]
    return [keyword_for_tag(tag) or str(tag) for tag in tags if tag is not None]


def _dimensions(path: Path, group: Any, pointers: list[str]) -> dict[str, int]:
    content = (group.get("FrameContentSequence") or [{}])[0]
    numbers = content.get("DimensionIndexValues")
    numbers = [] if numbers is None else [numbers] if isinstance(numbers, int) else list(numbers)
    if numbers and len(numbers) != len(pointers):
        raise FileError(
            path,
            f"DimensionIndexValues has {len(numbers)} numbers, but DimensionIndexSequence "
            f"{len(pointers)} items",
        )
    counted = dict(zip(pointers, map(int, numbers), strict=False))
    if content.get("TemporalPositionIndex") is not None:
        counted.setdefault("TemporalPositionIndex", int(content.TemporalPositionIndex))
    return counted


def _read(path: Path, dataset: Any, keywords: Iterable[str]) -> dict[str, Any]:
    """Return the values of those elements that are there and not empty."""
    found = {}
    for keyword in keywords:
        try:
            value = dataset.get(keyword)
            if value is not None and value != "":
                found[keyword] = _plain(keyword, value)
        except Exception as error:  # pydicom converts a value when it is asked for
            raise FileError(path, f"its {keyword} cannot be read: {error}") from error
    return found


def _plain(keyword: str, value: Any) -> Any:
    if keyword in _WHOLE:
        return int(value)
    if keyword in ("FrameIncrementPointer", "FrameTimeVector"):
        return np.atleast_1d(value).tolist()
    if keyword not in _NUMBERS:
        return str(value)
    numbers = np.array(value, dtype=np.float64).ravel()
    if len(numbers) != _NUMBERS[keyword] or not np.isfinite(numbers).all():
        raise ValueError(f"expected {_NUMBERS[keyword]} finite numbers, got {value}")
    return numbers.tolist() if len(numbers) > 1 else float(numbers[0])
