"""
# A learner of one's own

A learner says how θ is learnt: what the loss of a meta-step is, and what finds latents afterwards.
It is a small estimator whose constructor's parameters are its options.
"""

# %%
# ## Two classes
#
# A meta-step is a module that returns the loss of a batch. This one minimises the error of the full
# field at the closed-form fit of its tangent, with the gradient going through the fit. The learner
# makes the meta-step, and the solver for new signals. All else has a default: settings, optimiser,
# batches.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from neurfield import FunctaEncoder
from neurfield.learning import Learner, MetaStep
from neurfield.learning.solvers import LevenbergMarquardt, Tangent


class RidgeStep(MetaStep):
    def __init__(self, field, ridge):
        super().__init__(field)
        self.ridge = ridge

    def prior(self, tangent):
        return self.ridge * tangent.mean_diagonal() * torch.eye(self.field.latent_dim)

    def forward(self, batch):
        context = batch.context
        tangent = Tangent.at_origin(self.field, context.coords)
        latents = tangent.solve(context, self.prior(tangent))
        loss = context.mse(self.field(context.coords, latents)).mean()
        self.mse.copy_(loss.detach())  # for progress reports
        return loss


class RidgeLearner(Learner):
    name = "ridge"

    def __init__(self, ridge=1e-2):
        self.ridge = ridge

    def meta_step(self, field):
        return RidgeStep(field, self.ridge)

    def solver(self, step, store):
        tangent = Tangent.at_origin(step.field, store.grids[0].coords)
        prior = step.prior(tangent).detach()
        return LevenbergMarquardt(self.settings.transform_steps, prior, store.observed_per_signal)


# %%
# ## A search over its option
#
# From here on `"ridge"` stands for the learner with its defaults, and its option is
# `learner__ridge`, as with the learners that come with the package.

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
options = {"learner__ridge": [1e-4, 1e-3, 1e-2, 1e-1]}
search = GridSearchCV(encoder, options, cv=2).fit(images[:300])

figure, axis = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
axis.semilogx(options["learner__ridge"], search.cv_results_["mean_test_score"], "o-")
axis.set(xlabel="learner__ridge", ylabel="held-out PSNR (dB)")
plt.show()

# %%
# ## In a preset's place
#
# A published configuration takes it too, with its field and its settings as they are.

print(FunctaEncoder.from_preset("functa", learner=RidgeLearner(ridge=1e-3)))
