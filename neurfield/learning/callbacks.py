"""What a caller can hook into a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neurfield.fields import Field


@dataclass(frozen=True)
class Progress:
    """The state of a fit after a meta-step, as callbacks see it.

    Parameters
    ----------
    iteration : int
        Meta-steps done.
    max_iter : int
        Meta-steps planned.
    loss : float
        Meta-loss of the last step.
    psnr : float
        PSNR in dB of the field on the last batch, by the range of the training values.
    validation_psnr : float or None
        Latest mean PSNR in dB on held-out signals, where there are any.
    elapsed : float
        Seconds since the fit began.
    field : Field
        The field being trained; not to be changed.
    """

    iteration: int
    max_iter: int
    loss: float
    psnr: float
    validation_psnr: float | None
    elapsed: float
    field: Field


Callback = Callable[[Progress], bool | None]
"""Called after each meta-step; a true return value stops the fit."""
