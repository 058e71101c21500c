"""The meta-step of lapped fields: closed-form latents, the full field's error."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from neurfield.fields.lapped import LappedField
from neurfield.learning.base import Learner, MetaBatch, MetaStep
from neurfield.learning.lapped.crops import Crops, draw_crops
from neurfield.learning.lapped.curvature import BasisCurvature
from neurfield.learning.lapped.deform import deformed, strength
from neurfield.learning.lapped.errors import errors_at_closed_form
from neurfield.learning.lapped.normal import NormalMatrix
from neurfield.learning.lapped.start import damping
from neurfield.learning.store import ContextStore
from neurfield.learning.weighting import geometric_mean, mean_over_signals

_EVERY = 50  # meta-steps for which the encoder stays as it is


class LappedStep(MetaStep):
    """Error of the full field at the latents of its linear part.

    The linear part is the encoder: its closed form depends on B and m alone and is taken as given,
    so that the full field, B in it, learns what signals look like that have these latents. The
    encoder follows B from time to time: in between, B enters what is nearly a least-squares
    problem, which large steps do not upset.

    Parameters
    ----------
    field : LappedField
        Trained in place.
    shape : tuple of d int
        Samples of a crop along each axis.

    Attributes
    ----------
    curvature : BasisCurvature or None
        Of the loss, along B; None where B stays as it begins.
    """

    inverse: Tensor
    taken: Tensor
    encoder_basis: Tensor
    encoder_mean: Tensor

    def __init__(self, field: LappedField, shape: tuple[int, ...]) -> None:
        super().__init__(field)
        self.cells = field.cells.resized(shape)
        self.curvature = BasisCurvature.of(field, self.cells)
        field.basis.requires_grad_(self.curvature is not None)
        size = self.cells.n_cells * field.cell_latents
        self.register_buffer("inverse", field.basis.new_zeros(size, size))
        self.register_buffer("encoder_basis", torch.zeros_like(field.basis))
        self.register_buffer("encoder_mean", torch.zeros_like(field.mean))
        self.register_buffer("taken", field.basis.new_zeros((), dtype=torch.int64))

    def draw(self, learner: Learner, store: ContextStore, generator: torch.Generator) -> MetaBatch:
        if self.curvature is not None:
            self.curvature.heed(len(store))
        crops = draw_crops(store, learner.settings.batch_size, self.cells.shape, generator)
        amount = strength(self.cells, cast(LappedField, self.field).cell_latents, len(store))
        return cast(MetaBatch, deformed(crops, amount, generator))

    def forward(self, batch: MetaBatch) -> Tensor:
        field, crops = cast(LappedField, self.field), cast(Crops, batch)
        taken = int(self.taken)
        if taken == 0 or (self.curvature is not None and taken % _EVERY == 0):
            self._renew_encoder()
        if self.curvature is not None:
            self.curvature.prepare(taken, len(crops), self.world)
        self.taken += 1
        own = crops.of_signals(self.world.share(len(crops)))
        errors = errors_at_closed_form(
            field, self._encoder(), self.cells, own, self.inverse, self.curvature
        )
        errors = self.world.joined(errors, len(crops))
        self.mse.copy_(mean_over_signals(errors.detach(), crops.sample_weight))
        return geometric_mean(errors, crops.sample_weight)

    @torch.no_grad()
    def _renew_encoder(self) -> None:
        field = cast(LappedField, self.field)
        self.encoder_basis.copy_(field.basis)
        self.encoder_mean.copy_(field.mean)
        self.inverse.copy_(NormalMatrix(field, damping(field)).inverse(self.cells))

    def _encoder(self) -> LappedField:
        encoder = cast(LappedField, self.field).twin()
        encoder.basis.data, encoder.mean.data = self.encoder_basis, self.encoder_mean
        return encoder
