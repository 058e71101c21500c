"""
# Choosing the length of the latent

`latent_dim` trades size against fidelity, and what reconstructs best need not classify best. Both are a
matter of `GridSearchCV`: of the encoder by itself, whose `score` is a PSNR, and of a pipeline.
"""

# %%
# ## Two searches over the same lengths
#
# A third of the images keeps this page quick to build.

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from neurfield import FunctaEncoder
from neurfield.datasets import digits

images = digits()[::3]
lengths = [2, 4, 8, 16, 32]

encoder = FunctaEncoder(omega=(6.0, 12.0), hidden_dim=64, max_iter=60, random_state=0)
by_quality = GridSearchCV(encoder, {"latent_dim": lengths}, cv=3, refit=False).fit(images)

pipeline = Pipeline([("encode", encoder), ("classify", KNeighborsClassifier(5))])
by_accuracy = GridSearchCV(pipeline, {"encode__latent_dim": lengths}, cv=3, refit=False)
by_accuracy.fit(images, images.label.values)

# %%
# ## What came out
#
# Points are means over three folds of held-out images, bars reach one standard deviation.

figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
panels = {"reconstruction: PSNR (dB)": by_quality, "5 neighbours: accuracy": by_accuracy}
for axis, (title, search) in zip(axes, panels.items(), strict=True):
    result = search.cv_results_
    axis.errorbar(lengths, result["mean_test_score"], result["std_test_score"], fmt="o-", capsize=3)
    axis.set_xscale("log", base=2)
    axis.set(xticks=lengths, xticklabels=lengths, xlabel="latent_dim", title=title)
    axis.grid(alpha=0.3)
plt.show()

print("best reconstruction:", by_quality.best_params_)
print("best classification:", by_accuracy.best_params_)
