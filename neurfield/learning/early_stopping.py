"""When to stop before the last meta-step."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from neurfield._compat import Interval
from neurfield.spec import Spec


class EarlyStopping(Spec):
    """Hold out signals, stop when they improve no more, and keep the best weights.

    Parameters
    ----------
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the signals held out.
    n_iter_no_change : int, default=10
        Evaluations (one every 25 meta-steps) without improvement before the stop.
    tol : float, default=0.01
        Least improvement of the held-out PSNR, in dB, that counts.

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> FunctaEncoder(early_stopping=EarlyStopping(tol=0.1)).get_params()["early_stopping__tol"]
    0.1
    """

    kind: ClassVar[str] = "early_stopping"
    name: ClassVar[str] = "held-out"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, validation_fraction: float = 0.1, n_iter_no_change: int = 10, tol: float = 0.01
    ) -> None:
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol

    @classmethod
    def of(cls, choice: Any) -> EarlyStopping:
        """Return the spec that ``early_stopping`` stands for; True is the one with its defaults.

        Parameters
        ----------
        choice : bool or EarlyStopping
            A spec is returned as it is.

        Raises
        ------
        ValueError
            If it is False, for what does not stop early has no options; or anything else.
        """
        if isinstance(choice, cls):
            return choice
        if not (isinstance(choice, bool | np.bool_) and choice):
            raise ValueError(
                f"options of early_stopping need early_stopping=True, got early_stopping={choice!r}"
            )
        return cls()
