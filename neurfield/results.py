"""What a fit leaves on an estimator."""

from __future__ import annotations

from typing import Any, Self

from neurfield.codec import Codec
from neurfield.fields import Field
from neurfield.learning import Learner, Trainer
from neurfield.signals import Signals


class ResultsMixin:
    """Takes over what a fit has found, and reads attributes from it."""

    codec_: Codec

    @property
    def field_(self) -> Field:
        """The trained field."""
        return self.codec_.field

    @property
    def _n_features_out(self) -> int:
        return self.codec_.latent_size

    def _fitted(self, codec: Codec, trainer: Trainer, first: Signals | None) -> Self:
        """Take over what a fit has found, and how its signals came where they were the first."""
        if first is not None:
            self.layout_ = first.layout
        self._accept(codec, trainer.learner)
        state, self.n_iter_ = trainer.state, trainer.state.iteration
        self.loss_curve_, self.psnr_curve_ = list(state.loss_curve), list(state.psnr_curve)
        self.validation_curve_ = list(state.validation_curve)
        return self

    def _accept(self: Any, codec: Codec, learner: Learner) -> None:
        self.codec_ = codec
        self.learner_, self.settings_ = learner, learner.settings
        self.device_ = str(codec.device)
