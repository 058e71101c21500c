"""
A learner of one's own
======================

A learner says how θ is learnt: what a meta-step's loss is, and what finds latents afterwards. Its
constructor's parameters are its options, which ``set_params`` and ``GridSearchCV`` reach as
``learner__ridge``. Once the module that defines it has been imported, its name stands for it.

The one below minimises the error of the full field at the closed-form fit of its tangent, with the
gradient going through the fit.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from neurfield import FunctaEncoder
from neurfield.learning import Learner, MetaBatch, MetaStep
from neurfield.learning.solvers import LevenbergMarquardt, Tangent


class RidgeStep(MetaStep):
    def __init__(self, field, ridge):
        super().__init__(field)
        self.ridge = ridge

    def prior(self, tangent):
        return self.ridge * tangent.mean_diagonal() * torch.eye(self.field.latent_dim)

    def forward(self, batch: MetaBatch):
        context = batch.context
        tangent = Tangent.at_origin(self.field, context.coords)
        latents = tangent.solve(context, self.prior(tangent))
        loss = context.mse(self.field(context.coords, latents)).mean()
        self.mse.copy_(loss.detach())
        return loss


class RidgeLearner(Learner):
    name = "ridge"

    def __init__(self, ridge=1e-2):
        self.ridge = ridge

    def meta_step(self, field):
        return RidgeStep(field, self.ridge)

    def solver(self, step, store):
        coords = store.grids[0].coords
        prior = step.prior(Tangent.at_origin(step.field, coords)).detach()
        return LevenbergMarquardt(self.settings.transform_steps, prior, store.observed_per_signal)


# %%
# It takes part in everything: here a search over its option.

images = load_digits().images / 16.0
encoder = FunctaEncoder(
    latent_dim=16,
    hidden_dim=32,
    n_layers=4,
    learner="ridge",
    transform_steps=2,
    max_iter=60,
    random_state=0,
)
search = GridSearchCV(encoder, {"learner__ridge": [1e-3, 1e-1]}, cv=2).fit(images[:300])
print(search.best_params_, f"{search.best_score_:.1f} dB")

# %%
# Presets of published configurations take it in their learner's place.

print(FunctaEncoder.from_preset("functa", learner=RidgeLearner(ridge=1e-3)))
