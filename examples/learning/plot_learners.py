"""
# Learners and presets at the same price

`learner` says how the shared weights are learnt. Every curve on this page had the same seconds of
training on the same images with the same size of network, the published preset included.
"""

# %%
# ## Four ways, eight seconds each
#
# `"cavia"` is the published scheme: gradient steps inside, and the meta-gradient goes back
# through all of them. Its published step sizes are made for up to a million meta-steps; one that
# is thirty times as large gets somewhere in seconds, and is less safe on longer runs. `"varpro"`,
# the default, solves the linearised inner problem exactly; with more `inner_steps`, Gauss–Newton
# steps follow in training too.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder, list_presets
from neurfield.datasets import digits

images = digits()
seen, unseen = images[:1400], images[1400:]
shape = {"latent_dim": 24, "hidden_dim": 64, "n_layers": 7, "omega": (6.0, 12.0)}
limits = {"max_iter": 100_000, "max_time": 8.0, "lr_schedule": "cosine", "random_state": 0}
published = {"inner_steps": 5, "context_ratio": 1.0}

encoders = {
    "varpro": FunctaEncoder(**shape),
    "varpro, inner_steps=2": FunctaEncoder(**shape, inner_steps=2),
    "cavia, meta_lr=1e-4": FunctaEncoder(**shape, learner="cavia", meta_lr=1e-4, **published),
    "preset medfuncta-2d-64": FunctaEncoder.from_preset("medfuncta-2d-64", **shape, **published),
}
curves, quality = {}, {}
for name, encoder in encoders.items():
    curve = curves[name] = []
    encoder.set_params(
        **limits, callbacks=[lambda p, curve=curve: curve.append((p.elapsed, p.psnr))]
    )
    quality[name] = encoder.fit(seen).score(unseen)
    print(f"{name:24} {encoder.n_iter_:5d} meta-steps {quality[name]:6.1f} dB held out")

# %%
# ## Quality over time
#
# The course in training, as running means over a twentieth of it, and the outcome on held-out
# images.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.4, 3.6), layout="constrained", width_ratios=(3, 2)
)
for name, curve in curves.items():
    seconds, psnr = np.array(curve).T
    width = max(1, len(psnr) // 20)
    smooth = np.convolve(psnr, np.ones(width) / width, mode="valid")
    left.plot(seconds[width - 1 :], smooth, label=name)
left.set(xlabel="seconds", ylabel="PSNR of the batches (dB)")
figure.legend(frameon=False, loc="outside upper center", ncols=4, fontsize="small")
bars = right.barh(list(quality), list(quality.values()), color=[f"C{i}" for i in range(4)])
right.bar_label(bars, fmt="%.1f", padding=3)
right.set(xlabel="held-out PSNR (dB)", xlim=(0, 1.15 * max(quality.values())), yticks=[])
right.invert_yaxis()
plt.show()

# %%
# ## The published configurations
#
# A preset is an unfitted encoder; further arguments take precedence, as above.

for name in list_presets():
    preset = FunctaEncoder.from_preset(name)
    print(f"{name:18} K={preset.n_layers:2d}  L={preset.hidden_dim}  P={preset.latent_dim}")
