"""Frames sorted into stacks of slices, repeated over time where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurfield.datasets._files import reading
from neurfield.datasets.dicom.frames import Frame
from neurfield.datasets.dicom.geometry import Stack, arrange, is_placed, picture
from neurfield.errors import FileError

# What frames are counted by that is their place in space, and not a stack of their own.
_IN_SPACE = ("ImagePositionPatient", "InStackPositionNumber", "PlanePositionSequence")

# What frames are counted by that is time.
_IN_TIME = ("TemporalPositionIndex", "TemporalPositionTimeOffset", "NominalCardiacTriggerDelayTime")

_FRAME_TIME, _FRAME_TIME_VECTOR = 0x00181063, 0x00181065


class Series(NamedTuple):
    """Frames that make one signal."""

    stack: Stack  # of the first time; all others are like it
    frames: list[Frame]  # all, time counted fastest
    n_slices: int
    axis: str | None  # "time", "frame", or None where nothing is counted but slices
    marks: NDArray[np.float64]  # coordinates along that axis
    in_seconds: bool
    label: str  # what sets it apart from others of the same file


def divide(frames: Sequence[Frame]) -> list[Series]:
    """Return the signals that the frames of one series, or of one file of several frames, make."""
    if not any(map(is_placed, frames)):
        by_file: dict[object, list[Frame]] = {}
        for frame in frames:
            by_file.setdefault(frame.path, []).append(frame)
        return [_cine(several) for several in by_file.values()]
    stacks: dict[tuple[tuple[str, str], ...], list[Frame]] = {}
    for frame in frames:
        stacks.setdefault(_key(frame), []).append(frame)
    varying = {
        name
        for key in stacks
        for name, number in key
        if any((name, number) not in other for other in stacks)
    }
    return [
        _over_time(several, ", ".join(f"{n} {number}" for n, number in key if n in varying))
        for key, several in sorted(stacks.items(), key=lambda item: _natural(item[0]))
    ]


def _key(frame: Frame) -> tuple[tuple[str, str], ...]:
    """Return what a stack of slices has in common."""
    counted = {
        name: str(number)
        for name, number in frame.dimensions.items()
        if name not in (*_IN_SPACE, *_IN_TIME)
    }
    if frame.dimensions and frame.get("StackID") is not None:
        counted["StackID"] = frame.get("StackID")
    return tuple(counted.items())


def _natural(key: tuple[tuple[str, str], ...]) -> list[tuple[str, int, str]]:
    return [(name, len(number), number) for name, number in key]


def _over_time(frames: list[Frame], label: str) -> Series:
    """Return a stack whose slices are there once, or once for each time."""
    times: dict[int, list[Frame]] = {}
    for frame in frames:
        index = next((frame.dimensions[n] for n in _IN_TIME if n in frame.dimensions), 0)
        times.setdefault(index, []).append(frame)
    steps = [arrange(times[index]) for index in sorted(times)]
    first = steps[0]
    for step in steps[1:]:
        if len(step.frames) != len(first.frames) or not np.allclose(
            step.affine, first.affine, rtol=0, atol=1e-3
        ):
            raise FileError(
                step.frames[0].path,
                f"its slices at one time ({len(step.frames)}) are not those at another "
                f"({len(first.frames)}), by ImagePositionPatient and {_time_of(step.frames[0])}; "
                "is it truncated?",
            )
    ordered = [frame for slices in zip(*(s.frames for s in steps), strict=True) for frame in slices]
    n_slices = len(first.frames)
    if len(steps) == 1:
        return Series(first, ordered, n_slices, None, np.zeros(1), False, label)
    marks = _seconds(steps)
    in_seconds = marks is not None
    marks = np.arange(len(steps), dtype=float) if marks is None else marks
    return Series(first, ordered, n_slices, "time", marks, in_seconds, label)


def _time_of(frame: Frame) -> str:
    return next((name for name in _IN_TIME if name in frame.dimensions), "time")


def _seconds(steps: list[Stack]) -> NDArray[np.float64] | None:
    """Return when the slices of each time were taken, None if the file does not say."""
    from pydicom.valuerep import DT

    def moment(value: str) -> float:
        date = DT(value)
        # Without a zone of its own it is in that of all others, in which no hour is skipped.
        return float((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())

    scales: dict[str, Callable[..., float]] = {
        "TemporalPositionTimeOffset": float,
        "FrameReferenceDateTime": moment,
        "FrameAcquisitionDateTime": moment,
    }
    if "NominalCardiacTriggerDelayTime" in steps[0].frames[0].dimensions:
        scales = {"NominalCardiacTriggerDelayTime": lambda milliseconds: milliseconds / 1000}
    path = steps[0].frames[0].path
    for keyword, convert in scales.items():
        if any(frame.get(keyword) is None for step in steps for frame in step.frames):
            continue
        with reading(path, f"a DICOM image with {keyword}"):
            seconds = np.array(
                [min(convert(frame.get(keyword)) for frame in step.frames) for step in steps]
            )
        if not (np.diff(seconds) > 0).all():
            raise FileError(path, f"its {keyword} does not rise from one time to the next")
        return np.asarray(seconds - seconds[0] if convert is moment else seconds)
    return None


def _cine(frames: list[Frame]) -> Series:
    """Return the pictures of one file, none of which has a place, in the order they are stored."""
    frames = sorted(frames, key=lambda frame: frame.number)
    stack = picture(frames)
    if len(frames) == 1:
        return Series(stack, frames, 1, None, np.zeros(1), False, "")
    path, first = frames[0].path, frames[0]
    counted_by = first.elements.get("FrameIncrementPointer", [])
    steps = None
    if _FRAME_TIME_VECTOR in counted_by:
        steps = np.array(first.elements.get("FrameTimeVector", []), dtype=float)
        if len(steps) != len(frames):
            raise FileError(
                path, f"its FrameTimeVector has {len(steps)} times for {len(frames)} frames"
            )
        steps[0] = 0.0  # the first is that before the first frame
    elif _FRAME_TIME in counted_by or (not counted_by and first.get("FrameTime") is not None):
        steps = np.full(len(frames), first.elements.get("FrameTime", np.nan))
        steps[0] = 0.0
    elif counted_by:
        from pydicom.datadict import keyword_for_tag

        names = ", ".join(keyword_for_tag(tag) or hex(tag) for tag in counted_by)
        raise FileError(
            path,
            f"its frames are counted by {names} (FrameIncrementPointer), which is not supported; "
            "convert it to NIfTI, with dcm2niix for example",
        )
    if steps is None:
        marks = np.arange(len(frames), dtype=float)
        return Series(stack, frames, 1, "frame", marks, False, "")
    if not (steps[1:] > 0).all():
        raise FileError(path, "its FrameTime or FrameTimeVector must be positive")
    return Series(stack, frames, 1, "time", np.cumsum(steps) / 1000, True, "")
