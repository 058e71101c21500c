"""The meta-step of lapped fields: closed-form latents, the full field's error."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from neurfield.fields.lapped import LappedField
from neurfield.learning.base import Learner, MetaBatch, MetaStep
from neurfield.learning.lapped.crops import Crops, draw_crops
from neurfield.learning.lapped.deform import deformed, strength
from neurfield.learning.lapped.errors import errors_at_closed_form
from neurfield.learning.lapped.normal import solution_matrix
from neurfield.learning.lapped.start import damping
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import geometric_mean, mean_over_signals

_EVERY = 50  # meta-steps that share the matrix of the closed form


class LappedStep(MetaStep):
    """Error of the full field at the latents of its linear part.

    The linear part is the encoder: its closed form depends on B alone and is taken as given, so
    that the full field, B in it, learns what signals look like that have these latents.

    Parameters
    ----------
    field : LappedField
        Trained in place.
    shape : tuple of d int
        Samples of a crop along each axis.
    """

    inverse: Tensor
    taken: Tensor

    def __init__(self, field: LappedField, shape: tuple[int, ...]) -> None:
        super().__init__(field)
        self.cells = field.cells.resized(shape)
        size = self.cells.n_cells * field.cell_latents
        self.register_buffer("inverse", field.basis.new_zeros(size, size))
        self.register_buffer("taken", field.basis.new_zeros((), dtype=torch.int64))

    def draw(self, learner: Learner, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        crops = draw_crops(store, learner.settings.batch_size, self.cells.shape, generator)
        amount = strength(self.cells, cast(LappedField, self.field).cell_latents, len(store))
        return cast(MetaBatch, deformed(crops, amount, generator))

    def forward(self, batch: MetaBatch) -> Tensor:
        field, crops = cast(LappedField, self.field), cast(Crops, batch)
        with torch.no_grad():
            if int(self.taken) % _EVERY == 0:
                self.inverse.copy_(solution_matrix(field, self.cells, damping(field)))
            self.taken += 1
        own = crops.of_signals(self.world.share(len(crops)))
        errors = errors_at_closed_form(field, self.cells, own, self.inverse)
        errors = self.world.joined(errors, len(crops))
        self.mse.copy_(mean_over_signals(errors.detach(), crops.sample_weight))
        return geometric_mean(errors, crops.sample_weight)
