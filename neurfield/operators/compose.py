"""One operator after another."""

from __future__ import annotations

import numpy as np

from neurfield.operators.base import Operator


class Compose(Operator):
    """An operator of what another one measures, such as a part of a blurred signal.

    Parameters
    ----------
    outer : Operator
        Takes the real values that `inner` measures, in their order, as those of a field at its
        points; where these lie has no part in it.
    inner : Operator
        Reads the field.

    Examples
    --------
    >>> import numpy as np
    >>> from neurfield.operators import Blur, Mask
    >>> part = Compose(Mask((4,), [True, True, False, False]), Blur((4,), fwhm=0.0))
    >>> part.apply(np.arange(4.0).reshape(1, 4, 1))
    array([[0., 1.]])
    """

    def __init__(self, outer: Operator, inner: Operator) -> None:
        self.outer, self.inner = outer, inner
        self._measured: dict[int, tuple[int, ...]] = {}

    def points(self) -> np.ndarray:
        return self.inner.points()

    def apply(self, values: np.ndarray) -> np.ndarray:
        n, _, c = values.shape
        between = self.inner.apply(values)
        self._measured[c] = between.shape[1:]
        return self.outer.apply(between.reshape(n, -1, c))

    def adjoint(self, measured: np.ndarray) -> np.ndarray:
        values = self.outer.adjoint(measured)
        n, _, c = values.shape
        if c not in self._measured:
            self.apply(np.zeros((1, len(self.points()), c)))
        return self.inner.adjoint(values.reshape(n, *self._measured[c]))
