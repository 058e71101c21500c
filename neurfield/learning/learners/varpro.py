"""The default learner: variable projection through the shared closed-form step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield._compat import Interval
from neurfield.fields import Field
from neurfield.fields.shifted import ShiftedSiren
from neurfield.learning.augmentation import deform
from neurfield.learning.base import Finished, Learner, MetaBatch, MetaStep, Problem, Settings
from neurfield.learning.calibration import (
    footprint_of_posterior,
    operations_of_posterior,
    with_posterior,
)
from neurfield.learning.canonical import canonicalise, sensitivity_matrix
from neurfield.learning.context import Context, kept_points, random_points, random_subsets
from neurfield.learning.field_errors import FieldErrors
from neurfield.learning.footprint import Sizes, workspaces
from neurfield.learning.initialisation import footprint_of_start, start_from_data
from neurfield.learning.lanes import in_lanes, lane_parts
from neurfield.learning.mixture_fit import (
    footprint_of_mixture,
    learn_mixture,
    operations_of_mixture,
)
from neurfield.learning.optimizers import Muon, Optimizers
from neurfield.learning.solvers import MOST_STEPS, LevenbergMarquardt, Tangent, damped_step
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import geometric_mean
from neurfield.learning.workspace import Workspace

_POINTS_PER_STEP = 1024
# Where Gauss–Newton steps follow the closed form in training:
_TANGENT_WEIGHT, _START_WEIGHT = 0.1, 0.2  # beside the loss after these steps
_POINTS_OF_START = 32
_STEP_DAMPING = 1e-2
_POINTS_PER_LATENT, _LEAST_POINTS = 8, 256
_AUGMENTATION = (0.1, 0.5)  # where signals are many for the latent, and where they are few
_SHORT_LATENT, _MANY_SIGNALS = 24, 1000
_POINTS_OF_SHORT_LATENT = 8  # for each of its numbers, from which on weights decay at full strength
_SHARED_BY = 8  # signals on a grid, from which on they share its Jacobian
_FULL_FIELD_SIGNALS, _FULL_FIELD_POINTS = 64, 96  # on which the full field is evaluated
_BENT_SIGNALS = 32  # whose minima are found; fewer of them are more meta-steps in the same time


class VarProStep(MetaStep):
    """Loss of the tangent and of the full field, at latents found by short solves.

    φ* = argmin MSE(f₀ + J₀φ) + μ‖φ‖² is one P × P solve shared by the batch. The tangent's loss is
    a variable projection, and the full field's loss at φ*, with the gradient going through the
    solve, keeps the field close to its tangent. Both take the meta-gradient.

    With G > 1 the field may bend: G - 1 damped Gauss–Newton steps lead from φ* to a minimum of the
    full field's own loss, where ∂loss/∂φ = 0, so that by the envelope theorem its derivative with
    respect to θ is the one at fixed latents and no step has to be unrolled. The other two losses
    then only keep φ* a start from which few steps suffice.

    Parameters
    ----------
    field : Field
        Trained in place.
    inner_steps : int
        G; 1 is the closed form alone.
    damping : float
        λ; μ is λ times the mean diagonal of J₀ᵀJ₀/(N c).
    full_field_signals : int
        How many signals of the batch, at most, the full field is evaluated on.

    References
    ----------
    Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
    whose variables separate", SIAM J. Numer. Anal. 10, 1973 (variable projection).
    """

    def __init__(
        self, field: Field, inner_steps: int, damping: float, full_field_signals: int
    ) -> None:
        super().__init__(field)
        self.inner_steps, self.damping = inner_steps, damping
        self.full_field_signals = full_field_signals
        self._errors_at_start, self._errors = FieldErrors(), FieldErrors()
        self._workspaces: dict[int, Workspace] = defaultdict(Workspace)

    def forward(self, batch: MetaBatch) -> Tensor:
        whole = batch.context
        context = self._own(whole)
        tangent = Tangent.at_origin(self.field, context.coords)
        like = context.values
        eye = torch.eye(self.field.latent_dim, dtype=like.dtype, device=like.device)
        prior = self.damping * tangent.mean_diagonal() * eye
        latents = tangent.solve(context, prior)
        errors = self.world.joined(context.mse(tangent.predict(latents)), len(whole))
        tangent_loss = geometric_mean(errors, whole.sample_weight)
        # At least one for each process.
        part = whole.of_signals(slice(max(self.full_field_signals, self.world.size)))
        latents = latents[: len(self._own(part))]
        penalty = self.field.penalty()
        if self.inner_steps == 1:
            full_loss = self._full_loss(self._errors, _reduced(part, batch, 0), latents)
            return tangent_loss + full_loss + penalty
        few = _reduced(part, batch, 1, _POINTS_OF_START)
        start_loss = self._full_loss(self._errors_at_start, few, latents)
        part = _reduced(part, batch, 0, max(_LEAST_POINTS, _POINTS_PER_LATENT * latents.shape[1]))
        bent_loss = self._full_loss(
            self._errors, part, self._minimise(self._own(part), latents, prior)
        )
        tangent_loss = _TANGENT_WEIGHT * tangent_loss
        return tangent_loss + _START_WEIGHT * start_loss + bent_loss + penalty

    @torch.no_grad()
    def _minimise(self, context: Context, latents: Tensor, prior: Tensor) -> Tensor:
        parts = lane_parts(len(context), latents.device)

        def work(lane: int) -> Tensor:
            part, found = context.of_signals(parts[lane]), latents[parts[lane]]
            for _ in range(self.inner_steps - 1):
                found = damped_step(
                    self.field, part, found, prior, _STEP_DAMPING, self._workspaces[lane]
                )
            return found

        return torch.cat(in_lanes(work, len(parts)))

    def _own(self, context: Context) -> Context:
        return context.of_signals(self.world.share(len(context)))

    def _full_loss(self, errors_of: FieldErrors, context: Context, latents: Tensor) -> Tensor:
        errors = errors_of(self.field, self._own(context), latents)
        errors = self.world.joined(errors, len(context))
        self.mse.copy_(context.average(errors.detach()))
        return geometric_mean(errors, context.sample_weight)


def _reduced(context: Context, batch: MetaBatch, row: int, n_points: int | None = None) -> Context:
    return context if batch.subsets is None else context.at_points(batch.subsets[row, :n_points])


class VarPro(Learner):
    """The default learner: closed-form inner step, variable projection, Levenberg–Marquardt.

    At φ = 0 the Jacobian J₀ = ∂f/∂φ is the same for all signals on common coordinates, so one
    forward and one backward sweep over the points serve a whole batch; no inner loop is unrolled.

    Parameters
    ----------
    inner_steps : int, default=None
        G, inner steps in training: 1 is the closed form, and each further one a damped
        Gauss–Newton step, at whose end θ is updated with the latents held fixed. None is 1, or 3
        for latents of at most 24 numbers of at least 1000 images or volumes.
    damping : float, default=1e-3
        λ, precision of the latents' Gaussian prior relative to the field's mean squared
        sensitivity to them.
    augmentation : float, default=None
        Strength of the random affine deformations under which training sees the signals: at 1,
        stretched and turned by about 5 % and shifted by about half a sample; 0 = none. None is 0.5
        where signals are few for the latent, down to 0.1 where they are many, and 0.5 for the short
        latents of many images or volumes.
    context_ratio : float in (0, 1], default=None
        γ, fraction of the largest signal's points that a reduced context keeps of each signal;
        None keeps at most 1024 points.

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> FunctaEncoder(learner=VarPro(augmentation=0.0)).get_params()["learner__damping"]
    0.001
    """

    name: ClassVar[str] = "varpro"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [Interval(Integral, 1, MOST_STEPS, closed="both"), None],
        "damping": [Interval(Real, 0, None, closed="neither")],
        "augmentation": [Interval(Real, 0, None, closed="left"), None],
        "context_ratio": [Interval(Real, 0, 1, closed="right"), None],
    }

    def __init__(
        self,
        inner_steps: int | None = None,
        damping: float = 1e-3,
        augmentation: float | None = None,
        context_ratio: float | None = None,
    ) -> None:
        self.inner_steps = inner_steps
        self.damping = damping
        self.augmentation = augmentation
        self.context_ratio = context_ratio

    def defaults(self, problem: Problem) -> Settings:
        bends = _bends(problem)
        return Settings(
            n_layers=5 if bends else 7,
            residual_scale=0.6 if bends else 0.3,
            output_scale=0.5 if bends else 1.0,
            transform_steps=5 if bends else 3,
            lr_schedule="cosine",
            # Signals on grids of their own have Jacobians of their own, too.
            batch_size=512 if problem.n_signals >= _SHARED_BY * problem.n_grids else 16,
            weight_decay=1.0 if bends else _weight_decay(problem),
        )

    def options(self, problem: Problem) -> dict[str, Any]:
        bends = _bends(problem)
        return {
            "inner_steps": 3 if bends else 1,
            "augmentation": _AUGMENTATION[1] if bends else _augmentation(problem),
            "context_ratio": min(1.0, _POINTS_PER_STEP / problem.n_points),
        }

    def initialise(self, step: MetaStep, store: ContextStore, generator: torch.Generator) -> None:
        field = step.field
        if isinstance(field, ShiftedSiren):
            assert self.augmentation is not None
            start_from_data(field, store, self.settings.output_scale, self.augmentation, generator)

    def meta_step(self, field: Field) -> VarProStep:
        assert self.inner_steps is not None
        n_signals = _FULL_FIELD_SIGNALS if self.inner_steps == 1 else _BENT_SIGNALS
        return VarProStep(field, self.inner_steps, self.damping, n_signals)

    def optimizers(self, step: MetaStep) -> Optimizers:
        field, rate, decay = step.field, self.settings.meta_lr, self.settings.weight_decay
        matrices = [p for name, p in field.named_parameters() if p.ndim == 2 and _is_hidden(name)]
        chosen = {id(p) for p in matrices}
        rest = [p for p in field.parameters() if id(p) not in chosen]
        each: list[torch.optim.Optimizer] = []
        if matrices:
            each.append(Muon(matrices, lr=rate, weight_decay=decay))
        if rest:
            each.append(torch.optim.AdamW(rest, lr=rate, weight_decay=decay))
        return Optimizers(each)

    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        assert self.context_ratio is not None
        most = int(store.points_per_signal.max())
        n_points = kept_points(most, self.context_ratio)
        positions = store.drawn(self.settings.batch_size, generator)
        context = store.fresh(positions, n_points, generator)
        if self.augmentation:
            coords = deform(context.coords, store.finest_spacing, self.augmentation, generator)
            context = replace(context, coords=coords)
        if self.inner_steps == 1:
            subsets = random_subsets(context, _FULL_FIELD_POINTS, 1, generator)
            return MetaBatch(context, subsets, positions)
        orders = [random_points(context.n_points, context.n_points, generator) for _ in range(2)]
        return MetaBatch(context, torch.stack(orders).to(context.values.device), positions)

    def solver(self, step: MetaStep, store: ContextStore) -> LevenbergMarquardt:
        return self._solver(step.field, store, self.settings.transform_steps)

    def validation_solver(self, step: MetaStep, store: ContextStore) -> LevenbergMarquardt:
        return self._solver(step.field, store, steps=1)

    def finish(
        self,
        step: MetaStep,
        store: ContextStore,
        generator: torch.Generator,
        effort: float = 1.0,
    ) -> Finished:
        """Give latents their canonical coordinates, and learn the prior and the posterior.

        Parameters
        ----------
        step : MetaStep
            Its field is turned in place.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU; draws the signals and points that all this is estimated from.
        effort : float in (0, 1], default=1.0
            Fraction of these signals that there is time for.
        """
        field, solver = step.field, self.solver(step, store)
        if field.can_reparametrize:
            matrix = canonicalise(field, solver.precision, store, generator, effort)
            solver.reparametrize(matrix)
        assert self.augmentation is not None
        solver, posterior = with_posterior(
            field, solver, store, self.augmentation, generator, effort
        )
        if posterior is not None:
            posterior.mixture = learn_mixture(field, solver, store, generator, effort)
        return Finished(solver, posterior)

    def finishing_operations(self, field: Field, store: ContextStore) -> float:
        return operations_of_posterior(field, store) + operations_of_mixture(field, store)

    def footprint(self, field: Field, store: ContextStore) -> float:
        footprints = list(self._footprints(field, store))
        if isinstance(field, ShiftedSiren):
            footprints.append(footprint_of_start(field, store, bool(self.augmentation)))
        return max(footprints)

    def _footprints(self, field: Field, store: ContextStore) -> tuple[float, float]:
        """Return those of a meta-step, and of what ends a fit, while its workspaces are there."""
        assert self.context_ratio is not None
        assert self.inner_steps is not None
        sizes = Sizes.of(field, store)
        n_signals = min(self.settings.batch_size, sizes.n_signals)
        n_points = kept_points(sizes.n_points, self.context_ratio)
        n_values = n_signals * n_points * sizes.n_channels
        # Kept for the way back: activations, sensitivities before and after each layer and joined,
        # Jacobian; and their gradients.
        graph = 2 * sizes.tape(n_points) + 5 * sizes.sensitivity(n_points)
        graph += 2 * sizes.jacobian(n_points) + 3 * n_values * sizes.n_bytes
        few = _FULL_FIELD_POINTS
        of_lanes = 0.0
        if self.inner_steps > 1:
            few = max(_LEAST_POINTS, _POINTS_PER_LATENT * sizes.n_latents) + _POINTS_OF_START
            of_lanes = workspaces(field, store, few) + 6 * sizes.n_lanes * sizes.square()
        n_signals = min(self.meta_step(field).full_field_signals, n_signals)
        kept = sizes.tape(n_signals * min(few, n_points)) + of_lanes
        values = max(sizes.batch(n_values), n_values * sizes.n_bytes + graph)
        finished = max(footprint_of_posterior(field, store), footprint_of_mixture(field, store))
        return kept + values, kept + finished

    def _solver(self, field: Field, store: ContextStore, steps: int) -> LevenbergMarquardt:
        damping = self.damping * float(sensitivity_matrix(field, store).diagonal().mean())
        eye = torch.eye(field.latent_dim, dtype=store.dtype, device=store.device)
        return LevenbergMarquardt(
            steps, damping * eye, store.observed_per_signal, whole_count=store.whole_count
        )


def _bends(problem: Problem) -> bool:
    """Tell whether the field is to bend: very short latents of many images reach further then."""
    return (
        problem.latent_dim <= _SHORT_LATENT
        and problem.n_axes > 1
        and problem.n_signals >= _MANY_SIGNALS
    )


def _weight_decay(problem: Problem) -> float:
    """Return more the more a field would know its training signals better than others."""
    is_short = problem.n_points >= _POINTS_OF_SHORT_LATENT * problem.latent_dim
    if is_short and problem.n_axes > 1:
        return 1.0
    return min(1.0, problem.latent_dim / problem.n_signals)


def _augmentation(problem: Problem) -> float:
    least, most = _AUGMENTATION
    return min(most, max(least, 2.0 * problem.latent_dim / problem.n_signals))


def _is_hidden(name: str) -> bool:
    """Muon is for matrices between hidden quantities, not for the first or the last layer."""
    return not name.startswith(("layers.0.", "output."))
