"""
# The inner problem: gradient steps and the closed form

Encoding a signal is a small optimisation over its latent φ, which training repeats for every
batch. The published method follows the gradient for a fixed number of steps. The default learner
starts with the exact minimiser of the linearised problem, and damped Gauss–Newton steps follow.
With a latent of two numbers the whole problem can be drawn.
"""

# %%
# ## A field with two latent numbers
#
# Fitted to the ones and the sevens among the digits.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from neurfield import FunctaEncoder
from neurfield.datasets import digits
from neurfield.learning import VarPro
from neurfield.learning.solvers import GradientDescent

images = digits()
images = images[np.isin(images.label, [1, 7])]
encoder = FunctaEncoder(
    latent_dim=2,
    hidden_dim=64,
    omega=(6.0, 12.0),
    learner=VarPro(inner_steps=3),
    max_iter=150,
    random_state=0,
)
encoder.fit(images)

# %%
# ## Two ways through one landscape
#
# `codec_` is what encodes, and its solver can be exchanged: the same field, the same signal, two
# ways to the latent. A gradient step has one fixed size.

signal = images[images.label == 7][[12]]
codec = encoder.codec_


def latent_after(steps, step_size=None):
    if steps == 0:
        return np.zeros(2)
    solver = GradientDescent(steps, step_size) if step_size else codec.solver
    encoder.codec_ = replace(codec, solver=solver)
    encoder.set_params(transform_steps=steps)
    return encoder.transform(signal)[0]


def error(latents):
    difference = encoder.inverse_transform(latents) - signal.values
    return np.sqrt(np.mean(np.square(difference.values), axis=(1, 2)))


newton = np.array([latent_after(n) for n in range(5)])
gradient = np.array([latent_after(n, step_size=0.05) for n in range(21)])

# %%
# Contours are the root-mean-square error of a seven over the plane of latents. The first step of
# the solver is the closed form, one P × P solve that all signals on a grid share; from there on
# each step linearises the field anew. Contours are nearly round, because latents are scaled so that
# distances between them are root-mean-square distances between signals.

centre, reach = newton[-1] / 2, 1.3 * np.abs(newton).max() + 0.1
sides = [np.linspace(c - reach, c + reach, 61) for c in centre]
plane = np.stack(np.meshgrid(*sides), axis=-1)
heights = error(plane.reshape(-1, 2)).reshape(61, 61)

figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.2), layout="constrained")
contours = left.contourf(*sides, heights, levels=18, cmap="Blues_r")
left.contour(*sides, heights, levels=18, colors="white", linewidths=0.4)
figure.colorbar(contours, ax=left)
left.plot(*gradient.T, ".-", color="C1", linewidth=1, label="gradient steps")
left.plot(*newton.T, "o-", color="C3", markersize=5, label="closed form, then Gauss–Newton")
left.plot(0, 0, "k+", markersize=10, markeredgewidth=2)
left.annotate("φ = 0", (0, 0), xytext=(6, -12), textcoords="offset points")
left.set(xlabel="φ₁", ylabel="φ₂", aspect="equal")
left.legend(loc="lower left", fontsize="small")
right.plot(error(gradient), ".-", color="C1", label="gradient steps of 0.05")
right.plot(error(newton), "o-", color="C3", label="closed form, then Gauss–Newton")
right.set(xlabel="steps", ylabel="root-mean-square error", xticks=range(0, 21, 5))
right.legend(frameon=False)
plt.show()

# %%
# ## What the steps decode to

shown = {
    "φ = 0": newton[0],
    "closed form": newton[1],
    "+ 1 step": newton[2],
    "+ 3 steps": newton[4],
}
shown |= {f"{n} gradient\nsteps": gradient[n] for n in (1, 5, 20)}
pictures = encoder.inverse_transform(np.array(list(shown.values())), grid=(24, 24))
figure, axes = plt.subplots(1, 8, figsize=(10, 1.8), layout="constrained")
for axis, title, picture in zip(axes, ["original", *shown], [signal[0], *pictures], strict=True):
    axis.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
plt.show()
