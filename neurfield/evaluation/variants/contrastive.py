"""A supervised contrastive loss on the latents, added to the published meta-loss.

With z_i = φ_i / ‖φ_i‖ of the B signals of a batch, P(i) the others of the class of i, and τ the
temperature,

    L_i = −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p / τ) / Σ_{a ≠ i} exp(z_i·z_a / τ) ),

and the meta-loss is the mean of MSE_i plus w times the mean of L_i over signals with a P(i) that is
not empty.

References
----------
Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2; Friedrich et al.,
"MedFuncta", arXiv 2502.14401, which reports that it does not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurfield._compat import Interval
from neurfield.evaluation.variants.by_autograd import LatentCavia, LatentStep
from neurfield.fields import Field
from neurfield.learning import ContextStore, MetaBatch, Problem


def supervised_contrastive(latents: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of a batch, a scalar; 0 where no two labels agree.

    Parameters
    ----------
    latents : Tensor of shape (B, P)
        Of any length; their directions count.
    labels : int Tensor of shape (B,)
        Class of each.
    temperature : float
        τ, positive.

    References
    ----------
    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.

    Examples
    --------
    >>> latents = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> float(supervised_contrastive(latents, torch.tensor([0, 0, 1]), 1.0))
    0.313
    """
    directions = functional.normalize(latents, dim=1)
    itself = torch.eye(len(latents), dtype=torch.bool, device=latents.device)
    similarity = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    log_share = similarity.log_softmax(dim=1).masked_fill(itself, 0.0)
    alike = (labels[:, None] == labels) & ~itself
    n_alike = alike.sum(dim=1)
    some = n_alike > 0
    losses = -(log_share * alike).sum(dim=1)[some] / n_alike[some]
    return losses.sum() / some.sum().clamp_min(1)


class ContrastiveStep(LatentStep):
    """The meta-step of :class:`ContrastiveCavia`.

    Parameters
    ----------
    field : Field
        Trained in place.
    labels : array of shape (n,)
        Class of each training signal.
    weight, temperature : float
        w and τ.
    **options
        As :class:`~neurfield.learning.learners.cavia.CaviaStep` takes them.
    """

    def __init__(
        self, field: Field, labels: np.ndarray, weight: float, temperature: float, **options: Any
    ) -> None:
        super().__init__(field, **options)
        self.labels, self.weight, self.temperature = labels, weight, temperature

    def beside(self, batch: MetaBatch, latents: Tensor) -> tuple[Tensor, Tensor]:
        labels = torch.as_tensor(self.labels[batch.positions], device=latents.device)
        return latents, self.weight * supervised_contrastive(latents, labels, self.temperature)


class ContrastiveCavia(LatentCavia):
    """The published learner with latents of one class drawn together and those of others apart.

    Labels are of all signals of a fit, none of which ``early_stopping`` may hold out.

    Parameters
    ----------
    labels : sequence of int, default=None
        Class of each signal of ``fit``, in their order; a fit needs them.
    weight : float, default=0.01
        w, how much the contrastive loss counts beside the mean squared error.
    temperature : float, default=0.1
        τ.
    inner_steps, inner_lr, learn_inner_lr, second_order, context_ratio, context_selection
        As :class:`~neurfield.learning.Cavia` takes them.
    recompute, gradient_scaling
        As :class:`~neurfield.learning.Cavia` takes them.

    References
    ----------
    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.

    Examples
    --------
    >>> ContrastiveCavia(labels=(0, 1, 1), weight=0.1).weight
    0.1
    """

    name: ClassVar[str] = "contrastive-cavia"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **LatentCavia._parameter_constraints,
        "labels": [list, tuple, None],
        "weight": [Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        labels: Sequence[int] | None = None,
        weight: float = 0.01,
        temperature: float = 0.1,
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
        self.labels = labels
        self.weight = weight
        self.temperature = temperature

    def options(self, problem: Problem) -> dict[str, Any]:
        """Return values for options that are None, once there are as many labels as signals.

        Parameters
        ----------
        problem : Problem
            Size of the signals and of the latent.

        Raises
        ------
        ValueError
            If there are not.
        """
        n_labels = 0 if self.labels is None else len(self.labels)
        if n_labels != problem.n_signals:
            raise ValueError(
                f"labels must have one class for each of {problem.n_signals} signals, got "
                f"{n_labels}"
            )
        return super().options(problem)

    def draw(self, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        """Draw the batch of one meta-step.

        Parameters
        ----------
        store : ContextStore
            Training signals.
        generator : torch.Generator
            On the CPU, so that every device draws the same.

        Raises
        ------
        ValueError
            If it is not known which labels are theirs, as some signals were held out.
        """
        assert self.labels is not None
        if len(store) != len(self.labels):
            raise ValueError(
                f"labels of {len(self.labels)} signals cannot be told apart by the {len(store)} "
                "that are trained on: early_stopping must be False"
            )
        return super().draw(store, generator)

    def meta_step(self, field: Field) -> ContrastiveStep:
        labels = np.asarray(self.labels)
        options = self.step_options()
        return ContrastiveStep(field, labels, self.weight, self.temperature, **options)
