"""
# Nearest neighbours in a Pipeline

An encoder stands before any classifier, as `PCA` would. Distances between its latents approximate
root-mean-square distances between signals, so neighbours mean something as they are.
"""

# %%
# ## The pipeline
#
# Both steps see the training images only.

import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from neurfield import FunctaEncoder
from neurfield.datasets import digits

images = digits()
train, test = train_test_split(
    range(len(images)), test_size=0.25, stratify=images.label, random_state=0
)
seen, unseen = images[train], images[test]

pipeline = Pipeline(
    [
        ("encode", FunctaEncoder(latent_dim=32, omega=(6.0, 12.0), max_iter=150, random_state=0)),
        ("classify", KNeighborsClassifier(5)),
    ]
)
pipeline.fit(seen, seen.label.values)

# %%
# ## What it confuses

predicted = pipeline.predict(unseen)
figure, axis = plt.subplots(figsize=(5.2, 4.8), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    unseen.label, predicted, ax=axis, cmap="Blues", colorbar=False
)
axis.set_title(f"{accuracy_score(unseen.label, predicted):.1%} of {len(unseen)} held-out digits")
plt.show()

# %%
# ## A wrong answer and its neighbours
#
# The latents of the training images that were nearest, decoded.

encoder, classifier = pipeline[0], pipeline[1]
wrong = int((predicted != unseen.label.values).argmax())
_, nearest = classifier.kneighbors(encoder.transform(unseen[[wrong]]))
neighbours = encoder.inverse_transform(encoder.transform(seen[nearest[0]]), grid=(24, 24))

figure, axes = plt.subplots(1, 6, figsize=(9, 2.0), layout="constrained")
axes[0].imshow(unseen[wrong], cmap="gray_r")
axes[0].set_title(f"a {int(unseen.label[wrong])}, taken for a {predicted[wrong]}", fontsize=9)
for axis, picture, label in zip(axes[1:], neighbours, seen.label.values[nearest[0]], strict=True):
    axis.imshow(picture, cmap="gray_r")
    axis.set_title(f"neighbour: {label}", fontsize=9)
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()
