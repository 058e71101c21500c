"""How pixels are stored: what cannot be decoded, or is not all there, is refused unread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurfield.datasets._files import require
from neurfield.datasets.dicom.finding import Header
from neurfield.errors import FileError
from neurfield.limits import check_unpacked

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

#: Photometric interpretations that are understood, with their samples per pixel.
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1} | dict.fromkeys(_COLOURS, 3)

_SAFE_DECODERS = ("pylibjpeg", "pyjpegls", "pydicom", "pillow")


def check_encoding(header: Header, elements: Mapping[str, Any]) -> None:
    """Refuse pixels that cannot be decoded, or that the file has no room for.

    Parameters
    ----------
    header : Header
        Of a file with pixels.
    elements : mapping of str to value
        Those that hold for all frames.

    Raises
    ------
    FileError
        If so.
    """
    path = header.path
    interpretation = elements.get("PhotometricInterpretation")
    n_samples = elements.get("SamplesPerPixel", 1)
    if interpretation not in _SAMPLES:
        raise FileError(
            path,
            f"its PhotometricInterpretation is {interpretation}; expected one of "
            f"{', '.join(_SAMPLES)}",
        )
    if n_samples != _SAMPLES[interpretation]:
        raise FileError(path, f"its SamplesPerPixel is {n_samples}, which is not {interpretation}")
    _check_bits(path, elements)
    n_values = elements["Rows"] * elements["Columns"] * n_samples
    n_values *= elements.get("NumberOfFrames", 1)
    if n_values < 1:
        raise FileError(path, "its Rows, Columns and NumberOfFrames must be positive")
    if header.n_left == 0:
        raise FileError(path, "has no PixelData; is it truncated?")
    syntax = header.dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated:
        _check_decoder(path, syntax)
        check_unpacked(path, n_values * elements["BitsAllocated"] // 8, "the decoded picture")
        return
    if header.n_left is None:
        return  # pydicom counts what has been unpacked
    n_bits = n_values * elements["BitsAllocated"]
    if interpretation == "YBR_FULL_422":  # two pixels share their colour
        n_bits = n_bits * 2 // 3
    if n_bits // 8 > header.n_left:
        raise FileError(
            path,
            f"its Rows, Columns, NumberOfFrames and BitsAllocated ask for {n_bits // 8} bytes of "
            f"pixels, but the file has {header.n_left} left for them; is it truncated?",
        )


def decoder_for(syntax: Any) -> str:
    """Return the name of pydicom's decoder to use, empty where there is no choice.

    GDCM is the last resort: some damaged pictures make it end the whole process.

    Parameters
    ----------
    syntax : pydicom.UID
        The file's transfer syntax.
    """
    if not syntax.is_encapsulated:
        return ""
    available = require("pydicom.pixels", "dicom").get_decoder(syntax).available_plugins
    return next((name for name in _SAFE_DECODERS if name in available), "")


def _check_bits(path: Path, elements: Mapping[str, Any]) -> None:
    allocated = elements["BitsAllocated"]
    stored = elements.get("BitsStored", allocated)
    high = elements.get("HighBit", stored - 1)
    if not 1 <= stored <= high + 1 <= allocated <= 64:
        raise FileError(
            path,
            f"its BitsAllocated, BitsStored and HighBit, {allocated}, {stored} and {high}, do not "
            "fit together",
        )
    if elements.get("SamplesPerPixel") == 3 and high != stored - 1:
        raise FileError(path, f"its HighBit is {high}, but {stored - 1} is that of its colours")


def _check_decoder(path: Path, syntax: Any) -> None:
    """Refuse pixels that pydicom cannot decompress."""
    pixels = require("pydicom.pixels", "dicom")
    try:
        decoder = pixels.get_decoder(syntax)
        missing = "" if decoder.is_available else "; ".join(decoder.missing_dependencies)
    except NotImplementedError:
        missing = "none is known"
    if missing:
        raise FileError(
            path,
            f"its pixels are compressed as {syntax.name}, and pydicom finds no decoder for that "
            f"({missing}); pip install pylibjpeg[all] brings most of them",
        )
