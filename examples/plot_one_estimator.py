"""
# One estimator for signals of any dimension

Heartbeats, slices and volumes go through the same four methods. Each signal becomes a short
vector, and each vector decodes on any grid. The signals here are computed, so nothing has to be
downloaded.
"""

# %%
# ## Three data sets, one call
#
# Axes are in seconds and millimetres; the encoder takes them from the data.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder
from neurfield.datasets import phantoms, synthetic_ecg

data = {
    "heartbeats": synthetic_ecg(1000, random_state=0),
    "slices": phantoms(600, shape=(32, 32), random_state=0),
    "volumes": phantoms(220, shape=(12, 24, 24), random_state=1),
}
finer_grids = {"heartbeats": (748,), "slices": (128, 128), "volumes": (48, 96, 96)}

results = {}
for name, signals in data.items():
    seen, unseen = signals[:-40], signals[-40:]
    encoder = FunctaEncoder(latent_dim=48, hidden_dim=64, max_iter=200, random_state=0).fit(seen)
    Z = encoder.transform(unseen)
    results[name] = unseen, Z, encoder.inverse_transform(Z[:5], grid=finer_grids[name])
    shape = " × ".join(map(str, unseen.shape[1:]))
    print(f"{name:10}  {shape:12} → {Z.shape[1]} numbers  {encoder.score(unseen):.1f} dB held out")

# %%
# ## Signals in, vectors out, decoded at any resolution
#
# Held-out signals: as they were given, as the vectors they became (each row one signal), and
# decoded from one of those rows at four times the resolution along each axis.


def draw(axis, signal):
    """Draw a curve, an image, or the middle slice of a volume."""
    if signal.ndim == 1:
        axis.plot(signal.time, signal, linewidth=1.2)
        axis.set(xlabel="time (s)", ylabel="mV")
    else:
        picture = signal[len(signal) // 2] if signal.ndim == 3 else signal
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])


figure, grid = plt.subplots(
    3, 3, figsize=(9.6, 7.2), layout="constrained", width_ratios=(1.25, 1, 1.25)
)
units = {"heartbeats": "samples", "slices": "pixels", "volumes": "voxels, middle slice"}
for (left, middle, right), (name, (signals, Z, finer)) in zip(grid, results.items(), strict=True):
    draw(left, signals[1])
    draw(right, finer[1])
    most = np.abs(Z[:5]).max()
    middle.imshow(Z[:5], cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    middle.add_patch(plt.Rectangle((-0.5, 0.5), Z.shape[1], 1, fill=False, linewidth=1.5))
    middle.set(xticks=[], yticks=[])
    middle.set_xlabel(f"{Z.shape[1]} numbers a signal", fontsize=9)
    for axis, shape in ((left, signals.shape[1:]), (right, finer.shape[1:])):
        axis.set_title(" × ".join(map(str, shape)) + f" {units[name]}", fontsize=9)
    place = {"xycoords": left.get_yaxis_transform(), "rotation": 90, "va": "center", "ha": "center"}
    left.annotate(name, (-0.32, np.mean(left.get_ylim())), size=12, **place)
for axis, title in zip(grid[0], ("signals in", "vectors out", "decoded"), strict=True):
    axis.annotate(title, (0.5, 1.22), xycoords="axes fraction", ha="center", size=13, weight="bold")
plt.show()
