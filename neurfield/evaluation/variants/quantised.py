"""The published learner with latents that are rows of a codebook.

A latent falls into chunks, each of which is replaced by the nearest of M learnt rows e. The field
decodes the rows; gradients pass to the latent as if it had not been replaced ("straight through"),
and

    ‖sg(φ) − e‖² + β ‖φ − sg(e)‖²,

the mean over entries, with sg constant for the gradient, is added to the meta-loss.

References
----------
van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, equation 3; Friedrich
et al., "MedFuncta", arXiv 2502.14401, which reports that it does not help.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurfield._compat import Interval
from neurfield.evaluation.variants.by_autograd import LatentCavia, LatentStep
from neurfield.fields import Field
from neurfield.learning import Context, ContextStore, MetaBatch, MetaStep, Problem, encode_store
from neurfield.learning.context import random_points
from neurfield.learning.solvers import GradientDescent, InnerSolver
from neurfield.learning.solvers.base import check_numbers
from neurfield.learning.workspace import Workspace

_CHUNK = 4
_SIGNALS_OF_START = 256


def quantised(latents: Tensor, codebook: Tensor) -> Tensor:
    """Replace each chunk of latents by the nearest row of a codebook.

    Parameters
    ----------
    latents : Tensor of shape (B, P)
        Of whole chunks, P / C of them each.
    codebook : Tensor of shape (M, C)
        What chunks may be.

    Returns
    -------
    Tensor of shape (B, P)
        Differentiable in the codebook.

    Examples
    --------
    >>> quantised(torch.tensor([[0.1, 0.9, 2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([[0., 1., 1., 0.]])
    """
    chunks = latents.detach().reshape(-1, codebook.shape[1])
    # Not by matrix products, whose rounding depends on how many signals there are.
    distances = torch.cdist(chunks, codebook.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return codebook[distances.argmin(dim=1)].reshape(latents.shape)


class QuantisedDescent(GradientDescent):
    """Gradient descent, at whose end latents become rows of a codebook.

    Parameters
    ----------
    steps : int
        Number of steps H.
    inner_lr : float or Tensor of shape (P,)
        Step size α, one for all or one for each entry of the latents.
    codebook : Tensor of shape (M, C)
        What chunks of the latents may be.
    scaling_ratio : float in (0, 1], default=1.0
        γ, as :class:`~neurfield.learning.solvers.GradientDescent` takes it.
    """

    name: ClassVar[str] = "quantised_descent"

    def __init__(
        self, steps: int, inner_lr: float | Tensor, codebook: Tensor, scaling_ratio: float = 1.0
    ) -> None:
        super().__init__(steps, inner_lr, scaling_ratio)
        self.codebook = codebook

    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        latents = super().solve(field, context, shared, workspace)
        return quantised(latents, self.codebook.to(latents))

    def check(self, n_latents: int) -> None:
        super().check(n_latents)
        shape = tuple(getattr(self.codebook, "shape", ()))
        if len(shape) != 2 or not all(shape) or n_latents % shape[1]:
            raise ValueError(
                f"codebook must have rows whose length divides {n_latents}, got the shape {shape}"
            )
        check_numbers("codebook", self.codebook, shape)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "codebook": self.codebook}


class QuantisedStep(LatentStep):
    """The meta-step of :class:`QuantisedCavia`.

    Parameters
    ----------
    field : Field
        Trained in place.
    n_codes, chunk : int
        M and C.
    commitment : float
        β.
    **options
        As :class:`~neurfield.learning.learners.cavia.CaviaStep` takes them.

    Attributes
    ----------
    codebook : Parameter of shape (M, C)
        Zeros until they are drawn or taken over.
    """

    def __init__(
        self, field: Field, n_codes: int, chunk: int, commitment: float, **options: Any
    ) -> None:
        super().__init__(field, **options)
        self.codebook = nn.Parameter(field.zero_latents(1).new_zeros(n_codes, chunk))
        self.commitment = commitment

    def beside(self, batch: MetaBatch, latents: Tensor) -> tuple[Tensor, Tensor]:
        codes = quantised(latents, self.codebook)
        of_codes = (latents.detach() - codes).square().mean()
        of_latents = (latents - codes.detach()).square().mean()
        through = latents + (codes - latents).detach()
        return through, of_codes + self.commitment * of_latents

    @torch.no_grad()
    def adopt(self, solver: InnerSolver) -> None:
        super().adopt(solver)
        if isinstance(solver, QuantisedDescent):
            self.codebook.copy_(solver.codebook)


class QuantisedCavia(LatentCavia):
    """The published learner with vector-quantised latents, at ``transform`` too.

    Parameters
    ----------
    n_codes : int, default=64
        M, rows of the codebook. They start as chunks of latents of training signals.
    chunk : int, default=None
        C, entries of the latent that one row replaces; P is a multiple of it. None is 4, or what P
        and 4 have in common.
    commitment : float, default=0.25
        β, how much latents that are far from their rows count.
    inner_steps, inner_lr, learn_inner_lr, second_order, context_ratio, context_selection
        As :class:`~neurfield.learning.Cavia` takes them.
    recompute, gradient_scaling
        As :class:`~neurfield.learning.Cavia` takes them.

    References
    ----------
    van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, equation 3.

    Examples
    --------
    >>> QuantisedCavia(n_codes=16).commitment
    0.25
    """

    name: ClassVar[str] = "quantised-cavia"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **LatentCavia._parameter_constraints,
        "n_codes": [Interval(Integral, 2, None, closed="left")],
        "chunk": [Interval(Integral, 1, None, closed="left"), None],
        "commitment": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_codes: int = 64,
        chunk: int | None = None,
        commitment: float = 0.25,
        inner_steps: int = 10,
        inner_lr: float | None = None,
        learn_inner_lr: bool = False,
        second_order: bool = True,
        context_ratio: float | None = None,
        context_selection: str = "random",
        recompute: bool = False,
        gradient_scaling: bool = False,
    ) -> None:
        super().__init__(
            inner_steps,
            inner_lr,
            learn_inner_lr,
            second_order,
            context_ratio,
            context_selection,
            recompute,
            gradient_scaling,
        )
        self.n_codes = n_codes
        self.chunk = chunk
        self.commitment = commitment

    def options(self, problem: Problem) -> dict[str, Any]:
        """Return values for options that are None, once chunks fit into the latent.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.

        Raises
        ------
        ValueError
            If they do not.
        """
        if self.chunk is not None and problem.latent_dim % self.chunk:
            raise ValueError(f"chunk must divide latent_dim={problem.latent_dim}, got {self.chunk}")
        chunk = math.gcd(problem.latent_dim, _CHUNK)
        return {**super().options(problem), "chunk": chunk}

    def meta_step(self, field: Field) -> QuantisedStep:
        chunk = 1 if self.chunk is None else self.chunk
        options = self.step_options()
        return QuantisedStep(field, self.n_codes, chunk, self.commitment, **options)

    @torch.no_grad()
    def initialise(self, step: MetaStep, store: ContextStore, generator: torch.Generator) -> None:
        """Draw the codebook from chunks of the latents of some training signals.

        Parameters
        ----------
        step : MetaStep
            Changed in place.
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device starts alike.
        """
        super().initialise(step, store, generator)
        assert isinstance(step, QuantisedStep)
        descent = super().solver(step, store)
        positions = random_points(len(store), _SIGNALS_OF_START, generator).numpy()
        chunks = encode_store(step.field, descent, store, positions)
        chunks = chunks.reshape(-1, step.codebook.shape[1])
        rows = torch.randint(len(chunks), (len(step.codebook),), generator=generator)
        step.codebook.copy_(chunks[rows.to(chunks.device)])

    def solver(self, step: MetaStep, store: ContextStore) -> QuantisedDescent:
        assert isinstance(step, QuantisedStep)
        descent = super().solver(step, store)
        codebook = step.codebook.detach().clone()
        return QuantisedDescent(descent.steps, descent.inner_lr, codebook, descent.scaling_ratio)
