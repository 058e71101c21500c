"""Closed form first, then damped Gauss–Newton steps that never make a signal worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.solvers.base import InnerSolver, check_numbers, most_together
from neurfield.learning.solvers.damping import (
    EASE,
    FIRST_DAMPING,
    SHORTEN,
    SHORTENINGS,
    STIFFEN,
)
from neurfield.learning.solvers.matrix_free import (
    Prior,
    Products,
    SharedFactor,
    fitted_by_products,
    needs_products,
)
from neurfield.learning.solvers.normal_equations import (
    damped_solution,
    normal_system,
    squared_errors,
)
from neurfield.learning.solvers.shared_fit import SharedFit
from neurfield.learning.solvers.tangent import Tangent, in_equal_products, solve_dual
from neurfield.learning.workspace import Workspace
from neurfield.memory import at_once

if TYPE_CHECKING:
    from neurfield.learning.store import ContextStore

_PART = 0.25  # fraction missing from which on a learnt prior has its full weight
FULL = 2.0  # that weight
_WHOLE = 0.5  # weight of a learnt prior on a signal observed as fully as the training signals
# Of P, for matrices one after another to begin where memory is aligned: rounding may depend on it.
_ALIGNED = 4


System = tuple[Tensor, Tensor]  # one linear system per signal


class LevenbergMarquardt(InnerSolver):
    """Minimise MSE(f(φ)) + κ (φ − μ)ᵀ Λ (φ − μ) for each signal.

    The first step is the closed-form fit of the tangent at φ = 0, shared by all signals on common
    coordinates; each further step solves the damped normal equations of one signal. A step that
    does not lower a signal's objective is taken back and tried again with more damping.
    κ, about reference count / observed count, keeps the prior's weight right when a signal has more
    or fewer observed values than the training signals had.

    Where a signal has fewer values than latents, all systems are of the size of its values. Where a
    matrix for each signal would cost too much, steps are solved by products, inexactly.

    Parameters
    ----------
    steps : int
        Number of steps; 1 is the closed form alone, which is then taken as it is.
    precision : Tensor of shape (P, P)
        Prior precision Λ, in units of the mean squared error.
    reference_count : float
        Mean number of observed values in a training signal.
    mean : Tensor of shape (P,), optional
        Mean μ of the training latents, from whose covariance Λ is; None = 0, for a prior
        that only keeps the solve stable.
    whole_count : float, optional
        Number of observed values from which on nothing counts as missing; None = `reference_count`.
        Where the training set mixes resolutions, a coarse signal is no part of a fine one.
    alone : Tensor of shape (c,), optional
        Weight of a learnt prior on a signal of which one channel alone was observed; None = that of
        a signal of which a part was.

    References
    ----------
    Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963.
    """

    name: ClassVar[str] = "levenberg_marquardt"
    # Also of solvers pickled before there were any:
    mean: Tensor | None = None
    whole_count: float | None = None
    alone: Tensor | None = None

    def __init__(
        self,
        steps: int,
        precision: Tensor,
        reference_count: float,
        mean: Tensor | None = None,
        whole_count: float | None = None,
        alone: Tensor | None = None,
    ) -> None:
        self.steps, self.precision, self.reference_count = steps, precision, reference_count
        self.mean, self.whole_count, self.alone = mean, whole_count, alone
        self._spectrum_of: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def share(self, field: Field, context: Context) -> SharedFit | SharedFactor | None:
        n_values = context.n_points * field.out_dim
        if not context.is_shared:
            return None
        whole = float(self._strength(torch.tensor(float(n_values))))
        if n_values * field.latent_dim > at_once("shared"):
            if not needs_products(field, context.n_points):
                return None
            return SharedFactor.of(field, context.coords, self.precision, whole)
        parts = [
            Tangent.at_origin(field, coords) for coords in context.coords.split(at_once("points"))
        ]
        tangent = Tangent(
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.jacobian for part in parts], dim=1),
        )
        at_origin, precision = tangent.values, self.precision
        if self.mean is not None:
            tangent = tangent.shifted(self.mean)
        if _has_few_values(field, context):
            precision, basis = self._spectrum()
            tangent = Tangent(tangent.values, tangent.jacobian @ basis)
        return SharedFit(at_origin, tangent, precision, whole)

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        context: Context,
        shared: SharedFit | SharedFactor | None = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        is_product = self.steps == 1 and context.weights is None and isinstance(shared, SharedFit)
        if needs_products(field, context.n_points) and not is_product:
            return self._by_products(field, context, shared, workspace)
        assert not isinstance(shared, SharedFactor)
        strength = self.strength(context)
        workspace = Workspace() if workspace is None else workspace
        latents, before = self._closed_form(field, context, strength, shared, workspace)
        if self.steps == 1:
            return latents
        best, system = self._linear_system(field, context, latents, strength, workspace)
        latents, best, system = self._shortened(
            field, context, latents, strength, before, best, system, workspace
        )
        damping = torch.full_like(best, FIRST_DAMPING)
        for step in range(1, self.steps):
            trial = self._step(context, latents, strength, system, damping)
            if step == self.steps - 1:  # nothing follows that would need a system
                better = self._objective(field, context, trial, strength, workspace) < best
                return torch.where(better[:, None], trial, latents)
            objective, at_trial = self._linear_system(field, context, trial, strength, workspace)
            better = objective < best
            latents = torch.where(better[:, None], trial, latents)
            best = torch.where(better, objective, best)
            damping = damping * torch.where(better, EASE, STIFFEN)
            wide = better[:, None, None]
            system = (
                torch.where(wide, at_trial[0], system[0]),
                torch.where(wide[..., 0], at_trial[1], system[1]),
            )
        return latents

    def strength(self, context: Context) -> Tensor:
        """Return κ for each signal, of shape (B,).

        What a field leaves of a signal is mostly what latents cannot express, and no independent
        noise. On a whole signal it is orthogonal to what they can express and misleads nothing, on
        a part of one it does: so a prior learnt from the training latents counts half on a whole
        signal, and twice where a quarter of it or more is missing. Where whole channels are, it has
        the weights that were found for those observed, in proportion to their values.

        Parameters
        ----------
        context : Context
            Of B signals, of which only the numbers of observed values count.
        """
        counts = context.counts()
        if self.alone is None or context.weights is None:
            return self._strength(counts)
        of_channels = context.weights.sum(dim=1)
        unseen = (of_channels == 0).to(counts).mean(dim=1)
        full = (of_channels @ self.alone.to(counts)) / counts
        return self._strength(counts, torch.where(unseen > 0, full, FULL), unseen)

    def _strength(
        self, counts: Tensor, full: Tensor | float = FULL, unseen: Tensor | float = 0.0
    ) -> Tensor:
        observed = counts / self.reference_count
        if self.mean is None:
            return 1.0 / observed
        whole = self.reference_count if self.whole_count is None else self.whole_count
        missing = (1.0 - counts / whole).clamp_min(unseen)
        return (_WHOLE + (full - _WHOLE) * (missing / _PART).clamp(0.0, 1.0)) / observed

    def reparametrize(self, matrix: Tensor) -> None:
        """Follow a change of the latent's coordinates to ``matrix @ φ``.

        Parameters
        ----------
        matrix : Tensor of shape (P, P)
            Invertible, as :meth:`~neurfield.fields.Field.reparametrize` takes it.
        """
        double = matrix.double()
        half = torch.linalg.solve(double.T, self.precision.double())
        changed = torch.linalg.solve(double.T, half.T).T
        self.precision = ((changed + changed.T) / 2).to(self.precision.dtype)
        if self.mean is not None:
            self.mean = (double @ self.mean.double()).to(self.mean.dtype)

    def _spectrum(self) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues of Λ, and its eigenvectors, in which the prior is diagonal."""
        if self._spectrum_of is None or self._spectrum_of[0] is not self.precision:
            values, vectors = torch.linalg.eigh(self.precision.double())
            values = values.clamp_min(1e-12 * float(values[-1]) + 1e-30)
            dtype = self.precision.dtype
            self._spectrum_of = (self.precision, values.to(dtype), vectors.to(dtype))
        return self._spectrum_of[1:]

    @property
    def is_one_product(self) -> bool:
        return self.steps == 1

    def together(self, field: Field, context: Context, shared: Any) -> int:
        if needs_products(field, context.n_points):
            return 1
        by_signal = field.has_sweeps and not _has_few_values(field, context)
        whole = context.weights is None and shared is not None
        if not (by_signal and whole and field.latent_dim % _ALIGNED == 0):
            return 1
        return most_together(context.n_points * field.out_dim, field.latent_dim)

    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        if self.steps == 1 and is_uniform:  # values and residuals, beside what is shared
            return 2 * field.out_dim
        return field.out_dim * (field.modulation_size + 2 * field.latent_dim)

    def footprint(self, field: Field, store: ContextStore) -> float:
        from neurfield.learning.footprint import Sizes, workspaces

        sizes = Sizes.of(field, store)
        piece = min(sizes.n_points, at_once("points"))
        n_numbers = sizes.n_points * sizes.n_channels * sizes.n_latents
        shared = 0.0
        if n_numbers <= at_once("shared"):  # its pieces, joined, and in terms of φ − μ
            shared = 2 * sizes.jacobian(sizes.n_points) + 2 * sizes.sensitivity(piece)
        # Of each lane: the system, that of a trial, both damped, and what factors them.
        systems = 6 * sizes.n_lanes * sizes.square(sizes.n_bytes)
        if self.steps == 1 and shared:
            return shared + systems
        if needs_products(field, sizes.n_points):  # the factor, while it is made, and activations
            activations = sizes.n_lanes * sizes.tape(sizes.n_points)
            made = 3 * sizes.square(sizes.n_bytes) + sizes.jacobian(piece)
            return shared + made + 2 * sizes.sensitivity(piece) + activations
        if field.has_sweeps:
            most = most_together(sizes.n_points * sizes.n_channels, sizes.n_latents)
            return shared + most * systems + workspaces(field, store, most * sizes.n_points)
        pieces = 2 * sizes.sensitivity(piece) + 2 * sizes.jacobian(piece) + sizes.tape(piece)
        return shared + systems + sizes.n_lanes * pieces

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        if not all(
            value is None or torch.is_tensor(value) for value in (self.precision, self.mean)
        ):
            raise ValueError("precision and mean must be tensors")
        check_numbers("precision", self.precision, (n_latents, n_latents))
        check_numbers("reference_count", self.reference_count, (), least=0.0)
        if self.mean is not None:
            check_numbers("mean", self.mean, (n_latents,))
        if self.whole_count is not None:
            check_numbers("whole_count", self.whole_count, (), least=0.0)
        if self.alone is not None:
            check_numbers("alone", self.alone, self.alone.shape[:1], least=0.0)

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "precision": self.precision,
            "reference_count": self.reference_count,
            "mean": self.mean,
            "whole_count": self.whole_count,
            "alone": self.alone,
        }

    def _by_products(
        self,
        field: Field,
        context: Context,
        shared: SharedFit | SharedFactor | None,
        workspace: Workspace | None,
    ) -> Tensor:
        """Fit signals without a matrix for each: on a CPU, and where none is shared, in turn."""
        in_turn = context.values.device.type == "cpu" or not context.is_shared
        workspace = Workspace(one_by_one=in_turn) if workspace is None else workspace
        if in_turn and len(context) > 1:
            each = (context.alone(i, context.n_points) for i in range(len(context)))
            return torch.cat([self._by_products(field, one, shared, workspace) for one in each])
        if shared is None:
            shared = self.share(field, context)
        assert shared is not None
        prior = Prior(self.precision, self.mean, self.strength(context))
        products, origin = Products(field, context, workspace), field.zero_latents(len(context))
        return fitted_by_products(products, prior, shared, origin, self.steps)

    def _closed_form(
        self,
        field: Field,
        context: Context,
        strength: Tensor,
        shared: SharedFit | None,
        workspace: Workspace,
    ) -> tuple[Tensor, Tensor]:
        """Return the fit of the tangent, and the objective at φ = 0."""
        if shared is not None:
            latents = shared.solve(context, strength)
            if _has_few_values(field, context):
                latents = in_equal_products(latents, self._spectrum()[1].T)
            before = context.mse(shared.at_origin)
            if self.mean is None:
                return latents, before
            return latents + self.mean, before + strength * self._penalty(-self.mean[None])
        origin = field.zero_latents(len(context))
        start = origin[:1] if context.is_shared else origin
        before, system = self._linear_system(field, context, start, strength, workspace)
        return self._step(context, origin, strength, system, torch.zeros_like(before)), before

    def _shortened(
        self,
        field: Field,
        context: Context,
        latents: Tensor,
        strength: Tensor,
        before: Tensor,
        after: Tensor,
        system: System,
        workspace: Workspace,
    ) -> tuple[Tensor, Tensor, System]:
        """Shorten the closed-form step where it overshoots, down to none at all."""
        worse = torch.nonzero(~(after < before))[:, 0]
        if len(worse) == 0:
            return latents, after, system
        part, weight = context.of_signals(worse), strength[worse]
        start, trial = before[worse], latents[worse]
        objective = after[worse]
        for _ in range(SHORTENINGS):
            pending = ~(objective < start)
            if not bool(pending.any()):
                break
            trial = torch.where(pending[:, None], SHORTEN * trial, trial)
            objective = self._objective(field, part, trial, weight, workspace)
        trial = torch.where((objective < start)[:, None], trial, 0.0)
        after[worse], found = self._linear_system(field, part, trial, weight, workspace)
        latents[worse] = trial
        for whole, shortened in zip(system, found, strict=True):
            whole[worse] = shortened
        return latents, after, system

    def _linear_system(
        self,
        field: Field,
        context: Context,
        latents: Tensor,
        strength: Tensor,
        workspace: Workspace,
    ) -> tuple[Tensor, System]:
        """Return the objective, and what :meth:`_step` needs: JᵀWJ/n and JᵀW(y − f)/n.

        With fewer values than latents the latter are W^½J, in the basis in which the prior is
        diagonal, and W^½(y − f). All of it comes from one sweep over the points.
        """
        penalty = strength * self._penalty(self._away(latents))
        if not _has_few_values(field, context):
            error, gram, descent = normal_system(field, context, latents, workspace)
            return error + penalty, (gram, descent)
        linearization = field.linearize(context.coords, latents)
        residual = context.residual(linearization.values)
        jacobian = linearization.jacobian()
        if context.weights is not None:
            jacobian = jacobian * context.weights[..., None]
        error = residual.square().sum(dim=(1, 2)) / context.counts()
        rotated = jacobian.flatten(1, 2) @ self._spectrum()[1]
        return error + penalty, (rotated, residual.flatten(1))

    def _step(
        self,
        context: Context,
        latents: Tensor,
        strength: Tensor,
        system: System,
        damping: Tensor,
    ) -> Tensor:
        """Return the latents after one damped Gauss–Newton step."""
        counts, (left, right) = context.counts(), system
        if left.shape[1] == left.shape[2]:
            pull = strength[:, None] * self._pull(self._away(latents))
            prior = strength[:, None, None] * self.precision
            return latents + damped_solution(left, right - pull, prior, damping)
        eigenvalues, basis = self._spectrum()
        diagonal = strength[:, None] * eigenvalues
        pull = -diagonal * (self._away(latents) @ basis)
        scale = left.square().sum(dim=(1, 2)) / (counts * left.shape[2])
        change = solve_dual(left, right, counts, diagonal + (damping * scale)[:, None], pull)
        return latents + change @ basis.T

    def _away(self, latents: Tensor) -> Tensor:
        return latents if self.mean is None else latents - self.mean

    def _pull(self, away: Tensor) -> Tensor:
        """Return Λ (φ − μ), summed for each signal alone: products round by how many there are."""
        return (self.precision * away[:, None]).sum(dim=-1)

    def _penalty(self, away: Tensor) -> Tensor:
        return (self._pull(away) * away).sum(dim=-1)

    def _objective(
        self,
        field: Field,
        context: Context,
        latents: Tensor,
        strength: Tensor,
        workspace: Workspace,
    ) -> Tensor:
        penalty = strength * self._penalty(self._away(latents))
        return squared_errors(field, context, latents, workspace) + penalty


def _has_few_values(field: Field, context: Context) -> bool:
    """Whether the dual systems are the smaller ones."""
    return context.n_points * field.out_dim < field.latent_dim
