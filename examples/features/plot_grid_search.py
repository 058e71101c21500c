"""
# Choosing the length of the latent

`latent_dim` trades size against fidelity, and what reconstructs best need not classify best. Both
are a matter of `GridSearchCV`, which fits an encoder for every length and judges it on held-out
signals.
"""

# %%
# ## One search, two measures
#
# The search is over a pipeline, with the encoder's own `score`, a PSNR, beside the accuracy of
# the classifier behind it. A third of the images keeps this page quick to build.

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from neurfield import FunctaEncoder
from neurfield.datasets import digits

images = digits()[::3]
lengths = [2, 4, 8, 16, 32]


def psnr(pipeline, X, y):
    return pipeline["encode"].score(X)


encoder = FunctaEncoder(omega=(6.0, 12.0), hidden_dim=64, max_iter=150, random_state=0)
search = GridSearchCV(
    Pipeline([("encode", encoder), ("classify", KNeighborsClassifier(5))]),
    {"encode__latent_dim": lengths},
    scoring={"psnr": psnr, "accuracy": "accuracy"},
    refit=False,
    cv=2,
)
search.fit(images, images.label.values)

# %%
# ## What came out
#
# Points are means over two folds of held-out images, bars reach one standard deviation.

figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
titles = {"psnr": "reconstruction: PSNR (dB)", "accuracy": "5 neighbours: accuracy"}
for axis, (measure, title) in zip(axes, titles.items(), strict=True):
    mean, spread = (search.cv_results_[f"{part}_test_{measure}"] for part in ("mean", "std"))
    axis.errorbar(lengths, mean, spread, fmt="o-", capsize=3)
    axis.set_xscale("log", base=2)
    axis.set(xticks=lengths, xticklabels=lengths, xlabel="latent_dim", title=title)
    axis.grid(alpha=0.3)
plt.show()

for measure, title in titles.items():
    best = search.cv_results_[f"mean_test_{measure}"].argmax()
    print(f"best {title}: latent_dim={lengths[best]}")
