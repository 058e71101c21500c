"""
# Learners and presets at the same price

`learner` says how the shared weights are learnt, and a preset is the configuration of a published
system: its field, its inner loop and its meta-steps. Everything on this page had the same seconds
of training on the same images, with latents of one length and networks of one size.
"""

# %%
# ## Three ways to learn, three seconds each
#
# `"cavia"` is the published scheme: gradient steps inside, and the meta-gradient goes back
# through all of them. Its published learning rate is made for up to a million meta-steps; one that
# is a hundred times as large gets somewhere in seconds, and is less safe on longer runs.
# `"varpro"`, the default, solves the linearised inner problem exactly; with more `inner_steps`,
# Gauss–Newton steps follow in training too.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder, list_presets
from neurfield.datasets import digits
from neurfield.learning import Cavia, VarPro

images = digits()
seen, unseen = images[:1400], images[1400:]
shape = {"latent_dim": 24, "hidden_dim": 64, "n_layers": 7, "omega": (6.0, 12.0)}
limits = {"max_iter": 100_000, "max_time": 3.0, "lr_schedule": "cosine", "random_state": 0}
rate = {"meta_lr": 3e-4}  # for seconds, not days

encoders = {
    "varpro": FunctaEncoder(**shape),
    "varpro, inner_steps=2": FunctaEncoder(**shape, learner=VarPro(inner_steps=2)),
    # all 64 pixels
    "cavia, meta_lr=3e-4": FunctaEncoder(**shape, learner=Cavia(context_ratio=1.0), **rate),
}
curves, quality = {}, {}


def measure(name, encoder):
    curve = curves[name] = []
    encoder.set_params(**limits, callbacks=[lambda p: curve.append((p.elapsed, p.psnr))])
    quality[name] = encoder.fit(seen).score(unseen)
    print(f"{name:24} {encoder.n_iter_:5d} meta-steps {quality[name]:6.1f} dB held out")


for name, encoder in encoders.items():
    measure(name, encoder)

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
figure.legend(frameon=False, loc="outside upper center", ncols=3, fontsize="small")
bars = right.barh(list(quality), list(quality.values()), color=[f"C{i}" for i in range(3)])
right.bar_label(bars, fmt="%.1f", padding=3)
right.set(xlabel="held-out PSNR (dB)", xlim=(0, 1.15 * max(quality.values())), yticks=[])
right.invert_yaxis()
plt.show()

# %%
# ## The published configurations
#
# A preset is an unfitted encoder; further arguments take precedence, options of its field and its
# learner by nested names.

for name in list_presets():
    preset = FunctaEncoder.from_preset(name)
    size = f"K={preset.n_layers:2d}  L={preset.hidden_dim:3d}  P={preset.latent_dim:5d}"
    print(f"{name:24} {size}  field={preset.field.name!r}")

# %%
# ## Peers beside the default learner
#
# Five of them, for the same three seconds, are **not** what their papers report: networks, latents
# and ω are those from above, all pixels are seen, and the learning rate is 3e-4 with a cosine
# where 3e-6 was published. What they keep is the kind of field, the number and size of inner
# steps, the batch, and whether there are skip connections.

short = {**rate, "learner__context_ratio": 1.0}
own = {"spatial-functa-linear": {"field__grid": 2}}  # 2 × 2 vectors of 6 numbers
peers = ["medfuncta-2d-64", "functa", "coin++", "spatial-functa-linear", "lrm-functa"]
for name in peers:
    measure(name, FunctaEncoder.from_preset(name, **shape, **short, **own.get(name, {})))

shown = {name: quality[name] for name in ["varpro", *peers]}
figure, axis = plt.subplots(figsize=(8.0, 3.2), layout="constrained")
bars = axis.barh(list(shown), list(shown.values()), color=["C0"] + ["0.65"] * len(peers))
axis.bar_label(
    bars,
    [f"{psnr:.1f} dB, {len(curves[name])} meta-steps" for name, psnr in shown.items()],
    padding=3,
    fontsize="small",
)
axis.set(
    xlabel="held-out PSNR (dB)",
    xlim=(0, 1.45 * max(shown.values())),
    title="3 s each; networks of 7 × 64, 24 numbers an image, learning rate of peers × 100",
)
axis.title.set_fontsize("medium")
axis.spines[["top", "right"]].set_visible(False)
axis.invert_yaxis()
plt.show()
