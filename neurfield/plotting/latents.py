"""A map of latent vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from neurfield.plotting._panels import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CLASSES = 20  # beyond, numbers are a scale and no longer names


def plot_latents(
    Z: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    embedding: npt.ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw latents as points of a plane, coloured by label.

    Parameters
    ----------
    Z : array-like of shape (n, latent_dim)
        Latents, as ``FunctaEncoder.transform`` returns them.
    labels : array-like of shape (n,), default=None
        Classes, which get a colour and a legend entry each; or real numbers (or more than 20
        integers), which get a colour bar.
    embedding : array-like of shape (n, 2), default=None
        Where to draw each point, for instance by ``sklearn.manifold.TSNE``. None takes the first
        two principal components of `Z`.
    ax : Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        What was drawn in.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If lengths differ, or `embedding` is not a plane.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> Z = np.random.default_rng(0).normal(size=(30, 4))
    >>> ax = plot_latents(Z, labels=np.repeat(["N", "V", "S"], 10))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['N', 'S', 'V']
    """
    latents = check_array(Z, input_name="Z", ensure_min_samples=2)
    kinds = None if labels is None else column_or_1d(labels)
    check_consistent_length(latents, kinds, embedding)
    if embedding is None:
        places, names = _principal_plane(latents)
    else:
        places, names = check_array(embedding, input_name="embedding"), ("", "")
        if places.shape[1] != 2:
            raise ValueError(f"embedding must have shape (n, 2), got {places.shape}")
    panel = panels(ax, (1, 1))[0, 0]
    if ax is None:
        panel.figure.set_size_inches(5.0, 4.4)
    _scatter(panel, places, kinds)
    panel.set(xlabel=names[0], ylabel=names[1])
    if embedding is not None:
        panel.set(xticks=[], yticks=[])  # distances mean something there, positions do not
    return panel


def _principal_plane(latents: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    if latents.shape[1] == 1:
        return np.column_stack([latents[:, 0], np.zeros(len(latents))]), ("latent", "")
    pca = PCA(2, svd_solver="full")
    places = pca.fit_transform(latents)
    shares = pca.explained_variance_ratio_
    return places, (f"component 1 ({shares[0]:.0%})", f"component 2 ({shares[1]:.0%})")


def _scatter(panel: Axes, places: np.ndarray, labels: np.ndarray | None) -> None:
    style: dict[str, Any] = {"s": 14, "linewidths": 0, "alpha": 0.8}
    if labels is None:
        panel.scatter(*places.T, **style)
        return
    classes = np.unique(labels)
    if labels.dtype.kind == "f" or (labels.dtype.kind in "iu" and len(classes) > _MOST_CLASSES):
        panel.figure.colorbar(
            panel.scatter(places[:, 0], places[:, 1], c=labels, **style), ax=panel
        )
        return
    from matplotlib import color_sequences

    colours = color_sequences["tab10" if len(classes) <= 10 else "tab20"]
    for i, kind in enumerate(classes):
        colour = colours[i % len(colours)]
        panel.scatter(*places[labels == kind].T, color=colour, label=str(kind), **style)
    panel.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small", markerscale=2
    )
