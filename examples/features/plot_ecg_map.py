"""
# ECG beats as vectors

A beat of 187 samples becomes 24 numbers. A map of those numbers shows the classes of beats,
although no label took part in learning, and the way between two beats leads over beats.
"""

# %%
# ## Beats of five classes
#
# Computed, so that nothing has to be downloaded: normal beats (N), early ones from the atria (S)
# and from the ventricles (V), fusions of both (F), and paced ones (Q). `load_wfdb` cuts real
# recordings in the same way.

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder
from neurfield.datasets import synthetic_ecg
from neurfield.plotting import plot_interpolation, plot_latents, plot_reconstruction

beats = synthetic_ecg(1600, random_state=0)
seen, unseen = beats[:1200], beats[1200:]

figure, axes = plt.subplots(1, 5, figsize=(10, 2.2), sharey=True, layout="constrained")
for axis, kind in zip(axes, "NSVFQ", strict=True):
    of_kind = beats[beats.label == kind]
    axis.plot(beats.time, of_kind[:12].values.T, color="0.75", linewidth=0.7)
    axis.plot(beats.time, of_kind[0], color="C0")
    axis.set(title=kind, xlabel="time (s)")
axes[0].set_ylabel("mV")
plt.show()

# %%
# ## Learn and look
#
# One beat that took no part in learning, decoded from its latent:

encoder = FunctaEncoder(latent_dim=24, hidden_dim=64, max_iter=150, random_state=0).fit(seen)
Z = encoder.transform(unseen)
plot_reconstruction(encoder, unseen, index=1)
plt.show()

# %%
# ## A map of the latents
#
# Two principal components of 24. Colours are the classes, which the encoder was never told.

plot_latents(Z, unseen.label.values)
plt.show()

# %%
# ## From a normal beat to a ventricular one
#
# Nine latents on a straight line, decoded at four times the sampling rate. On the way the complex
# widens and grows, and the T wave turns over.

normal, ventricular = (Z[np.flatnonzero(unseen.label == kind)[0]] for kind in "NV")
axis = plot_interpolation(encoder, normal, ventricular, n=9, grid=(748,))
axis.set(xlim=(-0.4, 0.5), ylabel="mV")
plt.show()

# mkdocs_gallery_thumbnail_number = 3
