"""What signals that were measured alike have in common: what is measured of the tangent model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.lanes import each_in_lanes
from neurfield.learning.measured.evidence import Weighed
from neurfield.learning.measured.gaussian import Known, LatentGaussian, tangent_of
from neurfield.learning.measured.grain import Grain
from neurfield.learning.measured.map import Measured, real_rows
from neurfield.learning.measured.points import AtPoints
from neurfield.learning.mixture import SignalMixture
from neurfield.learning.solvers.tangent import cholesky

_AT_ONCE = 256  # columns that an operator takes in one go


@dataclass(frozen=True)
class Shared:
    """What all signals have in common that were measured alike.

    Parameters
    ----------
    field : Field
        Of the signals' size.
    measured : Measured
        Their operator.
    coords : Tensor of shape (M, d)
        Normalised points at which the field is read.
    whole : LatentGaussian
        Of all unknown numbers of a signal: its latent and Q factors.
    parts : list of LatentGaussian
        The same of each kind of signal.
    columns : Tensor of shape (P + Q, m)
        A J₀, what is measured of the tangent model, and A ψ, of directions around the field.
    origin : Tensor of shape (m,)
        A f₀.
    at_zero : Tensor of shape (m,)
        What is measured where scaled values are zero.
    grain : Grain
        Values beside all these.
    mixture : SignalMixture or None
        Where all this is from.
    of_values : Tensor of shape (m,)
        Variance of measurements that comes from them.
    shape : tuple of int
        Of what is measured of one signal.
    is_complex : bool
        Whether that is complex.
    """

    field: Field
    measured: Measured | AtPoints
    coords: Tensor
    whole: LatentGaussian
    parts: list[LatentGaussian]
    columns: Tensor
    origin: Tensor
    at_zero: Tensor
    grain: Grain
    mixture: SignalMixture | None
    of_values: Tensor
    shape: tuple[int, ...]
    is_complex: bool
    _kept: dict[bytes, Weighed] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @cached_property
    def covariance(self) -> Tensor:
        """Of the unknown numbers, of shape (P + Q, P + Q)."""
        return torch.cholesky_inverse(cholesky(self.whole.precision))

    @classmethod
    @torch.no_grad()
    def of(cls, field: Field, measured: Measured | AtPoints, known: Known) -> Self:
        """Measure the tangent model and the directions around it.

        Parameters
        ----------
        field : Field
            Of the signals' size; not changed.
        measured : Measured
            Their operator.
        known : Known
            Of the signals.
        """
        field = field.twin()
        like = next(field.parameters())
        normalised = measured.coords()
        coords = torch.as_tensor(normalised).to(like)
        values, jacobian = tangent_of(field, coords)
        directions, noise = known.around(normalised)
        grain = known.grain(normalised, noise)
        around = torch.as_tensor(directions).to(jacobian)
        of_zeros = measured.at_zero()
        zero = torch.as_tensor(real_rows(of_zeros)[0])
        linear = [*jacobian.split(_AT_ONCE), *(around.split(_AT_ONCE) if len(around) else ())]
        columns = [zero] * len(linear)

        def measure(number: int, lane: int) -> None:
            columns[number] = measured.apply(linear[number]).cpu().double()

        each_in_lanes(measure, len(linear))
        origin = measured.apply(values[None]).cpu().double()[0] + zero
        return cls(
            field,
            measured,
            coords,
            known.whole,
            known.parts,
            torch.cat(columns),
            origin,
            zero,
            grain,
            known.mixture,
            torch.as_tensor(measured.variance(grain)),
            of_zeros.shape[1:],
            np.iscomplexobj(of_zeros),
        )

    def carried_back(self, rows: Tensor) -> Tensor:
        """Return the adjoint of the operator, of shape (n, M, c).

        Parameters
        ----------
        rows : Tensor of shape (n, m)
            Of all measurements.
        """
        return self.measured.adjoint(rows, self.shape, self.is_complex)

    def weighed(self, seen: Tensor, weight: Tensor) -> Weighed:
        """Return what signals have in common whose measurements count alike; the last is kept.

        Parameters
        ----------
        seen : int Tensor of shape (k,)
            Which measurements there are.
        weight : Tensor of shape (k,)
            Of each.
        """
        key = seen.numpy().tobytes() + weight.numpy().tobytes()
        if (found := self._kept.get(key)) is None:
            found = Weighed.of(self.columns[:, seen], weight, self.parts)
            self._kept.clear()
            self._kept[key] = found
        return found
