"""What a caller can hook into a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neurfield.fields import CoordinateField, Field


@dataclass(frozen=True)
class Progress:
    """The state of a fit after a meta-step, or an iteration on one signal, as callbacks see it.

    Parameters
    ----------
    iteration : int
        Meta-steps or iterations done.
    max_iter : int
        Meta-steps or iterations planned.
    loss : float
        Loss of the last one, before its update.
    psnr : float
        PSNR in dB of the field on the last batch, by the range of the training values.
    validation_psnr : float or None
        Latest mean PSNR in dB on held-out signals, where there are any.
    elapsed : float
        Seconds since the fit began.
    field : Field or CoordinateField
        The field being trained; not to be changed.
    """

    iteration: int
    max_iter: int
    loss: float
    psnr: float
    validation_psnr: float | None
    elapsed: float
    field: Field | CoordinateField


Callback = Callable[[Progress], bool | None]
"""Called after each meta-step or iteration; a true return value stops the fit."""


def check_callbacks(callbacks: Sequence[Any] | None) -> None:
    """Refuse callbacks that cannot be called.

    Raises
    ------
    ValueError
        If there is one.
    """
    for callback in callbacks or ():
        if not callable(callback):
            raise ValueError(f"callbacks must be callable, got {callback!r}")
