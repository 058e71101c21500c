"""Channels that most training signals lack, such as labels: predicted once, from those they have.

A field learns little of how labels follow from images where hardly any image has some: what it
makes of the others is as free as the latents are. So ridge regression on the few signals that have
all channels, each seen turned, stretched and shifted too, says what the others' would be.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, GroupKFold

from neurfield.learning.lapped.crops import Crops
from neurfield.learning.lapped.deform import deformed
from neurfield.signals import SignalGroup, Signals
from neurfield.signals.lazy import LazyValues

_ROWS, _VALUES = 512, 2**25  # signals, moved ones included, and values of these, about
_AMOUNT = 1.5  # of moves
_STRENGTHS = np.geomspace(1e-4, 1e1, 11)  # of the ridge, in mean squares of a signal
_FOLDS, _COLUMNS = 5, 1024  # by which the strength is chosen, and for how many values


def with_predicted_channels(signals: Signals, seed: int) -> Signals:
    """Return signals of which those that lack whole channels have predicted ones.

    Nothing is predicted unless two signals or more have all channels, more lack some, all stand on
    one grid of up to three axes, and they are in memory.

    Parameters
    ----------
    signals : Signals
        Training signals; not changed.
    seed : int
        Of the moves.
    """
    group = signals.groups[0]
    n_axes, n_channels = len(group.axes), signals.layout.n_channels
    if len(signals.groups) > 1 or group.is_scattered or n_axes > 3 or n_channels < 2:
        return signals
    if isinstance(group.values, LazyValues) or group.values.dtype.kind != "f":
        return signals
    if (group.observed == group.n_points * n_channels).all():
        return signals
    missing: np.ndarray = np.isnan(group.values).reshape(len(group.values), -1, n_channels)
    absent, partial = np.asarray(missing.all(axis=1)), np.asarray(missing.any(axis=1))
    complete = np.flatnonzero(~partial.any(axis=1))
    lacking = absent.any(axis=1) & (absent == partial).all(axis=1)
    if len(complete) < 2 or lacking.sum() <= len(complete):
        return signals
    predicted = _predicted(group, complete, absent, np.flatnonzero(lacking), seed)
    return replace(signals, groups=(replace(group, values=predicted),))


def _predicted(
    group: SignalGroup, complete: np.ndarray, absent: np.ndarray, lacking: np.ndarray, seed: int
) -> np.ndarray:
    """Return the values of a group with channels that signals lack.

    Parameters
    ----------
    group : SignalGroup
        Of all signals.
    complete, lacking : int arrays
        Which have all channels, and which lack some.
    absent : bool array of shape (n, c)
        Which channels of which signals.
    seed : int
        Of the moves.
    """
    values = np.array(group.values)
    rows, of_signal = _moved(values[complete], seed)
    for pattern in np.unique(absent[lacking], axis=0):
        alike = lacking[(absent[lacking] == pattern).all(axis=1)]
        known, wanted = rows[..., ~pattern], rows[..., pattern]
        across = tuple(range(known.ndim - 1))
        mean = known.mean(axis=0)
        scale = np.sqrt(np.square(known - mean).mean(axis=across)) + 1e-12
        features = ((known - mean) / scale).reshape(len(rows), -1)
        level = wanted.mean(axis=0)
        targets = (wanted - level).reshape(len(rows), -1)
        asked = ((values[alike][..., ~pattern] - mean) / scale).reshape(len(alike), -1)
        found = _regressed(features, targets, of_signal, asked, seed) + level.ravel()
        found = found.reshape(len(alike), *wanted.shape[1:])
        found = found.clip(wanted.min(axis=across), wanted.max(axis=across))
        values[np.ix_(alike, *map(np.arange, level.shape[:-1]), np.flatnonzero(pattern))] = found
    return values


def _moved(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return signals as they are and moved, and which signal each row is of."""
    n = len(values)
    n_versions = max(2, min(_ROWS, _VALUES // values[0].size) // n)
    generator = torch.Generator().manual_seed(seed)
    as_they_are = torch.as_tensor(np.moveaxis(values, -1, 1).astype(np.float64))
    versions = [as_they_are]
    for _ in range(n_versions - 1):
        versions.append(deformed(Crops(as_they_are), _AMOUNT, generator).values)
    return np.moveaxis(torch.cat(versions).numpy(), 1, -1), np.tile(np.arange(n), n_versions)


def _regressed(
    features: np.ndarray,
    targets: np.ndarray,
    of_signal: np.ndarray,
    asked: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Return what ridge regression predicts, with the strength that left-out signals ask for.

    Parameters
    ----------
    features, targets : arrays of shape (n, p) and (n, q)
        To learn from, of mean zero.
    of_signal : int array of shape (n,)
        Rows of one signal are left out together.
    asked : array of shape (m, p)
        Features of those that are predicted.
    seed : int
        Of the targets by which the strength is chosen.
    """
    kernel = features @ features.T
    some = np.random.default_rng(seed).permutation(targets.shape[1])[:_COLUMNS]
    search = GridSearchCV(
        KernelRidge(kernel="precomputed"),
        {"alpha": _STRENGTHS * float(kernel.diagonal().mean())},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(min(_FOLDS, of_signal.max() + 1)),
        refit=False,
    )
    search.fit(kernel, targets[:, some], groups=of_signal)
    ridge = KernelRidge(**search.best_params_, kernel="precomputed").fit(kernel, targets)
    return np.asarray(ridge.predict(asked @ features.T))
