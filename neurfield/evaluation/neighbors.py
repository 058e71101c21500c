"""Nearest neighbours, as many of them as do best on signals that were held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import hamming_loss, make_scorer
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import check_random_state

from neurfield.evaluation.training import validation_split

_NEIGHBORS = (1, 3, 5, 7, 10, 15, 20, 50)
_HELD_OUT = 0.1


def neighbors_by_validation(
    y: ArrayLike, *, random_state: int | np.random.RandomState | None = None
) -> GridSearchCV:
    """Return k nearest neighbours that choose k on a tenth of the samples they are to be fitted to.

    k is 1, 3, 5, 7, 10, 15, 20 or 50, as far as there are so many samples: the one of the best
    accuracy on the held-out tenth, the mean over labels where a sample has several; of equals the
    smallest. The neighbours are then those of all samples given. With the same `random_state`,
    :class:`MLPProbe` chooses its epoch by the same samples.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Classes of the samples that `fit` will be given, in their order; or their labels, 0 or 1.
    random_state : int, RandomState instance or None, default=None
        Source of the division: a tenth of each class, or of all samples where there are several
        labels or no class has ten.

    Returns
    -------
    GridSearchCV
        Not fitted yet. ``best_params_["n_neighbors"]`` is k once it is.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> neighbors_by_validation(y, random_state=5).fit(X, y).best_params_
    {'n_neighbors': 20}
    """
    draw = check_random_state(random_state)
    labels = np.asarray(y)
    parts = validation_split(labels, _HELD_OUT, draw)
    if len(parts[0]) == len(labels):
        (parts,) = ShuffleSplit(1, test_size=_HELD_OUT, random_state=draw).split(labels)
    grid = [k for k in _NEIGHBORS if k <= len(parts[0])]
    return GridSearchCV(
        KNeighborsClassifier(),
        {"n_neighbors": grid},
        scoring=make_scorer(hamming_loss, greater_is_better=False),
        cv=[parts],
    )
