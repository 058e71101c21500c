"""DICOM files written by pydicom, of one frame and of several."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    TwelveLeadECGWaveformStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

__all__ = [
    "CTImageStorage",
    "DigitalXRayImageStorageForPresentation",
    "EnhancedMRImageStorage",
    "MultiFrameGrayscaleWordSecondaryCaptureImageStorage",
    "TwelveLeadECGWaveformStorage",
    "UltrasoundMultiFrameImageStorage",
    "dataset_of",
    "item",
    "plane",
    "save",
    "write",
    "write_enhanced",
]


def item(**elements):
    """Return a data set of these elements, as items of sequences are."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(
            dataset,
            keyword,
            Sequence(value)
            if isinstance(value, list | tuple) and value and isinstance(value[0], Dataset)
            else value,
        )
    return dataset


def dataset_of(pixels, kind=CTImageStorage, syntax=ExplicitVRLittleEndian, **elements):
    """Return an image of integer pixels, of shape (rows, columns) or (n_frames, rows, columns)."""
    pixels = np.asarray(pixels)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    bits = 8 * pixels.dtype.itemsize
    defaults = {
        "SOPClassUID": kind,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": "1.2.3",
        "SeriesNumber": 1,
        "Modality": "CT" if kind == CTImageStorage else "OT",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    if pixels.ndim == 3:
        defaults["NumberOfFrames"] = len(pixels)
    dataset = item(**{k: v for k, v in (defaults | elements).items() if v is not None})
    if bits == 8 and "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"
    if syntax.is_encapsulated and "PixelData" in dataset:
        dataset.PixelData = encapsulate([dataset.PixelData])
    dataset.file_meta = meta
    return dataset


def save(dataset, path):
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write(path, pixels, **elements):
    return save(dataset_of(pixels, **elements), path)


def plane(position, **macros):
    """Return the functional groups of one frame."""
    return item(
        PlanePositionSequence=[item(ImagePositionPatient=list(position))],
        **macros,
    )


def write_enhanced(path, pixels, groups, pointers=(), shared=None, **elements):
    """Write a file of several frames, each with its functional groups."""
    shared = shared or item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SliceThickness=2.0)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    dimensions = [
        item(DimensionIndexPointer=pydicom.datadict.tag_for_keyword(name)) for name in pointers
    ]
    return write(
        path,
        pixels,
        kind=elements.pop("kind", EnhancedMRImageStorage),
        **{
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": list(groups),
            "DimensionIndexSequence": dimensions or None,
        }
        | elements,
    )
