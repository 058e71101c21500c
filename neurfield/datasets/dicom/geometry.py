"""Where slices stand: in order along their normal, evenly spaced, with one affine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets.dicom.frames import Frame
from neurfield.datasets.dicom.pixels import unit_of
from neurfield.errors import FileError

#: DICOM counts patient positions towards left and back, NIfTI towards right and front.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

#: How far, as a part of their distance, neighbouring slices may be from evenly spaced.
_TOLERANCE = 0.02

#: How far, as a part of their distance, a slice may lie from its place in an even stack.
_DRIFT = 0.1

#: How far directions may be from unit length and right angles; headers round them.
_ROUNDING = 1e-3


class Stack(NamedTuple):
    """Frames in order of position, and where they stand."""

    frames: list[Frame]
    affine: NDArray[np.float64]  # voxel index → patient position, with NIfTI's directions
    in_millimetres: bool  # whether the spacing is known


def is_placed(frame: Frame) -> bool:
    """Return whether an image has a place in the patient, as slices have, not radiographs."""
    return (
        frame.get("ImagePositionPatient") is not None
        and frame.get("ImageOrientationPatient") is not None
    )


def picture(frames: list[Frame]) -> Stack:
    """Return frames without a place, with the spacing of their pixels where it is known."""
    first = frames[0]
    for frame in frames[1:]:
        check_alike(frame, first)
    keyword = next((k for k in ("PixelSpacing", "ImagerPixelSpacing") if first.get(k)), None)
    if keyword is None:
        return Stack(frames, np.eye(4), False)
    row, column = _spacing(first, keyword)
    return Stack(frames, np.diag([column, row, 1.0, 1.0]), True)


def arrange(frames: Sequence[Frame]) -> Stack:
    """Return slices in order of their position along the normal, with their common affine.

    Raises
    ------
    FileError
        If they are not alike, not aligned or not evenly spaced.
    """
    first = frames[0]
    for frame in frames:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if frame.get(keyword) is None:
                raise FileError(
                    frame.path, f"has no {keyword}, which its series needs to be made a volume"
                )
        check_alike(frame, first)
    row, column = _spacing(first, "PixelSpacing")
    along_row, along_column = _directions(first)
    normal = np.cross(along_row, along_column)
    ordered = sorted(frames, key=lambda frame: float(_position(frame) @ normal))
    if len(ordered) == 1:
        thickness = first.get("SliceThickness") or 0.0
        step = normal * (thickness if thickness > 0 else 1.0)
    else:
        step = _step(ordered, normal)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack([along_row * column, along_column * row, step])
    affine[:3, 3] = _LPS_TO_RAS @ _position(ordered[0])
    return Stack(ordered, affine, True)


def check_alike(frame: Frame, first: Frame) -> None:
    """Refuse a frame that cannot be in one volume with another."""
    for keyword in (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "FrameOfReferenceUID",
        "ImageOrientationPatient",
        "PixelSpacing",
        "ImagerPixelSpacing",
    ):
        mine, other = frame.get(keyword), first.get(keyword)
        same = mine == other
        if isinstance(mine, list) and isinstance(other, list):
            same = np.allclose(mine, other, rtol=0, atol=1e-4)
        if not same:
            raise FileError(
                frame.path,
                f"{keyword} is {mine}, but {other} in {first.path.name} of the same series; give "
                "the files of one volume",
            )
    if unit_of(frame) != unit_of(first):
        raise FileError(
            frame.path,
            f"its values are in {unit_of(frame) or 'no unit'} (RescaleType, Units), but in "
            f"{unit_of(first) or 'no unit'} in {first.path.name} of the same series",
        )


def _spacing(frame: Frame, keyword: str) -> tuple[float, float]:
    row, column = frame.get(keyword)
    if not (row > 0 and column > 0):
        raise FileError(
            frame.path, f"its {keyword} must be two positive numbers, but is {[row, column]}"
        )
    return row, column


def _directions(frame: Frame) -> NDArray[np.float64]:
    """Return the unit vectors along the rows and along the columns of a picture."""
    directions = np.reshape(frame.get("ImageOrientationPatient"), (2, 3))
    lengths = np.linalg.norm(directions, axis=1)
    angle = float(directions[0] @ directions[1])
    if np.abs(lengths - 1).max() > _ROUNDING or abs(angle) > _ROUNDING:
        raise FileError(
            frame.path,
            "its ImageOrientationPatient must be two unit vectors at right angles, but is "
            f"{directions.ravel().tolist()}",
        )
    return np.asarray(directions / lengths[:, None])


def _step(frames: list[Frame], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector from one slice to the next, which must be the same for all."""
    positions = np.array([_position(frame) for frame in frames])
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    usual = float(np.median(gaps))
    away = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    for before, after, gap, off in zip(frames, frames[1:], gaps, away, strict=False):
        if gap <= _TOLERANCE * usual:
            raise FileError(before.path, _doubled(before, after))
        if off > _TOLERANCE * usual:
            reason = "a slice is missing" if gap > 1.5 * usual else "they are not evenly spaced"
            raise FileError(
                before.path,
                f"lies {gap:.4g} mm from {_name(after)} (ImagePositionPatient) where slices of the "
                f"series are {usual:.4g} mm apart; {reason}",
            )
    step = steps.mean(axis=0)
    drift = np.linalg.norm(
        positions - positions[0] - np.arange(len(frames))[:, None] * step, axis=1
    )
    if drift.max() > _DRIFT * usual:
        frame = frames[int(drift.argmax())]
        raise FileError(
            frame.path,
            f"lies {drift.max():.4g} mm from its place in an evenly spaced stack "
            "(ImagePositionPatient); resample the series to even distances, with SimpleITK for "
            "example",
        )
    return np.asarray(step)


def _name(frame: Frame) -> str:
    return f"frame {frame.number} of {frame.path.name}" if frame.number else frame.path.name


def _doubled(before: Frame, after: Frame) -> str:
    if before.path != after.path and before.get("SOPInstanceUID") == after.get("SOPInstanceUID"):
        return f"is the same image as {_name(after)} (SOPInstanceUID); remove one of them"
    advice = "give the files of one volume"
    if before.path == after.path:
        advice = "nothing in DimensionIndexSequence tells them apart"
    return (
        f"two slices of one series at the same position (ImagePositionPatient), this and "
        f"{_name(after)}, such as several times or echoes; {advice}"
    )


def _position(frame: Frame) -> NDArray[np.float64]:
    return np.array(frame.get("ImagePositionPatient"), dtype=np.float64)
