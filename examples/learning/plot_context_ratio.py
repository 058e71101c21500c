"""
# A part of the points is enough

`context_ratio` is γ, the fraction of a signal's points that a meta-step looks at, drawn anew each
time. The memory of a step shrinks with it; this page measures what it does to quality.
"""

# %%
# ## Counting what a meta-step keeps
#
# Memory in training is what automatic differentiation keeps for the way back. PyTorch tells of
# every tensor that it saves; adding up their distinct storages between two meta-steps gives the
# bytes.

import matplotlib.pyplot as plt
import numpy as np
from torch.autograd.graph import saved_tensors_hooks

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms
from neurfield.learning import VarPro

slices = phantoms(500, shape=(32, 32), random_state=0)
seen, unseen = slices[:420], slices[420:]
ratios = [1.0, 0.5, 0.25, 0.1, 0.05]


def fit(ratio):
    kept, megabytes = {}, []

    def save(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def step_done(progress):
        megabytes.append(sum(kept.values()) / 2**20)
        kept.clear()

    encoder = FunctaEncoder(
        latent_dim=32,
        hidden_dim=64,
        learner=VarPro(context_ratio=ratio),
        max_iter=60,
        callbacks=[step_done],
        random_state=0,
    )
    with saved_tensors_hooks(save, lambda tensor: tensor):
        encoder.fit(seen)
    return encoder.score(unseen), np.median(megabytes[1:])


psnr, megabytes = np.array([fit(ratio) for ratio in ratios]).T

# %%
# ## Memory and quality
#
# Held-out slices, after the same number of meta-steps.

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.3), layout="constrained")
left.plot(ratios, megabytes, "o-")
left.set(ylabel="kept for a meta-step (MiB)", ylim=(0, 1.15 * megabytes.max()))
right.plot(ratios, psnr, "o-")
for ratio, quality in zip(ratios, psnr, strict=True):
    right.annotate(
        f"{quality:.1f}", (ratio, quality), (0, 8), textcoords="offset points", ha="center"
    )
right.set(ylabel="held-out PSNR (dB)", ylim=(psnr.min() - 2, psnr.max() + 2))
for axis in (left, right):
    axis.set_xscale("log")
    axis.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios], minor=False)
    axis.minorticks_off()
    axis.set_xlabel("context ratio γ")
plt.show()
