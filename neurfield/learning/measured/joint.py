"""Latents found together with unknown parameters of their measurement.

What is predicted, M_η(A V_η(f(φ; X_η) + Σ α_q ψ_q)), is nonlinear in the parameters η: they
move the points at which the field is read, X_η, change its values, V_η, or what was measured, M_η.
Each solve begins with a linear model of all unknowns, with columns of η where it was linearized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.fields.autograd import AutogradProducts
from neurfield.learning.measured.gaussian import Known
from neurfield.learning.measured.map import Measured
from neurfield.learning.measured.problem import Linear, Problem
from neurfield.learning.measured.shared import Shared
from neurfield.learning.measured.solve import Found, descended
from neurfield.learning.solvers.conjugate_gradients import conjugate_gradients
from neurfield.learning.solvers.tangent import cholesky
from neurfield.likelihoods import Likelihood
from neurfield.nuisances import Nuisance, Prior, Setup
from neurfield.signals import Units

_ROUNDS = 2  # each with the level of noise and the kind of signal as the last one left them
_STEPS = 15  # of a round, beside those of latents alone
_LEAST_NATS = 1e-2  # that a step brings, for another to be taken
_PRODUCTS, _RESIDUAL = 200, 1e-5  # of conjugate gradients for standard errors


@dataclass(frozen=True)
class Joint:
    """What all signals have in common that were measured alike, with parameters unknown.

    Parameters
    ----------
    shared : Shared
        The same without these parameters.
    nuisances : sequence of Nuisance
        What is unknown.
    priors : list of Prior
        Of each.
    setup : Setup
        Of the measurement.
    directions : float64 Tensor of shape (Q, M, c)
        ψ at the operator's points.
    units : Units
        Of the field.
    """

    shared: Shared
    nuisances: Sequence[Nuisance]
    priors: Sequence[Prior]
    setup: Setup
    directions: Tensor
    units: Units

    @classmethod
    @torch.no_grad()
    def of(
        cls, field: Field, measured: Measured, known: Known, nuisances: Sequence[Nuisance]
    ) -> Self:
        """Measure the tangent model.

        Parameters
        ----------
        field, measured, known
            As :meth:`Shared.of` takes them.
        nuisances : sequence of Nuisance
            What is unknown.
        """
        shared = Shared.of(field, measured, known)
        setup = setup_of(measured)
        directions = torch.as_tensor(known.around(measured.coords())[0]).double()
        priors = [nuisance.prior(setup) for nuisance in nuisances]
        return cls(shared, nuisances, priors, setup, directions, measured.units)

    @property
    def mean(self) -> Tensor:
        """Prior mean of the parameters."""
        return torch.cat([torch.as_tensor(prior.mean).double() for prior in self.priors])

    @cached_property
    def first(self) -> Shared:
        """The linear model around what is most probable beforehand."""
        return self.at(torch.cat([self.shared.whole.mean, self.mean]))

    def stretch(self, parameters: Tensor) -> Tensor | None:
        """Return by what parameters multiply all that values may be; None = they do not.

        Parameters
        ----------
        parameters : Tensor of shape (E,)
            Of all nuisances.
        """
        each = zip(self.nuisances, self._parted(parameters), strict=True)
        found = [one for nuisance, own in each if (one := nuisance.stretch(own)) is not None]
        return torch.stack(found).prod() if found else None

    def starts(self) -> list[Tensor]:
        """Return parameters, beside their mean, from which to begin too."""
        found = []
        for i, nuisance in enumerate(self.nuisances):
            for start in nuisance.starts(self.setup):
                parts = [torch.as_tensor(prior.mean).double() for prior in self.priors]
                parts[i] = torch.as_tensor(start).double()
                found.append(torch.cat(parts))
        return found

    @torch.no_grad()
    def at(self, unknown: Tensor) -> Shared:
        """Return the linear model of all unknowns around some.

        Columns of latents and directions remain those of the tangent model.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            Latent, factors of directions and parameters.
        """
        model = _Model(self, unknown)
        eye = torch.eye(len(unknown), dtype=unknown.dtype)
        of_parameters = model.forward(eye[len(self.shared.columns) :])
        columns = torch.cat([self.shared.columns, of_parameters])
        std = torch.cat([torch.as_tensor(prior.std).double() for prior in self.priors])
        return replace(
            self.shared,
            columns=columns,
            origin=model.predicted - unknown @ columns,
            whole=self.shared.whole.beside(self.mean, std),
            parts=[part.beside(self.mean, std) for part in self.shared.parts],
        )

    def values(self, unknown: Tensor, field: Field) -> Tensor:
        """Return what the operator is applied to, in scaled units: float64, of shape (M, c).

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            Latent, factors of directions and parameters.
        field : Field
            Of this lane.
        """
        units, n_before = self.units, len(self.shared.columns)
        latent, factors = unknown[: field.latent_dim], unknown[field.latent_dim : n_before]
        parameters = self._parted(unknown[n_before:])
        points, coords = self.setup.points, self.shared.coords
        for nuisance, own in zip(self.nuisances, parameters, strict=True):
            points = nuisance.points(own, points, self.setup)
        if points is not self.setup.points:
            middle = torch.as_tensor(0.5 * (units.frame.lower + units.frame.upper))
            normalised = (points - middle) / torch.as_tensor(units.frame.half_width)
            coords = normalised.to(coords)
        scaled = field(coords, latent[None].to(coords))[0].double().cpu()
        # Between the nodes of their grid directions are blurred, so that moved ones say less.
        scaled = scaled + torch.tensordot(factors, self.directions, dims=1)
        scale = torch.as_tensor(units.value_scale)
        zero = torch.as_tensor(units.invert_values(np.zeros(scaled.shape[1])))
        values = scaled * scale + zero
        for nuisance, own in zip(self.nuisances, parameters, strict=True):
            values = nuisance.values(own, values, self.setup)
        return (values - zero) / scale

    def measure(self, values: Tensor) -> Tensor:
        """Return what the operator makes of values: real numbers, of shape (m,).

        Parameters
        ----------
        values : Tensor of shape (M, c)
            In scaled units.
        """
        return self.shared.measured.apply(values[None])[0] + self.shared.at_zero

    def expected(self, rows: Tensor, parameters: Tensor) -> Tensor:
        """Return what is expected where the operator says this, of shape (m,).

        Parameters
        ----------
        rows : Tensor of shape (m,)
            Real numbers.
        parameters : Tensor of shape (E,)
            Of all nuisances.
        """
        shape = self.setup.shape
        if self.setup.is_complex:
            measured = torch.view_as_complex(rows.reshape(*shape, 2))
        else:
            measured = rows.reshape(shape)
        for nuisance, own in zip(self.nuisances, self._parted(parameters), strict=True):
            measured = nuisance.measured(own, measured, self.setup)
        return (torch.view_as_real(measured) if self.setup.is_complex else measured).reshape(-1)

    def _parted(self, parameters: Tensor) -> tuple[Tensor, ...]:
        return parameters.split([len(prior.names) for prior in self.priors])


def setup_of(measured: Measured) -> Setup:
    """Return what nuisances are told of a measurement.

    Parameters
    ----------
    measured : Measured
        An operator, in units of a field.
    """
    points = torch.as_tensor(np.asarray(measured.operator.points(), dtype=np.float64))
    frame, zero = measured.units.frame, measured.at_zero()
    lower, upper = torch.as_tensor(frame.lower), torch.as_tensor(frame.upper)
    kind = zero.shape[1:], np.iscomplexobj(zero)
    return Setup(points, lower, upper, measured.units.value_range, *kind)


class _Model:
    """What is predicted of all measurements around some unknowns, linearly."""

    def __init__(self, joint: Joint, unknown: Tensor) -> None:
        self._joint, self._m = joint, len(joint.shared.origin)
        self._n_before = len(joint.shared.columns)
        with torch.enable_grad():
            at = unknown.detach().clone()[None].requires_grad_()
            values = joint.values(at[0], joint.shared.field.twin())[None]
            self._at_values = AutogradProducts(values, at)
            clean = joint.measure(values.detach()[0])
            between = torch.cat([clean, unknown[self._n_before :]])[None].requires_grad_()
            expected = joint.expected(between[0, : self._m], between[0, self._m :])[None]
            self._at_measured = AutogradProducts(expected, between)
        self.predicted = expected.detach()[0]

    def forward(self, rows: Tensor) -> Tensor:
        """Return products with the derivative by the unknowns: (n, U) to (n, m)."""
        found = [self._forward(row[None]) for row in rows]
        return torch.cat(found)

    def back(self, rows: Tensor) -> Tensor:
        """Return products with its transpose, (n, m) to (n, U)."""
        found = []
        for row in rows:
            carried = self._at_measured.vjp(row[None])
            unknown = self._at_values.vjp(self._joint.shared.carried_back(carried[:, : self._m]))
            unknown[:, self._n_before :] += carried[:, self._m :]
            found.append(unknown)
        return torch.cat(found)

    def _forward(self, row: Tensor) -> Tensor:
        measured = self._joint.shared.measured.apply(self._at_values.jvp(row))
        return self._at_measured.jvp(torch.cat([measured, row[:, self._n_before :]], dim=1))


class JointProblem(Problem):
    """The problem of one signal whose parameters are unknown too.

    Parameters
    ----------
    joint : Joint
        Of its operator.
    linear : Shared
        A linear model of all unknowns.
    values, likelihood, std
        As :func:`solved_jointly` takes them.
    """

    def __init__(
        self,
        joint: Joint,
        linear: Shared,
        values: Tensor,
        likelihood: Likelihood,
        std: Tensor | None,
    ) -> None:
        self.joint, self._n_before = joint, len(joint.shared.columns)
        super().__init__(linear, values, likelihood, std)
        one = self.joint.stretch(self.joint.mean)
        self._spectrum = self._relative_spectrum() if one is not None else None

    def objective(self, unknown: Tensor) -> float:
        return super().objective(unknown) + float(self._volume(unknown[self._n_before :]))

    def deviations(self, unknown: Tensor) -> Tensor:
        """Return standard errors of the parameters, whatever the other unknowns are.

        Parameters
        ----------
        unknown : float64 Tensor of shape (U,)
            The most probable one.
        """
        linear = self._linear(unknown)
        information = self._weighed(linear).information
        if information is not None:
            self.weight = information
        n_before = self._n_before
        rhs = torch.eye(len(unknown), dtype=unknown.dtype)[n_before:]
        multiply = partial(self._multiply, linear)
        found = conjugate_gradients(multiply, self._precondition, rhs, _PRODUCTS, _RESIDUAL)
        return found[:, n_before:].diagonal().clamp_min(0.0).sqrt()

    def _predicted(self, unknown: Tensor) -> Tensor:
        joint = self.joint
        clean = joint.measure(joint.values(unknown, self.field))
        return joint.expected(clean, unknown[self._n_before :])[self.seen]

    def _slope(self, linear: Linear, unknown: Tensor) -> Tensor:
        slope = super()._slope(linear, unknown)
        if self._spectrum is not None:
            with torch.enable_grad():
                parameters = unknown[self._n_before :].detach().clone().requires_grad_()
                volume = self._volume(parameters)
            slope[0, self._n_before :] -= torch.autograd.grad(volume, parameters)[0]
        return slope

    def _volume(self, parameters: Tensor) -> Tensor:
        """Return ½ log det of the precision of all else, over that before measurements.

        With it the most probable parameters are those of all latents together, and not those of
        one: a gain would otherwise be too large, as smaller latents are more probable ones.
        """
        stretch = self.joint.stretch(parameters)
        if self._spectrum is None or stretch is None:
            return parameters.new_zeros(())
        return 0.5 * torch.log1p(stretch.square() * self._spectrum).sum()

    def _relative_spectrum(self) -> Tensor:
        """Return what measurements say of latents and factors, in units of what was known."""
        n = self._n_before
        columns = self.columns[:n]
        half = cholesky(self.known.precision[:n, :n])
        whitened = torch.linalg.solve_triangular(half, columns * self.weight.sqrt(), upper=False)
        return torch.linalg.eigvalsh(whitened @ whitened.T).clamp_min(0.0)

    def _linear(self, unknown: Tensor) -> Linear:
        model = _Model(self.joint, unknown)

        def back(rows: Tensor) -> Tensor:
            return model.back(self.among_all(rows))

        def forward(rows: Tensor) -> Tensor:
            return model.forward(rows)[:, self.seen]

        return Linear(model.predicted[self.seen], forward, back)


@torch.no_grad()
def solved_jointly(
    joint: Joint, values: Tensor, likelihood: Likelihood, std: Tensor | None, steps: int
) -> Found:
    """Find the most probable latent and parameters of one signal.

    Parameters
    ----------
    joint : Joint
        Of its operator.
    values, likelihood, std
        As :func:`neurfield.learning.measured.solved` takes them.
    steps : int
        That latents alone would have.
    """
    problem = JointProblem(joint, joint.first, values, likelihood, std)
    still = problem.known.mean[: len(joint.shared.columns)]
    begins = [problem.start()[0], *(torch.cat([still, start]) for start in joint.starts())]
    for _ in range(_ROUNDS):
        ends = [
            descended(problem, begin, problem.objective(begin), steps + _STEPS, 0.0, _LEAST_NATS)
            for begin in begins
        ]
        unknown = min(ends, key=lambda end: end[1])[0]
        problem = JointProblem(joint, joint.at(unknown), values, likelihood, std)
        begins = [unknown]
    return Found(unknown, problem.informed(unknown), problem.deviations(unknown))
