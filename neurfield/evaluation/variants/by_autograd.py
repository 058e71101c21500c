"""The published learner with something done to its latents before the meta-loss, by autograd."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from neurfield.fields import Field
from neurfield.learning import Cavia, ContextStore, Learner, MetaBatch
from neurfield.learning.learners.cavia import CaviaStep

#: Fields that experiments are made with; "auto" is a modulated SIREN where a learner is given.
FAMILIES = ("auto", "siren", "pyramid")


class LatentStep(CaviaStep):
    """The meta-step of CAVIA, whose latents may be replaced and may add to the loss.

    The whole batch is differentiated at once, in each process where there are several, so that
    signals may have to do with each other.
    """

    def forward(self, batch: MetaBatch) -> Tensor:
        context = batch.context
        latents, more = self.beside(batch, self.adapt(batch))
        error = context.average(context.mse(self.field(context.coords, latents)))
        self.mse.copy_(error.detach())
        return error + more + self.field.penalty()

    @abstractmethod
    def beside(self, batch: MetaBatch, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents that the meta-loss is taken at, and what is added to it, a scalar.

        Parameters
        ----------
        batch : MetaBatch
            Of B signals.
        latents : Tensor of shape (B, P)
            After the inner loop, as a function of θ.
        """


class LatentCavia(Cavia):
    """Base of learners with a :class:`LatentStep`."""

    families: ClassVar[tuple[str, ...] | None] = FAMILIES

    def footprint(self, field: Field, store: ContextStore) -> float:
        # A graph of each inner step is kept, and that of the loss.
        return (1 + self.inner_steps) * Learner.footprint(self, field, store)
